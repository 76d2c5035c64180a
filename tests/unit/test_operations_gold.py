"""Gold of operations on rows written by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from medallion.domains.operations import gold
from medallion.rule_kinds import FLAG
from tests.unit.operations_feature_rows import NO_AIRCRAFT, NO_WEATHER, UNKNOWN_AIRCRAFT
from tests.unit.operations_rows import CANCELLED, SOUND, Row, frame
from tests.unit.row_parts import at, utc

UNKNOWN_AIRPORT = {
    "airport_key": "~unknown", "airport_code": None, "name": "Unknown", "latitude_deg": None,
    "longitude_deg": None, "altitude_ft": None, "utc_offset_h": None, "time_zone": None,
}  # fmt: skip
UNKNOWN_AIRLINE = {"airline_key": "~unknown", "airline_code": None, "name": "Unknown"}


def flights(spark: SparkSession, rows: list[Row]) -> DataFrame:
    return frame(spark, "silver.operations.flights", rows).drop("_unparsed")


def test_dim_airport(spark: SparkSession) -> None:
    airports = frame(spark, "silver.operations.airports", [{}]).drop("_unparsed")
    expected = frame(spark, "gold.operations.dim_airport", [{}, UNKNOWN_AIRPORT])
    assert_df_equality(gold.dim_airport(airports), expected, ignore_nullable=True)
    assert gold.dim_airport(airports.limit(0)).collect() == [expected.collect()[1]]


def test_dim_airline(spark: SparkSession) -> None:
    airlines = frame(spark, "silver.operations.airlines", [{}]).drop("_unparsed")
    expected = frame(spark, "gold.operations.dim_airline", [{}, UNKNOWN_AIRLINE])
    assert_df_equality(gold.dim_airline(airlines), expected, ignore_nullable=True)


def test_dim_aircraft(spark: SparkSession) -> None:
    planes = [
        {"cruise_speed_mph": 432},
        {"tail_number": "N1", "manufacturer": None},
        {"tail_number": "N2", "manufacturer": None, "model": None, "engines": None},
    ]
    expected = [
        {"cruise_speed_mph": 432},
        {"aircraft_key": "N1", "tail_number": "N1", "name": "737-824", "manufacturer": None},
        {"aircraft_key": "N2", "tail_number": "N2", "name": "N2", "manufacturer": None, "model": None, "engines": None},
        UNKNOWN_AIRCRAFT,
    ]
    made = gold.dim_aircraft(frame(spark, "silver.operations.planes", planes).drop("_unparsed"))
    assert_df_equality(made, frame(spark, "gold.operations.dim_aircraft", expected), ignore_nullable=True)


def test_fact_flight_points_to_members_and_else_to_the_unknown_one(spark: SparkSession) -> None:
    origin = {"airport_key": "EWR", "airport_code": "EWR"}
    dim_airport = frame(spark, "gold.operations.dim_airport", [{}, origin, UNKNOWN_AIRPORT])
    dim_airline = frame(spark, "gold.operations.dim_airline", [{}, UNKNOWN_AIRLINE])
    dim_aircraft = frame(spark, "gold.operations.dim_aircraft", [{}, UNKNOWN_AIRCRAFT])
    unknown = dict.fromkeys(("airline_key", "origin_airport_key", "dest_airport_key", "aircraft_key"), "~unknown")
    cancelled = {name: value for name, value in CANCELLED.items() if name in SOUND["gold.operations.fact_flight"]}
    codes = {"carrier": "ZZ", "origin": "JFK", "dest": "SJU", "is_dest_known": False, "tail_number": "N9"}
    unassigned = {"flight_number": 7, "tail_number": None}
    made = gold.fact_flight(flights(spark, [{}, codes, CANCELLED | unassigned]), dim_airport, dim_airline, dim_aircraft)
    expected = [
        {},
        {"carrier": "ZZ", "origin": "JFK", "dest": "SJU", "tail_number": "N9"} | unknown,
        unassigned | {"aircraft_key": "~unknown"} | cancelled,
    ]
    rows = frame(spark, "gold.operations.fact_flight", expected)
    rows = rows.drop(*[name for name in rows.columns if name.startswith(FLAG)])
    assert_df_equality(made, rows, ignore_nullable=True, ignore_row_order=True)


def _delayed(dest: str, *delays: tuple[int | None, int | None], day: int = 1) -> list[Row]:
    """Flights of one route with (departure, arrival) delays; no departure delay: cancelled."""
    return [
        {"dest": dest, "flight_date": date(2013, 1, day), "flight_number": number}
        | (CANCELLED if dep is None else {"dep_delay_min": dep, "arr_delay_min": arr, "has_arrived": arr is not None})
        for number, (dep, arr) in enumerate(delays, 1)
    ]


ROUTES = {  # case -> (flights, flights, cancelled, mean departure delay, p90 arrival delay, share on time)
    "one flight": (_delayed("AAA", (2, 11)), 1, 0, 2.0, 11.0, 1.0),
    "15 minutes are on time, 16 are late": (_delayed("BBB", (0, 15), (0, 16)), 2, 0, 0.0, 15.9, 0.5),
    "early counts as it is": (_delayed("CCC", (-5, -20), (-6, -10)), 2, 0, -5.5, -11.0, 1.0),
    "cancelled flights are counted, not measured": (_delayed("DDD", (3, 30), (None, None)), 2, 1, 3.0, 30.0, 0.0),
    "nothing but cancelled": (_delayed("EEE", (None, None), (None, None)), 2, 2, None, None, None),
    "diverted: departed, never arrived": (_delayed("FFF", (7, None)), 1, 0, 7.0, None, None),
    "diverted is not late": (_delayed("GGG", (7, None), (1, 5)), 2, 0, 4.0, 5.0, 1.0),
    "interpolated between ranks": (_delayed("HHH", *[(0, 10 * n) for n in range(1, 8)]), 7, 0, 0.0, 64.0, 1 / 7),
    "a third of a minute": (_delayed("III", (1, 0), (1, 0), (2, 0)), 3, 0, 4 / 3, 0.0, 1.0),
    "another day": (_delayed("AAA", (100, 100), day=2), 1, 0, 100.0, 100.0, 0.0),
}


@pytest.fixture(scope="module")
def routes(spark: SparkSession) -> dict:
    made = gold.route_performance(flights(spark, [row for rows, *_ in ROUTES.values() for row in rows]))
    return {(row.flight_date, row.dest): tuple(row)[3:] for row in made.collect()}


@pytest.mark.parametrize("case", ROUTES)
def test_route_performance(routes: dict, case: str) -> None:
    rows, *expected = ROUTES[case]
    assert routes[rows[0]["flight_date"], rows[0]["dest"]] == tuple(expected)


def test_route_performance_has_a_row_per_route_and_day_and_the_columns_of_its_contract(spark: SparkSession, routes: dict) -> None:
    assert len(routes) == len(ROUTES)
    expected = frame(spark, "gold.operations.route_performance", [
        {"flights": 1, "cancelled": 0, "mean_dep_delay_min": 2.0, "p90_arr_delay_min": 11.0, "on_time_share": 1.0},
    ])  # fmt: skip
    assert_df_equality(gold.route_performance(flights(spark, [{}])), expected, ignore_nullable=True)
    assert gold.route_performance(flights(spark, [])).isEmpty()


SUNDAY = {"flight_date": date(2013, 1, 6), "weekday": 7}
MONDAY = {"flight_date": date(2013, 1, 7), "weekday": 1}
FEATURES: dict[str, tuple[Row, Row]] = {  # case -> (changes to the sound flight, to its sound features)
    "as it comes": ({}, {}),
    "15 minutes are not late": ({"dep_delay_min": 15}, {"label_dep_delayed_15": False}),
    "16 minutes are late": ({"dep_delay_min": 16}, {"label_dep_delayed_15": True}),
    "early is not late": ({"dep_delay_min": -7}, {"label_dep_delayed_15": False}),
    "cancelled has no label": (CANCELLED, {"label_dep_delayed_15": None}),
    "on the hour: the one before": (
        {"sched_dep_utc": utc(10, 0), "sched_dep_local": at(5, 0)}, {"sched_dep_utc": utc(10, 0)},
    ),
    "just before the next hour: still the one before": (
        {"sched_dep_utc": utc(10, 59), "sched_dep_local": at(5, 59)}, {"sched_dep_utc": utc(10, 59)},
    ),
    "nobody looked out of the window": (
        {"sched_dep_utc": utc(12, 0), "sched_dep_local": at(7, 0)},
        {"sched_dep_utc": utc(12, 0), "sched_dep_hour": 7} | NO_WEATHER,
    ),
    "another airport's weather is not ours": ({"origin": "LGA"}, {"origin": "LGA"} | NO_WEATHER),
    "origin without a time zone": ({"sched_dep_utc": None}, {"sched_dep_utc": None} | NO_WEATHER),
    "just after midnight: the day before has its weather": (
        SUNDAY | {"sched_dep_utc": utc(5, 5, 6), "sched_dep_local": at(0, 5, 6)},
        SUNDAY | {"sched_dep_utc": utc(5, 5, 6), "sched_dep_hour": 0, "weather_hour_utc": utc(4, 0, 6), "temp_f": 20.0},
    ),
    "scheduled for 2400 belongs to its flight date": (
        MONDAY | {"sched_dep_utc": utc(5, 0, 8), "sched_dep_local": at(0, 0, 8)},
        MONDAY | {"sched_dep_utc": utc(5, 0, 8), "sched_dep_hour": 0} | NO_WEATHER,
    ),
    "an aircraft that the registry lacks": ({"tail_number": "N9"}, NO_AIRCRAFT),
    "no aircraft assigned": ({"tail_number": None}, NO_AIRCRAFT),
    "built in the year that it flies in": (
        {"tail_number": "N13"}, {"aircraft_age_years": 0, "aircraft_seats": None},
    ),
    "registered again for an aircraft built later": ({"tail_number": "N14"}, {"aircraft_age_years": None}),
}  # fmt: skip
AFTERWARDS: Row = {
    "status": "cancelled", "has_arrived": False, "dep_local": at(1, 2, 3), "arr_local": at(4, 5, 6),
    "dep_utc": utc(6, 2, 3), "arr_utc": utc(9, 5, 6), "dep_delay_min": 1187, "arr_delay_min": -999, "air_time_min": 1,
    "average_speed_mph": 1e6,
}  # fmt: skip
"""Another fate: a different value for all that is known of a flight only when it has left."""
BEFOREHAND = {
    "flight_date", "carrier", "flight_number", "origin", "dest", "tail_number", "is_origin_known", "is_dest_known",
    "sched_dep_local", "sched_arr_local", "sched_dep_utc", "sched_arr_utc", "distance_mi", "source_hour_utc",
    "_logical_date", "_delivery", "_source_row",
}  # fmt: skip
"""What is known before it leaves: the schedule, the aircraft, the references, and where the row came from."""


def features(spark: SparkSession, rows: list[Row]) -> DataFrame:
    weather = [{}, {"time_hour": utc(10, 0), "temp_f": 99.0}, {"time_hour": utc(4, 0, 6), "temp_f": 20.0}]
    aircraft = [
        {"tail_number": "N14228"}, {"tail_number": "N13", "manufacture_year": 2013, "seats": None},
        {"tail_number": "N14", "manufacture_year": 2014}, UNKNOWN_AIRCRAFT,
    ]  # fmt: skip
    observed = frame(spark, "silver.operations.weather", weather).drop("_unparsed")
    return gold.delay_features(flights(spark, rows), observed, frame(spark, "gold.operations.dim_aircraft", aircraft))


def test_delay_features(spark: SparkSession) -> None:
    numbered = [
        (flight | {"flight_number": n}, made | {"flight_number": n}) for n, (flight, made) in enumerate(FEATURES.values())
    ]
    made = features(spark, [flight for flight, _ in numbered])
    expected = frame(spark, "gold.operations.delay_features", [row for _, row in numbered])
    assert_df_equality(made, expected, ignore_nullable=True, ignore_row_order=True)


def test_delay_features_know_nothing_that_happens_after_the_departure(spark: SparkSession) -> None:
    """The same schedule with another fate makes the same features; only the label differs."""
    known = flights(spark, [{}])
    assert {*known.columns} == {*AFTERWARDS} | BEFOREHAND, "a new column of flights: is it known before the departure?"
    sound = SOUND["silver.operations.flights"]
    assert [name for name, value in AFTERWARDS.items() if value == sound[name]] == []
    one, other = (row.asDict() for row in features(spark, [{}, AFTERWARDS]).collect())
    assert (one.pop("label_dep_delayed_15"), other.pop("label_dep_delayed_15")) == (False, True)
    assert one == other


def test_delay_features_read_no_weather_of_the_hour_of_departure_or_later(spark: SparkSession) -> None:
    """Weather that is told apart by its temperature; each flight must have that of the hour before, alone."""
    hours = [datetime(2013, 1, 1, 0, 0, tzinfo=UTC) + timedelta(hours=n) for n in range(48)]
    rows = [{"time_hour": hour, "temp_f": float(n)} for n, hour in enumerate(hours)]
    observed = frame(spark, "silver.operations.weather", rows).drop("_unparsed")
    leaving = [
        {"flight_number": 60 * n + minute, "sched_dep_utc": hour + timedelta(minutes=minute)}
        for n, hour in enumerate(hours) for minute in (0, 1, 59)
    ]  # fmt: skip
    aircraft = frame(spark, "gold.operations.dim_aircraft", [UNKNOWN_AIRCRAFT])
    made = gold.delay_features(flights(spark, leaving), observed, aircraft).select("flight_number", "temp_f").collect()
    expected = {60 * n + minute: float(n - 1) if n else None for n in range(48) for minute in (0, 1, 59)}
    assert dict(map(tuple, made)) == expected

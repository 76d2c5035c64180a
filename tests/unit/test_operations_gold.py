"""Gold of operations on rows written by hand."""

from __future__ import annotations

from datetime import date

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from medallion.domains.operations import gold
from tests.unit.operations_rows import CANCELLED, SOUND, Row, frame

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


def test_fact_flight_points_to_members_and_else_to_the_unknown_one(spark: SparkSession) -> None:
    origin = {"airport_key": "EWR", "airport_code": "EWR"}
    dim_airport = frame(spark, "gold.operations.dim_airport", [{}, origin, UNKNOWN_AIRPORT])
    dim_airline = frame(spark, "gold.operations.dim_airline", [{}, UNKNOWN_AIRLINE])
    unknown = {
        "airline_key": "~unknown", "origin_airport_key": "~unknown", "dest_airport_key": "~unknown",
    }  # fmt: skip
    cancelled = {name: value for name, value in CANCELLED.items() if name in SOUND["gold.operations.fact_flight"]}
    codes = {"carrier": "ZZ", "origin": "JFK", "dest": "SJU", "is_dest_known": False}
    made = gold.fact_flight(flights(spark, [{}, codes, CANCELLED | {"flight_number": 7}]), dim_airport, dim_airline)
    expected = [
        {},
        {"carrier": "ZZ", "origin": "JFK", "dest": "SJU"} | unknown,
        {"flight_number": 7} | cancelled,
    ]
    assert_df_equality(made, frame(spark, "gold.operations.fact_flight", expected), ignore_nullable=True, ignore_row_order=True)


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

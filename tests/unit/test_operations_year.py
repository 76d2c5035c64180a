"""Operations over the real records of 2013, from the package's files: what the rules say, and pandas agrees."""

from __future__ import annotations

import io
from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion.domains.operations import gold, silver
from medallion.quality.references import flagged
from medallion.quality.rules import passes
from medallion.quality.table_rules import verdicts_over
from tests import independent, independent_flights
from tests.frames import frame_of
from tests.unit.operations_rows import CONTRACTS
from tests.unit.row_parts import DAY

DAYS = [date(2013, 1, 1), date(2013, 1, 2), date(2013, 2, 12), date(2013, 5, 25), date(2013, 11, 3), date(2013, 12, 31)]
"""The first two; the impossible wind; the impossible speed; clocks go back; a day without weather."""


def bronze(spark: SparkSession, dataset: str, rows: pd.DataFrame) -> DataFrame:
    """The records as a bronze table has them; those with a date in deliveries of their own."""
    contract = CONTRACTS[dataset]
    of_day = contract.delivery is not None and contract.delivery.expected == "daily"
    when = pd.to_datetime(rows[["year", "month", "day"]]).dt.date if of_day else DAY
    rows = rows.assign(_logical_date=when, _delivery="d1", _source_row=range(1, len(rows) + 1))
    made = spark.createDataFrame(pa.Table.from_pandas(rows, preserve_index=False))
    columns = [(F.col(c) if c in rows.columns else F.lit(None)).cast(type_).alias(c) for c, type_ in contract.schema().items()]
    return made.select(*columns)


def judged(frame: DataFrame, dataset: str) -> tuple[DataFrame, dict[str, int]]:
    """The rows that the gate lets through, and the rules that were broken, with how many rows."""
    rules = CONTRACTS[dataset].row_rules
    row = frame.agg(*[F.count_if(~passes([rule])).alias(rule.name) for rule in rules]).first()
    assert row is not None
    good = frame.filter(passes([rule for rule in rules if rule.severity == "error"]))
    return good.drop("_unparsed"), {name: bad for name, bad in row.asDict().items() if bad}


def text(file: str | io.BytesIO, missing: str | None, columns: list[str] | None = None) -> pd.DataFrame:
    read = pd.read_csv if isinstance(file, io.BytesIO) else independent.source
    found = read(file, dtype=str, keep_default_na=False, usecols=columns)
    return found if missing is None else found.replace({missing: None})


@pytest.fixture(scope="module")
def weather(spark: SparkSession) -> tuple[DataFrame, dict[str, int]]:
    lines = bronze(spark, "bronze.operations.weather", text("weather.csv", "NA"))
    assert judged(lines, "bronze.operations.weather")[1] == {}
    good, broken = judged(silver.weather(lines), "silver.operations.weather")
    return good.cache(), broken


@pytest.fixture(scope="module")
def planes(spark: SparkSession) -> tuple[DataFrame, dict[str, int]]:
    rows = independent.source("planes.csv", keep_default_na=False, na_values=["NA"]).convert_dtypes()
    registry = bronze(spark, "bronze.operations.planes", rows)
    assert judged(registry, "bronze.operations.planes")[1] == {}
    return judged(silver.planes(registry), "silver.operations.planes")


def test_of_a_year_of_weather_one_record_is_put_aside_and_the_rest_is_as_pandas_reads_it(
    weather: tuple[DataFrame, dict[str, int]],
) -> None:
    good, broken = weather
    assert broken == {"wind_speed_mph_maximum": 1}
    assert good.count() == good.select("origin", "time_hour").distinct().count() == 26_114
    assert good.select("origin", "hour_local").distinct().count() == 26_111, "three clocks show one hour twice"
    (rule,) = [rule for rule in CONTRACTS["silver.operations.weather"].rules if rule.name == "wind_speed_mph_maximum"]
    assert (rule.allows(1, 72), rule.allows(2, 72)) == (True, False), "the day is not refused for one record"
    found = good.drop("_logical_date", "_delivery", "_source_row").toArrow().to_pandas()
    independent.assert_same(found, independent.weather(), "origin", "time_hour")


def test_the_registry_breaks_no_rule_and_its_dimension_is_what_pandas_makes_of_it(
    planes: tuple[DataFrame, dict[str, int]],
) -> None:
    good, broken = planes
    assert broken == {}
    assert good.groupBy("aircraft_type_code", "engine_type_code").count().filter("count > 100").count() == 2
    independent.assert_same(gold.dim_aircraft(good).toArrow().to_pandas(), independent.dim_aircraft(), "aircraft_key")


def test_features_of_chosen_days_are_those_that_pandas_makes(
    spark: SparkSession, weather: tuple[DataFrame, dict[str, int]], planes: tuple[DataFrame, dict[str, int]]
) -> None:
    lines = pd.concat([text(io.BytesIO(independent_flights.source_bytes(day)), None) for day in DAYS], ignore_index=True)
    zones = silver.airports(bronze(spark, "bronze.operations.airports", text("airports.csv", None)))
    good, broken = judged(silver.flights(bronze(spark, "bronze.operations.flights", lines), zones), "silver.operations.flights")
    assert broken["faster_than_700_mph"] == 1
    made, broken = judged(
        gold.delay_features(good, weather[0], gold.dim_aircraft(planes[0])).cache(), "gold.operations.delay_features"
    )
    expected = independent.delay_features(DAYS)
    assert broken == {"without_weather": int(expected.weather_hour_utc.isna().sum())}
    independent.assert_same(made.toArrow().to_pandas(), expected, "flight_date", "carrier", "flight_number", "origin")


@pytest.fixture(scope="module")
def year() -> pa.Table:
    """Where every flight of the year goes, and with which aircraft, as silver has them."""
    lines = text("flights.csv.zip", "NA", ["month", "day", "dest", "tailnum"]).rename(columns={"tailnum": "tail_number"})
    return pa.Table.from_pandas(lines, preserve_index=False)


def test_flights_of_the_year_that_point_nowhere(spark: SparkSession, year: pa.Table) -> None:
    """52,606 flights have no aircraft in the registry; 2,512 of them name none."""
    contract = CONTRACTS["gold.operations.fact_flight"]
    dims = {
        "gold.operations.dim_airport": (text("airports.csv", None)[["faa"]], "airport_code string"),
        "gold.operations.dim_aircraft": (text("planes.csv", None)[["tailnum"]], "aircraft_key string"),
    }
    there = {dataset: frame_of(spark, rows.to_numpy().tolist(), ddl) for dataset, (rows, ddl) in dims.items()}
    rules = [rule for rule in contract.rules if rule.reference]
    flights = flagged(spark.createDataFrame(year), contract, there.__getitem__)
    row = flights.agg(*[F.count_if(~passes([rule])).alias(rule.name) for rule in rules]).first()
    assert row is not None
    assert row.asDict() == {"dest_reference": 7_602, "tail_number_reference": 52_606 - 2_512}


def test_only_in_the_blizzard_did_many_flights_have_no_aircraft(spark: SparkSession, year: pa.Table) -> None:
    contract = CONTRACTS["silver.operations.flights"]
    (rule,) = [rule for rule in contract.table_rules if rule.measure]
    days = {}
    for month, day in ((2, 8), (2, 9), (5, 23)):
        of_day = year.filter((pc.field("month") == str(month)) & (pc.field("day") == str(day))).combine_chunks()
        (days[month, day],) = verdicts_over([rule], contract, lambda rows=of_day: spark.createDataFrame(rows))
    assert {day: (v.bad, v.judged, v.passed) for day, v in days.items()} == {
        (2, 8): (161, 930, False), (2, 9): (168, 684, False), (5, 23): (0, 988, True)
    }  # fmt: skip

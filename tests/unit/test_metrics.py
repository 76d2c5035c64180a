"""The metrics of a write: what files say of themselves, and the one aggregate over rows."""

from __future__ import annotations

import dataclasses

import pytest
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, DoubleType, IntegerType, ListType, NestedField, StringType, TimestamptzType
from pyspark.sql import SparkSession

from medallion.contract import Column, Measure
from medallion.quality.metrics import OTHERS, VALUES, _of_files, bins, of_rows
from tests.frames import frame_of
from tests.lake_tables import gold

SCHEMA = Schema(
    NestedField(1, "n", IntegerType()), NestedField(2, "x", DoubleType()), NestedField(3, "name", StringType()),
    NestedField(4, "born", DateType()), NestedField(5, "at", TimestamptzType()), NestedField(6, "late", IntegerType()),
    NestedField(7, "tags", ListType(8, StringType())), NestedField(9, "_run_id", StringType()),
)  # fmt: skip
CONTRACT = dataclasses.replace(gold("people", {}), columns=(Column("born", "date", False, "", personal=True),))


def file(rows: int, low: dict[int, object], high: dict[int, object], nulls: dict[int, int], nan: int = 0) -> DataFile:
    types = {field.field_id: field.field_type for field in SCHEMA.fields}
    return DataFile.from_args(
        file_path="x", record_count=rows, file_size_in_bytes=10, null_value_counts=nulls, nan_value_counts={2: nan},
        lower_bounds={i: to_bytes(types[i], v) for i, v in low.items()},
        upper_bounds={i: to_bytes(types[i], v) for i, v in high.items()},
    )  # fmt: skip


def test_files_tell_shares_of_nulls_and_bounds_and_nothing_personal() -> None:
    hour = 3_600_000_000
    files = [
        file(
            3, {1: -5, 2: 0.5, 3: "ann", 4: 10, 5: 0}, {1: 7, 2: 1.5, 3: "eve", 4: 20, 5: hour},
            {1: 1, 2: 0, 3: 3, 4: 0, 6: 0, 9: 0},
        ),
        file(1, {1: 9, 2: float("-inf")}, {1: 9, 2: float("inf")}, {1: 0, 2: 0, 3: 1, 4: 0, 5: 0, 9: 0}, nan=1),
    ]  # fmt: skip
    assert _of_files(files, SCHEMA, CONTRACT, 4) == {
        "null_share": {"n": 0.25, "x": 0.0, "name": 1.0, "born": 0.0},  # not every file tells of `at` and `late`
        "nan": {"x": 1},
        "min": {"n": -5, "x": "-inf", "at": "1970-01-01T00:00:00+00:00"},
        "max": {"n": 9, "x": "inf", "at": "1970-01-01T01:00:00+00:00"},
    }
    assert _of_files([], SCHEMA, CONTRACT, 0) == {"null_share": {}, "nan": {}, "min": {}, "max": {}}


def test_rows_tell_means_distinct_values_and_distributions_in_one_pass(spark: SparkSession) -> None:
    nan, inf = float("nan"), float("inf")
    rows = [(1, 1.0, "a"), (2, 2.0, "a"), (3, nan, "b"), (None, None, None), (50, 9.0, "")]
    frame = frame_of(spark, rows, "n int, x double, s string").repartition(2)
    asked = (
        Measure("n", mean=True, edges=(2, 10.5)),
        Measure("x", mean=True, distinct=True),
        Measure("s", distinct=True, values=True),
    )
    assert of_rows(frame, asked) == {
        "mean": {"n": 14.0, "x": 4.0},
        "distinct": {"x": 4, "s": 3},
        "distribution": {"n": {"< 2": 1, "[2, 10.5)": 2, ">= 10.5": 1}, "s": {"a": 2, "b": 1, "": 1}},
    }
    endless = frame_of(spark, [(inf,)], "x double")
    assert of_rows(endless, (Measure("x", mean=True, edges=(0,)),))["distribution"] == {"x": {"< 0": 0, ">= 0": 1}}
    assert of_rows(endless, (Measure("x", mean=True),))["mean"] == {}, "JSON has no infinities"


def test_rare_values_are_counted_together(spark: SparkSession) -> None:
    frame = spark.range(VALUES + 10).selectExpr("concat('v', id) AS s").unionAll(spark.sql("SELECT 'often' FROM range(7)"))
    counted = of_rows(frame, (Measure("s", values=True),))["distribution"]["s"]
    assert (len(counted), counted["often"], counted[OTHERS]) == (VALUES + 1, 7, 11)


@pytest.mark.parametrize(
    ("edges", "names"), [((0,), ["< 0", ">= 0"]), ((-1.5, 1e6), ["< -1.5", "[-1.5, 1000000)", ">= 1000000"])]
)
def test_bins_have_names(edges: tuple[float, ...], names: list[str]) -> None:
    assert bins(edges) == names

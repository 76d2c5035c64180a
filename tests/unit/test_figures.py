"""Rules that a file's figures prove: never one that Spark finds a bad row for."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import BooleanType, DateType, DecimalType, DoubleType, FloatType, LongType, NestedField, StringType
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from medallion.contract import Rule
from medallion.quality import conditions, figures
from medallion.quality.rules import passes
from tests.frames import frame_of

NAN, INF = float("nan"), float("inf")
TYPES = {
    "n": "bigint",
    "m": "int",
    "d": "decimal(10,2)",
    "x": "double",
    "y": "float",
    "t": "string",
    "on": "date",
    "b": "boolean",
}
SCHEMA = Schema(*[
    NestedField(i, name, type_, required=False)
    for i, (name, type_) in enumerate(
        {"n": LongType(), "m": LongType(), "d": DecimalType(10, 2), "x": DoubleType(), "y": FloatType(), "t": StringType(),
         "on": DateType(), "b": BooleanType()}.items(), 1)
])  # fmt: skip
EPOCH = date(1970, 1, 1)
VALUES: dict[str, list[Any]] = {
    "n": [-(2**63), -1, 0, 1, 2, 3, 5, 7, 2**53, 2**53 + 1, 2**63 - 1],
    "m": [-(2**31), -1, 0, 1, 2, 3, 5, 7, 2**31 - 1],
    "d": [Decimal(s) for s in ("-99999999.99", "-0.01", "0.00", "0.50", "1.00", "5.00", "99999999.99")],
    "x": [-INF, -1.5, -0.0, 0.0, 0.1, 0.5, 5.0, 2.0**53, INF, NAN],
    "y": [-INF, -1.5, -0.0, 0.0, 0.5, 5.0, 2.0**24, INF, NAN],
    "t": ["", " ", "a", "A", "N", "R", "é", "日本", "a" * 17, "z" * 40, "\U0010ffff"],
    "on": [date(1, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(2013, 1, 1), date(2013, 1, 2), date(9999, 12, 31)],
    "b": [True, False],
}
CONDITIONS = """
n IS NOT NULL
x IS NOT NULL
NOT (t IS NULL)
n >= 0
`n` > -1
NOT (n < 0)
NOT (n < 0 OR n > 7)
n BETWEEN 0 AND 7
n NOT BETWEEN 1 AND 2
n IN (0, 1, 2, 3)
n NOT IN (5, 7)
n <> 3
n = 5
n <= m
m < n
m <= 2147483647
m < 2147483648
m > 0.5
n <= 5.00
d >= 0
d > -0.01
d < 5
d <= n
d IN (0, 0.5)
x >= 0
x >= 0 AND NOT isnan(x)
NOT ISNAN(y)
x <= 5
NOT (x > 5)
x < 1e300
x <> 0.1
x = x
x <= y
y < 0.5
y <= 5
NOT (y >= 0)
x IN (0, 5)
NOT (x IN (0.5, 5))
t >= 'a'
t < 'b'
t IN ('A', 'N', 'R')
t <> ''
t >= r'日'
NOT (t = 'zz')
on >= DATE '1970-01-01'
on < '2013-01-02'
NOT (on > DATE '2013-01-01')
on IN (DATE '2013-01-01', DATE '2013-01-02')
b
NOT b
b = TRUE
b OR n > 0
n > 0 AND (x > 0 OR t IS NULL)
n IS NULL OR x < 5
NOT (n > 0 AND d > 0)
""".strip().splitlines()


def file(rows: list[dict[str, Any]]) -> DataFile:
    """A data file's figures as Iceberg counts them: NaN not in the bounds, texts cut at 16 letters."""
    nulls, nans, low, high = {}, {}, {}, {}
    for field in SCHEMA.fields:
        values = [row[field.name] for row in rows]
        nulls[field.field_id] = sum(value is None for value in values)
        present = [v for v in values if v is not None and v == v]
        if isinstance(field.field_type, DoubleType | FloatType):
            nans[field.field_id] = len(rows) - nulls[field.field_id] - len(present)
        if not present:
            continue
        if field.name == "on":
            present = [(value - EPOCH).days for value in present]
        if field.name == "t":
            present.sort(key=str.encode)
            least, most = present[0][:16], present[-1]
            if len(most) > 16:
                most = most[:15] + chr(ord(most[15]) + 1)
        else:
            least, most = min(present), max(present)
        low[field.field_id], high[field.field_id] = to_bytes(field.field_type, least), to_bytes(field.field_type, most)
    return DataFile.from_args(
        record_count=len(rows), null_value_counts=nulls, nan_value_counts=nans, lower_bounds=low, upper_bounds=high
    )


def sound(condition: str, rows: list[dict[str, Any]]) -> bool:
    found = conditions.read(condition, TYPES)
    assert found is not None, condition
    return found.proven(figures.ranges(file(rows), SCHEMA, found.columns))


def test_what_is_proven_holds_on_every_row(spark: SparkSession) -> None:
    chance, proven = random.Random(7), dict.fromkeys(CONDITIONS, 0)
    schema = ", ".join(f"`{name}` {type_}" for name, type_ in TYPES.items())
    tables: list[list[dict[str, Any]]] = []
    for number in range(90):
        few = {name: chance.sample(VALUES[name], chance.randint(1, 2)) for name in TYPES}
        tables.append([
            {name: None if chance.random() < 0.1 * (number % 3) else chance.choice(few[name]) for name in TYPES}
            for _ in range(chance.randint(1, 4))
        ])  # fmt: skip
    rows = [Row(table=i, **row) for i, table in enumerate(tables) for row in table]
    frame = frame_of(spark, rows, f"table int, {schema}")
    counts = [F.count_if(~passes([Rule("", "error", 0, "", c)])).alias(f"c{i}") for i, c in enumerate(CONDITIONS)]
    found = {row["table"]: row for row in frame.groupBy("table").agg(*counts).collect()}
    for number, table in enumerate(tables):
        for i, condition in enumerate(CONDITIONS):
            if sound(condition, table):
                proven[condition] += 1
                assert not found[number][f"c{i}"], (condition, table)
    assert not [condition for condition, times in proven.items() if times == 0], "each is proven for some table"


@pytest.mark.parametrize(
    "condition",
    [
        "length(t) > 1",
        "t RLIKE 'a'",
        "t LIKE 'a%'",
        "n + 1 > 0",
        "n > 1e3",
        "x > n",
        "n > 'a'",
        "t > 1",
        "on > 1",
        "on > '2013-1-1'",
        "on > '2013-02-30'",
        "n",
        "NOT (n)",
        "unknown > 1",
        "n >",
        "n > 1 n",
        "n IN (1, 'a')",
        "n IN (1, NULL)",
        "t = 'a' 'b'",
        "t = 'a\\'b'",
        "n > 1L",
        "x > 0.5D",
        "y < 16777217",
        "coalesce(n, 1) > 0",
        "isnan(n)",
        "NOT isnan(0)",
        "n > (SELECT 1)",
        "",
        "n = 1 = TRUE",
        "d > 0.0000000000000000000000000000000001",
        "n IN (10000000000000000000000000000, 0.00000000001)",
        't = "a"',
        "CASE WHEN n > 1 THEN b END",
        "(n > 1",
        "n <=> 1",
    ],
)
def test_what_spark_would_convert_or_figures_do_not_tell_is_left_alone(condition: str) -> None:
    assert conditions.read(condition, TYPES) is None


def test_figures_that_are_missing_prove_nothing() -> None:
    bare = DataFile.from_args(record_count=3)
    for condition in CONDITIONS:
        found = conditions.read(condition, TYPES)
        assert found is not None
        assert not found.proven(figures.ranges(bare, SCHEMA, found.columns)) or condition == "x = x", condition


def test_nan_and_cut_texts_are_told_apart() -> None:
    row = dict.fromkeys(TYPES)
    assert not sound("x <= 5", [row | {"x": NAN}])
    assert sound("x >= 5", [row | {"x": NAN}])
    assert not sound("x IN (5)", [row | {"x": 5.0}, row | {"x": NAN}])
    assert sound("t IN ('A')", [row | {"t": "A"}])
    assert not sound(f"t <= '{'a' * 16}'", [row | {"t": "a" * 17}])
    assert sound("n IN (3, 2, 1)", [row | {"n": 1}, row | {"n": 3}])
    assert sound("n > 0", [row, row]), "null passes"


def test_the_columns_a_condition_names() -> None:
    assert conditions.names("length(T) > 1 AND `n` <> 'x' OR t RLIKE r'm'", list(TYPES)) == {"n", "t"}

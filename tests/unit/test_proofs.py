"""Which rules wait until rows are written, what a column's dictionary tells, and what a plan says of keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.conversions import to_bytes
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from medallion.contract import Rule
from medallion.lakehouse.staging import Earlier, Files
from medallion.quality import dictionaries, proofs
from medallion.quality.distinct import distinct_by
from medallion.quality.rules import bare, lenient
from medallion.quality.table_rules import table_verdicts
from tests.lake_tables import gold

TYPES = {"n": "bigint", "m": "bigint", "t": "string"}
COLUMNS = [*TYPES, "_unparsed"]
SCHEMA = Schema(
    NestedField(1, "n", LongType(), required=False),
    NestedField(2, "m", LongType(), required=False),
    NestedField(3, "t", StringType(), required=False),
)


def rule(condition: str) -> Rule:
    return Rule(condition, "error", 0, "", condition)


def chosen(*conditions: str, earlier: Earlier | None = None) -> list[str]:
    found = proofs.for_the_pass([rule(c) for c in conditions], gold("things", TYPES), COLUMNS, earlier)
    return [str(each.passes) for each in found]


def of_before(low: int, rows: int = 10, broken: frozenset[str] = frozenset()) -> Earlier:
    file = DataFile.from_args(
        record_count=rows, null_value_counts={1: 0}, lower_bounds={1: to_bytes(LongType(), low)}, file_path="none"
    )
    return Earlier(Files((file,), (), SCHEMA, PyArrowFileIO()), broken)


def test_rules_on_one_stored_column_wait_and_others_are_judged_in_the_pass_cheap_ones_first() -> None:
    waiting = ["`n` IS NOT NULL", "NOT (n < 0)", "length(t) > 1", "t RLIKE 'm'", "n % 2 = 0"]
    passing = ["m <= n", "length(t) > n", "t RLIKE 'a' OR n > 1"]
    assert chosen(*waiting, *reversed(passing)) == passing
    own = {"_unparsed IS NULL", "1 = 1", "n < rand()", "t <> CURRENT_USER()"}
    assert set(chosen(*own)) == own, "what is not stored, and what is not of the row alone"
    assert chosen("_malformed IS NOT NULL OR (n > 0)") == []


def test_history_chooses_what_waits() -> None:
    assert chosen("n > 0", "n < 5", earlier=of_before(1)) == [], "a file of few rows says nothing of dictionaries"
    assert chosen("n > 0", earlier=of_before(1, broken=frozenset({"n > 0"}))) == ["n > 0"]


def test_a_lenient_rule_is_proven_by_the_rule_it_was_made_of() -> None:
    assert bare(str(lenient(rule("n > 0")).passes)) == "n > 0"
    assert bare("n > 0") == "n > 0"
    unique = Rule("u", "error", 0, "", unique=("n",))
    assert lenient(unique) == unique


def written(path: Path, values: list[Any], **options: Any) -> tuple[PyArrowFileIO, DataFile]:
    pq.write_table(pa.table({"t": pa.array(values, pa.string())}), path, **({"version": "1.0"} | options))
    return PyArrowFileIO(), DataFile.from_args(file_path=str(path), record_count=len(values))


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (["a", "b", None, "a"], {"use_dictionary": False}),
        ([str(n) for n in range(5000)], {"dictionary_pagesize_limit": 1000}),  # it falls back midway
        (["a", "b"] * 5, {"version": "2.6"}),  # PLAIN may be the dictionary or a page
    ],
)
def test_pages_that_may_be_no_dictionary_s_tell_nothing(tmp_path: Path, values: list[Any], options: dict[str, Any]) -> None:
    io, file = written(tmp_path / "f.parquet", values, **options)
    assert dictionaries.distinct(io, [file], {"t"}) == {}


def test_the_values_of_files_that_are_all_dictionary(tmp_path: Path) -> None:
    (io, one), (_, other) = (
        written(tmp_path / n, v * 50, row_group_size=60) for n, v in (("a", ["a", "b", None]), ("b", [None]))
    )
    assert sorted(dictionaries.distinct(io, [one, other], {"t"})["t"].to_pylist()) == ["a", "b"]
    _, plain = written(tmp_path / "c", ["a"], use_dictionary=False)
    assert dictionaries.distinct(io, [one, plain], {"t", "no_such"}) == {}


def test_what_a_condition_says_of_the_distinct_values_decides(spark: SparkSession) -> None:
    values = {"t": pa.array(["AB", "é", ""]), "n": pa.array([3, 5])}
    conditions = ["t RLIKE '^.{0,2}$'", "length(t) > 0", "t IS NOT NULL", "n % 2 = 1", "n <> 5", "n IS NOT NULL"]
    rules, column = [rule(c) for c in conditions], {c: c.split()[0].strip("length()") for c in conditions}
    held = proofs._held(spark, rules, column, values, {"t"}, TYPES)
    assert held == {"t RLIKE '^.{0,2}$'", "n % 2 = 1", "n IS NOT NULL"}


def test_a_plan_tells_keys_only_where_it_groups_by_them(spark: SparkSession) -> None:
    frame = spark.range(4).selectExpr("id", "id % 2 AS half")
    grouped = frame.groupBy("id", "half").count()
    assert distinct_by(grouped, ("id", "half"))
    assert distinct_by(grouped, ("half", "count", "id"))
    assert not distinct_by(grouped, ("id",))
    assert not distinct_by(frame, ("id",))
    assert not distinct_by(grouped.union(grouped), ("id", "half"))
    assert distinct_by(frame.select("half").distinct(), ("half",))
    assert not distinct_by(grouped.selectExpr("id", "half + 1 AS half"), ("id", "half"))


def test_a_plan_tells_keys_where_it_keeps_the_first_of_each(spark: SparkSession) -> None:
    """Also after renaming, narrowing and counting; nothing that is only nearly so."""
    frame = spark.range(4).selectExpr("id", "id % 2 AS half", "id % 3 AS third")

    def first(partition: str, where: str = "n = 1", function: str = "row_number()") -> DataFrame:
        return frame.selectExpr("*", f"{function} OVER (PARTITION BY {partition} ORDER BY id) AS n").filter(where)

    once = first("half", "n = 1 AND id >= 0")
    for columns in (("half",), ("half", "third")):
        assert distinct_by(once.drop("n"), columns)
    key = Rule("key_unique", "error", 0, "half is unique", unique=("half",))
    unread: Any = None  # a look at the rows would call it
    (told,) = table_verdicts(gold("once", {"half": "bigint"}, rules=(key,)), 2, unread, unread, frame=once)
    assert (told.decided_by, told.bad, told.judged) == ("plan", 0, 2)
    narrowed = (
        once.observe(Observation(), F.count("*").alias("rows")).selectExpr("half AS h", "third").filter("third < 2").limit(3)
    )
    assert distinct_by(narrowed, ("h",))
    assert distinct_by(first("half, third"), ("third", "half"))
    for near_miss, columns in (
        (once, ("third",)), (first("half, third"), ("half",)), (first("half", "n <= 2"), ("half",)),
        (first("half", "n = 2"), ("half",)), (first("half", function="rank()"), ("half",)),
        (first("half", "n = 1 OR id = 3"), ("half",)), (first("half + 1"), ("half",)),
        (once.union(once), ("half",)), (once.selectExpr("half + 1 AS half"), ("half",)),
        (once.join(frame.select("third"), "third"), ("half",)), (once.selectExpr("explode(array(1, 2))", "half"), ("half",)),
        (first("half", "id = 1"), ("half",)), (frame, ("half",)),
    ):  # fmt: skip
        assert not distinct_by(near_miss, columns)

"""What a few of a frame's rows tell of it, and which plans are not asked."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from medallion.contract import Rule
from medallion.quality.sample import Sample, look
from tests.lake_tables import gold

TYPES = {"n": "bigint", "t": "string", "u": "string"}
CONTRACT = gold("things", TYPES)
RULES = [
    Rule(c, "error", 0, "", c) for c in ("n < 3", "n IS NOT NULL", "length(t) < 9", "t RLIKE '^t'", "length(u) = 1", "t <> u")
]


def test_broken_rules_and_columns_of_many_values(spark: SparkSession, tmp_path: Path) -> None:
    rows = spark.range(0, 4, numPartitions=1).selectExpr("id AS n", "concat('t', id) AS t", "'u' AS u")
    rows.write.parquet(str(tmp_path / "rows"))
    for frame in (rows, spark.read.parquet(str(tmp_path / "rows")).filter("n >= 0").withColumn("t", F.upper("t"))):
        found = look(frame, RULES, CONTRACT)
        assert found is not None
        assert found.broken == ({"n < 3"} if frame is rows else {"n < 3", "t RLIKE '^t'"})
        assert found.varied == {"t"}
    empty = look(rows.filter("n > 9"), RULES, CONTRACT)
    assert empty == Sample(frozenset(), frozenset())


def test_what_would_have_to_be_worked_out_whole_is_not_asked(spark: SparkSession) -> None:
    rows = spark.range(4).selectExpr("id AS n", "'t' AS t", "'u' AS u")
    for wide in (
        rows.groupBy("n").agg(F.max("t").alias("t"), F.max("u").alias("u")), rows.orderBy(F.desc("n")), rows.distinct(),
        rows.join(rows.select("n"), "n"), rows.repartition(2), rows.limit(2), rows.union(rows),
    ):  # fmt: skip
        assert look(wide.select(*TYPES), RULES, CONTRACT) is None
    assert look(rows, [], CONTRACT) is None

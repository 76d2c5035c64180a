"""Which columns a column is made of, for what transforms do; and of the domains that come with medallion."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from medallion import domain
from medallion.domain import Domains, Transform
from medallion.errors import ContractError, UsageError
from medallion.lineage import columns as column_lineage
from medallion.settings import Settings
from tests.lake_tables import gold

LEFT, RIGHT = gold("left", {"k": "int", "a": "int", "b": "int"}), gold("right", {"k": "int", "c": "string", "d": "array<int>"})


def renamed(left: DataFrame, right: DataFrame) -> DataFrame:
    step = left.withColumn("x", F.col("a") + F.lit(1)).drop("a").withColumnRenamed("b", "a")
    return step.select(F.col("x").alias("one"), "a", F.lit(1).alias("never"))


def joined(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.join(right.filter("c <> ''"), "k", "left").select("k", "a", F.upper("c").alias("c"))


def with_itself(left: DataFrame, right: DataFrame) -> DataFrame:
    one, other = left.alias("one"), left.alias("other")
    on = F.col("one.k") == F.col("other.a")
    return one.join(other, on).select(F.col("one.a").alias("mine"), F.col("other.b").alias("theirs"))


def kept(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.join(right, "k", "left_semi").dropDuplicates(["b"]).select("a", "k")


def grouped(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.groupBy("k").agg(F.sum("a").alias("total"), F.count("*").alias("n"), F.max_by("b", "a").alias("last"))


def ranked(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.select("k", F.row_number().over(Window.partitionBy("k").orderBy("b")).alias("n")).filter("n = 1")


def united(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.select("k", F.col("a").cast("string").alias("t")).union(right.select("k", "c"))


def unfolded(left: DataFrame, right: DataFrame) -> DataFrame:
    return right.select("k", F.explode("d").alias("e"))


def written_out(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.select(F.inline(F.array(F.struct("k", F.col("a").alias("v")), F.struct("k", F.col("b").alias("v")))))


def less(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.select("k", "a").subtract(right.select("k", F.size("d")))


def by_code(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.select("k", "a").mapInArrow(lambda batches: batches, "k int, other string")


def rolled_up(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.rollup("k").agg(F.sum("a").alias("total"))


def turned(left: DataFrame, right: DataFrame) -> DataFrame:
    return left.unpivot("k", ["a", "b"], "name", "value")


MADE_OF: dict[Callable[..., DataFrame], tuple[dict[str, str], str]] = {
    renamed: ({"one": "left.a", "a": "left.b", "never": ""}, ""),
    joined: ({"k": "left.k", "a": "left.a", "c": "right.c"}, "left.k right.k right.c"),
    with_itself: ({"mine": "left.a", "theirs": "left.b"}, "left.k left.a"),
    kept: ({"a": "left.a", "k": "left.k"}, "left.k right.k left.b"),
    grouped: ({"k": "left.k", "total": "left.a", "n": "", "last": "left.b left.a"}, "left.k"),
    ranked: ({"k": "left.k", "n": "left.k left.b"}, "left.k left.b"),
    united: ({"k": "left.k right.k", "t": "left.a right.c"}, ""),
    unfolded: ({"k": "right.k", "e": "right.d"}, ""),
    written_out: ({"k": "left.k", "v": "left.a left.b"}, ""),
    less: ({"k": "left.k", "a": "left.a"}, "left.k left.a right.k right.d"),
    by_code: ({"k": "left.k left.a", "other": "left.k left.a"}, ""),
    rolled_up: ({"k": "left.k", "total": "left.a"}, "left.k"),
    turned: ({"k": "left.k", "name": "left.a left.b", "value": "left.a left.b"}, ""),
}
"""Transform -> of each of its columns what it is made of, and what decides which rows there are."""


def of(function: Callable[..., DataFrame], *columns: str) -> Domains:
    """A domain of two tables, and of one that is made of them."""
    made = gold("made", dict.fromkeys(columns, "string"))
    inputs = {"left": LEFT.dataset, "right": RIGHT.dataset}
    contracts = {contract.dataset: contract for contract in (LEFT, RIGHT, made)}
    return Domains(contracts, {made.dataset: Transform(made.dataset, function, inputs, "")})


def short(sources: frozenset[column_lineage.Source]) -> set[str]:
    return {f"{dataset.rpartition('.')[2]}.{column}" for dataset, column in sources}


@pytest.mark.parametrize("function", MADE_OF, ids=lambda each: each.__name__)
def test_what_columns_are_made_of(spark: SparkSession, function: Callable[..., DataFrame]) -> None:
    direct, conditions = MADE_OF[function]
    found = column_lineage.of_transform(spark, of(function, *direct), "gold.operations.made")
    assert {name: short(sources) for name, sources in found.direct.items()} == {
        n: {*of_it.split()} for n, of_it in direct.items()
    }
    assert short(found.conditions) == {*conditions.split()}


def test_every_column_of_every_domain_comes_from_files(spark: SparkSession) -> None:
    """But those that only count rows, or say that a join found one; and one that a person has followed by hand."""
    domains = domain.load(Settings())
    for dataset in domains.transforms:
        found = column_lineage.of_transform(spark, domains, dataset)
        assert {*found.direct} == {*domains.contracts[dataset].schema()}
        nothing = {f"{dataset}.{name}" for name, sources in found.direct.items() if not sources}
        assert nothing <= OF_ROWS
    chain = column_lineage.up(spark, domains, "gold.operations.route_performance", "on_time_share")
    made = [("gold.operations.route_performance", "on_time_share"), ("silver.operations.flights", "arr_delay_min"),
            ("bronze.operations.flights", "arr_delay")]  # fmt: skip
    assert chain == [(made[0], {made[1]}), (made[1], {made[2]}), (made[2], frozenset())]
    reached = dict(column_lineage.down(spark, domains, *made[2]))
    assert reached[made[0]] == {made[1]}
    assert reached[made[1]] == {made[2]}
    assert ("gold.operations.route_performance", "origin") not in reached


OF_ROWS = {
    "gold.operations.route_performance.flights", "gold.sales.customer_month.purchases", "gold.sales.customer_value.purchases",
    "gold.sales.monthly_revenue.customers",
    "silver.operations.flights.is_origin_known", "silver.operations.flights.is_dest_known",
}  # fmt: skip


def _view(frame: DataFrame) -> str:
    frame.createOrReplaceTempView("seen")
    return "seen"


def test_what_cannot_be_told(spark: SparkSession) -> None:
    looks = of(lambda left, right: left.filter(F.col("k") == left.collect()[0]["k"]), "k")
    with pytest.raises(ContractError, match=r"gold\.operations\.made cannot be applied to empty tables"):
        column_lineage.of_transform(spark, looks, "gold.operations.made")
    within = of(lambda left, right: left.filter(f"k IN (SELECT k FROM {_view(right)})"), "k")
    with pytest.raises(ContractError, match="cannot be followed: its transform uses InSubquery, ListQuery"):
        column_lineage.of_transform(spark, within, "gold.operations.made")
    beside = of(lambda left, right: left.sparkSession.sql(f"WITH w AS (SELECT k FROM {_view(left)}) SELECT * FROM w"), "k")
    with pytest.raises(ContractError, match="cannot be followed: its transform uses CTERelationRef"):
        column_lineage.of_transform(spark, beside, "gold.operations.made")
    for ask in (column_lineage.up, column_lineage.down):
        with pytest.raises(UsageError, match="has no column 'nothing'"):
            ask(spark, looks, "gold.operations.made", "nothing")
        with pytest.raises(UsageError, match="there is no dataset"):
            ask(spark, looks, "gold.operations.none", "k")

"""What people do on a sandbox: write, make a table with another transform, compare. Files stay in its bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import medallion
from medallion import query
from medallion.domains.operations import silver
from medallion.errors import ContractError, UsageError
from medallion.lakehouse import sandbox as branches
from medallion.lakehouse.nessie import MAIN
from medallion.pipeline import Lake
from tests.demo_lake import DAY, FLIGHTS, ROUTES
from tests.sandboxes import Command, new_objects, objects

pytest_plugins = ["tests.demo_lake", "tests.sandboxes"]


def diverted(bronze_flights: DataFrame, airports: DataFrame) -> DataFrame:
    """The transform of silver.operations.flights with a third status."""
    flights = silver.flights(bronze_flights, airports)
    landed_elsewhere = (F.col("status") == "flown") & ~F.col("has_arrived")
    return flights.withColumn("status", F.when(landed_elsewhere, "diverted").otherwise(F.col("status")))


# ── reading and writing ───────────────────────────────────────────────────────────────────────────
def replace_a_day(spark: SparkSession) -> None:
    of_day = F.col("_logical_date") == F.lit(DAY)
    spark.table(FLIGHTS).filter(of_day).withColumn("tail_number", F.lit("N1")).writeTo(FLIGHTS).overwrite(of_day)


WRITES: dict[str, Callable[[SparkSession], Any]] = {
    "overwrite a day": replace_a_day,
    "append": lambda spark: spark.table(ROUTES).limit(3).writeTo(ROUTES).append(),
    "delete": lambda spark: spark.sql("DELETE FROM gold.operations.dim_airport WHERE airport_code = 'JFK'"),
    "update": lambda spark: spark.sql("UPDATE gold.operations.dim_airport SET name = 'x' WHERE airport_code = 'LGA'"),
    "add a column": lambda spark: spark.sql("ALTER TABLE silver.operations.airlines ADD COLUMN alliance string"),
    "replace a table": lambda spark: spark.range(3).writeTo("gold.operations.dim_airline").createOrReplace(),
    "create a table": lambda spark: spark.sql("CREATE TABLE silver.operations.mine (a int)"),
    "fill it": lambda spark: spark.sql("INSERT INTO silver.operations.mine VALUES (1)"),
    "create a namespace": lambda spark: spark.sql("CREATE NAMESPACE scratch"),
    "create as select": lambda spark: spark.sql("CREATE TABLE scratch.numbers AS SELECT 1 AS x"),
    "drop a table": lambda spark: spark.sql("DROP TABLE silver.operations.airports__quarantine"),
}


def test_whatever_is_written_goes_to_the_branch_and_its_bucket_alone(sandbox_lake: Lake, command: Command) -> None:
    main, contents, before = (
        sandbox_lake.nessie.reference(MAIN),
        sandbox_lake.nessie.contents(sandbox_lake.nessie.reference(MAIN)),
        objects(sandbox_lake),
    )
    spark = medallion.sandbox("writes", create=True)
    routes = spark.table(ROUTES).count()
    assert routes == query.lake(sandbox_lake.settings, f"SELECT count(*) AS n FROM {ROUTES}").to_pylist()[0]["n"] > 100
    for name, write in WRITES.items():
        was = sandbox_lake.nessie.reference("dev-sandbox/writes").hash
        write(spark)
        assert sandbox_lake.nessie.reference("dev-sandbox/writes").hash != was, f"'{name}' changed nothing"

    assert set(new_objects(sandbox_lake, before)) == {branches.BUCKET}
    assert sandbox_lake.nessie.reference(MAIN) == main
    assert sandbox_lake.nessie.contents(main) == contents
    assert branches.find(sandbox_lake.nessie, "writes").commits >= len(WRITES)
    assert spark.table(ROUTES).count() == routes + 3
    at = {"main": main.hash, "sandbox": "dev-sandbox/writes"}
    tails = f"SELECT DISTINCT tail_number = 'N1' AS tried FROM {FLIGHTS} WHERE _logical_date = '{DAY}'"
    seen = {name: query.lake(sandbox_lake.settings, tails, at=ref).to_pylist() for name, ref in at.items()}
    assert seen["sandbox"] == [{"tried": True}], "readers without Spark see the sandbox too"
    assert {"tried": True} not in seen["main"]
    rows = {row.pop("dataset"): row for row in json.loads(command("sandbox", "diff", "writes", "--json"))}
    assert rows.keys() == {
        FLIGHTS, ROUTES, "gold.operations.dim_airport", "gold.operations.dim_airline", "silver.operations.airlines",
        "silver.operations.mine", "scratch.numbers", "silver.operations.airports__quarantine",
    }  # fmt: skip
    counted = {name: (row["change"], row["added"], row["removed"], row["changed"]) for name, row in rows.items()}
    assert counted[ROUTES] == ("changed", 3, 0, 0)
    assert counted["gold.operations.dim_airport"] == ("changed", 0, 1, 1)
    assert counted["silver.operations.airlines"] == ("changed", 0, 0, 0)
    assert rows["silver.operations.airlines"]["columns"] == "alliance (new)"
    assert counted["scratch.numbers"] == ("added", 1, 0, 0)
    assert counted["silver.operations.airports__quarantine"][0] == "removed"
    assert not any(row["main_moved"] for row in rows.values())


def test_main_stands_beside_a_sandbox_and_cannot_be_written_there(sandbox_lake: Lake) -> None:
    main = sandbox_lake.nessie.reference(MAIN)
    spark = medallion.sandbox("beside", create=True)
    spark.sql(f"DELETE FROM {ROUTES}")
    assert spark.table(ROUTES).count() == 0
    assert spark.table(f"main.{ROUTES}").count() > 100
    for statement in (f"DELETE FROM main.{ROUTES}", f"DROP TABLE main.{ROUTES}", "CREATE NAMESPACE main.mine"):
        with pytest.raises(PySparkException, match="only mutate tables/views when using a branch"):
            spark.sql(statement)
    assert sandbox_lake.nessie.reference(MAIN) == main


def test_two_sandboxes_in_one_process_do_not_meet(sandbox_lake: Lake) -> None:
    one, other = medallion.sandbox("one", create=True), medallion.sandbox("other", create=True)
    one.sql("DELETE FROM gold.operations.dim_airline")
    assert [spark.table("gold.operations.dim_airline").count() for spark in (one, other)] == [0, 17]
    assert medallion.sandbox("one").table("gold.operations.dim_airline").count() == 0


# ── trying a transform ────────────────────────────────────────────────────────────────────────────
def test_a_changed_transform_is_made_as_a_run_would_and_compared(sandbox_lake: Lake) -> None:
    main, before = sandbox_lake.nessie.reference(MAIN), objects(sandbox_lake)
    branches.create(sandbox_lake.nessie, sandbox_lake.store, "diverted", main)
    made = [
        medallion.sandbox_make("diverted", FLIGHTS, "2013-01-01", diverted),
        medallion.sandbox_make("diverted", "gold.operations.fact_flight", DAY),
    ]
    assert [one["refused"] for one in made] == [[], []]
    assert made[0]["rows_in"] == made[0]["rows_out"] == 842
    found = {row["dataset"]: row for row in medallion.sandbox_diff("diverted").to_pylist()}
    assert found.keys() == {FLIGHTS, "gold.operations.fact_flight"}
    for row in found.values():
        assert (row["changed"], row["added"], row["removed"], row["columns"]) == (7, 0, 0, "status (7)")
    rows = medallion.sandbox_diff("diverted", FLIGHTS).to_pylist()
    assert [(row["_change"], row["status"]) for row in rows] == [("before", "flown"), ("after", "diverted")] * 7
    assert all(row["arr_delay_min"] is None for row in rows)
    assert set(new_objects(sandbox_lake, before)) == {branches.BUCKET}
    assert sandbox_lake.nessie.reference(MAIN) == main


def test_a_sandbox_tells_what_the_gate_would_refuse(sandbox_lake: Lake) -> None:
    def nameless(bronze_airlines: DataFrame) -> DataFrame:
        return silver.airlines(bronze_airlines).withColumn("airline_code", F.lit(None).cast("string"))

    def with_a_column(bronze_airlines: DataFrame) -> DataFrame:
        return silver.airlines(bronze_airlines).withColumn("mood", F.lit("good"))

    airlines = "silver.operations.airlines"
    branches.create(sandbox_lake.nessie, sandbox_lake.store, "refused", sandbox_lake.nessie.reference(MAIN))
    made = medallion.sandbox_make("refused", airlines, function=nameless)
    assert (made["rows_in"], made["rows_out"], made["quarantined"]) == (16, 0, 16)
    assert "airline_code_required" in made["refused"]
    found = {row["dataset"]: (row["added"], row["removed"]) for row in medallion.sandbox_diff("refused").to_pylist()}
    assert found == {airlines: (0, 16), f"{airlines}__quarantine": (16, 0)}
    with pytest.raises(ContractError, match="mood"):
        medallion.sandbox_make("refused", airlines, function=with_a_column)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("bronze.operations.flights", DAY), "is not made by a transform"),
        (("silver.operations.flihgts", DAY), "did you mean silver.operations.flights"),
        ((FLIGHTS,), "is made a date at a time"),
        ((FLIGHTS, "yesterday"), "'yesterday' is not a date"),
        ((FLIGHTS, DAY, lambda weather: weather), "has no parameter weather\n  → it has bronze_flights, airports"),
    ],
)
def test_what_cannot_be_made_is_said(sandbox_lake: Lake, arguments: tuple[Any, ...], told: str) -> None:
    known = {reference.name for reference in sandbox_lake.nessie.references()}
    if "dev-sandbox/errors" not in known:
        branches.create(sandbox_lake.nessie, sandbox_lake.store, "errors", sandbox_lake.nessie.reference(MAIN))
    before = sandbox_lake.nessie.reference("dev-sandbox/errors")
    with pytest.raises(UsageError) as refused:
        medallion.sandbox_make("errors", *arguments)
    assert told in str(refused.value)
    assert sandbox_lake.nessie.reference("dev-sandbox/errors") == before

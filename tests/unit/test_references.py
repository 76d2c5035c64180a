"""Rows that point into other datasets: found in the pass that writes them, each row once, null pointing nowhere."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

from medallion import domain
from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import ContractError
from medallion.odcs import reader
from medallion.quality.judge import judge
from medallion.quality.references import flagged
from medallion.settings import Settings
from tests import small_domain
from tests.frames import frame_of
from tests.small_domain import Document

TO = "silver.operations.airports"
ROWS = [(1, "IAH", "EWR"), (2, "XXX", "EWR"), (3, None, "EWR"), (4, "IAH", None), (5, "YYY", "ZZZ"), (6, "", "EWR")]


def custom(**properties: Any) -> list[Document]:
    return [{"property": name, "value": value} for name, value in properties.items()]


def gold(folder: Path, *relationships: Document, **of_dest: Any) -> Contract:
    document = copy.deepcopy(small_domain.GOLD)
    text = [{"name": "dest", "logicalType": "string"} | of_dest, {"name": "origin", "logicalType": "string"}]
    document["schema"][0] |= {
        "properties": [{"name": "id", "logicalType": "integer", "primaryKey": True}, *text],
        "relationships": list(relationships),
    }
    document["customProperties"][-1]["value"] = {"kind": "full"}
    path = folder / "gold.daily_totals.odcs.yaml"
    path.write_text(yaml.safe_dump(document))
    return reader.read(path)


def test_rows_that_point_nowhere_are_put_aside_warned_of_or_stay(spark: SparkSession, tmp_path: Path) -> None:
    of = gold(
        tmp_path,
        {"id": "stays", "from": "daily_totals.origin", "to": f"{TO}.code", "customProperties": custom(quarantine=False)},
        {"from": ["daily_totals.dest", "daily_totals.origin"], "to": ["silver.shop.routes.dest", "silver.shop.routes.origin"],
         "customProperties": custom(severity="warning")},
        relationships=[{"to": f"{TO}.code", "customProperties": custom(tolerance=3)}],
    )  # fmt: skip
    assert of.references == (TO, "silver.shop.routes")
    there = {
        TO: frame_of(spark, [("IAH",), ("IAH",), ("EWR",), (None,)], "code string"),  # twice, and null
        "silver.shop.routes": frame_of(spark, [("IAH", "LGA"), ("IAH", "LGA")], "dest string, origin string"),
    }
    frame = frame_of(spark, ROWS, "id bigint, dest string, origin string")
    kept: dict[str, Any] = {}

    def write(rows: DataFrame) -> int:
        assert rows.columns == ["id", "dest", "origin"]
        kept["written"] = sorted(tuple(row) for row in rows.collect())
        return len(kept["written"])

    def aside(rows: DataFrame) -> DataFrame:
        kept["aside"] = rows.select("rules", "record").collect()
        return frame_of(spark, kept["aside"], "rules array<string>, record string")

    judged = judge(
        frame, of, "run-1", None, write=write, quarantine=aside, table=lambda: frame,
        written=lambda: frame_of(spark, kept["written"], frame.schema),
        examined=lambda rows: flagged(rows, of, there.__getitem__),
    )  # fmt: skip
    assert [row[0] for row in kept["written"]] == [1, 3, 4]
    assert sorted((json.loads(row["record"])["id"], row["rules"]) for row in kept["aside"]) == [
        (2, ["dest_reference"]), (5, ["dest_reference"]), (6, ["dest_reference"])
    ]  # fmt: skip
    assert {key for row in kept["aside"] for key in json.loads(row["record"])} == {"id", "dest", "origin"}
    found = {v.rule: (v.bad, v.passed, v.severity) for v in judged.verdicts}
    assert found["dest_reference"] == (3, True, "error")
    assert found["stays"] == (0, True, "error"), "its one bad row is in quarantine for another reason"
    assert found["dest_origin_reference"] == (1, False, "warning")
    (sample,) = next(v for v in judged.verdicts if v.rule == "dest_origin_reference").samples
    assert json.loads(sample) == {"id": 1, "dest": "IAH", "origin": "EWR"}


def test_they_cost_one_small_job_for_each_dataset_pointed_into(spark: SparkSession, tmp_path: Path) -> None:
    to = [{"id": name, "from": f"daily_totals.{name}", "to": f"{TO}.code"} for name in ("dest", "origin")]
    of = gold(tmp_path, *to)
    there = spark.range(5).selectExpr("concat('A', id) AS code")
    frame = frame_of(spark, ROWS, "id bigint, dest string, origin string")
    spark.sparkContext.setJobGroup(of.dataset, "judged")
    flagged(frame, of, lambda _: there).write.format("noop").mode("overwrite").save()
    assert len(spark.sparkContext.statusTracker().getJobIdsForGroup(of.dataset)) <= 2, "the write, and one for the keys"


@pytest.mark.parametrize(
    ("relationship", "told"),
    [
        ({"to": f"{TO}.code"}, "needs from and to"),
        ({"from": "daily_totals.dest", "to": [f"{TO}.code"]}, "both one column or both a list"),
        ({"from": "daily_totals.colour", "to": f"{TO}.code"}, r"relationships\[0\].from: there is no column 'colour'"),
        ({"from": "orders.dest", "to": f"{TO}.code"}, "gold.shop.orders is another dataset"),
        ({"from": "daily_totals.dest", "to": "daily_totals.origin"}, "points into itself"),
        ({"from": "daily_totals.dest", "to": "airports.odcs.yaml#/schema/airports/properties/code"}, "names no column"),
        ({"from": ["daily_totals.dest"], "to": [f"{TO}.code", f"{TO}.name"]}, "not as many columns"),
        ({"from": ["daily_totals.dest", "daily_totals.id"], "to": [f"{TO}.code", "silver.shop.orders.id"]}, "of one dataset"),
        ({"from": "daily_totals.dest", "to": f"{TO}.code", "type": "joins"}, "'joins' is unknown"),
        ({"from": "daily_totals.dest", "to": f"{TO}.code", "id": "a.b"}, "'a.b' is no name"),
        ({"from": "daily_totals.dest", "to": f"{TO}.code", "customProperties": custom(colour=1)}, "unknown property 'colour'"),
    ],
)
def test_a_relationship_that_cannot_be_judged_is_refused(tmp_path: Path, relationship: Document, told: str) -> None:
    with pytest.raises(ContractError, match=told) as refused:
        gold(tmp_path, relationship)
    assert refused.value.hint


def test_a_property_is_itself_where_it_points_from(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"properties.dest.relationships\[0\]: a property points to one column"):
        gold(tmp_path, relationships=[{"from": "daily_totals.dest", "to": f"{TO}.code"}])


def pointing(name: str, column: str, *to: str) -> Callable[[dict[str, Document]], None]:
    def damage(contracts: dict[str, Document]) -> None:
        properties = contracts[f"{name}.odcs.yaml"]["schema"][0]["properties"]
        next(p for p in properties if p["name"] == column)["relationships"] = [{"to": each} for each in to]

    return damage


def shop(folder: Path, damage: Callable[[dict[str, Document]], None]) -> Domains:
    return domain.load(Settings(), small_domain.write(folder / "shop", damage))


@pytest.mark.parametrize(
    ("name", "column", "to", "told"),
    [
        ("silver.orders", "customer", "silver.shop.people.name", "no dataset silver.shop.people"),
        ("silver.orders", "customer", "silver.operations.airlines.iata", "has no column 'iata'"),
        ("silver.orders", "order_id", "silver.operations.airlines.airline_code", "order_id is a bigint, .* a string"),
        ("silver.orders", "customer", "bronze.operations.airlines.carrier", "is bronze"),
        ("gold.daily_totals", "ordered_on", "bronze.shop.orders.ordered_on", "is bronze"),
        ("silver.orders", "ordered_on", "gold.shop.daily_totals.ordered_on", "form a cycle.*gold.shop.daily_totals"),
        ("bronze.orders", "customer", "silver.operations.airlines.airline_code", "bronze keeps what came"),
    ],
)
def test_what_is_pointed_into_must_be_there_typed_and_made_before(
    tmp_path: Path, name: str, column: str, to: str, told: str
) -> None:
    with pytest.raises(ContractError, match=told) as refused:
        shop(tmp_path, pointing(name, column, to))
    assert refused.value.hint


def test_what_is_pointed_into_is_read_and_comes_before(tmp_path: Path) -> None:
    domains = shop(tmp_path, pointing("silver.orders", "customer", "silver.operations.airlines.airline_code"))
    assert domains.reads("silver.shop.orders") == {"bronze.shop.orders", "silver.operations.airlines"}
    assert domains.order.index("silver.operations.airlines") < domains.order.index("silver.shop.orders")

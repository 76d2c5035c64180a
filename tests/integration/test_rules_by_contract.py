"""A dataset with forty rules that stand in its contract alone; and rows that point into another dataset, run after run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medallion import domain, evidence, query
from medallion.domain import Domains
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from tests import small_domain
from tests.small_domain import BRONZE, SILVER_PY, Document, csv

ORDERS, PEOPLE = "silver.kiosk.orders", "silver.kiosk.people"
PEOPLE_PY = """
def people(bronze_people):
    return bronze_people.select(
        "name", "_logical_date", "_delivery", "_source_row", F.lit(None).cast("string").alias("_unparsed")
    )
"""


def custom(**properties: Any) -> dict[str, Any]:
    return {"customProperties": [{"property": name, "value": value} for name, value in properties.items()]}


def valid(**arguments: Any) -> Document:
    return {"metric": "invalidValues", "arguments": arguments, "mustBe": 0}


def share(metric: str, **operators: Any) -> Document:
    return {"metric": metric, "unit": "percent", **operators}


def usual(change: str) -> Document:
    return {"type": "custom", "engine": "medallion", "implementation": {"change": change, "runs": 7, "within": 0.5}}


def bad(condition: str) -> Document:
    return {"type": "sql", "query": f"SELECT COUNT(*) FROM {{object}} WHERE {condition}", "mustBe": 0}


def named(**rules: Document) -> dict[str, Any]:
    return {"quality": [{"name": name, **rule} for name, rule in rules.items()]}


PROPERTIES: list[Document] = [
    {
        "name": "order_id", "logicalType": "integer", "primaryKey": True, "unique": True,
        "logicalTypeOptions": {"minimum": 1, "exclusiveMaximum": 1000, "multipleOf": 1},
        **named(
            id_seen=share("duplicateValues", mustBeLessThan=50),
            ids_differ={"metric": "duplicateValues", "mustBeLessOrEqualTo": 1},
            id_of_the_house={"metric": "invalidValues", "arguments": {"validValues": list(range(1, 100))}, "mustBeLessThan": 10},
            id_odd=bad("{property} = 13"), ids_as_usual=usual("distinct"), mean_id_as_usual=usual("mean"),
        ),
    },
    {
        "name": "customer", "logicalType": "string", "required": True, **custom(tolerance=0.5),
        "logicalTypeOptions": {"minLength": 2, "maxLength": 20, "pattern": r"^\p{L}+$"},
        "relationships": [{"to": "people.name", **custom(tolerance=0.5)}],
        **named(
            customer_given={"metric": "nullValues", "mustBe": 0},
            customer_not_missing={"metric": "missingValues", "arguments": {"missingValues": ["", "NA"]}, "mustBe": 0},
            nulls_few=share("nullValues", mustBeLessThan=10), nulls_between=share("nullValues", mustBeBetween=[0, 10]),
            missing_few=share("missingValues", mustBeLessOrEqualTo=10, arguments={"missingValues": ["NA"]}),
            customer_known=valid(pattern="^[a-z]") | {"severity": "warning"}, nobody=valid(pattern="^[^X]"),
            customer_not_bob=bad("customer = 'bob' AND amount > 100"), customers_as_usual=usual("distribution"),
        ),
    },
    {
        "name": "amount", "logicalType": "number", "physicalType": "decimal(10,2)",
        "logicalTypeOptions": {"minimum": 0, "maximum": 500, "multipleOf": 0.25},
        **named(
            amount_given=share("nullValues", mustBeLessThan=50), amount_not_a_joke=bad("amount = 4.25"),
            amount_small=bad("amount > 90") | {"severity": "error"} | custom(quarantine=False, tolerance=1),
            mean_as_usual=usual("mean"), amounts_as_usual=usual("distribution"),
        ),
    },
    {
        "name": "ordered_on", "logicalType": "date", "required": True,
        "logicalTypeOptions": {"minimum": "2019-01-01", "exclusiveMaximum": "9999-12-31"},
        **named(
            of_its_day=bad("ordered_on <> _logical_date"),
            day_real=valid(validValues=["2022-03-01", "2022-03-02", "2022-03-03"]),
        ),
    },
]  # fmt: skip
OF_THE_TABLE = named(
    some_rows={"metric": "rowCount", "mustBeGreaterThan": 0}, not_13={"metric": "rowCount", "mustNotBe": 13},
    few_rows={"metric": "rowCount", "mustBeLessThan": 1000}, rows_as_usual=usual("volume"),
    never_many={"metric": "rowCount", "mustNotBeBetween": [500, 600], **custom(scope="table")},
    pair={"metric": "duplicateValues", "arguments": {"properties": ["customer", "order_id"]}, "mustBe": 0},
)  # fmt: skip


def kiosk(contracts: dict[str, Document]) -> None:
    """The small domain under another name, with people whom orders point to, and all of the rules above."""
    del contracts["gold.daily_totals.odcs.yaml"]
    orders = contracts["silver.orders.odcs.yaml"]
    orders["schema"][0] |= {"properties": PROPERTIES, **OF_THE_TABLE}
    orders["slaProperties"].append({"property": "latency", "value": 1, "unit": "d", "element": "orders.ordered_on"})
    delivery = {"format": "csv", "path": "domain=kiosk/people/year={year}/month={month}/day={day}/", "expected": "initial"}
    bronze = json.loads(json.dumps(BRONZE).replace("orders", "people"))
    bronze["customProperties"][-1]["value"] = delivery
    bronze["schema"][0]["properties"] = [{"name": "name", "logicalType": "string"}]
    people = json.loads(json.dumps(orders).replace("orders", "people"))
    people["slaProperties"].pop()
    people["customProperties"][-1]["value"] = {"kind": "full"}
    people["schema"][0] = {"name": "people", "logicalType": "object", "properties": [
        {"name": "name", "logicalType": "string", "primaryKey": True}
    ]}  # fmt: skip
    contracts |= {"bronze.people.odcs.yaml": bronze, "silver.people.odcs.yaml": people}
    for name, document in list(contracts.items()):
        contracts[name] = json.loads(json.dumps(document).replace("shop", "kiosk"))


class Kiosk:
    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings.model_copy(update={"domains": str(folder)})
        everything = domain.load(self.settings)
        self.domains = Domains(
            {d: c for d, c in everything.contracts.items() if c.domain == "kiosk"},
            {d: t for d, t in everything.transforms.items() if d.split(".")[1] == "kiosk"},
        )
        self.lake = Lake(self.settings, self.domains)

    def deliver(self, what: str, day: date, data: bytes) -> None:
        uri = f"s3://bronze-raw-data/domain=kiosk/{what}/year={day:%Y}/month={day:%m}/day={day:%d}/{what}.csv"
        self.lake.store.put(uri, data, "text/csv")

    def run(self, day: date) -> Outcome:
        return execute(self.lake, Request(day), lambda line: None)

    def verdicts(self, outcome: Outcome, day: date) -> dict[str, dict[str, Any]]:
        (write,) = [w for w in outcome.writes if (w["dataset"], w["logical_date"]) == (ORDERS, day)]
        return {verdict["rule"]: verdict for verdict in write["verdicts"]}

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in query.lake(self.settings, sql).to_pylist()]


@pytest.fixture(scope="module")
def shop(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    folder = small_domain.write(tmp_path_factory.mktemp("domains") / "kiosk", kiosk, silver=SILVER_PY + PEOPLE_PY, gold="")
    kiosk_ = Kiosk(stack, folder)
    with kiosk_.lake:
        yield kiosk_


def test_forty_rules_of_a_contract_alone_are_judged_and_a_reference_is_read(shop: Kiosk) -> None:
    first, second, third = (date(2022, 3, day) for day in (1, 2, 3))
    of_contract = [rule.name for rule in shop.domains.contracts[ORDERS].rules]
    assert len(of_contract) >= 40

    shop.deliver("people", first, csv("ann", "bob", header="name"))
    shop.deliver("orders", first, csv("1,ann,1.50,", "2,bob,95.00,", "3,eve,3.25,"))
    outcome = shop.run(first)
    verdicts = shop.verdicts(outcome, first)
    assert outcome.state == "merged"
    assert set(verdicts) == {*of_contract, "of_its_date"}
    assert {name for name, verdict in verdicts.items() if verdict["bad"]} == {"customer_reference", "amount_small"}
    assert verdicts["customer_reference"]["bad"] == 1
    assert json.loads(verdicts["customer_reference"]["samples"][0])["customer"] == "eve"
    assert shop.select(f"SELECT order_id FROM {ORDERS} ORDER BY 1") == [(1,), (2,)], "what is not put aside stays"
    assert shop.select(f"SELECT rules FROM {ORDERS}__quarantine") == [(["customer_reference"],)]
    assert "of 7 earlier runs" in verdicts["rows_as_usual"]["samples"][0]

    shop.deliver("orders", second, csv("4,ann,2.00,"))
    outcome = shop.run(second)
    read = evidence.read(shop.lake.store, outcome.run_id)["read"]
    assert read[PEOPLE], "the merge sees that it has not moved"
    assert [(w["dataset"], w["logical_date"]) for w in outcome.writes if w["dataset"] == PEOPLE] == []

    shop.deliver("people", third, csv("ann", "bob", "eve", header="name"))
    shop.deliver("orders", third, csv("5,eve,2.00,"))
    outcome = shop.run(third)
    remade = {w["logical_date"] for w in outcome.writes if w["dataset"] == ORDERS}
    assert remade == {first, second, third}, "whom they point to decides about their rows"
    assert shop.select(f"SELECT order_id FROM {ORDERS} ORDER BY 1") == [(1,), (2,), (3,), (4,), (5,)]
    assert shop.select(f"SELECT count(*) FROM {ORDERS}__quarantine") == [(0,)]

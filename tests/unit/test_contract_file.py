"""A contract that cannot be used is refused by file, place and remedy; one that can is read in full."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion.contract import Contract, Materialisation
from medallion.errors import ContractError
from medallion.odcs import reader
from tests.small_domain import BRONZE, GOLD, SILVER, Document

Damage = Callable[[Document], Any]


def read(folder: Path, document: Document, damage: Damage = lambda _: None) -> Contract:
    damaged = yaml.safe_load(yaml.safe_dump(document))  # a deep copy, and what a reader of the file sees
    damage(damaged)
    path = folder / f"{document['customProperties'][0]['value']}.{document['name']}.odcs.yaml"
    path.write_text(yaml.safe_dump(damaged, sort_keys=False))
    return reader.read(path)


def put(path: str, value: Any) -> Damage:
    """Set what stands at a path such as `schema.0.properties.1.name`."""

    def damage(document: Document) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = value

    return damage


def rule(**keys: Any) -> Damage:
    return put("schema.0.quality", [{"name": "strange", "severity": "error", **keys}])


def sql(query: str, **keys: Any) -> Damage:
    return rule(**{"type": "sql", "query": query, "mustBe": 0} | keys)


def custom(name: str, value: Any) -> Damage:
    return lambda document: document["customProperties"].append({"property": name, "value": value})


def recustom(name: str, value: Any) -> Damage:
    return lambda document: next(p for p in document["customProperties"] if p["property"] == name).update(value=value)


def lay(value: Any) -> Damage:
    return lambda document: document["customProperties"].append({"property": "layout", "value": value})


def in_delivery(**keys: Any) -> Damage:
    return lambda document: document["customProperties"][2]["value"].update(keys)


BAD_ROWS = "SELECT COUNT(*) FROM {object} WHERE amount < 0"
SCOPE = {"property": "scope", "value": "table"}
NUMBER = "schema.0.properties.2"
REFUSED: dict[str, tuple[Document, Damage, str]] = {
    # ── publication
    "an unknown way to publish": (GOLD, custom("publication", "swap"), "'swap' is no way to publish"),
    "partitions of a table that has none": (
        GOLD, lambda d: (recustom("materialisation", {"kind": "full"})(d), custom("publication", "partitions")(d)),
        "the table has no partitions",
    ),
    "publication of what is not published": (
        GOLD, lambda d: (custom("published", False)(d), custom("publication", "partitions")(d)), "the dataset is not published",
    ),
    "publication of silver": (SILVER, custom("publication", "replace"), "the dataset is not published"),
    # ── keys and names
    "unknown key at the top": (SILVER, put("owner", "me"), "owner.*unknown key"),
    "unknown key in a column": (SILVER, put(f"{NUMBER}.nullable", True), r"schema\[0\].properties\[2\].nullable.*unknown key"),
    "unknown key in a rule": (SILVER, sql(BAD_ROWS, tolerance=5), r"quality\[0\].tolerance.*unknown key"),
    "unknown property of ours": (SILVER, custom("colour", "red"), "unknown property 'colour'"),
    "a property twice": (SILVER, custom("zone", "cleaned"), "stands twice"),
    "no such layer": (SILVER, recustom("layer", "copper"), "'copper' is no layer"),
    "no such zone": (SILVER, recustom("zone", "analytics"), "'analytics' is no zone of silver"),
    "no zone": (SILVER, lambda d: d["customProperties"].pop(1), "'None' is no zone"),
    "another id": (SILVER, put("id", "silver.shop.order"), "id: 'silver.shop.order' is not the dataset's name"),
    "no id": (SILVER, lambda d: d.pop("id"), "id"),
    "no name": (SILVER, put("name", "Orders!"), "'Orders!' is no name"),
    "two tables": (SILVER, lambda d: d["schema"].append(d["schema"][0]), "exactly one table"),
    "published is no truth value": (GOLD, custom("published", "no, never"), "neither true nor false"),
    "retention is no number": (SILVER, put("slaProperties.0.value", "2 years"), "slaProperties.retention.*'2 years'"),
    # ── columns
    "no column": (SILVER, put("schema.0.properties", []), "no column"),
    "a column twice": (SILVER, put("schema.0.properties.1.name", "amount"), r"\['amount'\] stand twice"),
    "a column of the engine's": (SILVER, put("schema.0.properties.1.name", "_delivery"), "'_delivery' cannot be a column"),
    "no logical type": (SILVER, put(f"{NUMBER}.logicalType", "money"), r"properties.amount: logicalType 'money' is no type"),
    "physical type of another kind": (SILVER, put(f"{NUMBER}.physicalType", "date"), "'date' does not fit logicalType 'number'"),
    "decimal without precision": (SILVER, put(f"{NUMBER}.physicalType", "decimal"), "does not fit"),
    "decimal too wide": (SILVER, put(f"{NUMBER}.physicalType", "decimal(99,2)"), r"'decimal\(99,2\)' is no type"),
    "decimal without scale": (SILVER, put(f"{NUMBER}.physicalType", "decimal(ten)"), r"'decimal\(ten\)' is no type"),
    "array of nothing known": (
        SILVER, put("schema.0.properties.1", {"name": "tags", "logicalType": "array", "physicalType": "array<sting>"}), "no type"
    ),
    "unknown option": (SILVER, put(f"{NUMBER}.logicalTypeOptions", {"minimun": 0}), "unknown option 'minimun'"),
    "a bound that is no number": (SILVER, put(f"{NUMBER}.logicalTypeOptions", {"minimum": "zero"}), "'zero' is no number"),
    # ── rules
    "no rule": (BRONZE, put("schema.0.quality", []), "no rule"),
    "no rule but the built-in one": (
        SILVER, put("schema.0.properties", [{"name": "customer", "logicalType": "string"}]), "no rule"
    ),
    "a rule without a name": (SILVER, sql(BAD_ROWS, name=None), "has no name"),
    "two rules of one name": (GOLD, sql(BAD_ROWS, name="key_unique"), r"two rules are called \['key_unique'\]"),
    "sql of another form": (SILVER, sql("SELECT MAX(amount) FROM {object}"), "not of the form that we judge"),
    "sql without a condition": (SILVER, sql("SELECT COUNT(*) FROM {object}"), "not of the form that we judge"),
    "sql that must not be 0": (SILVER, sql(BAD_ROWS, mustBe=5), "not of the form that we judge"),
    "sql without mustBe": (SILVER, sql(BAD_ROWS, mustBe=None), "not of the form that we judge"),
    "unknown metric": (SILVER, rule(metric="freshness", mustBe=0), "metric 'freshness' is not a rule that we can judge"),
    "a table's metric on a column": (SILVER, rule(metric="nullValues", mustBe=0), "'nullValues' is not a rule"),
    "key of no column": (
        SILVER, rule(metric="duplicateValues", mustBe=0, arguments={"properties": ["order_no"]}), "no column 'order_no'"
    ),
    "row count without a bound": (SILVER, rule(metric="rowCount"), "has no bound"),
    "row count of words": (SILVER, rule(metric="rowCount", mustBe="many"), "'many' is no number"),
    "row count between one": (SILVER, rule(metric="rowCount", mustBeBetween=[5]), "mustBeBetween: List should have at least 2"),
    "a scope that is none": (
        SILVER, rule(metric="rowCount", mustBe=5, customProperties=[SCOPE | {"value": "lake"}]), "scope 'lake' is none"
    ),
    "a scope for a rule on rows": (SILVER, sql(BAD_ROWS, customProperties=[SCOPE]), "scope 'table' is none for this rule"),
    "unknown severity": (SILVER, sql(BAD_ROWS, severity="fatal"), "severity 'fatal' is unknown"),
    **{
        f"tolerance {value!r}": (SILVER, put(f"{NUMBER}.customProperties.0.value", value), "neither a share nor a number of rows")
        for value in (-1, "5%", True, float("nan"), float("inf"))
    },
    # ── how it is made and how it comes
    "no materialisation": (SILVER, lambda d: d["customProperties"].pop(), "materialisation.*missing"),
    "unknown materialisation": (SILVER, recustom("materialisation", {"kind": "hourly"}), "of unknown kind"),
    "unknown key of materialisation": (SILVER, recustom("materialisation", {"kind": "date", "col": "x"}), "unknown key 'col'"),
    "a date column that is none": (GOLD, recustom("materialisation", {"kind": "date", "column": "day"}), "'day' is not in"),
    "days that are no number": (
        SILVER, recustom("materialisation", {"kind": "window", "days": "seven"}), "'seven' is no number of days"
    ),
    "no delivery": (BRONZE, lambda d: d["customProperties"].pop(), "customProperties.delivery: missing"),
    "unknown format": (BRONZE, in_delivery(format="xlsx"), "'xlsx' is unknown"),
    "unknown rhythm": (BRONZE, in_delivery(expected="sometimes"), "'sometimes' is unknown"),
    "unknown reach of repeats": (BRONZE, in_delivery(repeats="ever"), "'ever' is unknown"),
    "a path without its day": (BRONZE, in_delivery(path="shop/{year}/{month}/"), "lacks {day}"),
    "unknown key of delivery": (BRONZE, in_delivery(delimiter=";"), "unknown key 'delimiter'"),
    "unknown compression": (BRONZE, in_delivery(compression="zip"), "'zip' is unknown"),
    "records of a table": (BRONZE, in_delivery(records="rows"), "records: means nothing in csv"),
    "parts that are no names": (BRONZE, in_delivery(expected="initial", parts=["a.csv", "a.csv"]), "are no file names"),
    "parts of a day": (BRONZE, in_delivery(parts=["a.csv"]), "does not go with expected: daily"),
    "a source that is no mapping": (BRONZE, in_delivery(source="http"), "'http' is no source"),
    "unknown kind of source": (BRONZE, in_delivery(source={"kind": "smtp"}), "source.kind: 'smtp' is unknown"),
    "a source without endpoint": (BRONZE, in_delivery(source={"kind": "http", "path": "/"}), "source.endpoint: missing"),
    "a table over http": (
        BRONZE, in_delivery(source={"kind": "http", "endpoint": "x", "table": "t"}), "source.table: unknown key 'table'"
    ),
    "a database's rows as csv": (
        BRONZE, in_delivery(source={"kind": "jdbc", "endpoint": "x", "table": "t"}), "'csv' is not how jdbc is kept"
    ),
    "increments without versions": (BRONZE, in_delivery(expected="increments"), "'increments' does not fit the source"),
    "no layout": (GOLD, lay("wide"), "'wide' is no layout"),
    "unknown key of layout": (GOLD, lay({"zOrderedBy": ["day"]}), "is no layout"),
    "partitions that are no list": (GOLD, lay({"partitionedBy": "orders"}), "'orders' is no list"),
    "a partition that is no mapping": (GOLD, lay({"partitionedBy": ["orders"]}), "'orders' is no partition"),
    "a partition of no column": (GOLD, lay({"partitionedBy": [{"column": "colour"}]}), "there is no column 'colour'"),
    "unknown transform": (
        GOLD, lay({"partitionedBy": [{"column": "orders", "transform": "hash"}]}), "transform 'hash' is unknown"
    ),
    "a bucket without number": (
        GOLD, lay({"partitionedBy": [{"column": "orders", "transform": "bucket"}]}), "argument None does not fit bucket"
    ),
    "sorted by no column": (GOLD, lay({"sortedBy": ["colour"]}), r"\['colour'\] are no columns"),
    "compacted above nothing": (GOLD, lay({"compactAbove": 0}), "0 is no number of files"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_file_place_and_remedy(tmp_path: Path, case: str) -> None:
    document, damage, told = REFUSED[case]
    read(tmp_path, document)  # sound before
    with pytest.raises(ContractError, match=told) as refused:
        read(tmp_path, document, damage)
    assert refused.value.exit_code == 2
    assert refused.value.hint
    path = f"{tmp_path}/{document['customProperties'][0]['value']}.{document['name']}.odcs.yaml"
    assert re.match(rf"{re.escape(path)}:\d+:\d+: ", refused.value.message)


@pytest.mark.parametrize("text", ["a: [1, 2", "\t- x: 1", b"\xff\xfe\x00", "", "- a list", "just words"])
def test_what_is_no_yaml_mapping_is_refused(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "silver.orders.odcs.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ContractError, match=str(path)) as refused:
        reader.read(path)
    assert refused.value.hint


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"nothing\.odcs\.yaml: cannot be read"):
        reader.read(tmp_path / "nothing.odcs.yaml")


def test_a_contract_is_read_in_full(tmp_path: Path) -> None:
    silver = read(tmp_path, SILVER)
    assert (silver.dataset, silver.bucket) == ("silver.shop.orders", "silver-validated")
    assert silver.quarantine == "silver.shop.orders__quarantine"
    assert (silver.owner, silver.retention_days, silver.key, silver.published) == ("shop-keepers", 30, ("order_id",), False)
    assert silver.materialisation == Materialisation("date", "_logical_date")
    assert list(silver.schema().items())[2:5] == [("amount", "decimal(10,2)"), ("ordered_on", "date"), ("_logical_date", "date")]
    assert [c.name for c in silver.columns if c.personal] == ["customer"]
    assert [(r.name, r.passes or r.unique, r.tolerance) for r in silver.rules] == [
        ("parses", "_unparsed IS NULL", 0.25),
        ("order_id_required", "`order_id` IS NOT NULL", 0.25),
        ("amount_minimum", "`amount` >= 0", 0.25),
        ("key_unique", ("order_id",), 0),
    ]
    bronze = read(tmp_path, BRONZE)
    assert bronze.delivery is not None
    assert (bronze.delivery.expected, bronze.delivery.repeats, bronze.delivery.null_text) == ("daily", "history", "")
    assert (bronze.rules[0].rows, bronze.partition_column) == ((1, float("inf")), "_logical_date")
    gold = read(tmp_path, GOLD)
    assert (gold.published, gold.partition_column) == (True, "ordered_on")
    assert read(tmp_path, GOLD, custom("published", False)).published is False
    assert gold.publication == "replace"
    assert read(tmp_path, GOLD, custom("publication", "partitions")).publication == "partitions"


@pytest.mark.parametrize(
    ("keys", "rows"),
    [
        ({"mustBe": 7}, (7, 7)),
        ({"mustBe": 0}, (0, 0)),
        ({"mustBeBetween": [1, 5]}, (1, 5)),
        ({"mustBeGreaterThan": 0}, (1, float("inf"))),
        ({"mustBeGreaterOrEqualTo": 0}, (0, float("inf"))),
        ({"mustBeLessThan": 10}, (0, 9)),
        ({"mustBeLessOrEqualTo": 10, "mustBeGreaterThan": 2}, (3, 10)),
    ],
)
def test_bounds_of_a_row_count(tmp_path: Path, keys: dict, rows: tuple) -> None:
    assert read(tmp_path, SILVER, rule(metric="rowCount", **keys)).table_rules[0].rows == rows


def test_a_changed_contract_has_another_fingerprint(tmp_path: Path) -> None:
    assert read(tmp_path, SILVER).fingerprint == read(tmp_path, SILVER).fingerprint
    assert read(tmp_path, SILVER).fingerprint != read(tmp_path, SILVER, put("version", "1.0.1")).fingerprint

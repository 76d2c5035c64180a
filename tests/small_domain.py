"""A small domain for tests: a shop's orders from a file a day to a total a day, as files in a folder.

folder = write(tmp_path / "shop")
settings.domains = str(folder)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
HEADER = "order_id,customer,amount,ordered_on"


def _document(layer: str, name: str, zone: str, custom: Document, properties: list[Document], **table: Any) -> Document:
    properties_of_contract = [{"property": k, "value": v} for k, v in ({"layer": layer, "zone": zone} | custom).items()]
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"{layer}.shop.{name}",
        "name": name,
        "domain": "shop",
        "version": "1.0.0",
        "status": "active",
        "team": {"members": [{"username": "shop-keepers", "role": "owner"}]},
        "slaProperties": [{"property": "retention", "value": 30, "unit": "d"}],
        "customProperties": properties_of_contract,
        "schema": [{"name": name, "logicalType": "object", "properties": properties, **table}],
    }


def _text(*names: str) -> list[Document]:
    return [{"name": name, "logicalType": "string"} for name in names]


def _tolerance(share: float) -> list[Document]:
    return [{"property": "tolerance", "value": share}]


BRONZE = _document(
    "bronze",
    "orders",
    "raw-data",
    {"delivery": {"format": "csv", "path": "domain=shop/orders/year={year}/month={month}/day={day}/", "expected": "daily"}},
    _text(*HEADER.split(",")),
    quality=[{"name": "any_rows", "metric": "rowCount", "mustBeGreaterThan": 0, "severity": "warning"}],
)
SILVER = _document(
    "silver",
    "orders",
    "validated",
    {"materialisation": {"kind": "date"}},
    [
        {
            "name": "order_id", "logicalType": "integer", "primaryKey": True, "primaryKeyPosition": 1,
            "customProperties": _tolerance(0.25),
        },
        {"name": "customer", "logicalType": "string", "classification": "personal"},
        {
            "name": "amount", "logicalType": "number", "physicalType": "decimal(10,2)",
            "logicalTypeOptions": {"minimum": 0}, "customProperties": _tolerance(0.25),
        },
        {"name": "ordered_on", "logicalType": "date"},
    ],
    customProperties=[{"property": "parseTolerance", "value": 0.25}],
)  # fmt: skip
GOLD = _document(
    "gold",
    "daily_totals",
    "reporting",
    {"materialisation": {"kind": "date", "column": "ordered_on"}},
    [
        {"name": "ordered_on", "logicalType": "date", "primaryKey": True, "primaryKeyPosition": 1},
        {"name": "orders", "logicalType": "integer", "logicalTypeOptions": {"minimum": 1}},
        {"name": "amount", "logicalType": "number", "physicalType": "decimal(20,2)"},
    ],
)
SILVER_PY = '''
from pyspark.sql import functions as F

def orders(bronze_orders):
    """Orders, typed."""
    unparsed = [
        F.when(F.col(name).try_cast(type_).isNull() & (F.trim(name) != ""), name)
        for name, type_ in {"order_id": "bigint", "amount": "decimal(10,2)", "ordered_on": "date"}.items()
    ]
    malformed = F.when(F.col("_malformed").isNotNull(), "_malformed")
    return bronze_orders.select(
        F.col("order_id").try_cast("bigint").alias("order_id"),
        "customer",
        F.col("amount").try_cast("decimal(10,2)").alias("amount"),
        F.coalesce(F.col("ordered_on").try_cast("date"), "_logical_date").alias("ordered_on"),
        "_logical_date", "_delivery", "_source_row",
        F.nullif(F.concat_ws(",", malformed, *unparsed), F.lit("")).alias("_unparsed"),
    )
'''
GOLD_PY = '''
from pyspark.sql import functions as F

def daily_totals(orders):
    """Orders and their sum, a day a row."""
    return orders.groupBy("ordered_on").agg(
        F.count("*").alias("orders"), F.sum("amount").cast("decimal(20,2)").alias("amount")
    )
'''


def documents() -> dict[str, Document]:
    """File name -> contract, fresh copies that a test may damage."""
    named = {"bronze.orders": BRONZE, "silver.orders": SILVER, "gold.daily_totals": GOLD}
    return {f"{name}.odcs.yaml": copy.deepcopy(document) for name, document in named.items()}


def write(folder: Path, damage: Callable[[dict[str, Document]], None] = lambda _: None, **modules: str) -> Path:
    """Write the domain into a folder.

    Args:
        damage: changes the contracts before they are written.
        modules: other text for `silver` or `gold`; empty: no such file.
    """
    folder.mkdir(parents=True)
    contracts = documents()
    damage(contracts)
    for name, document in contracts.items():
        (folder / name).write_text(yaml.safe_dump(document, sort_keys=False))
    for name, text in ({"silver": SILVER_PY, "gold": GOLD_PY} | modules).items():
        if text:
            (folder / f"{name}.py").write_text(text)
    return folder


def till(documents: dict[str, Document]) -> None:
    """As `damage` of `write`: the domain under another name, `till`; somebody waits for what it makes."""
    for document in documents.values():
        document["domain"] = "till"
        document["id"] = document["id"].replace(".shop.", ".till.")
        document["customProperties"].append({"property": "critical", "value": not document["id"].startswith("bronze.")})
        for each in document["customProperties"]:
            if each["property"] == "delivery":
                each["value"]["path"] = each["value"]["path"].replace("domain=shop", "domain=till")


def csv(*rows: str, header: str = HEADER) -> bytes:
    """A delivery's bytes."""
    return "\n".join([header, *rows, ""]).encode()

"""Columns of every kind with the values on which rules go wrong, and a contract over them."""

from __future__ import annotations

import copy
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import DataFrame, SparkSession

from medallion.contract import Contract
from medallion.odcs import reader
from tests.frames import frame_of
from tests.small_domain import GOLD

NAN, INF = float("nan"), float("inf")
TENTH = 0.10000000149011612
"""0.1 as a float has it."""
COLUMNS = {
    "text": ("string", "string"), "number": ("number", "double"), "single": ("number", "float"),
    "money": ("number", "decimal(10,2)"), "whole": ("integer", "int"), "flag": ("boolean", "boolean"),
    "day": ("date", "date"), "wall": ("timestamp", "timestamp_ntz"),
}  # fmt: skip
"""Column -> logical and physical type."""
VALUES: dict[str, dict[str, Any]] = {
    "text": {
        "empty": "", "blank": " ", "NA": "NA", "ABC": "ABC", "abc": "abc", "composed": "é", "decomposed": "e\u0301",
        "plane": "🛫", "pilot": "👩‍✈️", "quote": "it's", "backslash": "a\\b", "zeros": "007", "newline": "ABC\n", "null": None,
    },
    "number": {
        "NaN": NAN, "inf": INF, "-inf": -INF, "0": 0.0, "-0": -0.0, "tenth": 0.1, "1.5": 1.5, "tiny": 5e-324, "null": None
    },
    "single": {"NaN": NAN, "0": 0.0, "-0": -0.0, "tenth": TENTH, "1.5": 1.5, "null": None},
    "money": {
        "0": Decimal("0.00"), "cent": Decimal("0.01"), "-cent": Decimal("-0.01"), "most": Decimal("99999999.99"), "null": None
    },
    "whole": {"0": 0, "-1": -1, "5": 5, "most": 2**31 - 1, "least": -(2**31), "null": None},
    "flag": {"yes": True, "no": False, "null": None},
    "day": {
        "first": date(1, 1, 1), "last": date(9999, 12, 31), "1582": date(1582, 10, 15), "2013": date(2013, 1, 1), "null": None
    },
    "wall": {
        "first": datetime(1, 1, 1), "last": datetime(9999, 12, 31, 23, 59, 59, 999999), "2013": datetime(2013, 1, 1, 6),
        "null": None,
    },
}  # fmt: skip
"""Column -> what a value is called -> the value."""


def properties(**more: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns as a contract has them, each with what is given for it."""
    return [
        {"name": name, "logicalType": logical, "physicalType": physical} | more.get(name, {})
        for name, (logical, physical) in COLUMNS.items()
    ]


def contract(folder: Path, columns: list[dict[str, Any]], quality: list[dict[str, Any]] | None = None) -> Contract:
    """A contract over these columns and `id`, read from its file as any is."""
    document = copy.deepcopy(GOLD)
    document["customProperties"][-1]["value"] = {"kind": "full"}
    key = {"name": "id", "logicalType": "integer", "primaryKey": True}
    document["schema"][0] |= {"properties": [key, *columns], "quality": quality or []}
    path = folder / "gold.daily_totals.odcs.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return reader.read(path)


def frame(spark: SparkSession, rows: list[dict[str, Any]]) -> DataFrame:
    """Rows by column; what is not named is null."""
    ddl = ", ".join(["id bigint", *(f"{name} {physical}" for name, (_, physical) in COLUMNS.items())])
    return frame_of(spark, [(i, *(row.get(name) for name in COLUMNS)) for i, row in enumerate(rows)], ddl)

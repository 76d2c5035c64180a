"""Rows written by hand for the datasets of one domain: a sound one each, and for every rule one that it must reject."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from medallion.contract import BRONZE_COLUMNS, SILVER_COLUMNS, UNPARSED, Contract
from medallion.domain_folders import BUILT_IN
from medallion.odcs import reader
from tests.frames import frame_of

Row = dict[str, Any]
Planted = dict[str, tuple[Row, Row]]

BRONZE: Row = dict.fromkeys(BRONZE_COLUMNS) | {"_delivery": "d1", "_logical_date": date(2013, 1, 1), "_source_row": 1}
"""The engine's own columns of a bronze row."""
SILVER: Row = {name: BRONZE[name] for name in SILVER_COLUMNS} | {UNPARSED: None}
"""What a silver transform carries on from it."""


@dataclass(frozen=True)
class Rows:
    """The rows of one domain.

    `sound`: dataset -> a row that breaks no rule.
    `planted`: dataset -> rule -> (what makes the sound row break the rule, what the nearest row that still passes
    looks like), each as changes to the sound row.
    `neighbours`: dataset with a key -> rows that differ from the sound one in one column of the key only.
    """

    domain: str
    sound: dict[str, Row]
    planted: dict[str, Planted]
    neighbours: dict[str, list[Row]]

    @property
    def contracts(self) -> dict[str, Contract]:
        """The domain's contracts, by dataset."""
        return {c.dataset: c for c in map(reader.read, sorted((BUILT_IN / self.domain).glob("*.odcs.yaml")))}

    def frame(self, spark: SparkSession, dataset: str, rows: list[Row]) -> DataFrame:
        """Rows as changes to the sound one, with every column that a transform or a rule may read."""
        contract = self.contracts[dataset]
        schema = contract.schema() | ({UNPARSED: "string"} if contract.layer == "silver" else {})
        full = [self.sound[dataset] | row for row in rows]
        ddl = ", ".join(f"`{name}` {type_}" for name, type_ in schema.items())
        return frame_of(spark, [tuple(row[name] for name in schema) for row in full], ddl)


def missing(*columns: str) -> Planted:
    """What the rule `<column>_required` rejects."""
    return {f"{column}_required": ({column: None}, {}) for column in columns}

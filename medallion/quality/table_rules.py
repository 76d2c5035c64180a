"""Rules on a table as a whole, each over the rows that its scope names: one aggregate for all of a scope."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from medallion.contract import Contract, Rule
from medallion.quality.rules import showable
from medallion.quality.verdict import SAMPLES, Verdict, of_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def table_verdicts(
    contract: Contract, rows: int, written: Callable[[], DataFrame], table: Callable[[], DataFrame]
) -> list[Verdict]:
    """The verdicts of a contract's table rules, each over the rows that its scope names.

    Args:
        rows: how many rows were written.
        written, table: as `judge` takes them.
    """
    verdicts = []
    for scope, read in (("write", written), ("table", table)):
        rules = [rule for rule in contract.table_rules if rule.scope == scope]
        if rules:
            verdicts += verdicts_over(rules, contract, read, rows if scope == "write" else None)
    return verdicts


def verdicts_over(rules: list[Rule], contract: Contract, read: Callable[[], DataFrame], rows: int | None = None) -> list[Verdict]:
    """The verdicts of table rules over one frame. `rows` is how many it has; if that is not known, they are counted."""
    from pyspark.sql import functions as f

    unique = [rule for rule in rules if rule.unique]
    distinct = [f.count_distinct(f.struct(*rule.unique)).alias(f"distinct{i}") for i, rule in enumerate(unique)]
    counted: dict[str, int] = {}
    if distinct or rows is None:
        frame = read()
        row = frame.agg(f.count(f.lit(1)).alias("rows"), *distinct).first()
        counted = row.asDict() if row else {}
    total = counted["rows"] if rows is None else rows
    verdicts = []
    for i, rule in enumerate(unique):
        repeated = total - counted[f"distinct{i}"]
        verdicts.append(of_rows(rule, repeated, total, _repeated(frame, rule, contract) if repeated else ()))
    for rule in rules:
        if rule.rows is not None:
            low, high = rule.rows
            off = 0 if low <= total <= high else 1
            note = (json.dumps({"rows": total, "allowed": [low, high]}),) if off else ()
            verdicts.append(Verdict(rule.name, rule.severity, off, total, 0, off == 0, rule.description, note))
    return verdicts


def _repeated(frame: DataFrame, rule: Rule, contract: Contract) -> tuple[str, ...]:
    from pyspark.sql import functions as f

    counted = frame.groupBy(*rule.unique).agg(f.count(f.lit(1)).alias("_rows")).filter("_rows > 1")
    names = [*showable(rule.unique, contract), "_rows"]
    rows = counted.orderBy(*rule.unique).limit(SAMPLES).select(f.to_json(f.struct(*names)))
    return tuple(row[0] for row in rows.collect())

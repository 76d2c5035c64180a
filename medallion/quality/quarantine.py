"""Rows that broke an error rule: what is kept of them, and what they tell about the rules."""

from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from medallion.contract import Contract, Rule
from medallion.quality.rules import passes, showable, shown

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_FEW = 20_000
"""So many rows are fetched and counted, more are counted by Spark."""


def rows_to_keep(bad: DataFrame, rules: Sequence[Rule], contract: Contract, run_id: str, logical_date: date | None) -> DataFrame:
    """Bad rows in the shape of every quarantine (QUARANTINE_SCHEMA), with the rules that each breaks."""
    from pyspark.sql import functions as f

    def own(name: str, type_: str) -> Column:
        return (f.col(name) if name in bad.columns else f.lit(None).cast(type_)).alias(name)

    broken = f.array_compact(f.array(*[f.when(~passes([rule]), f.lit(rule.name)) for rule in rules]))
    return bad.select(
        f.lit(run_id).alias("_run_id"),
        f.lit(logical_date).cast("date").alias("_logical_date") if logical_date else own("_logical_date", "date"),
        broken.alias("rules"),
        own("_delivery", "string"),
        own("_source_row", "bigint"),
        shown(bad.columns, contract).alias("record"),
        f.current_timestamp().alias("_quarantined_at"),
    )


def explain(
    kept: DataFrame, rules: Sequence[Rule], contract: Contract, samples: int, rows: int
) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    """How many of the kept rows broke each rule, and the first few of them, as JSON: one job.

    Args:
        rows: how many rows are kept; few are counted here, without a shuffle.
    """
    found = _counted_here(kept, samples) if rows <= _FEW else _counted_by_spark(kept, samples)
    by_name = {rule.name: rule for rule in rules}
    return (
        {name: n for name, (n, _) in found.items()},
        {name: tuple(_cut(text, contract, by_name[name]) for text in records) for name, (_, records) in found.items()},
    )


def _counted_here(kept: DataFrame, samples: int) -> dict[str, tuple[int, list[str]]]:
    records: dict[str, list[str]] = {}
    for names, record in kept.select("rules", "record").collect():
        for name in names:
            records.setdefault(name, []).append(record)
    return {name: (len(of_it), heapq.nsmallest(samples, of_it)) for name, of_it in records.items()}


def _counted_by_spark(kept: DataFrame, samples: int) -> dict[str, tuple[int, list[str]]]:
    from pyspark.sql import functions as f

    first = f.slice(f.array_sort(f.collect_list("record")), 1, samples)
    counted = (
        kept.select(f.explode("rules").alias("rule"), "record").groupBy("rule").agg(f.count("*").alias("n"), first.alias("first"))
    )
    return {row["rule"]: (row["n"], row["first"]) for row in counted.collect()}


def _cut(record: str, contract: Contract, rule: Rule) -> str:
    row = json.loads(record)
    return json.dumps({name: row[name] for name in showable(list(row), contract, rule)}, ensure_ascii=False)

"""Judge rows in the same pass that writes them.

All row rules are fused into one null-safe condition beneath the write; two counters ride along. Only
if something broke is it worked out what, and for the broken rows alone. Good rows are written once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract, Rule

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SAMPLES = 3
"""How many broken rows a verdict shows."""


@dataclass(frozen=True)
class Verdict:
    """What came of one rule: `bad` of `judged` rows broke it; `samples` are some of them, as JSON,
    without the columns that the contract classifies as personal."""

    rule: str
    severity: str
    bad: int
    judged: int
    tolerance: float
    passed: bool
    description: str
    samples: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"samples": list(self.samples)}


@dataclass
class Judged:
    """What came of one write: counts of rows and the verdict of every rule."""

    rows_in: int
    rows_out: int
    quarantined: int
    warned: int
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def refusals(self) -> list[Verdict]:
        """The error rules that were broken beyond their tolerance."""
        return [v for v in self.verdicts if v.severity == "error" and not v.passed]


def passes(rules: tuple[Rule, ...] | list[Rule]) -> Column:
    """One condition that is true where every rule holds; a rule that is null on a row holds."""
    from pyspark.sql import functions as f

    if not rules:
        return f.lit(True)
    return f.expr(" AND ".join(f"coalesce(({rule.passes}), true)" for rule in rules))


def judge(
    frame: DataFrame,
    contract: Contract,
    run_id: str,
    logical_date: date | None,
    *,
    write: Callable[[DataFrame], int],
    quarantine: Callable[[DataFrame], None],
    written: Callable[[], DataFrame],
) -> Judged:
    """Write the good rows of a frame, put the bad ones aside, and judge every rule.

    Args:
        frame: the contract's columns and, for silver, `_unparsed`.
        logical_date: the date that is made; None where the whole table is.
        write: writes a frame of the contract's columns; returns `added-records` of its commit.
        quarantine: appends a frame of QUARANTINE_SCHEMA.
        written: reads back the rows that `write` wrote.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    errors = [rule for rule in contract.row_rules if rule.severity == "error"]
    warnings = [rule for rule in contract.row_rules if rule.severity == "warning"]
    good, calm = passes(errors), passes(warnings)
    observation = Observation()
    observed = frame.observe(
        observation,
        f.count(f.lit(1)).alias("judged"),
        f.count_if(~good).alias("refused"),
        f.count_if(good & ~calm).alias("warned"),
    )
    added = write(observed.filter(good).select(*contract.schema()))
    counts = _observed(observation)
    if counts is None or counts["judged"] - counts["refused"] != added:
        # an observed counter can count a retried task twice; the commit's own figure cannot
        row = frame.agg(
            f.count(f.lit(1)).alias("judged"), f.count_if(~good).alias("refused"), f.count_if(good & ~calm).alias("warned")
        ).first()
        counts = {name: int(row[name]) if row else 0 for name in ("judged", "refused", "warned")}
    total = counts["judged"]
    judged = Judged(total, added, counts["refused"], counts["warned"])
    if counts["refused"]:
        bad = frame.filter(~good)
        quarantine(_quarantined(bad, errors, contract, run_id, logical_date))
        judged.verdicts += _explain(bad, errors, total, contract)
    else:
        judged.verdicts += [_verdict(rule, 0, total) for rule in errors]
    if counts["warned"]:
        judged.verdicts += _explain(frame.filter(good & ~calm), warnings, total, contract)
    else:
        judged.verdicts += [_verdict(rule, 0, total) for rule in warnings]
    judged.verdicts += _table_verdicts(contract, written, added)
    return judged


def _observed(observation: Any) -> dict[str, int] | None:
    """The counters, or None where Spark planned them away (an input that it knows to be empty)."""
    found = observation._jo.getOrEmpty()
    row = {str(entry._1()): int(entry._2()) for entry in _scala_items(found)}
    return row or None


def _scala_items(scala_map: Any) -> list[Any]:
    iterator, items = scala_map.iterator(), []
    while iterator.hasNext():
        items.append(iterator.next())
    return items


def _verdict(rule: Rule, bad: int, judged: int, samples: tuple[str, ...] = ()) -> Verdict:
    return Verdict(rule.name, rule.severity, bad, judged, rule.tolerance, rule.allows(bad, judged), rule.description, samples)


def _explain(bad: DataFrame, rules: list[Rule], total: int, contract: Contract) -> list[Verdict]:
    """Count each rule over the few bad rows, and take samples: one job."""
    from pyspark.sql import functions as f

    aggregates = [f.count_if(~passes([rule])).alias(f"bad{i}") for i, rule in enumerate(rules)]
    examples = [
        f.slice(f.array_sort(f.collect_list(f.when(~passes([rule]), _shown(bad, contract, rule)))), 1, SAMPLES).alias(
            f"examples{i}"
        )
        for i, rule in enumerate(rules)
    ]
    row = bad.agg(*aggregates, *examples).first()
    return [
        _verdict(rule, int(row[f"bad{i}"]) if row else 0, total, tuple(row[f"examples{i}"]) if row else ())
        for i, rule in enumerate(rules)
    ]


def _shown(frame: DataFrame, contract: Contract, rule: Rule | None = None) -> Column:
    """A row as JSON, without personal columns and without the engine's bulky ones; for a rule only
    the key, the columns that the rule names, and where the row came from."""
    from pyspark.sql import functions as f

    hidden = {column.name for column in contract.columns if column.personal}
    hidden |= {"_row_hash", "_source_sha256", "_source_uri", "_ingested_at", "_run_id"}
    shown = [name for name in frame.columns if name not in hidden]
    if rule is not None:
        named = set(re.findall(r"\w+", rule.passes or "")) | set(contract.key) | {"_delivery", "_source_row"}
        shown = [name for name in shown if name in named]
    return f.to_json(f.struct(*[f.col(name) for name in shown])) if shown else f.lit("{}")


def _quarantined(bad: DataFrame, rules: list[Rule], contract: Contract, run_id: str, logical_date: date | None) -> DataFrame:
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
        _shown(bad, contract).alias("record"),
        f.current_timestamp().alias("_quarantined_at"),
    )


def _table_verdicts(contract: Contract, written: Callable[[], DataFrame], rows: int) -> list[Verdict]:
    from pyspark.sql import functions as f

    verdicts = []
    unique = [rule for rule in contract.table_rules if rule.unique]
    if unique:
        frame = written()
        counts = frame.agg(
            *[f.count_distinct(f.struct(*rule.unique)).alias(f"distinct{i}") for i, rule in enumerate(unique)]
        ).first()
        for i, rule in enumerate(unique):
            repeated = rows - (int(counts[f"distinct{i}"]) if counts else 0)
            verdicts.append(_verdict(rule, repeated, rows, _repeated(frame, rule) if repeated else ()))
    for rule in contract.table_rules:
        if rule.rows is not None:
            low, high = rule.rows
            off = 0 if low <= rows <= high else 1
            note = (json.dumps({"rows": rows, "allowed": [low, high]}),) if off else ()
            verdicts.append(Verdict(rule.name, rule.severity, off, rows, 0, off == 0, rule.description, note))
    return verdicts


def _repeated(frame: DataFrame, rule: Rule) -> tuple[str, ...]:
    from pyspark.sql import functions as f

    rows = frame.groupBy(*rule.unique).count().filter("count > 1").orderBy(*rule.unique).limit(SAMPLES)
    return tuple(row[0] for row in rows.select(f.to_json(f.struct("*"))).collect())

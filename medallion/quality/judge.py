"""Judge rows in the same pass that writes them.

All row rules are fused into one null-safe condition beneath the write; two counters ride along. Only
if something broke is it worked out what, and for the broken rows alone. Good rows are written once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract, Rule
from medallion.quality.quarantine import explain, rows_to_keep
from medallion.quality.rules import naming_the_rule, passes, showable, shown

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

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


def judge(
    frame: DataFrame,
    contract: Contract,
    run_id: str,
    logical_date: date | None,
    *,
    write: Callable[[DataFrame], int],
    quarantine: Callable[[DataFrame], DataFrame],
    written: Callable[[], DataFrame],
    table: Callable[[], DataFrame],
) -> Judged:
    """Write the good rows of a frame, put the bad ones aside, and judge every rule.

    Clean rows are worked out once. Only if some are refused is the frame worked out again, for them;
    what they broke is then read from the quarantine, and examples of warnings from what was written.

    Args:
        frame: the contract's columns and, for silver, `_unparsed`.
        logical_date: the date that is made; None where the whole table is.
        write: writes a frame of the contract's columns; returns `added-records` of its commit.
        quarantine: keeps a frame of QUARANTINE_SCHEMA; returns it as it was read back.
        written: reads back the rows that `write` wrote.
        table: reads all rows of the table.
    Raises: ContractError for a rule that Spark cannot apply to these rows, or that fails on one of them.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    errors = [rule for rule in contract.row_rules if rule.severity == "error"]
    warnings = [rule for rule in contract.row_rules if rule.severity == "warning"]
    observation = Observation()
    with naming_the_rule(frame, contract):
        good = passes(errors)
        counters = [
            f.count(f.lit(1)).alias("judged"),
            f.count_if(~good).alias("refused"),
            f.count_if(good & ~passes(warnings)).alias("warned"),
            *[f.count_if(good & ~passes([rule])).alias(f"warning{i}") for i, rule in enumerate(warnings)],
        ]
        observed = frame.observe(observation, *counters)
        added = write(observed.filter(good).select(*contract.schema()))
        counts = _observed(observation)
        if counts is None or counts["judged"] - counts["refused"] != added or (counts["refused"] and not added):
            # an observed counter can count a retried task twice; the commit's own figure cannot
            row = frame.agg(*counters).first()
            counts = row.asDict() if row else {}
    total = counts["judged"]
    judged = Judged(total, added, counts["refused"], counts["warned"])
    if counts["refused"]:
        kept = quarantine(rows_to_keep(frame.filter(~good), errors, contract, run_id, logical_date))
        broken, examples = explain(kept, errors, contract, SAMPLES)
        judged.verdicts += [_verdict(rule, broken.get(rule.name, 0), total, examples.get(rule.name, ())) for rule in errors]
    else:
        judged.verdicts += [_verdict(rule, 0, total) for rule in errors]
    examples = _examples_of_warnings(written, [r for i, r in enumerate(warnings) if counts[f"warning{i}"]], contract)
    judged.verdicts += [
        _verdict(rule, counts[f"warning{i}"], total, examples.get(rule.name, ())) for i, rule in enumerate(warnings)
    ]
    judged.verdicts += table_verdicts(contract, added, written, table)
    return judged


def _examples_of_warnings(written: Callable[[], DataFrame], broken: list[Rule], contract: Contract) -> dict[str, tuple[str, ...]]:
    """A few of the written rows that broke each of these rules: one job, over rows already written."""
    from pyspark.sql import functions as f

    if not broken:
        return {}
    frame = written()
    first = [
        f.slice(f.array_sort(f.collect_list(f.when(~passes([rule]), shown(frame.columns, contract, rule)))), 1, SAMPLES)
        for rule in broken
    ]
    row = frame.filter(~passes(broken)).agg(*first).first()
    return {rule.name: tuple(found) for rule, found in zip(broken, row or (), strict=False)}


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
        verdicts.append(_verdict(rule, repeated, total, _repeated(frame, rule, contract) if repeated else ()))
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

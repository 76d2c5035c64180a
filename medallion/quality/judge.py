"""Judge rows while they are written, and put the bad ones aside.

For a few rows, all row rules are fused into one null-safe condition beneath the write, and counters ride
along. For many, most rules are not looked at row by row at all: see `staged`. Only if something broke is
it worked out what, and for the broken rows alone. Good rows are written once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract, Rule
from medallion.lakehouse.staging import Staging
from medallion.quality.quarantine import explain, rows_to_keep
from medallion.quality.rules import naming_the_rule, passes, showable
from medallion.quality.staged import SAMPLES, examples_of_warnings, judge_staged
from medallion.quality.verdict import Judged, Verdict, verdict

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


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
    staging: Staging | None = None,
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
        staging: takes the place of `write` where there are many rows.
    Raises: ContractError for a rule that Spark cannot apply to these rows, or that fails on one of them.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    if staging is not None:
        judged = judge_staged(frame, contract, run_id, logical_date, staging, quarantine=quarantine, written=written)
        judged.verdicts += table_verdicts(contract, judged.rows_out, written, table, frame)
        return judged
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
        judged.verdicts += [verdict(rule, broken.get(rule.name, 0), total, examples.get(rule.name, ())) for rule in errors]
    else:
        judged.verdicts += [verdict(rule, 0, total) for rule in errors]
    examples = examples_of_warnings(written, [r for i, r in enumerate(warnings) if counts[f"warning{i}"]], contract)
    judged.verdicts += [
        verdict(rule, counts[f"warning{i}"], total, examples.get(rule.name, ())) for i, rule in enumerate(warnings)
    ]
    judged.verdicts += table_verdicts(contract, added, written, table, frame)
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


def table_verdicts(
    contract: Contract,
    rows: int,
    written: Callable[[], DataFrame],
    table: Callable[[], DataFrame],
    frame: DataFrame | None = None,
) -> list[Verdict]:
    """The verdicts of a contract's table rules, each over the rows that its scope names.

    Args:
        rows: how many rows were written.
        written, table: as `judge` takes them.
        frame: what was written, as it was planned, if the plan may tell what is unique.
    """
    verdicts = []
    for scope, read in (("write", written), ("table", table)):
        rules = [rule for rule in contract.table_rules if rule.scope == scope]
        of_write = scope == "write"
        known = {rule.name: by for rule in rules if of_write and (by := _unique_already(rule, rows, frame))}
        if rules:
            verdicts += verdicts_over(rules, contract, read, rows if of_write else None, known)
    return verdicts


def _unique_already(rule: Rule, rows: int, frame: DataFrame | None) -> str | None:
    """What tells that no two rows agree in a rule's columns, without a look at them; None: nothing does."""
    if rule.unique and rows <= 1:
        return "figures"
    return "plan" if rule.unique and frame is not None and distinct_by(frame, rule.unique) else None


def distinct_by(frame: DataFrame, columns: Sequence[str]) -> bool:
    """Whether a frame's plan says that no two of its rows agree in these columns: it groups by them, or by some.
    Source: Catalyst's `LogicalPlanDistinctKeys`."""
    plan = frame._jdf.queryExecution().optimizedPlan()
    output, keys = plan.output(), plan.distinctKeys().toSeq()
    ids = {output.apply(i).exprId().id() for i in range(output.size()) if output.apply(i).name() in columns}
    for number in range(keys.size()):
        key = keys.apply(number).toSeq()
        parts = [key.apply(i) for i in range(key.size())]
        if all(part.getClass().getSimpleName() == "AttributeReference" and part.exprId().id() in ids for part in parts):
            return True
    return False


def verdicts_over(
    rules: list[Rule],
    contract: Contract,
    read: Callable[[], DataFrame],
    rows: int | None = None,
    known: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """The verdicts of table rules over one frame.

    Args:
        rows: how many rows it has; if that is not known, they are counted.
        known: rules of unique columns that hold -> what tells so.
    """
    from pyspark.sql import functions as f

    known = known or {}
    unique = [rule for rule in rules if rule.unique and rule.name not in known]
    distinct = [f.count_distinct(f.struct(*rule.unique)).alias(f"distinct{i}") for i, rule in enumerate(unique)]
    counted: dict[str, int] = {}
    if distinct or rows is None:
        frame = read()
        row = frame.agg(f.count(f.lit(1)).alias("rows"), *distinct).first()
        counted = row.asDict() if row else {}
    total = counted["rows"] if rows is None else rows
    verdicts = [verdict(rule, 0, total, decided_by=known[rule.name]) for rule in rules if rule.name in known]
    for i, rule in enumerate(unique):
        repeated = total - counted[f"distinct{i}"]
        samples = _repeated(frame, rule, contract) if repeated else ()
        verdicts.append(verdict(rule, repeated, total, samples, "aggregate"))
    by = "figures" if rows is not None else "aggregate"
    for rule in rules:
        if rule.rows is not None:
            low, high = rule.rows
            off = 0 if low <= total <= high else 1
            note = (json.dumps({"rows": total, "allowed": [low, high]}),) if off else ()
            verdicts.append(Verdict(rule.name, rule.severity, off, total, 0, off == 0, rule.description, note, by))
    return verdicts


def _repeated(frame: DataFrame, rule: Rule, contract: Contract) -> tuple[str, ...]:
    from pyspark.sql import functions as f

    counted = frame.groupBy(*rule.unique).agg(f.count(f.lit(1)).alias("_rows")).filter("_rows > 1")
    names = [*showable(rule.unique, contract), "_rows"]
    rows = counted.orderBy(*rule.unique).limit(SAMPLES).select(f.to_json(f.struct(*names)))
    return tuple(row[0] for row in rows.collect())

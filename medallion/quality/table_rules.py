"""Rules on a table as a whole, each over the rows that its scope names: one aggregate for all of a scope."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract, Rule
from medallion.odcs.conditions import kind
from medallion.quality import change
from medallion.quality.distinct import distinct_by
from medallion.quality.rules import showable
from medallion.quality.verdict import SAMPLES, Verdict, of_rows
from medallion.rule_kinds import Figure, Freshness

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

Previous = Sequence[Mapping[str, Any]]
"""The figures of earlier runs (see `medallion.quality.change`), newest last."""


def table_verdicts(
    contract: Contract,
    rows: int,
    written: Callable[[], DataFrame],
    table: Callable[[], DataFrame],
    as_of: date | None = None,
    previous: Previous = (),
    frame: DataFrame | None = None,
) -> list[Verdict]:
    """The verdicts of a contract's table rules, each over the rows that its scope names.

    Args:
        rows: how many rows were written.
        written, table, as_of, previous: as `judge` takes them.
        frame: what was written, as it was planned, if the plan may tell what is unique.
    """
    verdicts = []
    for scope, read in (("write", written), ("table", table)):
        rules = [rule for rule in contract.table_rules if rule.scope == scope]
        of_write = scope == "write"
        known = {rule.name: by for rule in rules if of_write and (by := _unique_already(rule, rows, frame))}
        if rules:
            verdicts += verdicts_over(rules, contract, read, rows if of_write else None, as_of, previous, known)
    return verdicts


def _unique_already(rule: Rule, rows: int, frame: DataFrame | None) -> str | None:
    """What tells that no two rows agree in a rule's columns, without a look at them; None: nothing does."""
    if rule.unique and rows <= 1:
        return "figures"
    return "plan" if rule.unique and frame is not None and distinct_by(frame, rule.unique) else None


def verdicts_over(
    rules: Sequence[Rule],
    contract: Contract,
    read: Callable[[], DataFrame],
    rows: int | None = None,
    as_of: date | None = None,
    previous: Previous = (),
    known: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """The verdicts of table rules over one frame.

    Args:
        rows: how many rows it has; if that is not known, they are counted.
        known: rules of unique columns that hold -> what tells so.
    """
    from pyspark.sql import functions as f

    known = known or {}
    wanted = [
        figure.alias(f"rule{i}")
        for i, rule in enumerate(rules)
        if rule.name not in known and (figure := _figure(rule, contract)) is not None
    ]
    wanted += change.aggregates(rules, contract)
    counted: dict[str, Any] = {}
    frame: DataFrame | None = None
    if wanted or rows is None:
        frame = read()
        row = frame.agg(f.count(f.lit(1)).alias("rows"), *wanted).first()
        counted = row.asDict() if row else {}
    total = counted["rows"] if rows is None else rows
    figures = change.figures(rules, total, counted)
    verdicts = []
    for i, rule in enumerate(rules):
        figure = counted.get(f"rule{i}")
        if rule.name in known:
            verdicts.append(of_rows(rule, 0, total, decided_by=known[rule.name]))
        elif rule.unique:
            repeated = total - int(figure or 0)
            samples = _repeated(frame, rule, contract) if repeated and frame is not None else ()
            verdicts.append(of_rows(rule, repeated, total, samples, "aggregate"))
        elif rule.rows is not None:
            low, high = rule.rows
            verdicts.append(_of_figure(rule, total, low <= total <= high, {"rows": total, "allowed": [low, high]}))
        elif rule.measure is not None:
            verdicts.append(_of_measure(rule, rule.measure, figure, total))
        elif rule.fresh is not None:
            verdicts.append(_of_age(rule, rule.fresh, figure, total, as_of))
        elif rule.change is not None:
            verdicts.append(change.verdict(rule, figures, previous))
        if not rule.unique:
            looked = rows is None or f"rule{i}" in counted or bool(rule.change and rule.change.column)
            verdicts[-1] = replace(verdicts[-1], decided_by="aggregate" if looked else "figures")
    return verdicts


def _figure(rule: Rule, contract: Contract) -> Column | None:
    """What must be computed over all rows for a rule, if anything."""
    from pyspark.sql import functions as f

    repeated = rule.unique or (rule.measure.repeated if rule.measure else ())
    if repeated:
        return f.count_distinct(f.struct(*[f.col(f"`{name}`") for name in repeated]))
    if rule.measure and rule.measure.counted:
        return f.count_if(f.expr(rule.measure.counted))
    if rule.fresh:
        return _end(rule.fresh.column, contract)
    return None


def _end(column: str, contract: Contract) -> Column:
    """The newest moment of a column, in seconds of UTC; that of a date is its end, of a wall clock as if it stood in UTC."""
    from pyspark.sql import functions as f

    newest = f.max(f.col(f"`{column}`"))
    of = kind(contract.schema()[column])
    if of == "date":
        return (f.unix_date(newest).cast("bigint") + 1) * 86400
    if of == "timestamp_ntz":
        epoch = f.lit("1970-01-01 00:00:00").cast("timestamp_ntz")
        return f.timestamp_diff("SECOND", epoch, newest)
    return f.unix_seconds(newest)


def _of_figure(rule: Rule, judged: int, passed: bool, told: Mapping[str, Any], allowed: str = "", bad: int = 1) -> Verdict:
    note = () if passed else (json.dumps(told),)
    return Verdict(rule.name, rule.severity, 0 if passed else bad, judged, 0, passed, rule.description, note, allowed)


def _of_measure(rule: Rule, measure: Figure, figure: Any, total: int) -> Verdict:
    if measure.repeated:
        counted = total - int(figure or 0)
    elif measure.counted:
        counted = int(figure or 0)
    else:
        counted = total
    value = 100 * counted / total if measure.percent and total else float(counted)
    passed = (measure.percent and not total) or measure.must.allows(value)
    unit = " percent" if measure.percent else ""
    told = {"counted": counted, "rows": total} | ({"percent": round(value, 4)} if measure.percent else {})
    # what is better rare is counted as bad rows; of anything else only that it is not as it must be
    bad = counted if measure.must.allows(0) and counted else 1
    return _of_figure(rule, total, passed, told, f"must be {measure.must}{unit}", bad)


def _of_age(rule: Rule, fresh: Freshness, newest: int | None, total: int, as_of: date | None) -> Verdict:
    allowed = f"at most {fresh.text} old"
    if as_of is None:
        return _of_figure(rule, total, True, {}, allowed)
    if newest is None:
        return _of_figure(rule, total, False, {"newest": None, "rows": total, "logical date": str(as_of)}, allowed)
    age = (as_of - date(1970, 1, 1)).days * 86400 + 86400 - newest
    told = {"hours old": round(age / 3600, 2), "logical date": str(as_of)}
    return _of_figure(rule, total, age <= fresh.seconds, told, allowed)


def _repeated(frame: DataFrame, rule: Rule, contract: Contract) -> tuple[str, ...]:
    from pyspark.sql import functions as f

    counted = frame.groupBy(*rule.unique).agg(f.count(f.lit(1)).alias("_rows")).filter("_rows > 1")
    names = [*showable(rule.unique, contract), "_rows"]
    rows = counted.orderBy(*rule.unique).limit(SAMPLES).select(f.to_json(f.struct(*names)))
    return tuple(row[0] for row in rows.collect())

"""Rules on how a dataset changes from run to run: volume, mean, distinct values, distribution.

The figures of past runs are given, newest last, one mapping for each run of the dataset:
`{"rows": int, "mean": {column: float}, "distinct": {column: int}, "distribution": {column: {bin: rows}}}`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract, Rule
from medallion.odcs.conditions import BINARY, NUMBERS, kind
from medallion.quality.verdict import Verdict
from medallion.rule_kinds import Change

if TYPE_CHECKING:
    from pyspark.sql import Column

HASHED = 16
"""Into how many bins text and truth values fall, by their hash."""
_TENS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e6)
EDGES = (*(-edge for edge in reversed(_TENS)), 0.0, *_TENS)
"""Where numbers are cut if the contract names no edges."""
_PRECISION = 0.01
"""Relative standard deviation of the approximate number of distinct values (HyperLogLog++)."""


def psi(now: Mapping[str, int], before: Mapping[str, int]) -> float:
    """Population stability index: the sum over all bins of (a - e) * ln(a / e), for the shares a now and e before.

    0 is the same distribution; 0.1 and 0.25 are the customary limits of a slight and of a great shift. Source: N.
    Siddiqi, Credit Risk Scorecards, Wiley 2006. Half a row is added to every bin, so that an empty one has a logarithm.
    """
    bins = now.keys() | before.keys()

    def shares(counts: Mapping[str, int]) -> dict[str, float]:
        total = sum(counts.values()) + len(bins) / 2
        return {name: (counts.get(name, 0) + 0.5) / total for name in bins}

    actual, expected = shares(now), shares(before)
    return math.fsum((actual[name] - expected[name]) * math.log(actual[name] / expected[name]) for name in bins)


def verdict(rule: Rule, figures: Mapping[str, Any], previous: Sequence[Mapping[str, Any]]) -> Verdict:
    """The verdict of a rule on change.

    Args:
        figures: those of this write, as in the module's text.
        previous: those of earlier runs; with fewer than the rule's `runs` it holds, and its sample says so.
    """
    change = rule.change
    assert change is not None
    rows = int(figures["rows"])
    now = _of(change, figures)
    then = [found for past in previous if (found := _of(change, past)) is not None]
    if isinstance(now, Mapping):  # a history with other edges is another history
        then = [found for found in then if found.keys() == now.keys()]
    then = then[-change.runs :]
    told: dict[str, Any] = {"change": change.metric, "runs": len(then), "within": change.within}
    if now is None or len(then) < change.runs:
        why = "there are no values" if now is None else f"{len(then)} of {change.runs} earlier runs are known"
        return _verdict(rule, rows, True, told | {"not judged": why}, figures)
    if isinstance(now, Mapping):
        pooled = {name: sum(found[name] for found in then) for name in now}
        by = psi(now, pooled)
        told["psi"] = round(by, 4)
    else:
        usual = float(median(then))
        by = abs(now - usual) / abs(usual) if usual else (0.0 if now == usual else math.inf)
        told |= {"now": now, "usual": usual, "by": round(by, 4) if by < math.inf else "all of it"}
    return _verdict(rule, rows, by <= change.within, told, figures)


def _of(change: Change, figures: Mapping[str, Any]) -> Any:
    """The figure that a rule compares, or None where there is none."""
    if change.metric == "volume":
        return figures.get("rows")
    found = (figures.get(change.metric) or {}).get(change.column)
    if isinstance(found, float) and not math.isfinite(found):
        return None
    return found


def runs(contract: Contract) -> int:
    """How many earlier runs its rules on change look back on; 0 if it has none."""
    return max((rule.change.runs for rule in contract.rules if rule.change), default=0)


def merged(metrics: Mapping[str, Any], verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """The metrics of one write with the figures that its rules on change have looked at, as later runs will want them."""
    found = dict(metrics)
    for metric, of_columns in ((m, f) for verdict in verdicts for m, f in verdict.figures.items() if m != "rows"):
        found[metric] = found.get(metric, {}) | of_columns
    return found


def again(
    write: dict[str, Any], contract: Contract, previous: Callable[[date, int], Sequence[Mapping[str, Any]]], run_date: date | None
) -> None:
    """Put new verdicts of its rules on change into a write's entry of the story, from the figures that it has there.

    Args:
        previous: gives the figures of so many dates before one, newest last.
        run_date: the logical date of the run, for a table that is made whole.
    """
    back, when = runs(contract), write["logical_date"] or run_date
    if not back or when is None:
        return
    past, rules = previous(when, back), {rule.name: rule for rule in contract.rules if rule.change}
    for i, old in enumerate(write["verdicts"]):
        if rule := rules.get(old["rule"]):
            now = verdict(rule, write["metrics"] | {"rows": old["judged"]}, past)
            write["verdicts"][i] = replace(now, decided_by=old["decided_by"]).as_json()


def _verdict(rule: Rule, rows: int, passed: bool, told: dict[str, Any], figures: Mapping[str, Any]) -> Verdict:
    note = (json.dumps(told),) if not passed or "not judged" in told else ()
    change = rule.change
    assert change is not None
    now = _of(change, figures)
    own: dict[str, Any] = {change.metric: {change.column: now}} if change.column and now is not None else {}
    limit = f"may change by {change.within:g}"
    return Verdict(rule.name, rule.severity, 0 if passed else 1, rows, 0, passed, rule.description, note, limit, own)


# ── the figures of this write ─────────────────────────────────────────────────────────────────────
def aggregates(rules: Iterable[Rule], contract: Contract) -> list[Column]:
    """What an aggregate must compute for these rules; `figures` reads it. Null and NaN are in no mean, and have bins of
    their own."""
    from pyspark.sql import functions as f

    found: dict[str, Column] = {}
    for change in _changes(rules):
        column = f.col(f"`{change.column}`")
        of = kind(contract.schema()[str(change.column)])
        if change.metric == "mean":
            number = f.nanvl(column, f.lit(None)) if of in BINARY else column
            found[_alias(change)] = f.avg(number.cast("double"))
        elif change.metric == "distinct":
            found[_alias(change)] = f.approx_count_distinct(column, _PRECISION)
        else:
            for name, condition in _bins(change, of).items():
                found[f"{_alias(change)}:{name}"] = f.count_if(f.expr(condition))
    return [column.alias(name) for name, column in found.items()]


def figures(rules: Iterable[Rule], rows: int, counted: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of this write, out of the row that `aggregates` gave."""
    found: dict[str, Any] = {"rows": rows}
    for change in _changes(rules):
        alias, of_metric = _alias(change), found.setdefault(change.metric, {})
        if change.metric == "distribution":
            of_metric[change.column] = {k.removeprefix(f"{alias}:"): v for k, v in counted.items() if k.startswith(f"{alias}:")}
        elif counted[alias] is not None:
            of_metric[change.column] = counted[alias]
    return found


def _changes(rules: Iterable[Rule]) -> list[Change]:
    """The rules on columns, one for each figure."""
    return list({_alias(r.change): r.change for r in rules if r.change and r.change.column}.values())


def _alias(change: Change) -> str:
    return f"{change.metric}:{change.column}"


def _bins(change: Change, of: str) -> dict[str, str]:
    """Every bin of a column and the condition of its rows; a row is in exactly one."""
    name = f"`{change.column}`"
    found = {"null": f"{name} IS NULL"}
    if of not in NUMBERS:
        hashed = f"{name} IS NOT NULL AND pmod(xxhash64({name}), {HASHED})"  # null has a hash as well
        return found | {f"#{i}": f"{hashed} = {i}" for i in range(HASHED)}
    number = f"cast({name} AS double)"
    edges = change.edges or EDGES
    if of in BINARY:
        found["nan"] = f"isnan({name})"
    found[f"below {edges[0]:g}"] = f"{number} < {edges[0]!r}D"
    found |= {f"from {low:g}": f"{number} >= {low!r}D AND {number} < {high!r}D" for low, high in pairwise(edges)}
    above = f"{number} >= {edges[-1]!r}D"
    return found | {f"from {edges[-1]:g}": f"{above} AND NOT isnan({number})" if of in BINARY else above}

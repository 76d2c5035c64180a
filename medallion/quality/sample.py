"""A look at a few rows before a dataset's first write: what later writes are told by the history.

Which rules are broken at all, and which columns have more values than a dictionary holds. It changes where a rule is
judged, never its verdict; so it may be wrong, and is not worth a shuffle: only plans are sampled whose first rows are
to be had without working out the others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract, Rule
from medallion.lakehouse.tuning import INTERPRETED, tuned
from medallion.quality import conditions
from medallion.quality.dictionaries import FEW
from medallion.quality.rules import bare, passes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FIRST_ROWS = 5_000
"""Where 1 row in 1,000 is broken, so many rows show it 99 times in 100."""
ROWS = 30_000
"""Of rules that 1 row in 10,000 breaks, so many rows show 95 in 100."""
_NARROW = re.compile(
    r"(WholeStageCodegen|InputAdapter|ColumnarToRow|Project|Filter|Generate|LocalTableScan|Range)\b|(Batch)?Scan\b"
)
"""Nodes of a plan whose first rows come without the others."""


@dataclass(frozen=True)
class Sample:
    """Of the first rows: the rules that some of them broke, and the columns of too many distinct values for a dictionary."""

    broken: frozenset[str]
    varied: frozenset[str]


def look(frame: DataFrame, rules: Sequence[Rule], contract: Contract) -> Sample | None:
    """Judge a frame's first FIRST_ROWS rows by rules on rows, all at once; and if some are broken its first ROWS rows by each.

    One job or two, over the first partition where that has enough rows.

    Returns: None where the plan is too wide for it, or there is nothing to decide.
    """
    from pyspark.sql import functions as f

    types = contract.schema()
    alone = {rule.name: conditions.names(bare(str(rule.passes)), frame.columns) & set(types) for rule in rules}
    asked = {name for rule in rules if conditions.read(bare(str(rule.passes)), types) is None for name in alone[rule.name]}
    columns = sorted(name for name in asked if types[name] == "string")
    if not rules or not _narrow(frame._jdf.queryExecution().executedPlan()):
        return None
    with tuned(frame.sparkSession, INTERPRETED):
        rows = frame.select(passes(rules), *[f.xxhash64(f.col(f"`{name}`")) for name in columns]).take(FIRST_ROWS)
        varied = {name for i, name in enumerate(columns, 1) if len({row[i] for row in rows}) > min(FEW, len(rows) // 2)}
        numbers: set[int] = set()
        if not all(row[0] for row in rows):
            which = f.concat(*[f.when(passes([rule]), "").otherwise(f"{i} ") for i, rule in enumerate(rules)])
            broken = f.when(passes(rules), "").otherwise(which)  # rule by rule only for the few that broke something
            numbers = {int(number) for row in frame.select(broken).take(ROWS) for number in row[0].split()}
    return Sample(frozenset(rules[number].name for number in numbers), frozenset(varied))


def _narrow(plan: Any) -> bool:
    """Whether a plan's first rows come without working out the others."""
    children = plan.children()
    return bool(_NARROW.match(plan.nodeName())) and all(_narrow(children.apply(i)) for i in range(children.length()))

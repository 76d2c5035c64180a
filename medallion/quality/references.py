"""Rows that point into other datasets: whether what they point to is there, known in the pass that writes them.

Beside the rows come the distinct keys of the referenced dataset, with a left join that Spark broadcasts where they are
few. So a reference costs no job over the new rows of its own, and is then a rule on rows like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medallion.contract import Contract
from medallion.rule_kinds import FLAG

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def flagged(frame: DataFrame, contract: Contract, read: Callable[[str], DataFrame]) -> DataFrame:
    """Rows with the columns that the contract's rules on references look at.

    Args:
        read: the rows of a dataset, as of the version that the run reads.
    Returns: the same rows, each once, with a boolean `_refers_<rule>` for each such rule.
    """
    from pyspark.sql import functions as f

    for rule in contract.rules:
        if rule.reference is None:
            continue
        pairs = list(zip(rule.reference.columns, rule.reference.to_columns, strict=True))
        keys = read(rule.reference.to).select(*[f.col(f"`{there}`").alias(f"_to{i}") for i, (_, there) in enumerate(pairs)])
        keys = keys.filter(" AND ".join(f"{name} IS NOT NULL" for name in keys.columns))  # dropna would drop NaN too
        keys = keys.distinct().withColumn("_there", f.lit(True))
        same = [f.col(f"`{here}`") == f.col(f"_to{i}") for i, (here, _) in enumerate(pairs)]
        there = f.coalesce("_there", f.lit(False)).alias(f"{FLAG}{rule.name}")
        columns = [f.col(f"`{name}`") for name in frame.columns]
        frame = frame.join(keys, same, "left").select(*columns, there)
    return frame

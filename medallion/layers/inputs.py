"""What a transform reads: tables on the run's branch, cut to dates; of bronze only the deliveries that count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from medallion.lakehouse.branch import Branch
from medallion.layers.plan import Plan

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def read(branch: Branch, plan: Plan, dataset: str, dates: Sequence[date | None]) -> DataFrame:
    """One input, cut to what is read of it. Args: dates: as `Plan.read_dates` has them; [None] stands for all of it."""
    from pyspark.sql import functions as f

    frame, contract = branch.read(dataset), plan.domains.contracts[dataset]
    wanted = [d for d in dates if d is not None]
    if contract.layer == "bronze":
        counting = [one for d in dates for one in plan.counting(dataset, d)]
        condition: Column = f.col("_delivery").isin([one.delivery for one in counting])
        return frame.filter(f.col("_logical_date").isin([one.logical_date for one in counting]) & condition)
    if wanted:
        return frame.filter(f.col(str(contract.partition_column)).isin(wanted))
    return frame

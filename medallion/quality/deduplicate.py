"""Drop what is there twice, as the contract says, before rows are judged; count it by reason in the same pass.

Rows are brought together once, by the key: one window finds the latest of each key, another, over the same
partitions, the copies. Which row stays is decided by what rows say and by when they were delivered, never by
when a run saw them, so the order of runs makes no difference.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING

from medallion.contract import UNPARSED, Contract, Rule
from medallion.errors import MedallionError
from medallion.quality.observation import observed_counts
from medallion.quality.verdict import Judged

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

REASONS = ("exact_copy", "older")
"""Why a row is dropped: an exact copy of one that is kept or itself `older`; older than the one that is kept of its key."""
_DROPPED = "_dropped"


class Deduplicated:
    """A frame without the rows that its contract has dropped: `frame`. It counts them while it is written.

    - `exact`: of the rows that agree in every column of the contract the one delivered first stays (nulls agree).
    - `latest_by`: of the rows of one key the one with the greatest value in that column stays (null is the
      least); of equal ones the one delivered last, then the one further down in its file. With `exact` as well,
      copies are counted as copies, and the rest as `older`.

    A row that does not parse, or that lacks a column of its key, is the same as no other: it goes on to the gate.
    """

    def __init__(self, frame: DataFrame, contract: Contract) -> None:
        self.contract = contract
        self._marked: DataFrame | None = None
        self.frame = frame
        wanted = contract.deduplicate
        if wanted.exact or wanted.latest_by:
            from pyspark.sql import Observation
            from pyspark.sql import functions as f

            self._observation = Observation()
            self._marked = _marked(frame, contract)
            observed = self._marked.observe(self._observation, *_counters())
            self.frame = observed.filter(f.col(_DROPPED).isNull()).drop(_DROPPED)

    def settled(self) -> tuple[Rule, ...]:
        """The rules on a key that all good rows keep, because there is only the latest of each: where what does not parse
        or lacks a part of the key is put aside."""
        if self.contract.deduplicate.latest_by is None:
            return ()
        alone = {"parses", *(f"{name}_required" for name in self.contract.key)}
        if not alone <= {rule.name for rule in self.contract.row_rules if rule.puts_aside}:
            return ()
        return tuple(
            r for r in self.contract.table_rules if r.scope == "write" and r.unique and {*self.contract.key} <= {*r.unique}
        )

    def dropped(self, judged: Judged) -> dict[str, int]:
        """How many rows were dropped, by reason; {} where the contract drops none.

        Args:
            judged: what came of writing `frame`; its figures agree with the commit's own.
        Raises: MedallionError if rows in are not rows out, quarantined and dropped.
        """
        if judged.rows_in != judged.rows_out + judged.quarantined:
            raise _unbalanced(self.contract, judged, {})
        if self._marked is None:
            return {}
        counted = observed_counts(self._observation)
        if counted is None or counted["rows"] != judged.rows_in + sum(counted[reason] for reason in REASONS):
            # an observed counter can count a retried task twice; what was written cannot
            row = self._marked.agg(*_counters()).first()
            counted = row.asDict() if row else {}
        found = {reason: counted[reason] for reason in REASONS if _possible(reason, self.contract)}
        if counted["rows"] != judged.rows_in + sum(found.values()):
            raise _unbalanced(self.contract, judged, found, counted["rows"])
        return found


def latest(frame: DataFrame, contract: Contract) -> DataFrame:
    """The latest row of each key, of rows that parse and have a key; see `Deduplicated`."""
    from pyspark.sql import functions as f

    has_key = [f.col(f"`{name}`").isNotNull() for name in contract.key]
    found = _marked(frame, contract).filter(f.col(_DROPPED).isNull() & f.col(UNPARSED).isNull())
    return found.filter(reduce(operator.and_, has_key)).drop(_DROPPED)


def _possible(reason: str, contract: Contract) -> bool:
    return contract.deduplicate.exact if reason == "exact_copy" else contract.deduplicate.latest_by is not None


def _marked(frame: DataFrame, contract: Contract) -> DataFrame:
    """The frame with why each row is dropped in `_dropped`, null where it stays."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    wanted, columns = contract.deduplicate, [column.name for column in contract.columns]
    alone = f.col(UNPARSED).isNotNull()
    if wanted.latest_by is None:
        same = Window.partitionBy(*columns, UNPARSED).orderBy("_delivery", "_source_row")
        return frame.withColumn(_DROPPED, f.when(~alone & (f.row_number().over(same) > 1), f.lit("exact_copy")))
    for name in contract.key:
        alone |= f.col(f"`{name}`").isNull()
    last = [f.desc_nulls_last(wanted.latest_by), f.desc("_delivery"), f.desc("_source_row")]
    # the key first: the second window needs no further exchange then
    rank = f.row_number().over(Window.partitionBy(*contract.key).orderBy(alone, *last))
    older: Column = f.lit("older")
    if wanted.exact:
        rest = [name for name in columns if name not in contract.key]
        copy = f.row_number().over(Window.partitionBy(*contract.key, *rest, UNPARSED).orderBy(*last[1:]))
        older = f.when(copy > 1, f.lit("exact_copy")).otherwise(older)
    return frame.withColumn(_DROPPED, f.when(~alone & (rank > 1), older))


def _counters() -> list[Column]:
    from pyspark.sql import functions as f

    counted = [f.count_if(f.coalesce(f.col(_DROPPED) == reason, f.lit(False))).alias(reason) for reason in REASONS]
    return [f.count(f.lit(1)).alias("rows"), *counted]


def _unbalanced(contract: Contract, judged: Judged, dropped: Mapping[str, int], rows: int | None = None) -> MedallionError:
    rows = judged.rows_in if rows is None else rows
    kinds = "".join(f", {n} {reason}" for reason, n in dropped.items())
    return MedallionError(
        f"{contract.dataset}: {rows} rows came in, and {judged.rows_out} were written, {judged.quarantined} quarantined"
        f"{kinds}: that is not the same; nothing of the run is merged",
        hint="does the transform give the same rows each time (no clock, no rand, no limit without an order)? run it again",
        dataset=contract.dataset,
    )

"""How many rows came by a place of a plan, from what Spark counts of every plan anyway.

An `observe` would break the generated code at that place, and its counter rides along with each row. A filter that
lets every row pass is part of that code, and Spark counts what each filter lets pass.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_RECENT = 20
"""Among so many of the last executions the one that took the rows is looked for."""
_ROWS = "number of output rows"


class Counted:
    """A frame whose rows are counted as they are taken; take `frame` once, then ask `rows`.

    Spark leaves failed tasks out of a plan's figures. Of a stage that was done again it keeps the last attempt alone, which
    makes only the missing partitions: then it is not believed.
    """

    def __init__(self, frame: DataFrame) -> None:
        self._mark = f"-{secrets.randbits(48)}"
        # not deterministic, so that Spark neither drops it nor moves another filter beneath it
        self.frame = frame.filter(f"monotonically_increasing_id() > {self._mark}L")
        self._session = frame.sparkSession

    def rows(self) -> int | None:
        """How many rows came by, or more: those that a plan takes twice, as a sort by ranges does, are counted twice.

        Returns: None where Spark does not tell: it planned the place away, has lost some of its own figures, did a stage
            again, or does not answer in time.
        """
        from py4j.protocol import Py4JError

        try:
            return self._rows()
        except Py4JError:
            return None

    def _rows(self) -> int | None:
        bus = self._session.sparkContext._jsc.sc().listenerBus()
        bus.waitUntilEmpty()
        if bus.metrics().metricRegistry().counter("queue.appStatus.numDroppedEvents").getCount():
            return None
        store = self._session._jsparkSession.sharedState().statusStore()
        for execution in reversed([*_each(store.executionsList(max(0, store.executionsCount() - _RECENT), _RECENT))]):
            graph = store.planGraph(execution.executionId())
            here = [node for node in _each(graph.allNodes()) if node.name() == "Filter" and self._mark in node.desc()]
            if here:
                once = all(self._was_done_once(stage) for stage in _each(execution.stages()))
                return self._told(store.executionMetrics(execution.executionId()), here) if once else None
        return None

    def _was_done_once(self, stage: int) -> bool:
        info = self._session.sparkContext.statusTracker().getStageInfo(stage)
        return info is not None and info.currentAttemptId == 0

    def _told(self, values: Any, here: list[Any]) -> int | None:
        found = [values.get(m.accumulatorId()) for m in _each(here[0].metrics()) if m.name() == _ROWS]
        if len(here) != 1 or len(found) != 1 or not found[0].isDefined():
            return None
        return int(re.sub(r"\D", "", found[0].get()) or 0)


def _each(scala: Any) -> Iterator[Any]:
    iterator = scala.iterator()
    while iterator.hasNext():
        yield iterator.next()

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
    """A frame whose rows are counted as they are taken; take `frame` once, then ask `rows`."""

    def __init__(self, frame: DataFrame) -> None:
        self._mark = f"-{secrets.randbits(48)}"
        # not deterministic, so that Spark neither drops it nor moves another filter beneath it
        self.frame = frame.filter(f"monotonically_increasing_id() > {self._mark}L")
        self._session = frame.sparkSession

    def rows(self) -> int | None:
        """How many rows came by, or more: those of a task that was done again are counted again.

        Returns: None where Spark does not tell: it planned the place away, or has lost some of its own figures.
        """
        bus = self._session.sparkContext._jsc.sc().listenerBus()
        bus.waitUntilEmpty()
        if bus.metrics().metricRegistry().counter("queue.appStatus.numDroppedEvents").getCount():
            return None
        store = self._session._jsparkSession.sharedState().statusStore()
        for execution in reversed([*_each(store.executionsList(max(0, store.executionsCount() - _RECENT), _RECENT))]):
            graph = store.planGraph(execution.executionId())
            here = [node for node in _each(graph.allNodes()) if node.name() == "Filter" and self._mark in node.desc()]
            if here:
                return self._told(store.executionMetrics(execution.executionId()), here)
        return None

    def _told(self, values: Any, here: list[Any]) -> int | None:
        found = [values.get(m.accumulatorId()) for m in _each(here[0].metrics()) if m.name() == _ROWS]
        if len(here) != 1 or len(found) != 1 or not found[0].isDefined():
            return None
        return int(re.sub(r"\D", "", found[0].get()) or 0)


def _each(scala: Any) -> Iterator[Any]:
    iterator = scala.iterator()
    while iterator.hasNext():
        yield iterator.next()

"""Cases that go through the whole Spark pipeline: `python -m tests.crash --spark`.

The command that meets the fault is a process with a JVM of its own; whoever recovers afterwards keeps his from case to case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from medallion.settings import Settings
from tests.crash.case import Site
from tests.crash.invariants import Watch
from tests.crash.spark_place import Place, ShopWatch, SparkPlace, open_shop
from tests.crash.victim import PATIENCE_S, Ended, heal
from tests.two_processes import Process

STEPS = (
    "fetch", "write", "data.append", "data.merge", "data.overwrite", "data.compact", "data.staged", "quarantine", "gate",
    "merge.request", "merge.commit", "rebase.commit", "rebase.rules", "undo.tables", "undo.rules", "publish.commit",
    "run.branch.remove",
)  # fmt: skip
"""The steps of a run that are passed with Spark only, and some of the others, where a JVM goes on when its command is killed."""
SCENARIOS = {
    "rebase.commit": "conflict", "rebase.rules": "conflict", "undo.tables": "revert", "undo.rules": "revert an earlier one",
}  # fmt: skip


class SparkSite(Site):
    """The shop, and who recovers in it."""

    lasts: ClassVar = 40
    nth: ClassVar = {"write": (1, 2, 3), "data.staged": (1, 2), "data.compact": (1,)}

    def __init__(self, stack: Settings, warehouse: str, shop: Callable[[Settings], SparkPlace]) -> None:
        self._shop = shop
        self._healer: Process | None = None
        super().__init__(stack, warehouse)

    def new_place(self, settings: Settings, domain: str) -> Place:
        return self._shop(settings)

    def new_watch(self) -> Watch:
        return ShopWatch(self.place)

    def scenario(self, step: str) -> str:
        return SCENARIOS.get(step, "run")

    def recover(self, what: str) -> Ended:
        self._healer = self._healer or Process(heal, (self.place,))
        self._healer.say((what, self.day))
        ended = self._healer.hear(PATIENCE_S)
        assert isinstance(ended, Ended), ended
        return ended

    def close(self) -> None:
        if self._healer:
            self._healer.end()
        super().close()


@contextmanager
def sites() -> Iterator[Callable[[Settings, str], SparkSite]]:
    """The shop is open. Yields: what makes a site of it on a stack; one at a time, as all have the same tables."""
    earlier: list[SparkSite] = []

    def new(stack: Settings, warehouse: str) -> SparkSite:
        made = SparkSite(stack, warehouse, shop)
        made.day = earlier[-1].day + 2 if earlier else 0
        earlier.append(made)
        return made

    with open_shop() as shop:
        yield new

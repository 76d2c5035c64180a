"""The steps that only Spark passes, once each with a fault on the way to a server: as `make crash SPARK=1` does it, but in this
process, whose session is there. Nobody can be killed here, so the faults are lost requests, lost answers and errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import Pipe

import pytest

from medallion import pipeline, session
from medallion.lakehouse import steps
from tests.conftest import new_stack
from tests.crash.case import run_case
from tests.crash.faults import Fault
from tests.crash.spark_case import SparkSite
from tests.crash.spark_place import open_shop
from tests.crash.test_every_step import WITH_SPARK
from tests.crash.victim import Ended, suffer
from tests.toy_domains import QUICK

KINDS = {
    "data.merge": "answer lost", "data.compact": "request lost", "data.staged": "answer lost", "rebase.rules": "error answered",
    "undo.rules": "error answered",
}  # fmt: skip


class Here(SparkSite):
    """The shop, whose commands run in this process."""

    def child(self, fault: Fault | None, what: str) -> Ended:
        ours, _theirs = Pipe()
        try:
            return suffer(ours, self.place, fault, what, self.day)
        finally:
            steps.around = None

    def recover(self, what: str) -> Ended:
        return self.child(None, what)


@pytest.fixture(scope="module")
def shop() -> Iterator[Here]:
    """The shop, in which a day has been published, on a stack of its own: its tables have names that other tests' have too."""
    with new_stack() as stack, open_shop() as place:
        made = Here(stack, "postgres", place)
        try:
            made.prepare()
            yield made
        finally:
            made.close()
        spark = session.start(stack)  # which is shared with other tests
        for option in QUICK:
            spark.conf.unset(option)


@pytest.mark.parametrize("step", KINDS)
def test_a_fault_at_a_step_of_spark_violates_nothing(shop: Here, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "merge", pipeline.merge)  # a conflict is made there, and must not stay
    for seed in range(1, 7):
        if result := run_case(shop, step, KINDS[step], seed):
            break
    assert result, "the fault never came"
    assert not result.violations


def test_every_step_of_spark_has_its_turn() -> None:
    assert set(KINDS) == WITH_SPARK

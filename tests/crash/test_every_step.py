"""Every step that is passed without Spark once, each with one of the faults; `make crash` does many of each.

After each case everything is resumed and run again, and all invariants of docs/guarantees.md are checked over what the
servers hold (tests/crash/invariants.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from medallion.lakehouse.steps import STEPS
from medallion.settings import Settings
from tests.crash.__main__ import WITHOUT_SPARK, possible
from tests.crash.case import Site, run_case, scenario, site
from tests.crash.faults import KILLS

QUICK = (*KILLS, "answer lost", "request lost", "error answered")
"""The faults that take no longer than a run."""
WITH_SPARK = {"data.merge", "data.compact", "data.staged", "rebase.rules", "undo.rules"}
APART = {name for name in STEPS if name.startswith(("backup.", "restore.", "alert.", "audit.", "lineage."))}
"""Steps of copies, of new stacks, of alerts, the audit log and lineage, each with tests of its own: test_backup.py,
test_alert_messages.py, test_audit.py, test_openlineage.py."""
NOT_HIT = {"publish.exchange", "publish.marts.build", "marts.build", "ops.rebuild", "publish.whole"}
"""Steps that no day of the harness passes, and the one that holds all others of a publication; tests of their own have their
failures."""


@pytest.fixture(scope="module")
def prepared(stack: Settings) -> Iterator[Site]:
    """A place in which a day has been published."""
    with site(stack, "postgres") as made:
        yield made


def fault_for(number: int, step: str) -> str:
    """A fault for each step, so that every fault comes at several."""
    kinds = [kind for kind in QUICK if possible(step, kind)]
    return kinds[number % len(kinds)]


@pytest.mark.parametrize(("step", "kind"), [(step, fault_for(i, step)) for i, step in enumerate(WITHOUT_SPARK)])
def test_a_fault_at_a_step_violates_nothing(stack: Settings, prepared: Site, step: str, kind: str) -> None:
    with ExitStack() as closing:
        fresh = scenario(step) == "first"
        here = closing.enter_context(site(stack, "postgres", prepared=False)) if fresh else prepared
        for seed in range(1, 7):
            if result := run_case(here, step, kind, seed):
                break
        assert result, "the fault never came"
    assert not result.violations


def test_no_step_is_forgotten() -> None:
    assert set(WITHOUT_SPARK) | WITH_SPARK | NOT_HIT | APART == set(STEPS)

"""Runs of the protocol itself, with real branches and commits, as the dashboards show them."""

from __future__ import annotations

import pytest

from medallion.lakehouse.run import fail
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.ops_databases import connect
from tests.protocol_runs import VALUE, ProtocolRuns, another_value
from tests.ui import seed_tables
from tests.ui.browsing import Site


@pytest.fixture(scope="module")
def real_runs(stack: Settings) -> dict[str, str]:
    """A run on main and one that failed, by their ids."""
    shown = gold("seen", VALUE, domain="dashboards")
    with ProtocolRuns(stack) as runs:
        merged, judged = runs.written({shown: another_value(1)})
        runs.merge(merged, judged)
        runs.journal.release(merged.id)
        failed, _ = runs.written({shown: another_value(2)})
        fail(runs.journal, failed, "ServiceUnavailable: the source does not answer")
    with connect(stack.postgres, stack.postgres.database) as db:
        seed_tables.make(db)
    return {"merged": merged.id, "failed": failed.id}


def test_a_merged_run_is_shown_as_it_is(real_site: Site, real_runs: dict[str, str]) -> None:
    real_site.open(f"run?run={real_runs['merged']}")
    assert "It is on main" in real_site.text
    assert "gold.dashboards.seen" in real_site.text
    assert real_site.page.locator(".stVegaLiteChart").count() == 1, "its steps"


def test_a_failed_run_is_the_first_thing_that_is_told(real_site: Site, real_runs: dict[str, str]) -> None:
    real_site.open()
    assert "Today is not all right" in real_site.title
    real_site.follow(f"run?run={real_runs['failed']}")
    assert "It failed; main is as it was" in real_site.text
    assert "the source does not answer" in real_site.text

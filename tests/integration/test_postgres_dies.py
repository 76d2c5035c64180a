"""PostgreSQL (the journal, and Nessie's version store) dies in the middle of a run, on a stack of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from medallion import recovery
from medallion.domain import Domains
from medallion.errors import ServiceUnavailable
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, Nessie, Reference
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.services import process
from medallion.services import stack as services
from medallion.services.state import read
from medallion.settings import Settings
from tests import toy_domains
from tests.conftest import new_home

DAYS = iter(date(2021, 7, 1) + timedelta(days=n) for n in range(10))
DOMAIN = "mortal"


class Place:
    """A toy domain on a stack of its own; every run has connections of its own, as a process has."""

    def __init__(self, settings: Settings, domains: Domains) -> None:
        self.settings, self.domains = settings, domains

    def run(self, day: date, report: Callable[[str], None] = lambda _: None) -> Outcome:
        with Lake(self.settings, self.domains) as lake:
            return execute(lake, Request(day), report)

    def deliver(self) -> date:
        day = next(DAYS)
        toy_domains.deliver(self.settings, DOMAIN, "counts", day, ["amount", "1", "2"])
        return day

    def kill_postgres(self) -> None:
        """SIGKILL to the server, whose other processes then end by themselves."""
        state = read(self.settings)
        assert state is not None
        running = process.recorded(state.record("postgres"))
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        process.wait_for_end(running)

    def up(self) -> None:
        services.up(self.settings, lambda _: None, guard=os.getpid())

    def main(self) -> tuple[Reference, dict[str, Any]]:
        nessie = Nessie(self.settings.nessie)
        try:
            main = nessie.reference(MAIN)
            return main, nessie.contents(main)
        finally:
            nessie.close()

    def resumed(self) -> list[recovery.Resumed]:
        with Lake(self.settings, self.domains) as lake:
            return recovery.resume(lake.nessie, lake.journal)

    def newest_run(self) -> dict[str, Any]:
        with Journal(self.settings.postgres) as journal:
            return journal.runs(1)[0]


@pytest.fixture(scope="module")
def place(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """After one run."""
    toys = toy_domains.takings(tmp_path_factory.mktemp("domains"), DOMAIN)
    empty = Settings().model_copy(update={"home": new_home()})
    try:
        settings = toy_domains.quick(services.up(empty, lambda _: None, guard=os.getpid()))
        place = Place(settings, toys.load(settings))
        assert place.run(place.deliver()).state == "merged"
        yield place
    finally:
        services.down(empty, lambda _: None, remove=True)


def test_a_run_whose_journal_dies_after_its_branch_was_opened_changes_nothing(place: Place) -> None:
    day, before = place.deliver(), place.main()

    def report(line: str) -> None:
        if "branch run/" in line:
            place.kill_postgres()

    with pytest.raises(ServiceUnavailable) as refused:
        place.run(day, report)
    assert refused.value.exit_code == 5
    assert "the journal could not be told: PostgreSQL at" in refused.value.message
    assert "nothing of it is on main" in refused.value.message
    assert "medallion resume" in str(refused.value.hint)
    place.up()
    assert place.main() == before
    run = place.newest_run()
    assert run["run_id"] == refused.value.run
    assert run["state"] == "open"
    assert [(one.run_id, one.after) for one in place.resumed()] == [(run["run_id"], "failed")]
    assert place.main() == before
    assert place.run(day).state == "merged"


def test_a_run_whose_journal_dies_after_the_merge_is_found_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    day, (before, tables) = place.deliver(), place.main()
    commit, merged = Nessie.commit, ""

    def committed(nessie: Nessie, onto: Reference, body: dict[str, Any]) -> str:
        nonlocal merged
        done = commit(nessie, onto, body)
        if onto.name == MAIN:
            merged = done
            place.kill_postgres()
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Nessie, "commit", committed)
        with pytest.raises(ServiceUnavailable) as refused:
            place.run(day)
    assert refused.value.exit_code == 5
    assert f"is merged, main is at {merged[:12]}, but the journal could not be told: PostgreSQL at" in refused.value.message
    assert f"medallion resume {refused.value.run}" in str(refused.value.hint)
    place.up()
    after, contents = place.main()
    assert after.hash == merged != before.hash
    assert contents != tables
    assert place.newest_run()["state"] == "merging"
    assert [(one.run_id, one.after) for one in place.resumed()] == [(refused.value.run, "merged")]
    run = place.newest_run()
    assert (run["state"], run["merged_hash"]) == ("merged", merged)
    assert place.main() == (after, contents)
    nessie = Nessie(place.settings.nessie)
    ours = [c for c in nessie.log(after, until=before.hash) if c.properties.get(RUN_PROPERTY) == refused.value.run]
    assert [c.hash for c in ours] == [merged], "it stands there once"
    assert nessie.references(run["branch"]) == []
    nessie.close()
    assert place.run(day).state == "unchanged"

"""What a killed process left is finished or failed by the evidence; what lives is left alone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest

from medallion import recovery
from medallion.contract import Contract
from medallion.errors import UsageError
from medallion.lakehouse import steps
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Nessie, Reference
from medallion.lakehouse.run import Run, join_run, open_run
from medallion.pipeline import Lake, merge_run
from medallion.recovery import Resumed
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.protocol_runs import VALUE, ProtocolRuns
from tests.protocol_runs import another_value as value
from tests.two_processes import processes

POINTS = ("open", "written", "validated", "journalled", "committed")
"""How far a process gets: `journalled` is before the request is sent, `committed` before the journal hears of it."""


@pytest.fixture(scope="module")
def runs(stack: Settings) -> Iterator[ProtocolRuns]:
    with ProtocolRuns(stack) as runs:
        yield runs


@pytest.fixture
def mine(runs: ProtocolRuns) -> Contract:
    contract = gold("mine", VALUE, domain=f"d{uuid.uuid4().hex[:10]}")
    runs.merged({contract: value(1)})
    return contract


def _work(pipe: Connection, settings: Settings, mine: Contract, point: str) -> None:
    """Get as far as the point, say the run's id, and stay there, holding the run."""
    commit = Nessie.commit

    def stopping(nessie: Nessie, onto: Reference, body: dict[str, Any]) -> str:
        if onto.name != MAIN:
            return commit(nessie, onto, body)
        done = commit(nessie, onto, body) if point == "committed" else ""
        _stay(pipe, body["commitMeta"]["properties"]["medallion.run"])
        return done

    Nessie.commit = stopping
    with ProtocolRuns(settings) as runs:
        if point == "open":
            _stay(pipe, open_run(runs.nessie, runs.journal, "test", None).id)
        run, judged = runs.written({mine: value(2)})
        if point == "written":
            run.save(runs.journal, "written")
        if point in ("written", "validated"):
            _stay(pipe, run.id)
        runs.merge(run, judged)


def _stay(pipe: Connection, run_id: str) -> None:
    pipe.send(run_id)
    pipe.recv()


def resumed(runs: ProtocolRuns, run_id: str) -> Resumed:
    """Resume a run as soon as the server knows that its process is gone."""
    for _ in range(100):
        (found,) = recovery.resume(runs.nessie, runs.journal, run_id)
        if found.why != "a process works on it":
            return found
        time.sleep(0.05)
    raise AssertionError(f"the lock of run {run_id} outlived its process")


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_is_ended_by_the_evidence(stack: Settings, runs: ProtocolRuns, mine: Contract, point: str) -> None:
    before = runs.main().hash
    with processes(_work, [(stack, mine, point)]) as (process,):
        run_id = process.hear()
        state = runs.journal.run(run_id)["state"]
        (alive,) = recovery.resume(runs.nessie, runs.journal, run_id)
        assert (alive.after, alive.why) == (state, "a process works on it")
        assert runs.journal.run(run_id)["state"] == state
        at_kill = runs.main().hash
        assert (at_kill != before) == (point == "committed")
        process.kill()
        found = resumed(runs, run_id)

    run = Run(run_id, "test", None, Reference(MAIN, before), found.after, {})
    if point in ("journalled", "committed"):
        assert (state, found.before, found.after) == ("merging", "merging", "merged")
        (commit,) = runs.commits_of(run)
        assert runs.journal.run(run_id)["merged_hash"] == commit.hash
        assert runs.main().hash == commit.hash == (at_kill if point == "committed" else commit.hash)
        assert (commit.parent, runs.rows(mine)) == (before, value(2))
        assert runs.nessie.references(run.branch) == []
    else:
        assert (state, found.before, found.after) == (point, point, "failed")
        assert "before the merge" in runs.journal.run(run_id)["error"]
        assert (runs.main().hash, runs.rows(mine)) == (before, value(1))
        assert runs.nessie.reference(run.branch), "the branch is kept"
        with pytest.raises(UsageError, match=f"run {run_id} is failed"):
            join_run(runs.nessie, runs.journal, run_id)
    assert recovery.resume(runs.nessie, runs.journal, run_id)[0].why == "it is at an end"


def test_a_killed_merge_whose_tables_moved_meanwhile_conflicts(stack: Settings, runs: ProtocolRuns, mine: Contract) -> None:
    with processes(_work, [(stack, mine, "journalled")]) as (process,):
        run_id = process.hear()
        process.kill()
        quicker = runs.merged({mine: value(9)})
        found = resumed(runs, run_id)

    assert (found.before, found.after) == ("merging", "conflicted")
    assert mine.dataset in found.why
    assert (runs.main().hash, runs.rows(mine)) == (quicker, value(9))


def test_without_an_id_every_run_that_was_left_is_ended_and_no_other(stack: Settings, runs: ProtocolRuns, mine: Contract) -> None:
    parts = open_run(runs.nessie, runs.journal, "test", None, options={recovery.PARTS: True})
    runs.journal.release(parts.id)
    with processes(_work, [(stack, mine, "validated"), (stack, mine, "open"), (stack, mine, "journalled")]) as started:
        killed, alive, merging = started
        ids = {process: process.hear() for process in started}
        story = runs.journal.run(ids[merging])["story"]  # as of a run in parts, whose end was killed
        runs.journal.update(ids[merging], story=story | {"options": {recovery.PARTS: True}})
        killed.kill()
        merging.kill()
        resumed(runs, ids[killed])
        for _ in range(100):
            every = recovery.resume(runs.nessie, runs.journal)  # other tests have left runs as well
            found = {each.run_id: each.after for each in every if each.run_id in ids.values()}
            if found.get(ids[merging]) != "merging":
                break
            time.sleep(0.05)
        assert found == {ids[merging]: "merged", ids[alive]: "open"}
        assert runs.journal.run(ids[alive])["state"] == "open"
    assert runs.journal.run(ids[killed])["state"] == "failed"
    assert runs.journal.run(parts.id)["state"] == "open", "people write it in parts"
    recovery.abandon(runs.journal, parts.id)


def _write_a_part(pipe: Connection, settings: Settings, mine: Contract, run_id: str) -> None:
    """Write on the branch of a run, and stay there before anything of it is noted."""
    with ProtocolRuns(settings) as runs:
        run = join_run(runs.nessie, runs.journal, run_id)
        runs.tables.commit({mine: value(2)}, branch=run.branch)
        _stay(pipe, run.id)


def test_a_part_that_was_killed_half_way_is_never_merged(stack: Settings, runs: ProtocolRuns, mine: Contract) -> None:
    before = runs.main().hash
    run = open_run(runs.nessie, runs.journal, "test", None, options={recovery.PARTS: True})
    runs.journal.release(run.id)
    with processes(_write_a_part, [(stack, mine, run.id)]) as (process,):
        process.hear()
        process.kill()
    with Lake(stack) as lake:
        for _ in range(100):
            with pytest.raises(UsageError) as refused:
                merge_run(lake, run.id, report=lambda line: None)
            if "another process" not in str(refused.value):
                break
            time.sleep(0.05)

    assert "was never judged" in str(refused.value)
    assert (runs.state(run), runs.main().hash, runs.rows(mine)) == ("failed", before, value(1))


def _join(pipe: Connection, settings: Settings, run_id: str) -> None:
    """Join a run, note one write, and let it go."""
    with ProtocolRuns(settings) as runs:
        pipe.send("ready")
        name = pipe.recv()
        while True:
            try:
                run = join_run(runs.nessie, runs.journal, run_id)
                break
            except UsageError as error:
                if "another process works on" not in str(error):
                    raise
                time.sleep(0.001)
        run.writes.append({"dataset": name})
        run.save(runs.journal, "written")
        runs.journal.release(run_id)
        pipe.send(name)


def test_processes_that_join_a_run_lose_nothing_of_each_other(stack: Settings, runs: ProtocolRuns) -> None:
    run = open_run(runs.nessie, runs.journal, "test", None, options={recovery.PARTS: True})
    runs.journal.release(run.id)
    names = [f"part {i}" for i in range(4)]
    with processes(_join, [(stack, run.id)] * len(names)) as started:
        assert [process.hear() for process in started] == ["ready"] * len(names)
        for process, name in zip(started, names, strict=True):
            process.say(name)
        assert sorted(process.hear() for process in started) == names

    assert sorted(write["dataset"] for write in runs.journal.run(run.id)["story"]["writes"]) == names
    recovery.abandon(runs.journal, run.id)


def test_a_run_that_has_just_been_written_down_is_known_to_be_alive(runs: ProtocolRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process resumes at the very moment at which the run's row is there, and nothing else of it."""
    found: list[Resumed] = []

    @contextmanager
    def meanwhile(name: str) -> Iterator[None]:
        yield
        if name == "journal.open":
            with Journal(runs.settings.postgres) as journal:
                newest = journal.runs(1, states=("open",))[0]["run_id"]
                found.extend(recovery.resume(runs.nessie, journal, newest))

    monkeypatch.setattr(steps, "around", meanwhile)
    run = open_run(runs.nessie, runs.journal, "test", None)
    assert [(one.run_id, one.after, one.why) for one in found] == [(run.id, "open", "a process works on it")]
    runs.journal.update(run.id, state="failed", error="left by a test")
    runs.journal.release(run.id)
    runs.nessie.delete_branch(run.branch)

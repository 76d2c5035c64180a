"""Many days at once into one table: all land, none runs again; and what a dead process or connection leaves of it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import pytest

from medallion import pipeline, rebase, recovery
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, Nessie, Reference
from medallion.settings import Settings
from tests.backfills import Backfill, days, expected
from tests.protocol_runs import MERGE_REQUEST
from tests.tcp_proxy import TcpProxy
from tests.two_processes import processes

DAYS, PROCESSES = 32, 4
D1, D2 = days(2)


@pytest.fixture
def backfill(stack: Settings) -> Iterator[Backfill]:
    backfill = Backfill(stack, f"b{uuid.uuid4().hex[:10]}")
    with backfill.written_by_pyiceberg():
        yield backfill


def _fill(pipe: Connection, backfill: Backfill, mine: list[date]) -> None:
    """Fill these days at once, in a thread each; none writes before all have forked, here and elsewhere."""
    open_run, forked, go = pipeline.open_run, threading.Barrier(len(mine) + 1), threading.Event()

    def opened(*arguments: Any, **options: Any) -> Any:
        run = open_run(*arguments, **options)
        if options["retry_of"] is None:
            forked.wait()
            go.wait()
        return run

    pipeline.open_run = opened
    with backfill.written_by_pyiceberg(), ThreadPoolExecutor(len(mine)) as pool:
        running = [pool.submit(backfill.run, day) for day in mine]
        forked.wait()
        pipe.send("forked")
        pipe.recv()
        go.set()
        pipe.send([each.result() for each in running])


def test_backfills_of_many_days_started_together_all_land_by_metadata(backfill: Backfill) -> None:
    every = days(DAYS + 1)
    backfill.run(every[0])  # the table is there
    with processes(_fill, [(backfill, every[1 + n :: PROCESSES]) for n in range(PROCESSES)]) as filling:
        assert [process.hear() for process in filling] == ["forked"] * PROCESSES
        for process in filling:
            process.say("go")
        outcomes = [outcome for process in filling for outcome in process.hear()]

    assert [outcome.state for outcome in outcomes] == ["merged"] * DAYS
    assert [outcome.attempts - outcome.rebased for outcome in outcomes] == [1] * DAYS, "none was run again"
    assert sum(outcome.rebased for outcome in outcomes) >= DAYS - 1
    assert backfill.rows() == expected(*every)
    held, stored = backfill.data_files()
    assert held == stored, "every file that was written is on main: none was written twice"
    assert len(held) == len(every)
    assert [(n, parent) for n, parent, _ in backfill.snapshots()] == [(1, None), *((n, n - 1) for n in range(2, DAYS + 2))]
    assert sorted(day for _, _, day in backfill.snapshots()) == [str(day) for day in every]
    ids = {commit.properties[RUN_PROPERTY] for commit in backfill.commits()}
    assert len(backfill.commits()) == len(ids) == len(every)
    assert {outcome.run_id for outcome in outcomes} < ids


@pytest.mark.parametrize("lost", ["reply", "request"])
def test_a_rebased_merge_whose_answer_is_lost_happens_once(
    stack: Settings, backfill: Backfill, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    server, merge = urlsplit(stack.nessie.uri), pipeline.merge
    meanwhile = [D2]

    def later(*arguments: Any) -> Any:
        if meanwhile:
            backfill.run(meanwhile.pop())
        return merge(*arguments)

    backfill.run(days(3)[2])
    monkeypatch.setattr(pipeline, "merge", later)
    with TcpProxy(str(server.hostname), int(server.port or 0)) as proxy:
        happened = (proxy.drop_reply if lost == "reply" else proxy.drop_request)(MERGE_REQUEST, 2)
        nessie = stack.nessie.model_copy(update={"uri": f"http://127.0.0.1:{proxy.port}"})
        outcome = backfill.run(D1, stack.model_copy(update={"nessie": nessie}))
        sent = proxy.matching(MERGE_REQUEST)

    assert happened.is_set()
    assert (outcome.state, outcome.attempts, outcome.rebased) == ("merged", 2, 1)
    assert len(sent) == (2 if lost == "reply" else 3)
    assert len({request.body for request in sent}) == 2, "the first, and the same one onto the newer main"
    assert [c.properties[RUN_PROPERTY] for c in backfill.commits()].count(outcome.run_id) == 1
    assert backfill.rows() == expected(*days(3))


def _stop(pipe: Connection, backfill: Backfill, point: str) -> None:
    """Run a day that meets another, as far as the point, and stay there."""
    delete, commit = Nessie.delete_branch, Nessie.commit
    meanwhile, rebasing, merge = [D2], threading.Event(), pipeline.merge

    def stay(reached: str) -> None:
        if rebasing.is_set() and reached == point:
            pipe.send(reached)
            pipe.recv()

    def deleting(nessie: Nessie, name: str) -> None:
        delete(nessie, name)
        stay("branch removed")

    def committing(nessie: Nessie, onto: Reference, body: dict[str, Any]) -> str:
        stay("merge journalled" if onto.name == MAIN else "branch forked")
        done = commit(nessie, onto, body)
        stay("merge committed" if onto.name == MAIN else "tables put")
        return done

    def later(*arguments: Any) -> Any:
        if meanwhile:
            backfill.run(meanwhile.pop())
        return merge(*arguments)

    def begun(*arguments: Any) -> Any:
        rebasing.set()
        stay("in line")
        return rebasing_now(*arguments)

    rebasing_now = rebase.rebase
    pipeline.merge, rebase.rebase = later, begun
    Nessie.delete_branch, Nessie.commit = deleting, committing
    with backfill.written_by_pyiceberg():
        backfill.run(D1)


@pytest.mark.parametrize(
    ("point", "after"),
    [
        ("in line", "failed"),
        ("branch removed", "failed"),
        ("branch forked", "failed"),
        ("tables put", "failed"),
        ("merge journalled", "merged"),
        ("merge committed", "merged"),
    ],
)
def test_a_run_that_is_killed_while_it_is_rebased_is_ended_by_the_evidence(
    stack: Settings, backfill: Backfill, point: str, after: str
) -> None:
    backfill.run(days(3)[2])
    with processes(_stop, [(backfill, point)]) as (process,), Journal(stack.postgres) as journal:
        assert process.hear() == point
        row = next(row for row in journal.runs(limit=5) if row["logical_date"] == D1)
        process.kill()
        nessie = Nessie(stack.nessie)
        for _ in range(100):
            (found,) = recovery.resume(nessie, journal, row["run_id"])
            if found.why != "a process works on it":
                break
            time.sleep(0.05)
        nessie.close()

    assert found.after == after
    merged = [commit.properties[RUN_PROPERTY] for commit in backfill.commits()].count(row["run_id"])
    assert merged == (after == "merged")
    assert backfill.rows() == expected(*days(3)[0 if merged else 1 :])
    again = backfill.run(D1)
    assert again.state == ("unchanged" if merged else "merged")
    assert backfill.rows() == expected(*days(3))

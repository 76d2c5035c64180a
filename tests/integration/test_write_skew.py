"""Runs of two processes, each of which changes what the other has read, in many random interleavings.

The protocol is the real one (fork, rows on the branch, merge, run again), the rows are written without Spark;
`test_two_writers.py` is the same of whole runs. Each desk sets its own book to a new sum and writes beside it what the
other's book said: no table is written by both, so only what was read tells that they must not both pass (write skew).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import pytest

from medallion.contract import Contract
from medallion.lakehouse import merge as merge_module
from medallion.lakehouse.merge import RUN_PROPERTY, operations
from medallion.lakehouse.nessie import MAIN, CommitConflict, Nessie, Reference
from medallion.lakehouse.run import fail, open_run
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.protocol_runs import ProtocolRuns
from tests.two_processes import Process, processes

ROUNDS = 20
SEED = 20130101
HOLDS = ("forked", "written")
"""Where a run's first attempt is held: after its fork from main, or right before its merge."""
State = dict[str, tuple[int, tuple[int, int]]]
"""By desk: its book, and its balance: (own, the other's)."""


@dataclass(frozen=True)
class Desk:
    """The tables of one desk."""

    name: str

    @property
    def book(self) -> Contract:
        return gold("book", {"value": "bigint"}, domain=self.name, layer="silver")

    @property
    def balance(self) -> Contract:
        return gold("balance", {"own": "bigint", "other": "bigint"}, domain=self.name)


def _work(pipe: Connection, settings: Settings) -> None:
    with ProtocolRuns(settings) as runs:
        while True:
            own, other, amount, hold, unchanged = pipe.recv()
            merge_module.operations = operations if unchanged else _without_unchanged
            holds = [hold]

            def pause(at: str, holds: list[str] = holds) -> None:
                if holds == [at]:
                    holds.clear()
                    pipe.send(at)
                    pipe.recv()

            pipe.send(_until_merged(runs, own, other, amount, pause))


def _until_merged(
    runs: ProtocolRuns, own: Desk, other: Desk, amount: int, pause: Callable[[str], None]
) -> tuple[int, str, str | None]:
    """Returns: attempts, the run that was merged, its commit on main."""
    for attempt in range(1, 6):
        run = open_run(runs.nessie, runs.journal, "test", None)
        pause("forked")
        theirs = int(runs.tables.read(other.book, run.h0)["value"][0].as_py())
        writes = {own.book: [{"value": amount}], own.balance: [{"own": amount, "other": theirs}]}
        run.reads = {other.book.dataset, *(contract.dataset for contract in writes)}
        runs.tables.commit(writes, branch=run.branch, run=run.id)
        run.writes = [{"dataset": c.dataset, "logical_date": None, "rows_in": 1, "rows_out": 1} for c in writes]
        judged = runs.nessie.reference(run.branch)
        run.save(runs.journal, "validated")
        pause("written")
        try:
            merged = runs.merge(run, judged)
        except CommitConflict as conflict:
            fail(runs.journal, run, str(conflict), "conflicted")
            continue
        runs.journal.release(run.id)
        return attempt, run.id, merged
    raise AssertionError("refused in five attempts")


def _without_unchanged(*arguments: Any) -> list[Any]:
    return [operation for operation in operations(*arguments) if operation.type != "UNCHANGED"]


class Pair:
    """Two desks and the two processes that run them."""

    def __init__(self, runs: ProtocolRuns, workers: list[Process]) -> None:
        self.runs, self.workers, self.sum = runs, workers, 0
        self.desks = Desk(f"s{uuid.uuid4().hex[:8]}"), Desk(f"t{uuid.uuid4().hex[:8]}")
        for desk in self.desks:
            runs.merged({desk.book: [{"value": 0}], desk.balance: [{"own": 0, "other": 0}]})

    def state(self) -> State:
        """What main says, read at one hash."""
        at: Reference = self.runs.main()
        found = {}
        for desk in self.desks:
            (book,) = self.runs.tables.read(desk.book, at).to_pylist()
            (balance,) = self.runs.tables.read(desk.balance, at).to_pylist()
            found[desk.name] = (book["value"], (balance["own"], balance["other"]))
        return found

    def after(self, before: State, runs: list[tuple[Desk, Desk, int]]) -> State:
        """The state after runs, one at a time."""
        state = dict(before)
        for own, other, amount in runs:
            state[own.name] = (amount, (amount, state[other.name][0]))
        return state

    def meet(self, chance: random.Random, *, unchanged: bool = True) -> tuple[bool, list[tuple[int, str, str | None]]]:
        """Hold a run of each desk, both forked from one main, and let them go in a random way.

        Returns: whether main is as after one of the two orders, and what came of the runs."""
        before, order, asked = self.state(), chance.sample((0, 1), 2), []
        holds = {which: chance.choice(HOLDS) for which in order}
        for which in order:
            self.sum += 1
            asked.append((self.desks[which], self.desks[1 - which], self.sum))
            self.workers[which].say((*asked[-1], holds[which], unchanged))
        assert {which: self.workers[which].hear() for which in order} == holds, "both are forked, none is merged"
        orders = self.after(before, asked), self.after(before, asked[::-1])
        assert orders[0] != orders[1], "the order shows"
        released = [self.workers[which] for which in chance.sample(order, 2)]
        one_after_the_other = chance.random() < 0.4
        released[0].say("go")
        outcomes = [released[0].hear()] if one_after_the_other else []
        if not one_after_the_other:
            time.sleep(chance.choice((0, 0, 0.002, 0.01, 0.05, 0.1, 0.2)))
        released[1].say("go")
        outcomes += [worker.hear() for worker in released[len(outcomes) :]]
        return self.state() in orders, outcomes


@pytest.fixture(scope="module")
def pair(stack: Settings) -> Iterator[Pair]:
    with ProtocolRuns(stack) as runs, processes(_work, [(stack,)] * 2) as workers:
        yield Pair(runs, workers)


def test_write_skew_always_ends_as_one_order_of_the_runs(pair: Pair, stack: Settings) -> None:
    chance, nessie = random.Random(SEED), Nessie(stack.nessie)
    for number in range(ROUNDS):
        before = nessie.reference(MAIN).hash

        serial, outcomes = pair.meet(chance)

        assert serial, f"round {number}: {pair.state()} is as after neither order"
        assert sorted(attempts for attempts, _, _ in outcomes) == [1, 2], "one merged, the other had to run again"
        commits = list(nessie.log(nessie.reference(MAIN), until=before))
        assert sorted(c.properties[RUN_PROPERTY] for c in commits) == sorted(run_id for _, run_id, _ in outcomes)
        assert min(outcomes)[2] == commits[-1].hash
    nessie.close()


def test_without_unchanged_the_same_check_finds_write_skew(pair: Pair) -> None:
    chance = random.Random(SEED)

    found = [pair.meet(chance, unchanged=False) for _ in range(3)]

    assert [serial for serial, _ in found] == [False] * 3
    assert all(attempts == 1 for _, outcomes in found for attempts, _, _ in outcomes), "nobody was refused"

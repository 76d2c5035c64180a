"""Two runs, each of which changes what the other has read, in two processes with a Spark session each.

Each of two domains delivers, refines and sums up its own amounts beside the other's. The runs write
no table in common: only what they read tells that they must not both pass (write skew).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import pytest

from medallion import pipeline
from medallion.lakehouse import merge as merge_module
from medallion.lakehouse.merge import RUN_PROPERTY, operations
from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.lakehouse.table import open_static
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from tests.rounds import rounds
from tests.toy_domains import Toys, deliver, pair, quick
from tests.two_processes import Process, processes

ROUNDS = rounds(4, thorough=20)
SEED = 20130101
DAYS = (date(2024, 3, 1), date(2024, 3, 2))
HOLDS = ("forked", "written")
"""Where a run's first attempt is held: after its fork from main, or right before its merge."""


def _work(pipe: Connection, settings: Settings) -> None:
    """Run what is asked for, one after the other, in one session; held where it is asked for."""
    open_run, merge = pipeline.open_run, pipeline.merge
    while True:
        toys, request, hold, unchanged = pipe.recv()
        points = [hold]

        def held(at: str, effect: Any, *arguments: Any, points: list[str] = points, **options: Any) -> Any:
            first = points == [at]
            if first:
                points.clear()
            if at == "written" and first:
                pipe.send(at)
                pipe.recv()
            done = effect(*arguments, **options)
            if at == "forked" and first:
                pipe.send(at)
                pipe.recv()
            return done

        pipeline.open_run, pipeline.merge = partial(held, "forked", open_run), partial(held, "written", merge)
        merge_module.operations = operations if unchanged else _without_unchanged
        with Lake(settings, toys.load(settings)) as lake:
            pipe.send(execute(lake, request, report=lambda line: None))


def _without_unchanged(*arguments: Any) -> list[Any]:
    return [operation for operation in operations(*arguments) if operation.type != "UNCHANGED"]


@dataclass
class Books:
    """What the tables hold: sums of silver by domain and day, and gold's (own, other)."""

    silver: dict[str, dict[date, int]] = field(default_factory=dict)
    gold: dict[str, dict[date, tuple[int, int]]] = field(default_factory=dict)

    def after(self, *runs: tuple[str, str, date, int]) -> Books:
        """The books after runs, one at a time: (domain, other domain, day, sum of the day's delivery).

        A run makes its own day, and again every day of its domain whose inputs have changed."""
        silver, gold = ({d: dict(days) for d, days in each.items()} for each in (self.silver, self.gold))
        for domain, other, day, amount in runs:
            silver.setdefault(domain, {})[day] = amount
            own, theirs = silver[domain], silver.get(other, {})
            gold[domain] = {made: (own[made], theirs.get(made, 0)) for made in {*gold.get(domain, ()), day}}
        return Books(silver, gold)


@dataclass
class Desk:
    """Two domains and the two processes that run them."""

    settings: Settings
    toys: Toys
    names: tuple[str, str]
    workers: list[Process]
    unchanged: bool = True
    delivered: int = 0

    def books(self) -> Books:
        """What main holds, read at one hash."""
        nessie = Nessie(self.settings.nessie)
        tables = nessie.tables(nessie.reference(MAIN))
        nessie.close()
        found = Books()
        for name in self.names:
            silver, gold = (tables.get(f"{dataset}") for dataset in (f"silver.{name}.counts", f"gold.{name}.balance"))
            for row in open_static(self.settings.s3, silver).scan().to_arrow().to_pylist() if silver else ():
                sums = found.silver.setdefault(name, {})
                sums[row["day"]] = sums.get(row["day"], 0) + row["amount"]
            for row in open_static(self.settings.s3, gold).scan().to_arrow().to_pylist() if gold else ():
                found.gold.setdefault(name, {})[row["day"]] = (row["own"], row["other"])
        return found

    def start(self, which: int, day: date, hold: str) -> tuple[str, str, date, int]:
        """Deliver new amounts for a day and start the run of their domain. Returns: as Books.after takes it."""
        self.delivered += 1
        amounts = [self.delivered * 100, self.delivered]  # a sum that no other delivery has
        deliver(self.settings, self.names[which], "counts", day, ["amount", *map(str, amounts)])
        request = Request(day, domain=self.names[which])
        self.workers[which].say((self.toys, request, hold, self.unchanged))
        return self.names[which], self.names[1 - which], day, sum(amounts)

    def skew(self, chance: random.Random) -> tuple[bool, list[Outcome]]:
        """Hold a run of each domain, both forked from one main, and let them go in a random way.

        Returns: whether main is as after one of the two orders, and what came of the runs."""
        before = self.books()
        day = chance.choice(DAYS)
        order = chance.sample((0, 1), 2)
        holds = {which: chance.choice(HOLDS) for which in order}
        runs = [self.start(which, day, holds[which]) for which in order]
        assert {which: self.workers[which].hear() for which in order} == holds, "both are forked, none is merged"
        orders = before.after(*runs), before.after(*reversed(runs))
        assert orders[0] != orders[1], "the order shows"
        released = [self.workers[which] for which in chance.sample(order, 2)]
        one_after_the_other = chance.random() < 0.4
        outcomes = []
        released[0].say("go")
        if one_after_the_other:
            outcomes.append(released[0].hear())
        else:
            time.sleep(chance.choice((0, 0, 0.005, 0.02, 0.1)))
        released[1].say("go")
        outcomes += [worker.hear() for worker in released[len(outcomes) :]]
        return self.books() in orders, outcomes


@pytest.fixture(scope="module")
def desk(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    names = f"p{uuid.uuid4().hex[:8]}", f"q{uuid.uuid4().hex[:8]}"
    with processes(_work, [(quick(stack),)] * 2) as workers:
        desk = Desk(stack, pair(tmp_path_factory.mktemp("domains"), *names), names, workers)
        books = Books()
        first = desk.start(0, DAYS[0], "")  # one run each, at the same time: sessions start, tables are created
        second = desk.start(1, DAYS[1], "")
        assert {worker.hear().state for worker in workers} == {"merged"}
        assert desk.books() in (books.after(first, second), books.after(second, first))
        yield desk


def test_write_skew_always_ends_as_one_order_of_the_runs(stack: Settings, desk: Desk) -> None:
    desk.unchanged, chance = True, random.Random(SEED)
    nessie = Nessie(stack.nessie)
    for number in range(ROUNDS):
        before = nessie.reference(MAIN).hash

        serial, outcomes = desk.skew(chance)

        assert serial, f"round {number}: {desk.books()} is as after neither order"
        assert [outcome.state for outcome in outcomes] == ["merged", "merged"]
        assert sorted(outcome.attempts for outcome in outcomes) == [1, 2], "one merged, the other had to look again"
        assert sum(outcome.rebased for outcome in outcomes) == 1, "and made again what it had made from what changed"
        commits = list(nessie.log(nessie.reference(MAIN), until=before))
        assert sorted(c.properties[RUN_PROPERTY] for c in commits) == sorted(outcome.run_id for outcome in outcomes)
        assert sorted(outcomes, key=lambda o: o.attempts)[0].merged_hash == commits[-1].hash
    nessie.close()


def test_without_unchanged_the_same_check_finds_write_skew(desk: Desk) -> None:
    desk.unchanged, chance = False, random.Random(SEED)

    found = [desk.skew(chance) for _ in range(2)]

    assert [serial for serial, _ in found] == [False, False]
    assert all(outcome.attempts == 1 for _, outcomes in found for outcome in outcomes), "nobody was refused"

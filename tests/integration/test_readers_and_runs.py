"""Readers of main and of the warehouse, both polling through real runs: neither sees one half done.

Day n brings n rows of the amount n. So a version of the lake, and of the warehouse, is known by its number of
days, and every table of it says the same: bronze, silver, and two gold tables that are made in different ways.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from pyiceberg.catalog.rest import RestCatalog

from medallion import job
from medallion.lakehouse.nessie import MAIN, Nessie, Reference
from medallion.lakehouse.table import io_properties
from medallion.pipeline import Lake, Request, execute
from medallion.publish.snowflake import SnowflakeTarget
from medallion.publish.snowflake_session import Session
from medallion.settings import Settings
from tests import toy_domains
from tests.rounds import rounds
from tests.warehouse import with_snowflake

FIRST = date(2021, 3, 1)
RUNS = rounds(5, thorough=10)

Look = tuple[Any, ...]


def whole(days: int) -> tuple[int, int, int]:
    """What every table says after so many days: days, rows, and the sum of the amounts."""
    return days, sum(range(1, days + 1)), sum(n * n for n in range(1, days + 1))


@dataclass
class Reader:
    """A reader that polls in a thread of its own. `looks` are what it saw."""

    poll: Callable[[], Look]
    looks: list[Look] = field(default_factory=list)
    failure: BaseException | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        try:
            while not self.stop.wait(0.4):
                self.looks.append(self.poll())
        except BaseException as error:
            self.failure = error

    def looks_again(self) -> None:
        """Wait until it has begun and ended another look."""
        until, patience = len(self.looks) + 2, time.monotonic() + 60
        while len(self.looks) < until:
            assert self.failure is None, self.failure
            assert time.monotonic() < patience, "the reader does not read"
            time.sleep(0.005)

    @property
    def versions(self) -> list[int]:
        """The number of days that each look saw, by the last of its figures."""
        return [look[-1] for look in self.looks]

    @property
    def halves(self) -> list[Look]:
        """Looks at which the tables did not all show the same version."""
        return [look for look in self.looks if set(look[:-1]) != {whole(look[-1])}]


@dataclass(frozen=True)
class Place:
    """One toy domain in the lake, and a database of the warehouse for it alone."""

    lake: Lake
    domain: str

    def day(self, number: int) -> str:
        """Deliver a day, run it and publish. Returns: the run's state."""
        day = FIRST + timedelta(days=number)
        toy_domains.deliver(self.lake.settings, self.domain, "counts", day, ["amount", *[str(number)] * number])
        outcome = execute(self.lake, Request(day, publish=True), report=lambda _: None)
        assert job.publish_gold(self.lake, lambda _: None)["outcome"] == "published"
        return outcome.state

    @contextmanager
    def reading(self) -> Iterator[tuple[Reader, Reader]]:
        """A reader of main and one of the warehouse, at work."""
        settings = self.lake.settings
        with closing(Nessie(settings.nessie)) as nessie, closing(Session(settings.snowflake)) as session:
            readers = Reader(lambda: self.main(nessie)), Reader(lambda: self.warehouse(session))
            threads = [threading.Thread(target=reader.work, daemon=True) for reader in readers]
            for thread in threads:
                thread.start()
            try:
                yield readers
            finally:
                for reader in readers:
                    reader.stop.set()
                for thread in threads:
                    thread.join(60)
        assert [reader.failure for reader in readers] == [None, None]

    def main(self, nessie: Nessie) -> Look:
        """Every layer at the version that main has now, through Iceberg's REST protocol."""
        settings = self.lake.settings
        prefix = quote(f"{MAIN}@{nessie.reference(MAIN).hash}", safe="@")
        catalog = RestCatalog("reader", uri=settings.nessie.iceberg_rest, prefix=prefix, **io_properties(settings.s3))

        def rows(layer: str, name: str) -> list[dict[str, Any]]:
            return catalog.load_table((layer, self.domain, name)).scan().to_arrow().to_pylist()

        bronze, silver, daily = rows("bronze", "counts"), rows("silver", "counts"), rows("gold", "daily")
        (in_all,) = rows("gold", "in_all")
        return (
            (len({row["_logical_date"] for row in bronze}), len(bronze), sum(int(row["amount"]) for row in bronze)),
            (len({row["day"] for row in silver}), len(silver), sum(row["amount"] for row in silver)),
            (len(daily), sum(row["counted"] for row in daily), sum(row["total"] for row in daily)),
            (in_all["days"], in_all["counted"], in_all["total"]),
            in_all["days"],
        )

    def warehouse(self, session: Session) -> Look:
        """Both tables and the ledger's head, in one statement: Snowflake shows two statements two versions."""
        tables = f"{self.lake.settings.snowflake.database}.{self.domain}"
        [row] = session.rows(
            f"SELECT d.days, d.counted, d.total, a.days, a.counted, a.total, h.sequence FROM "
            f"(SELECT COUNT(*) AS days, SUM(counted) AS counted, SUM(total) AS total FROM {tables}.daily) d, "
            f"(SELECT SUM(days) AS days, SUM(counted) AS counted, SUM(total) AS total FROM {tables}.in_all) a, "
            f"{self.lake.settings.snowflake.database}.medallion.publication_head h"
        )
        numbers = tuple(int(value) for value in row)
        return numbers[:3], numbers[3:6], numbers[6]  # the day of this number is published under this number


@pytest.fixture(scope="module")
def place(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    domain = f"d{uuid.uuid4().hex[:10]}"
    toys = toy_domains.takings(tmp_path_factory.mktemp("domains"), domain)
    settings = with_snowflake(toy_domains.quick(stack), database=f"t{uuid.uuid4().hex[:10]}")
    with Lake(settings, toys.load(settings)) as lake:
        place = Place(lake, domain)
        place.day(1)
        yield place


def test_neither_reader_ever_sees_a_run_half_done(place: Place) -> None:
    with place.reading() as readers:
        for number in range(2, RUNS + 2):
            assert place.day(number) == "merged"
        for reader in readers:
            reader.looks_again()

    for reader in readers:
        assert reader.halves == []
        assert reader.versions == sorted(reader.versions), "it never goes back"
        assert set(reader.versions) <= set(range(1, RUNS + 2))
        assert len(set(reader.versions)) > RUNS // 2, "it looked in between"
        assert reader.versions[-1] == RUNS + 1


def test_the_same_readers_notice_two_commits_and_two_transactions(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, fill = Nessie.commit, SnowflakeTarget.fill

    with place.reading() as (of_main, of_warehouse):

        def in_two(nessie: Nessie, onto: Reference, body: dict[str, Any]) -> str:
            if onto.name != MAIN:
                return commit(nessie, onto, body)
            gold = [o for o in body["operations"] if o["key"]["elements"][0] == "gold"]
            rest = [o for o in body["operations"] if o not in gold]
            half = commit(nessie, onto, body | {"operations": rest})
            of_main.looks_again()
            return commit(nessie, Reference(MAIN, half), body | {"operations": gold})

        def committed(target: SnowflakeTarget, *what: Any) -> None:
            fill(target, *what)
            target.commit()
            of_warehouse.looks_again()
            target.begin()

        monkeypatch.setattr(Nessie, "commit", in_two)
        monkeypatch.setattr(SnowflakeTarget, "fill", committed)
        place.day(RUNS + 2)

    assert of_main.halves
    assert of_warehouse.halves

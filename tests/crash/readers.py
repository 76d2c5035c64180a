"""`make readers`: readers of two tables poll while publications pass, and none may see two versions mixed.

python -m tests.crash.readers --publications 1000

Every version writes its number into every row of both tables: in the lake by a run that is merged, in PostgreSQL by a
publication. Three readers have what docs/guarantees.md promises; the fourth, which asks two statements at READ COMMITTED,
has not, and shows that a mixture could be seen. docs/guarantees.md gets the figures.
"""

from __future__ import annotations

import argparse
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from psycopg import sql

from medallion.contract import Contract
from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.lakehouse.table import open_static
from medallion.publish.postgres_session import Session
from medallion.publish.publication import publish
from medallion.services import postgres
from medallion.settings import ROOT, Settings
from tests.conftest import new_stack
from tests.crash import table
from tests.lake_tables import Contracts, gold
from tests.protocol_runs import VALUE, ProtocolRuns, another_value

ROWS = 20
AT_A_TIME = 50
"""So many publications show two tables, then others: a table's metadata names all its versions, and readers read it anew."""
PAUSE_S = 0.03
"""Between two looks of a reader: they share a process with those who publish, which would else wait for them."""
BEGIN, END = "<!-- readers: written by make readers -->", "<!-- end of the readers -->"
MIXED = "PostgreSQL, two statements (nothing is promised)"

Look = tuple[frozenset[int], ...]
"""The numbers that a reader found in each of the tables."""


@dataclass
class Reader:
    """One who polls. `versions` are those that it saw whole; `mixed` what it saw of several at once."""

    poll: Callable[[], Look]
    looks: int = 0
    versions: set[int] = field(default_factory=set)
    mixed: list[Look] = field(default_factory=list)
    failure: BaseException | None = None

    def work(self, over: threading.Event) -> None:
        try:
            while not over.is_set():
                found = self.poll()
                self.looks += 1
                if len({*found}) == 1 and len(found[0]) == 1:
                    self.versions |= found[0]
                else:
                    self.mixed.append(found)
                time.sleep(PAUSE_S)
        except BaseException as error:
            self.failure = error


def readers(settings: Settings, pair: tuple[Contract, Contract], closing_: ExitStack) -> dict[str, Reader]:
    """Those who poll, by how they read."""
    nessie = closing_.enter_context(closing(Nessie(settings.nessie)))
    statement, several, plain = (closing_.enter_context(closing(Session(settings.warehouse_postgres))) for _ in range(3))
    selects = [f"SELECT array_agg(DISTINCT value) FROM {each.domain}.{each.name}" for each in pair]

    def lake() -> Look:
        contents = nessie.tables(nessie.reference(MAIN))
        rows = [open_static(settings.s3, contents[each.dataset]).scan().to_arrow()["value"].to_pylist() for each in pair]
        return tuple(map(frozenset, rows))

    def at_once() -> Look:
        return tuple(map(frozenset, statement.rows("SELECT " + ", ".join(f"({each})" for each in selects))[0]))

    def one_by_one(session: Session, begin: str) -> Look:
        session.execute(begin)
        found = tuple(frozenset(session.rows(each)[0][0]) for each in selects)
        session.execute("COMMIT")
        return found

    return {
        "the lake, two tables at one hash": Reader(lake),
        "PostgreSQL, one statement": Reader(at_once),
        "PostgreSQL, two statements in one REPEATABLE READ transaction": Reader(
            lambda: one_by_one(several, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        ),
        MIXED: Reader(lambda: one_by_one(plain, "BEGIN")),
    }


def pass_by(stack: Settings, publications: int, report: Callable[[str], None] = print) -> dict[str, Reader]:
    """Let so many versions pass, in the lake and in a database of the warehouse, while readers poll.

    Returns: the readers, and what they saw. Raises: what one of them failed of.
    """
    with own_database(stack) as settings, ProtocolRuns(settings) as runs, ExitStack() as closing_:
        domain = f"d{uuid.uuid4().hex[:10]}"
        pair = (gold("left", VALUE, domain=domain), gold("right", VALUE, domain=domain))
        show(settings, runs, pair, 0)
        polling, over = readers(settings, pair, closing_), threading.Event()
        threads = [threading.Thread(target=each.work, args=(over,)) for each in polling.values()]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, publications + 1):
                show(settings, runs, pair, number)
                if number % 50 == 0:
                    report(f"  {number} of {publications} publications")
        finally:
            over.set()
            for thread in threads:
                thread.join(60)
    for each in polling.values():
        if each.failure:
            raise each.failure
    return polling


def all_pass_by(stack: Settings, publications: int) -> dict[str, Reader]:
    """As `pass_by`, of one pair of tables after the other. Returns: what was seen of them all."""
    every: dict[str, Reader] = {}
    for first in range(0, publications, AT_A_TIME):
        count = min(AT_A_TIME, publications - first)
        for how, one in pass_by(stack, count, lambda line: None).items():
            of = every.setdefault(how, Reader(one.poll))
            of.looks += one.looks
            of.versions |= {first + number for number in one.versions if number}  # the first one was there before
            of.mixed += one.mixed
        print(f"  {first + count} of {publications} publications", flush=True)
    return every


def show(settings: Settings, runs: ProtocolRuns, pair: tuple[Contract, Contract], number: int) -> None:
    """One version: a run that is merged, and its publication."""
    runs.merged(dict.fromkeys(pair, another_value(number) * ROWS))
    assert publish(settings, Contracts(*pair), journal=runs.journal).outcome == "published"


@contextmanager
def own_database(stack: Settings) -> Iterator[Settings]:
    """The stack with PostgreSQL as its warehouse, in a database that is gone afterwards."""
    name = f"r{uuid.uuid4().hex[:10]}"
    with postgres.connect(stack.postgres) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        own = stack.warehouse_postgres.model_copy(update={"database": name})
        try:
            yield stack.model_copy(update={"warehouse": "postgres", "warehouse_postgres": own})
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def markdown(polled: dict[str, Reader], publications: int) -> str:
    """What was seen, for people."""
    return "\n".join(
        [
            f"{publications:,} publications passed.",
            "",
            "| reader | looks | versions seen | looks that mixed two |",
            "|---|---:|---:|---:|",
            *(f"| {how} | {r.looks:,} | {len(r.versions)} | {len(r.mixed)} |" for how, r in polled.items()),
        ]
    )


def main() -> int:
    """Returns: 1 if somebody saw two versions mixed, or nobody did, to whom nothing is promised: then it shows nothing."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.readers", description="Readers while publications pass.")
    parser.add_argument("--publications", type=int, default=1_000)
    options = parser.parse_args()
    with new_stack() as stack:
        polled = all_pass_by(stack, options.publications)
    told = markdown(polled, options.publications)
    print(told)
    table.write(ROOT / "docs" / "guarantees.md", told, BEGIN, END)
    return 1 if any(bool(each.mixed) != (how == MIXED) for how, each in polled.items()) else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A reader of main through Iceberg's REST protocol never sees a run half done.

What can be promised to a reader of several tables: each request of the protocol is about one table, so
tables read one after the other at `main` may belong to two versions, each of them whole. They belong to
one version when the reader pins it (the prefix `main@<hash>`), or when main is at the same hash before
and after. One table alone is always whole. The rows are written by pyiceberg: what a reader of main can
see depends on the catalog, not on who wrote the files.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from pyiceberg.catalog.rest import RestCatalog

from medallion.contract import Contract
from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.lakehouse.run import fail
from medallion.lakehouse.table import io_properties
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.protocol_runs import VALUE, ProtocolRuns
from tests.rounds import rounds

RUNS = rounds(6, thorough=10)
NEVER_MERGED = 20


@dataclass(frozen=True)
class Pair:
    """Two tables that every run writes: `parts` has n rows of the value n, `whole` one row, their sum."""

    parts: Contract
    whole: Contract

    def written(self, number: int) -> tuple[dict[Contract, Any], dict[Contract, Any]]:
        return {self.parts: [{"value": number}] * number}, {self.whole: [{"value": number * number}]}


@dataclass
class Seen:
    """What a reader saw, look by look: the sum and number of rows of `parts`, and the value of `whole`."""

    looks: list[tuple[int, int, int]] = field(default_factory=list)
    moved: int = 0
    failure: BaseException | None = None

    @property
    def halves(self) -> list[tuple[int, int, int]]:
        """Looks at which the tables did not agree."""
        return [(parts, count, whole) for parts, count, whole in self.looks if parts != whole or count * count != whole]


def values(settings: Settings, at: str, contract: Contract) -> list[int]:
    """A table's values through the REST endpoint, at a branch or at a hash of it."""
    endpoint = {"uri": settings.nessie.iceberg_rest, "prefix": quote(at, safe="@")}
    table = RestCatalog("reader", **endpoint, **io_properties(settings.s3)).load_table(contract.dataset)
    return list(table.scan().to_arrow()["value"].to_pylist())


def look(settings: Settings, at: str, pair: Pair) -> tuple[int, int, int]:
    parts = values(settings, at, pair.parts)
    (whole,) = values(settings, at, pair.whole)
    return sum(parts), len(parts), whole


def pinned(settings: Settings, nessie: Nessie, pair: Pair, seen: Seen) -> None:
    """Read both tables at the version that main has now."""
    seen.looks.append(look(settings, f"{MAIN}@{nessie.reference(MAIN).hash}", pair))


def unpinned(settings: Settings, nessie: Nessie, pair: Pair, seen: Seen) -> None:
    """Read both tables at main; what was read while main moved does not count."""
    before = nessie.reference(MAIN).hash
    found = look(settings, MAIN, pair)
    if nessie.reference(MAIN).hash == before:
        seen.looks.append(found)
    else:
        seen.moved += 1


@contextmanager
def polling(settings: Settings, pair: Pair, poll: Callable[..., None]) -> Iterator[Seen]:
    """A reader that polls in a thread of its own."""
    seen, stop = Seen(), threading.Event()

    def work() -> None:
        try:
            with closing(Nessie(settings.nessie)) as nessie:
                while not stop.is_set():
                    poll(settings, nessie, pair, seen)
        except BaseException as error:
            seen.failure = error

    reader = threading.Thread(target=work, daemon=True)
    reader.start()
    try:
        wait_for_looks(seen, 1)
        yield seen
        wait_for_looks(seen, 1)
    finally:
        stop.set()
        reader.join(60)
    assert seen.failure is None, seen.failure


def wait_for_looks(seen: Seen, more: int) -> None:
    until, patience = len(seen.looks) + more, time.monotonic() + 60
    while len(seen.looks) < until and seen.failure is None and time.monotonic() < patience:
        time.sleep(0.002)


@pytest.fixture(scope="module")
def runs(stack: Settings) -> Iterator[ProtocolRuns]:
    with ProtocolRuns(stack) as runs:
        yield runs


@pytest.fixture
def pair(runs: ProtocolRuns) -> Pair:
    domain = f"d{uuid.uuid4().hex[:10]}"
    pair = Pair(gold("parts", VALUE, domain=domain), gold("whole", VALUE, domain=domain))
    first, second = pair.written(1)
    runs.merged(first | second)
    return pair


@pytest.mark.parametrize("poll", [pinned, unpinned])
def test_a_reader_never_sees_a_run_half_done(stack: Settings, runs: ProtocolRuns, pair: Pair, poll: Callable[..., None]) -> None:
    with polling(stack, pair, poll) as seen:
        for number in (*range(2, RUNS // 2 + 2), NEVER_MERGED, *range(RUNS // 2 + 2, RUNS + 2)):
            first, second = pair.written(number)
            run, _ = runs.written(first)
            runs.tables.commit(second, branch=run.branch)
            if number == NEVER_MERGED:
                fail(runs.journal, run, "the gate refused it")
                wait_for_looks(seen, 1)
                continue
            assert runs.merge(run, runs.nessie.reference(run.branch))
            wait_for_looks(seen, 1)

    assert seen.halves == []
    versions = [whole for _, _, whole in seen.looks]
    assert versions == sorted(versions), "main never goes back"
    assert set(versions) <= {n * n for n in range(1, RUNS + 2)}, "nothing of the run that was refused"
    assert len(set(versions)) > RUNS // 2, "it looked in between"


def test_the_same_reader_notices_tables_that_are_merged_one_by_one(stack: Settings, runs: ProtocolRuns, pair: Pair) -> None:
    with polling(stack, pair, pinned) as seen:
        for number in range(2, 5):
            for table in pair.written(number):
                runs.merged(table)
                wait_for_looks(seen, 2)

    assert seen.halves

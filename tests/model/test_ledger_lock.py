"""Two publications at once: with the ledger's lock there is one; without it the checker finds the doubled one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from medallion.lakehouse import steps
from medallion.publish import publication
from medallion.publish.ledger import Entry, Head
from medallion.publish.postgres import PostgresTarget
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.model.history import ledger_violations
from tests.warehouse import POSTGRES, rows, select

pytest_plugins = ["tests.warehouse"]

COLUMNS = {"id": "bigint", "version": "bigint"}


class WithoutLock(PostgresTarget):
    """A publisher that takes nobody's word but its plan's: it neither locks the ledger's head nor asks whether it moved."""

    planned: Head

    def prepare(self) -> None:
        super().prepare()
        self.planned = self.head()
        # as in a warehouse that enforces no keys
        self._session.execute("ALTER TABLE medallion.publications DROP CONSTRAINT IF EXISTS publications_pkey")

    def lock(self) -> Head:
        return self.planned

    def append(self, entry: Entry, head: Head) -> None:
        super().append(entry, self.head())


def version(of: int) -> list[dict[str, int]]:
    return [{"id": number, "version": of} for number in range(5)]


@contextmanager
def both_begin_before_either_goes_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two publishers wait for each other as they are about to begin their first transaction; then one goes first."""
    begun, first, done = threading.Barrier(2), threading.Lock(), threading.local()

    @contextmanager
    def around(name: str) -> Iterator[None]:
        if name == "publish.begin" and not hasattr(done, "waited"):
            done.waited = True
            begun.wait(60)
            first.acquire()
        try:
            yield
        finally:
            if name in ("publish.commit", "publish.rollback") and first.locked():
                first.release()

    monkeypatch.setattr(steps, "around", around)
    yield


def two_at_once(settings: Settings, contracts: Contracts, monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    """Two threads publish main. Returns: their outcomes."""
    outcomes: list[str] = []
    with both_begin_before_either_goes_on(monkeypatch):
        both = [threading.Thread(target=lambda: outcomes.append(_outcome(settings, contracts))) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join(120)
    monkeypatch.setattr(steps, "around", None)
    return sorted(outcomes)


def _outcome(settings: Settings, contracts: Contracts) -> str:
    try:
        return publication.publish(settings, contracts).outcome
    except Exception as error:
        return repr(error)


def ledger(settings: Settings) -> list[dict[str, Any]]:
    """The ledger, read past the code."""
    names = ("sequence", "publication_id", "main_hash")
    return [
        dict(zip(names, row, strict=True)) for row in select(settings, f"SELECT {', '.join(names)} FROM medallion.publications")
    ]


@POSTGRES
@pytest.mark.parametrize("target", [PostgresTarget, WithoutLock])
def test_a_doubled_publication_is_found_where_the_lock_is_left_out(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch, target: type[PostgresTarget]
) -> None:
    one = gold("one", COLUMNS, domain=domain)
    contracts = Contracts(one)
    lake.commit({one: version(1)})
    publication.publish(settings, contracts)
    at = lake.commit({one: version(2)})
    monkeypatch.setattr(publication, "connect", lambda settings, work="": target(settings.warehouse_postgres))

    outcomes = two_at_once(settings, contracts, monkeypatch)

    found = ledger_violations(ledger(settings))
    if target is PostgresTarget:
        assert outcomes == ["already", "published"]
        assert found == []
        assert rows(settings, one) == [(each["id"], 2) for each in version(2)]
    else:
        assert outcomes == ["published", "published"], "each of them believes that it was the one"
        assert f"the ledger has main_hash {at} 2 times" in found

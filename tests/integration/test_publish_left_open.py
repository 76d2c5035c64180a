"""Publishers that die, stop or lose their session in the middle: what they left open is ended, and the ledger decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from multiprocessing.connection import Connection
from typing import Any

import httpx
import pytest

from medallion.errors import ServiceUnavailable
from medallion.publish import postgres, postgres_session, snowflake
from medallion.publish import publication as publishing
from medallion.publish import snowflake_statements as sql
from medallion.publish.ledger import Head
from medallion.publish.postgres import PostgresTarget
from medallion.publish.publication import history, publish
from medallion.publish.snowflake import SnowflakeTarget
from medallion.publish.target import Target, Unanswered, connect
from medallion.settings import Settings
from tests.acceptance import NOT_FOR_AN_ACCOUNT
from tests.lake_tables import Contracts, LakeTables, gold
from tests.two_processes import processes
from tests.warehouse import (
    BOTH,
    SNOWFLAKE,
    agreed,
    proxied,
    rows,
    select,
    session,
    tables_of_the_ledger,
    through,
)

pytest_plugins = ["tests.warehouse"]
pytestmark = pytest.mark.acceptance

COLUMNS = {"id": "bigint", "version": "bigint"}
LEFT = "had left open"
SILENT_S = 2


def version(of: int) -> list[dict[str, int]]:
    return [{"id": number, "version": of} for number in range(3)]


def shown(settings: Settings, contracts: Contracts) -> set[int]:
    """The versions that the warehouse shows, of all tables."""
    return {row[1] for contract in contracts.contracts.values() for row in rows(settings, contract)}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of silence will do to be taken for dead."""
    for target in (postgres, snowflake):
        monkeypatch.setattr(target, "ABANDONED_S", SILENT_S)


# ── dead, stopped, and alive ──────────────────────────────────────────────────────────────────────
def stops_within(pipe: Connection, settings: Settings, contracts: Contracts, moment: str) -> None:
    """Publish, and say nothing more to the warehouse from one step on, until told to go on."""
    postgres_session.IDLE_S = 0  # nor does the server end it by itself: behind a pooler it does not
    stopped = False

    class Stops:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            nonlocal stopped
            if name == moment and not stopped:
                stopped = True
                pipe.send(run_id)
                pipe.recv()
            return nullcontext()

    done = publish(settings, contracts, journal=Stops())
    pipe.send((done.outcome, done.sequence))


@BOTH
@pytest.mark.parametrize("fate", ["killed", "stopped"])
def test_what_a_dead_publisher_left_open_is_found_and_ended(
    settings: Settings, lake: LakeTables, domain: str, soon: None, fate: str
) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    lake.commit({one: version(1), two: version(1)})
    publish(settings, contracts)
    at = lake.commit({one: version(2), two: version(2)})
    lines: list[str] = []
    with processes(stops_within, [(settings, contracts, "publish.ledger")]) as (other,):
        publication_id = other.hear()  # it has the head's lock, and both tables are exchanged but for the commit
        if fate == "killed":
            other.kill()
        time.sleep(SILENT_S + 1.1)
        done = publish(settings, contracts, report=lines.append)

        assert (done.outcome, done.hash, done.sequence) == ("published", at, 2)
        assert not any("planning the publication again" in line for line in lines), "nobody was in its way"
        ended = [line for line in lines if LEFT in line]
        if settings.warehouse == "postgres" and fate == "killed":
            assert ended == [], "the server sees a dead process's connection end"
        else:
            assert len(ended) == 1
            assert publication_id in ended[0]
        if fate == "stopped":
            other.say("go on")
            assert other.hear() == ("already", 2), "it finds that its transaction is gone, and asks the ledger"
    assert shown(settings, contracts) == {2}
    assert [entry.sequence for entry in history(settings)] == [2, 1]
    assert agreed(settings, contracts)


NUMBERS = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 15000)"
WAIT = "CALL SYSTEM$WAIT(5)"
LONG = {
    "postgres": "SELECT pg_sleep(2)",
    "snowflake": f"{NUMBERS} SELECT SUM(SQRT(a.i * b.i)) FROM n AS a CROSS JOIN n AS b",
}


@BOTH
@pytest.mark.parametrize("how", ["many statements", "one long statement"])
def test_a_publisher_that_works_is_never_ended(
    settings: Settings, lake: LakeTables, domain: str, soon: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    with (
        closing(connect(settings, "alive")) as alive,
        closing(connect(settings, "another")) as another,
        closing(session(settings)) as stranger,
    ):
        alive.begin()
        alive.lock()
        stranger.execute("BEGIN")  # idle as the dead are, but no publisher

        over = threading.Event()

        def work() -> None:
            if how == "one long statement":
                assert isinstance(alive, postgres.PostgresTarget | SnowflakeTarget)
                alive._session.execute(WAIT if settings.snowflake.host is None else LONG[settings.warehouse])
            while how == "many statements" and not over.wait(0.2):
                alive.counts([one.dataset])

        working = threading.Thread(target=work)
        working.start()
        with monkeypatch.context() as patched:
            if how == "one long statement":  # under way, however long ago it was sent
                time.sleep(0.3)
                for target in (postgres, snowflake):
                    patched.setattr(target, "ABANDONED_S", 0)
            else:
                time.sleep(SILENT_S + 1.1)
            assert another.end_abandoned() == []
        assert stranger.rows("SELECT 1") == [(1,)]
        assert working.is_alive(), "too short to prove anything"
        over.set()
        working.join(60)
        alive.commit()  # it is there still
        alive.begin()
        alive.lock()
        time.sleep(SILENT_S + 1.1)
        (name,) = another.end_abandoned()
        assert name.endswith("alive"), "and the same one, once it is silent, is ended"


@SNOWFLAKE
def test_a_publisher_that_was_ended_changes_nothing_by_itself(
    settings: Settings, lake: LakeTables, domain: str, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session goes on, and what it sends would commit by itself; nobody has moved the head meanwhile."""
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    before, head = rows(settings, one), Head(1, *_head(settings))
    with closing(connect(settings, "slow")) as slow, closing(connect(settings, "other")) as other:
        slow.begin()
        assert slow.lock() == head
        time.sleep(SILENT_S + 1.1)
        assert len(other.end_abandoned()) == 1
        assert isinstance(other, SnowflakeTarget)
        with pytest.raises(ServiceUnavailable, match="does not exist"):
            other._run(sql.ABORT_TRANSACTION, id=12)
        with monkeypatch.context() as patched:
            patched.setattr(sql, "SHOW_TRANSACTIONS", sql.Statement("SHOW WHAT_AN_ACCOUNT_DOES_NOT"))
            assert other.end_abandoned() == [], "who may not look publishes all the same"
        slow.empty({one.dataset: None}, head)
        assert rows(settings, one) == before
        with pytest.raises(publishing.Outrun, match="did not move"):
            slow.append(_next(settings), head)
        slow.rollback()
    assert [entry.sequence for entry in history(settings)] == [1]
    assert rows(settings, one) == before


def _head(settings: Settings) -> tuple[str | None, str | None]:
    with closing(connect(settings)) as target:
        return target.head().hash, target.head().publication_id


def _next(settings: Settings) -> Any:
    from dataclasses import replace

    return replace(history(settings)[0], sequence=2, publication_id="0" * 32)


# ── the session is ended on the server; the connection is lost ────────────────────────────────────
def end_session(settings: Settings, target: Target) -> None:
    """As the server's administrator does."""
    if isinstance(target, SnowflakeTarget):
        rest = target._session._connection.rest
        told = {"Authorization": f'Snowflake Token="{rest.token}"'}
        assert httpx.post(f"{rest.server_url}/session?delete=true", headers=told, json={}).is_success
        return
    ours = "application_name LIKE 'medallion publish%' AND datname = current_database() AND pid <> pg_backend_pid()"
    select(settings, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {ours}")


MOMENTS = {
    "forwards": ("publish.copy", "publish.begin", "publish.ledger", "publish.commit", "publish.cleanup"),
    "rewind": ("publish.insert", "publish.commit"),
}


@BOTH
@pytest.mark.parametrize("direction", MOMENTS)
def test_a_session_that_the_server_ends_at_any_moment(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    old = lake.commit({one: version(0), two: version(0)})
    lake.commit({one: version(100), two: version(100)})
    publish(settings, contracts)
    targets: list[Target] = []

    def connecting(*arguments: Any) -> Target:
        targets.append(connect(*arguments))
        return targets[-1]

    monkeypatch.setattr(publishing, "connect", connecting)
    sequence = 1
    for moment in MOMENTS[direction]:
        at = old
        if direction == "forwards":
            at = lake.commit({one: version(sequence), two: version(sequence)})
        ended: list[str] = []

        class Ends:
            def step(self, run_id: str, name: str, moment: str = moment, ended: list[str] = ended, **detail: Any) -> Any:
                if name == moment and not ended:
                    ended.append(name)
                    end_session(settings, targets[-1])
                return nullcontext()

        done = publish(settings, contracts, at=at, allow_rewind=direction == "rewind", journal=Ends())
        sequence += 1
        assert ended == [moment]
        assert (done.outcome, done.hash, done.sequence) == ("published", at, sequence), moment
        assert shown(settings, contracts) == {0 if direction == "rewind" else sequence - 1}, moment
        if direction == "rewind":  # and forwards again, for the next moment
            sequence += 1
            assert publish(settings, contracts).sequence == sequence
    assert len(history(settings)) == sequence
    assert agreed(settings, contracts)
    assert tables_of_the_ledger(settings) >= {"publication_head", "publications"}


@BOTH
@NOT_FOR_AN_ACCOUNT
@pytest.mark.parametrize("when", ["before COMMIT", "during COMMIT", "after COMMIT"])
def test_a_rewind_whose_connection_is_lost_is_done_once(settings: Settings, lake: LakeTables, domain: str, when: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    old = lake.commit({one: version(1), two: version(1)})
    lake.commit({one: version(2)})
    publish(settings, contracts)
    lines: list[str] = []
    with proxied(settings) as proxy:
        lose: Callable[[str], threading.Event] = proxy.drop_reply if when == "during COMMIT" else proxy.drop_request
        happened = lose("DROP TABLE" if when == "after COMMIT" else r"COMMIT$|COMMIT\W")
        done = publish(through(settings, proxy), contracts, at=old, allow_rewind=True, report=lines.append)
    assert happened.is_set()
    assert (done.outcome, done.hash, done.sequence) == ("published", old, 2)
    assert [entry.hash for entry in history(settings)].count(old) == 1
    assert shown(settings, contracts) == {1}
    assert agreed(settings, contracts)
    again = [line for line in lines if "planning the publication again" in line]
    assert len(again) == (0 if when == "after COMMIT" else 1)
    assert any("ledger says that it was done" in line for line in lines) == (when == "during COMMIT")


@BOTH
@pytest.mark.parametrize("when", ["before COMMIT", "during COMMIT"])
def test_an_answer_that_is_lost_within_the_client(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """As no answer looks to the publication, where nothing can stand between client and server."""
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    at = lake.commit({one: version(1), two: version(1)})
    kind = PostgresTarget if settings.warehouse == "postgres" else SnowflakeTarget
    commit, lost, lines = kind.commit, [], []

    def lose(target: Any) -> None:
        if lost or when == "during COMMIT":
            commit(target)
        if not lost:
            lost.append(when)
            raise Unanswered("lost on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(kind, "commit", lose)
        done = publish(settings, contracts, report=lines.append)
    assert lost == [when]
    assert (done.outcome, done.hash, done.sequence) == ("published", at, 1)
    assert [entry.hash for entry in history(settings)] == [at]
    assert any("ledger says that it was done" in line for line in lines) == (when == "during COMMIT")
    assert agreed(settings, contracts)

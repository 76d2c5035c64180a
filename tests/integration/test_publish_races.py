"""Publications that meet others, lose a request or a reply, or are watched all the while."""

from __future__ import annotations

import multiprocessing
import multiprocessing.dummy
import re
import threading
import time
from contextlib import closing, nullcontext
from typing import Any

import pytest

from medallion.errors import ConflictError, ServiceUnavailable
from medallion.publish.publication import history, publish
from medallion.settings import Settings
from tests.acceptance import NOT_FOR_AN_ACCOUNT
from tests.lake_tables import Contracts, LakeTables, gold
from tests.tcp_proxy import TcpProxy
from tests.warehouse import BOTH, agreed, database, proxied, rows, session, tables_of_the_ledger, through, with_warehouse

pytest_plugins = ["tests.warehouse"]
pytestmark = pytest.mark.acceptance

COLUMNS = {"id": "bigint", "version": "bigint"}
FILL, APPEND, MOVE = "(?i)INSERT INTO .*STAGED_", r"(?i)INSERT INTO \S*PUBLICATIONS", "(?i)UPDATE .* SET .{0,4}SEQUENCE"
STATEMENTS = {
    "snowflake": ["COPY INTO", "BEGIN", "SET .{0,4}LOCKED", "DELETE FROM", FILL, APPEND, MOVE, "COMMIT"],
    "postgres": ["COPY .* FROM STDIN", "locked", FILL, "COMMIT$|COMMIT\\W"],
}


def version(of: int, count: int = 50) -> list[dict[str, int]]:
    return [{"id": number, "version": of} for number in range(count)]


@BOTH
@NOT_FOR_AN_ACCOUNT
@pytest.mark.parametrize("lost", ["drop_reply", "drop_request"])
def test_whatever_is_lost_it_is_published_once(settings: Settings, lake: LakeTables, domain: str, lost: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    lake.commit({one: version(0), two: version(0)})
    publish(settings, contracts)
    with proxied(settings) as proxy:
        for number, statement in enumerate(STATEMENTS[settings.warehouse], 1):
            at = lake.commit({one: version(number, 40 + number), two: version(number, 20 + number)})
            lines: list[str] = []
            happened = getattr(proxy, lost)(statement)
            done = publish(through(settings, proxy), contracts, report=lines.append)
            assert happened.is_set(), statement
            assert any("again" in line for line in lines), statement
            assert (done.outcome, done.hash, done.sequence) == ("published", at, number + 1), statement
            assert len(done.changed) == 2
            assert [entry.hash for entry in history(settings)].count(at) == 1
            assert len(history(settings)) == number + 1
            assert agreed(settings, contracts), statement
            by_ledger = any("ledger says" in line for line in lines)
            assert by_ledger == (statement.startswith("COMMIT") and lost == "drop_reply"), statement


@NOT_FOR_AN_ACCOUNT
def test_copies_that_arrive_late_change_nothing(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    with proxied(settings) as proxy:
        assert isinstance(proxy, TcpProxy)
        for pattern in STATEMENTS["snowflake"][2:]:
            proxy.keep_twin(pattern)
        publish(through(settings, proxy), Contracts(one))
        lake.commit({one: version(2, 20)})
        publish(settings, Contracts(one))
        before = history(settings)
        assert len(proxy.send_twins()) == 6
    assert history(settings) == before
    assert rows(settings, one) == [(each["id"], 2) for each in sorted(version(2, 20), key=lambda r: repr((r["id"], 2)))]
    lake.commit({one: version(3, 10)})
    assert publish(settings, Contracts(one)).sequence == 3
    assert agreed(settings, Contracts(one))


@BOTH
@NOT_FOR_AN_ACCOUNT
def test_a_warehouse_that_never_answers_the_commit_is_told_as_such(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    impatient = settings.model_copy(update={"runs": settings.runs.model_copy(update={"conflict_retries": 2})})
    with proxied(settings) as proxy:
        for nth in (1, 2, 3):
            proxy.drop_request(STATEMENTS[settings.warehouse][-1], nth)
        with pytest.raises(ServiceUnavailable, match="version before or after") as unknown:
            publish(through(impatient, proxy), Contracts(one))
    assert unknown.value.retryable
    assert publish(settings, Contracts(one)).outcome == "published"


@BOTH
def test_whoever_holds_the_head_goes_first(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    lake.commit({one: version(2)})
    impatient = settings.model_copy(update={"runs": settings.runs.model_copy(update={"conflict_retries": 1})})
    with closing(session(settings)) as other:
        other.execute("BEGIN")
        other.execute(f"UPDATE {database(settings)}.medallion.publication_head SET locked = locked + 1")
        with monkeypatch.context() as patched:
            patched.setattr("medallion.publish.target.LOCK_WAIT_S", 0.3)
            with pytest.raises(ConflictError) as refused:
                publish(impatient, Contracts(one))
        assert refused.value.exit_code == 4
        assert {row[1] for row in rows(settings, one)} == {1}
        threading.Timer(1.0, other.close).start()
        assert publish(settings, Contracts(one)).sequence == 2
    assert {row[1] for row in rows(settings, one)} == {2}


@BOTH
def test_the_head_is_read_again_before_anything_is_deleted(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    at = lake.commit({one: version(2)})
    steps: list[str] = []

    class Overtaken:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            if name == "publish.begin" and name not in steps:
                assert publish(settings, Contracts(one)).sequence == 2
            steps.append(name)
            return nullcontext()

    done = publish(settings, Contracts(one), journal=Overtaken())
    assert (done.outcome, done.shown, done.sequence) == ("already", at, 2)
    assert "publish.head" in steps
    assert "publish.delete" not in steps


@BOTH
def test_a_rewind_does_not_replace_what_others_publish_meanwhile(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    old = lake.commit({one: version(1)})
    lake.commit({one: version(2)})
    publish(settings, Contracts(one))
    steps: list[str] = []

    class Overtaken:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            if name == "publish.begin" and name not in steps:
                lake.commit({one: version(3)})
                assert publish(settings, Contracts(one)).sequence == 2
            steps.append(name)
            return nullcontext()

    with pytest.raises(ConflictError, match=r"somebody published .* as number 2; nothing was changed") as refused:
        publish(settings, Contracts(one), at=old, allow_rewind=True, journal=Overtaken())
    assert "rewind again" in str(refused.value.hint)
    assert steps.count("publish.head") == 1
    assert {row[1] for row in rows(settings, one)} == {3}
    assert tables_of_the_ledger(settings) == {"publication_head", "publications"}, "what was staged is gone"
    assert publish(settings, Contracts(one), at=old, allow_rewind=True).sequence == 3
    assert {row[1] for row in rows(settings, one)} == {1}


def _publish(settings: Settings, contracts: Contracts, barrier: Any, results: Any, rounds: int) -> None:
    for _ in range(rounds):
        barrier.wait(60)
        try:
            done = publish(settings, contracts)
            results.put((done.outcome, done.hash, done.sequence))
        except BaseException as error:
            results.put(repr(error))
            raise


@BOTH
def test_two_that_publish_at_once_do_it_once(settings: Settings, lake: LakeTables, domain: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    # a warehouse sees sessions, whether of processes or of threads, which start much sooner
    processes: Any = multiprocessing.get_context("spawn") if settings.warehouse == "postgres" else multiprocessing.dummy
    barrier, results = processes.Barrier(3), processes.Queue()
    published = []
    both = [processes.Process(target=_publish, args=(settings, contracts, barrier, results, 2)) for _ in range(2)]
    for each in both:
        each.start()
    for round_ in range(2):
        published.append(lake.commit({one: version(round_, 2000), two: version(round_, 10)}))
        barrier.wait(60)
        outcomes = sorted((results.get(timeout=120) for _ in both), key=str)  # an error is told as a text
        assert outcomes == [("already", published[-1], round_ + 1), ("published", published[-1], round_ + 1)]
        assert [entry.hash for entry in history(settings)] == published[::-1]
        assert agreed(settings, contracts)
    for each in both:
        each.join(60)


@BOTH
def test_a_reader_never_sees_half_a_publication(settings: Settings, lake: LakeTables, domain: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    lake.commit({one: version(0, 100), two: version(0, 100)})
    publish(settings, contracts)
    place = f"{database(settings)}.{domain}"
    question = (
        f"SELECT (SELECT COUNT(*) FROM {place}.one), (SELECT MIN(version) FROM {place}.one), "
        f"(SELECT MAX(version) FROM {place}.one), (SELECT COUNT(*) FROM {place}.two), "
        f"(SELECT MIN(version) FROM {place}.two), (SELECT MAX(version) FROM {place}.two), "
        f"(SELECT sequence FROM {database(settings)}.medallion.publication_head), "
        f"(SELECT MAX(sequence) FROM {database(settings)}.medallion.publications)"
    )
    seen: list[tuple[Any, ...]] = []
    over = threading.Event()

    def watch() -> None:
        with closing(session(settings)) as reading:
            while not over.wait(0.03):  # without a pause it takes the time that the publisher needs
                seen.append(reading.rows(question)[0])

    reader = threading.Thread(target=watch)
    reader.start()
    try:
        for round_ in range(1, 7):
            lake.commit({one: version(round_, 100 + round_), two: version(round_, 200 + round_)})
            publish(settings, contracts)
            time.sleep(0.05)
    finally:
        over.set()
        reader.join(60)
    for count, low, high, other, other_low, other_high, head, last in seen:
        assert low == high == other_low == other_high == head - 1 == last - 1
        assert (count, other) == ((100, 100) if low == 0 else (100 + low, 200 + low))
    assert len({each[6] for each in seen}) >= 5, "the reader saw too few versions to prove anything"


@BOTH
@NOT_FOR_AN_ACCOUNT
@pytest.mark.parametrize("what", ["password", "user"])
def test_a_wrong_secret_is_named_and_not_shown(settings: Settings, what: str) -> None:
    from pydantic import SecretStr

    wrong = {"password": SecretStr("open-sesame")} if what == "password" else {"user": "nobody"}
    with pytest.raises(ServiceUnavailable) as refused:
        history(with_warehouse(settings, **wrong))
    assert refused.value.exit_code == 5
    variable = "SNOWFLAKE_PASSWORD" if settings.warehouse == "snowflake" else "MEDALLION_WAREHOUSE_POSTGRES__PASSWORD"
    assert variable in str(refused.value)
    assert "open-sesame" not in str(refused.value)


@BOTH
@NOT_FOR_AN_ACCOUNT
def test_a_server_that_is_down_is_named(settings: Settings, lake: LakeTables, domain: str) -> None:
    with proxied(settings) as proxy:
        gone = through(settings, proxy)
        address = f"127.0.0.1:{proxy.port}"
    begun = time.monotonic()
    with pytest.raises(ServiceUnavailable, match=re.escape(address)) as refused:
        publish(gone, Contracts(gold("one", COLUMNS, domain=domain)))
    assert "medallion up" in (refused.value.hint or "")
    assert time.monotonic() - begun < 15

"""PostgreSQL as the warehouse: what is its own, beyond what every warehouse is tested for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from decimal import Decimal
from typing import Any

import pytest

from medallion import query
from medallion.errors import ServiceUnavailable, UsageError
from medallion.publish.publication import Publication, history, publish
from medallion.publish.target import Unanswered
from medallion.services.doctor import doctor
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.postgres_proxy import PostgresProxy
from tests.warehouse import POSTGRES, agreed, proxied, rows, select, session, through, with_postgres

pytest_plugins = ["tests.warehouse"]
pytestmark = [POSTGRES, pytest.mark.acceptance]

COLUMNS = {"id": "bigint", "version": "bigint"}
HEAD = "UPDATE medallion.publication_head SET locked = locked + 1"


def version(of: int) -> list[dict[str, int]]:
    return [{"id": number, "version": of} for number in range(3)]


def until(settings: Settings, question: str) -> None:
    """Wait until the warehouse answers a question with true, up to a minute."""
    deadline = time.monotonic() + 60
    with closing(session(settings)) as asking:
        while asking.rows(question) != [(True,)]:
            assert time.monotonic() < deadline, question
            time.sleep(0.05)


def in_background(work: Callable[[], Publication]) -> tuple[threading.Thread, list[Publication]]:
    done: list[Publication] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    return thread, done


WAITS = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%locked + 1%' \
AND datname = current_database()"


def test_what_another_makes_in_the_same_moment_is_there(settings: Settings, lake: LakeTables, domain: str) -> None:
    """The server remembers that there was no such schema, from before it let us wait."""
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    with closing(session(settings)) as other:

        def commit() -> None:
            until(settings, "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            other.execute("COMMIT")

        committing = threading.Thread(target=commit)

        class Other:
            def step(self, run_id: str, name: str, **detail: Any) -> Any:
                if name == "publish.create":
                    other.execute("BEGIN")
                    other.execute("SELECT pg_advisory_xact_lock(hashtext('medallion.publish'))")
                    other.execute(f"CREATE SCHEMA {domain}")
                    committing.start()
                return nullcontext()

        assert publish(settings, Contracts(one), journal=Other()).outcome == "published"
        committing.join(60)
    assert agreed(settings, Contracts(one))


def test_a_commit_that_arrives_late_is_found(settings: Settings, lake: LakeTables, domain: str) -> None:
    """The client is gone, the server has not yet done it: the ledger says no, and then yes."""
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    at = lake.commit({one: version(2)})
    lines: list[str] = []
    with proxied(settings) as proxy:
        assert isinstance(proxy, PostgresProxy)
        late = proxy.delay_request(r"COMMIT\W")
        there = through(settings, proxy)
        thread, done = in_background(lambda: publish(there, Contracts(one), report=lines.append))
        until(settings, WAITS)  # the second attempt is in line behind the first one's transaction
        assert [entry.sequence for entry in history(settings)] == [1]
        late.set()
        thread.join(60)
    assert (done[0].outcome, done[0].hash, done[0].sequence) == ("published", at, 2)
    assert sum("planning the publication again" in line for line in lines) == 2
    assert "the ledger says that it was done" in lines
    assert [entry.hash for entry in history(settings)].count(at) == 1
    assert agreed(settings, Contracts(one))


def test_a_publisher_that_falls_silent_does_not_block_for_ever(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    lake.commit({one: version(2)})
    with monkeypatch.context() as patched:
        patched.setattr("medallion.publish.postgres_session.IDLE_S", 1.0)
        silent = session(settings)
    silent.execute("BEGIN")
    silent.execute(HEAD)
    silent.execute(f"DELETE FROM {domain}.one")
    assert publish(settings, Contracts(one)).sequence == 2
    with pytest.raises(Unanswered, match="idle-in-transaction"):
        silent.execute("COMMIT")
    silent.close()
    assert agreed(settings, Contracts(one))


def test_what_was_staged_and_lost_is_staged_again(settings: Settings, lake: LakeTables, domain: str) -> None:
    """A crash of the server empties unlogged tables; the transaction counts, and so notices."""
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    names: list[str] = []

    class Crash:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            names.append(name)
            if name == "publish.begin" and names.count("publish.begin") == 1:
                [(staged,)] = select(settings, "SELECT tablename FROM pg_tables WHERE tablename LIKE 'staged\\_%'")
                select(settings, f"TRUNCATE medallion.{staged}")
            return nullcontext()

    assert publish(settings, Contracts(one), journal=Crash()).outcome == "published"
    assert names.count("publish.copy") == names.count("publish.begin") == 2
    assert rows(settings, one) == [(0, 1), (1, 1), (2, 1)]


def test_grants_views_and_open_readers_stay(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    role = f"reader_{domain}"
    select(settings, f"CREATE ROLE {role}")
    select(settings, f"GRANT SELECT ON {domain}.one TO {role}")
    select(settings, f"CREATE VIEW {domain}.newest AS SELECT max(version) AS version FROM {domain}.one")
    [(oid,)] = select(settings, f"SELECT '{domain}.one'::regclass::oid")
    with closing(session(settings)) as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert reader.rows(f"SELECT version FROM {domain}.newest") == [(1,)]
        lake.commit({one: version(2)})
        publish(settings, Contracts(one))  # does not wait for the reader, and the reader sees one version
        assert reader.rows(f"SELECT version FROM {domain}.newest") == [(1,)]
    assert select(settings, f"SELECT version FROM {domain}.newest") == [(2,)]
    assert select(settings, f"SELECT '{domain}.one'::regclass::oid") == [(oid,)]
    assert select(settings, f"SELECT has_table_privilege('{role}', '{domain}.one', 'SELECT')") == [(True,)]
    select(settings, f"DROP OWNED BY {role}")
    select(settings, f"DROP ROLE {role}")


def test_of_many_statements_in_one_request_the_refused_one_is_named(settings: Settings) -> None:
    """Also if its answer comes while others are still being sent."""
    with closing(session(settings)) as warehouse:
        for wrong in (0, 1, 700, 999):
            statements = {f"t{n}": "SELECT 1/0" if n == wrong else "SELECT repeat('x', 5000)" for n in range(1000)}
            with pytest.raises(UsageError, match="division by zero") as refused:
                warehouse.execute_all(statements)
            assert refused.value.dataset == f"t{wrong}"


def test_sql_answers_every_type_and_changes_nothing(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    publish(settings, Contracts(one))
    table = f"{settings.warehouse_postgres.database}.{domain}.one"
    every = f"""SELECT count(*) AS n, sum(id) AS "Sum", 1.50::numeric AS money, 'NaN'::numeric AS no_number, 0.1::float8 AS ratio,
        '-infinity'::float8 AS least, ARRAY[[1,2],[3,4]] AS grid, ARRAY['a','b;c', NULL] AS words, '{{}}'::int[] AS none,
        ARRAY[1.5,2.25] AS amounts, '{{"b": [1.10, null], "a": "x"}}'::jsonb AS doc, 'null'::json AS nothing,
        '\\x00ff'::bytea AS b, timestamptz '2013-01-02 03:04:05.6+02' AS instant, timestamp '1961-02-03' AS local,
        date '1905-03-01' AS day, time '01:02:03' AS t, int4range(1, 5) AS span,
        'a\\' AS backslash, true AS flag, NULL AS gone, 2::numeric(5,0) AS whole
        FROM {table};"""
    assert json.loads(query.to_json(query.warehouse(settings, every)), parse_float=Decimal) == [
        {
            "n": 3, "Sum": 3, "money": "1.50", "no_number": "NaN", "ratio": Decimal("0.1"), "least": "-Infinity",
            "grid": [[1, 2], [3, 4]], "words": ["a", "b;c", None], "none": [], "amounts": ["1.50", "2.25"],
            "doc": {"b": ["1.10", None], "a": "x"}, "nothing": None, "b": "00ff", "instant": "2013-01-02T01:04:05.600000+00:00",
            "local": "1961-02-03T00:00:00", "day": "1905-03-01", "t": "01:02:03", "span": "[1, 5)", "backslash": "a\\",
            "flag": True, "gone": None, "whole": 2,
        }
    ]  # fmt: skip
    before = rows(settings, one)
    for wrong in (
        f"WITH x AS (DELETE FROM {table} RETURNING 1) SELECT * FROM x",
        f"EXPLAIN ANALYZE DELETE FROM {table}",
        f"SELECT '\\'; COMMIT; DELETE FROM {table}; --'",  # one statement where a backslash escapes, as in Snowflake
        "SELECT set_config('transaction_read_only', 'off', false)",
        f"SELECT * INTO {domain}.two FROM {table}",
        "SELECT timestamp 'infinity'",
        "SELECT nope",
    ):
        with pytest.raises(UsageError) as refused:
            query.warehouse(settings, wrong)
        assert refused.value.hint, wrong
    assert rows(settings, one) == before
    assert "doc" in [column.header for column in query.to_rich(query.warehouse(settings, every)).columns]


def test_a_database_that_is_missing_is_named(settings: Settings) -> None:
    with pytest.raises(ServiceUnavailable, match="no database 'nowhere'") as refused:
        history(with_postgres(settings, database="nowhere"))
    assert "medallion up" in (refused.value.hint or "")


def test_rights_that_are_missing_are_named(settings: Settings, lake: LakeTables, domain: str) -> None:
    """The doctor says it before, a publication when it is too late; a schema made beforehand needs no right."""
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: version(1)})
    role = f"poor_{domain}"
    secret = settings.warehouse_postgres.password.get_secret_value()
    select(settings, f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'")
    poor = with_postgres(settings, user=role)
    try:
        with pytest.raises(ServiceUnavailable, match="permission denied") as refused:
            publish(poor, Contracts(one))
        assert role in (refused.value.hint or "")
        found = {check.name: check for check in doctor(poor)}
        assert "GRANT CREATE ON DATABASE" in found["PostgreSQL warehouse"].detail
        assert "Snowflake endpoint" not in found

        for schema in ("medallion", domain):
            select(settings, f"CREATE SCHEMA {schema} AUTHORIZATION {role}")
        assert publish(poor, Contracts(one)).sequence == 1
    finally:
        select(settings, f"DROP OWNED BY {role} CASCADE")
        select(settings, f"DROP ROLE {role}")

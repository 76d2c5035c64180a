"""Marts that meet other publications, lose an answer, are killed at every step, or are watched all the while."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing, nullcontext
from multiprocessing.connection import Connection
from typing import Any

import pytest

from medallion.errors import ConflictError, ServiceUnavailable, UsageError
from medallion.publish import marts
from medallion.publish.columns import Column
from medallion.publish.ledger import Head
from medallion.publish.marts import Columns
from medallion.publish.publication import history, publish
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.marts import COLUMNS, by_sql, schemas_left, shown, versions
from tests.rounds import rounds
from tests.two_processes import processes
from tests.warehouse import BOTH, POSTGRES, database, proxied, select, session, through

pytest_plugins = ["tests.warehouse"]

STEPS = ("marts.build", "begin", "head", "delete", "insert", "ledger", "commit", "cleanup")
"""What a publication of marts writes into the journal, in order."""
REBUILDS = rounds(25, thorough=100)


def gold_of(domain: str) -> Any:
    return gold("one", {"id": "bigint", "version": "bigint"}, domain=domain)


@pytest.fixture
def one(settings: Settings, lake: LakeTables, domain: str) -> Any:
    """A gold table that is published."""
    one = gold_of(domain)
    lake.commit({one: [{"id": 1, "version": 1}]})
    publish(settings, Contracts(one))
    return one


@BOTH
def test_gold_that_is_published_during_the_build_has_the_marts_built_again(
    settings: Settings, lake: LakeTables, one: Any
) -> None:
    heads: list[Head] = []

    def overtaken(head: Head, schema: str) -> Columns:
        heads.append(head)
        if len(heads) == 1:
            lake.commit({one: [{"id": 1, "version": 2}]})
            publish(settings, Contracts(one))
        return by_sql(settings, len(heads))(head, schema)

    lines: list[str] = []
    done = marts.publish(settings, overtaken, lines.append)
    assert [head.sequence for head in heads] == [1, 2]
    assert any("building the marts again" in line and "number 2, by now" in line for line in lines)
    assert (done.sequence, done.hash) == (3, heads[1].hash)
    assert versions(settings) == {(2,)}
    assert schemas_left(settings) == []


def test_who_is_always_outrun_gives_up_and_changes_nothing(settings: Settings, lake: LakeTables, one: Any) -> None:
    marts.publish(settings, by_sql(settings, 1))
    impatient = settings.model_copy(update={"runs": settings.runs.model_copy(update={"conflict_retries": 1})})

    def overtaken(head: Head, schema: str) -> Columns:
        marts.publish(settings, by_sql(settings, 100 + head.sequence))
        return by_sql(settings, 2)(head, schema)

    with pytest.raises(ConflictError, match="others published in all of 2 attempts; the marts are as they were"):
        marts.publish(impatient, overtaken)
    assert versions(settings) == {(103,)}
    assert schemas_left(settings) == []


@BOTH
@pytest.mark.parametrize("lost", ["drop_reply", "drop_request"])
def test_a_lost_commit_is_done_once(settings: Settings, one: Any, lost: str) -> None:
    marts.publish(settings, by_sql(settings, 1))
    commit = "COMMIT" if settings.warehouse == "snowflake" else "COMMIT$|COMMIT\\W"
    lines: list[str] = []
    with proxied(settings) as proxy:
        happened = getattr(proxy, lost)(commit, 1 if settings.warehouse == "snowflake" else 3)  # what is built is fetched before
        done = marts.publish(through(settings, proxy), by_sql(settings, 2), lines.append)
        assert happened.is_set()
    assert (done.outcome, done.sequence) == ("published", 3)
    assert ("the ledger says that it was done" in lines) == (lost == "drop_reply")
    assert [entry.sequence for entry in history(settings)] == [3, 2, 1]
    assert versions(settings) == {(2,)}
    assert schemas_left(settings) == []


@POSTGRES
def test_a_warehouse_that_never_answers_is_told_as_such(settings: Settings, one: Any) -> None:
    impatient = settings.model_copy(update={"runs": settings.runs.model_copy(update={"conflict_retries": 1})})
    with proxied(settings) as proxy:
        for nth in (3, 6):
            proxy.drop_request("COMMIT$|COMMIT\\W", nth)
        with pytest.raises(ServiceUnavailable, match="shows the marts before or after it, whole"):
            marts.publish(through(impatient, proxy), by_sql(settings, 1))


def die_at(pipe: Connection, settings: Settings, step: str, version: int) -> None:
    """Publish marts, and be killed when the journal is told of a step."""

    class Kills:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            if name == f"publish.{step}":
                pipe.send("there")
                os.kill(os.getpid(), signal.SIGKILL)
            return nullcontext()

    marts.publish(settings, by_sql(settings, version), journal=Kills())


@BOTH
def test_whoever_is_killed_at_any_step_leaves_the_old_marts_whole(settings: Settings, one: Any) -> None:
    marts.publish(settings, by_sql(settings, 1))
    before = [shown(settings, mart) for mart in ("lefts", "rights")]
    # a transaction that a dead client left open is ended by the emulator after 20 s, by PostgreSQL at once
    steps = STEPS if settings.warehouse == "postgres" else ("marts.build", "begin", "cleanup")
    for number, step in enumerate(steps, 2):
        with processes(die_at, [(settings, step, number)]) as (dying,):
            assert dying.hear() == "there"
        if step != "cleanup":
            assert [shown(settings, mart) for mart in ("lefts", "rights")] == before, step
            assert len(history(settings)) == 2, step
    assert versions(settings) == {(len(steps) + 1,)}, "what was killed after its commit is published"
    assert marts.publish(settings, by_sql(settings, 50)).outcome == "published"
    assert versions(settings) == {(50,)}
    assert len(schemas_left(settings)) == len(steps) - 1, "they may belong to somebody at work: a day later they go"


@BOTH
def test_who_is_interrupted_in_the_transaction_removes_nothing_that_would_commit_it(settings: Settings, one: Any) -> None:
    marts.publish(settings, by_sql(settings, 1))
    steps: list[str] = []

    class Interrupts:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            steps.append(name)
            if name == "publish.insert":
                raise KeyboardInterrupt
            return nullcontext()

    with pytest.raises(KeyboardInterrupt):
        marts.publish(settings, by_sql(settings, 2), journal=Interrupts())
    assert "publish.cleanup" not in steps
    assert versions(settings) == {(1,)}
    assert len(schemas_left(settings)) == 1


@POSTGRES
def test_what_was_built_in_a_day_ago_is_removed(settings: Settings, one: Any) -> None:
    old, young = "marts_build_20200101t000000_abc_0", "marts_build_29991231t000000_abc_0"
    for name in (old, young):
        select(settings, f"CREATE SCHEMA {name}")
    marts.publish(settings, by_sql(settings, 1))
    assert schemas_left(settings) == [young]


@BOTH
def test_a_reader_never_sees_half_of_the_marts(settings: Settings, one: Any) -> None:
    """In one statement; in PostgreSQL also in several of one REPEATABLE READ transaction."""
    marts.publish(settings, by_sql(settings, 0))
    place, of_postgres = f"{database(settings)}.marts", settings.warehouse == "postgres"
    parts = [f"(SELECT {what}(version) FROM {place}.{mart})" for mart in ("lefts", "rights") for what in ("MIN", "MAX", "COUNT")]
    seen: list[tuple[Any, ...]] = []
    over = threading.Event()

    def watch(statements: list[str], begin: str | None) -> None:
        with closing(session(settings)) as reading:
            while not over.wait(0.01):  # without a pause it takes the time that the publisher needs
                if begin:
                    reading.execute(begin)
                seen.append(tuple(value for each in statements for value in reading.rows(each)[0]))
                if begin:
                    reading.execute("COMMIT")

    watchers = [threading.Thread(target=watch, args=([f"SELECT {', '.join(parts)}"], None))]
    if of_postgres:
        many = [f"SELECT {part}" for part in parts]
        watchers.append(threading.Thread(target=watch, args=(many, "BEGIN ISOLATION LEVEL REPEATABLE READ")))
    for each in watchers:
        each.start()
    rebuilds = REBUILDS if of_postgres else 5
    try:
        for number in range(1, rebuilds + 1):
            marts.publish(settings, by_sql(settings, number))
    finally:
        over.set()
        for each in watchers:
            each.join(60)
    assert {(low == high == other_low == other_high, n, m) for low, high, n, other_low, other_high, m in seen} == {(True, 20, 20)}
    assert len({each[0] for each in seen}) > rebuilds / 4, "the readers saw too few versions to prove anything"
    assert versions(settings) == {(rebuilds,)}


@BOTH
def test_a_new_column_is_added_and_any_other_change_is_refused(settings: Settings, one: Any) -> None:
    marts.publish(settings, by_sql(settings, 1))
    more = (*COLUMNS, Column("note", "string"))

    def changed(columns: tuple[Column, ...], change: str) -> Any:
        def into(head: Head, schema: str) -> Columns:
            built = by_sql(settings, 2)(head, schema)
            select(settings, f"ALTER TABLE {database(settings)}.{schema}.lefts {change}")
            return built | {"lefts": columns}

        return into

    done = marts.publish(
        settings,
        changed(more, "ADD COLUMN note VARCHAR(16777216)" if settings.warehouse == "snowflake" else "ADD COLUMN note text"),
    )
    assert done.marts["lefts"].columns == {"id": "bigint", "version": "bigint", "note": "string"}
    assert len(shown(settings, "lefts")[0]) == 3
    before = history(settings)
    with pytest.raises(UsageError, match=r"gold.marts.lefts: column 'note' is in the warehouse, and no longer in the model"):
        marts.publish(settings, by_sql(settings, 3))
    other = (*COLUMNS[:1], Column("version", "date"), more[2])

    def of_another_type(head: Head, schema: str) -> Columns:
        built = by_sql(settings, 4)(head, schema)
        name = f"{database(settings)}.{schema}.lefts"
        select(settings, f"DROP TABLE {name}")
        select(settings, f"CREATE TABLE {name} AS SELECT 1 AS id, CAST('2013-01-01' AS DATE) AS version, 'x' AS note")
        if settings.warehouse == "postgres":
            select(settings, f"ALTER TABLE {name} ALTER COLUMN id TYPE bigint")
        return built | {"lefts": other}

    with pytest.raises(UsageError, match=r"column 'version' is .* in the warehouse, and (date|DATE) in the model") as refused:
        marts.publish(settings, of_another_type)
    assert "give the model a new name" in (refused.value.hint or "")
    assert history(settings) == before
    assert versions(settings) == {(2,)}


@POSTGRES
def test_a_mart_that_left_the_project_keeps_its_table(settings: Settings, one: Any) -> None:
    marts.publish(settings, by_sql(settings, 1))

    def without(head: Head, schema: str) -> Columns:
        return {"lefts": by_sql(settings, 2)(head, schema)["lefts"]}

    lines: list[str] = []
    assert set(marts.publish(settings, without, lines.append).marts) == {"lefts"}
    assert any("gold.marts.rights is no longer in the project" in line for line in lines)
    assert versions(settings) == {(1,), (2,)}

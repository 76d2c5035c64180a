"""Small histories of schema `ops`, made by hand; `pytest_plugins = ["tests.ops_histories"]` for the fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from dashboards import database
from medallion.settings import Settings
from tests.ops_databases import connect, fresh
from tests.ui import seed_tables


@pytest.fixture
def of_database(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `database.connected` connect to another database."""

    def use(name: str, **changed: Any) -> None:
        postgres = stack.postgres.model_copy(update={"database": name, **changed})
        monkeypatch.setattr(database, "load", lambda: stack.model_copy(update={"postgres": postgres}))

    return use


@pytest.fixture
def own(stack: Settings, of_database: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection to tables with nothing in them, that may be written."""
    with fresh(stack.postgres) as name:
        of_database(name)
        with pytest.raises(database.NothingYet), database.connected():
            pass
        with connect(stack.postgres, name, autocommit=True) as connection:
            seed_tables.make(connection)
            yield connection


def add_run(
    own: psycopg.Connection[Any], run: str, state: str, *, hours: float, domain: str = "sales", retry_of: str | None = None,
    kind: str = "pipeline", day: str | None = "2026-01-01", options: dict[str, Any] | None = None, reverted_by: str | None = None,
) -> None:  # fmt: skip
    own.execute(
        "INSERT INTO ops.runs (run_id, kind, logical_date, branch, state, h0, retry_of, reverted_by, opened_at, ended_at, story) "
        "VALUES (%s, %s, %s, 'b', %s, 'h', %s, %s, now() - make_interval(secs => %s), now() - make_interval(secs => %s), %s)",
        (run, kind, day, state, retry_of, reverted_by, hours * 3600, hours * 3600 - 60,
         Jsonb({"options": {"domain": domain} if options is None else options})),
    )  # fmt: skip


def add_commit(own: psycopg.Connection[Any], n: int, rows: dict[str, int], *, days: int = 0) -> None:
    own.execute(
        "INSERT INTO ops.commits VALUES (%s, %s, now() - make_interval(days => %s), NULL, NULL, NULL, '')", (f"h{n}", n, days)
    )
    for dataset, count in rows.items():
        own.execute("INSERT INTO ops.volumes VALUES (%s, %s, %s, 1, %s, 0, 0, 0)", (f"h{n}", dataset, count, count * 10))


def add_write(
    own: psycopg.Connection[Any], run: str, dataset: str, day: str, merged: bool, score: float | None, rows_in: int = 10
) -> None:
    """One row of ten is in quarantine, unless there is none."""
    own.execute(
        "INSERT INTO ops.written VALUES (%s, 1, %s, %s, %s, %s, %s, %s, 0, '{}', 1, %s, NULL)",
        (run, dataset, day, merged, rows_in, max(rows_in - 1, 0), min(rows_in, 1), score),
    )


def add_verdict(own: psycopg.Connection[Any], run: str, dataset: str, day: str) -> None:
    """A rule that five rows broke, and something that was unusual."""
    own.execute(
        "INSERT INTO ops.rule_results VALUES (%s, 1, 'r', %s, %s, 'warning', true, 5, 10, 0, 'pass', 'd')", (run, dataset, day)
    )
    own.execute("INSERT INTO ops.anomalies VALUES (%s, 1, %s, %s, 'volume', '', '', 1, 2, 2, 3, 'd')", (run, dataset, day))


def add_publication(own: psycopg.Connection[Any], main_hash: str, shown: list[str]) -> None:
    own.execute(
        "INSERT INTO ops.publications VALUES ('snowflake', 1, 'p', %s, now(), '[]', '[]', %s, 0, 0)",
        (main_hash, Jsonb(dict.fromkeys(shown, 1))),
    )

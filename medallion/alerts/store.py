"""Where alerts are kept: schema `ops` of the journal's PostgreSQL, beside the journal, which is read here too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import DictRow, dict_row

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.journal import Journal
from medallion.ops import tables

if TYPE_CHECKING:
    from medallion.settings import Postgres

Connection = psycopg.Connection[DictRow]

IS_THERE = """
SELECT to_regclass('ops.runs') IS NOT NULL AND to_regclass('ops.alert_runs') IS NOT NULL
  AND to_regclass('ops.silences') IS NOT NULL AND 2 = (SELECT count(*) FROM pg_attribute WHERE (attrelid, attname) IN (
    (to_regclass('ops.freshness'), 'seen_at'), (to_regclass('ops.alert_messages'), 'set_aside_at')))
  AND to_regclass('ops.alerts') IS NOT NULL AND to_regclass('ops.steps_of_whole_publications') IS NOT NULL AS there
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('medallion.ops.schema'))"
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('medallion.alerts'))"


@contextmanager
def connection(settings: Postgres) -> Iterator[Connection]:
    """A connection on which every statement is durable at once, unless within `transaction()`; the tables are there.

    Raises: ServiceUnavailable, also for what fails within.
    """
    try:
        with psycopg.connect(
            **settings.login(),
            application_name="medallion alerts",
            autocommit=True,
            row_factory=dict_row,
        ) as opened:
            if not one(opened, IS_THERE)["there"]:
                with Journal(settings), opened.transaction():
                    opened.execute(_LOCK)
                    opened.execute(tables.PROJECTION + tables.ALERTS)
            yield opened
    except psycopg.OperationalError as error:
        address = f"{settings.host}:{settings.port}/{settings.database}"
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ServiceUnavailable(
            f"PostgreSQL at {address} does not answer: {first}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        ) from error


def alone(opened: Connection) -> None:
    """Wait until no other process is opening or resolving alerts; until the end of the transaction."""
    opened.execute(_ONE_AT_A_TIME)


def one(opened: Connection, sql: str, parameters: Any = None) -> dict[str, Any]:
    """The one row of an answer."""
    row = opened.execute(sql, parameters).fetchone()
    assert row is not None
    return row


def rows(opened: Connection, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
    """All rows of an answer."""
    return opened.execute(sql, parameters).fetchall()

"""The run journal's connection to PostgreSQL: it makes the tables where they are missing, and tells a server that is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row

from medallion import settings as settings_module
from medallion.errors import ServiceUnavailable
from medallion.lakehouse import actor, journal_sql
from medallion.lakehouse.audit_sql import LONGEST_WAIT_S

_REFUSES = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)
_UNAVAILABLE = (psycopg.OperationalError, *_REFUSES)
"""Errors that are the server's state, not ours: it is gone, a copy in recovery, read-only, or its user may not."""


class JournalConnection:
    """One connection, every statement durable at once."""

    def __init__(self, settings: settings_module.Postgres, wait_s: int = LONGEST_WAIT_S) -> None:
        """Connect, and make tables, functions and triggers where they are missing or of another version.

        Args:
            wait_s: the longest wait for a lock that another transaction holds.
        Raises: ServiceUnavailable, from every statement too that waits longer.
        """
        self.settings = settings
        try:
            self._connection = psycopg.connect(
                **settings.login(),
                application_name="medallion",
                autocommit=True,
                row_factory=dict_row,
            )
            by = json.dumps(actor.as_json())
            if not self._all(journal_sql.BEGIN, (by, f"{wait_s}s"))[0]["is_there"]:
                self._connection.execute(journal_sql.TABLES)
        except psycopg.Error as error:
            raise self._down(error) from error

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def reading(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection, to read one state of all tables. Raises: ServiceUnavailable."""
        try:
            with self._connection.transaction():
                self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield self._connection
        except _UNAVAILABLE as error:
            raise self._down(error) from error

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A transaction of the journal's connection, for what else is kept in schema `ops`; its errors are psycopg's."""
        with self._connection.transaction():
            yield self._connection

    def _do(self, sql: str, parameters: Any = None) -> None:
        try:
            self._connection.execute(sql, parameters)
        except _UNAVAILABLE as error:
            raise self._down(error) from error

    def _all(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except _UNAVAILABLE as error:
            raise self._down(error) from error

    def _down(self, error: psycopg.Error) -> ServiceUnavailable:
        address = f"{self.settings.host}:{self.settings.port}/{self.settings.database}"
        if "password authentication" in str(error):
            return ServiceUnavailable(
                f"PostgreSQL at {address} refuses the user '{self.settings.user}'",
                hint="check the settings postgres.user and postgres.password",
            )
        if isinstance(error, psycopg.errors.LockNotAvailable):
            return ServiceUnavailable(
                f"PostgreSQL at {address}: another transaction has been open for too long on what is to be written",
                hint="end it: `SELECT pid, state, query FROM pg_stat_activity WHERE xact_start IS NOT NULL` shows it, "
                "`SELECT pg_terminate_backend(pid)` ends it",
            )
        if isinstance(error, _REFUSES):
            return ServiceUnavailable(
                f"PostgreSQL at {address} refuses to write: {str(error).strip().splitlines()[0]}",
                hint="a server that is read-only or a copy of another one cannot be written to; else the user "
                f"'{self.settings.user}' (postgres.user) has to own schema ops",
            )
        return ServiceUnavailable(
            f"PostgreSQL at {address} does not answer: {str(error).strip().splitlines()[0] if str(error) else error!r}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        )


def dumps(value: Any) -> str:
    """JSON of what a story or a step's detail may hold."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return sorted(value)
    return str(value)

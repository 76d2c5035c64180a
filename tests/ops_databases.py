"""Databases with schema `ops` in them, for the dashboards' tests: fresh ones in the stack's PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from medallion.settings import Postgres
from tests.ui.seed import SMALL, Size, fill


def connect(postgres: Postgres, database: str, *, autocommit: bool = False) -> psycopg.Connection[Any]:
    """A connection to a database of the server."""
    return psycopg.connect(**postgres.login(database), autocommit=autocommit)


@contextmanager
def fresh(postgres: Postgres) -> Iterator[str]:
    """The name of a database with nothing in it, dropped in the end."""
    name = f"dashboards_{secrets.token_hex(4)}"
    with connect(postgres, "postgres", autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield name
    finally:
        with connect(postgres, "postgres", autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def seeded(postgres: Postgres, size: Size = SMALL) -> Iterator[str]:
    """The name of a database with a year, or less, of operations in it (`tests.ui.seed`)."""
    with fresh(postgres) as name:
        with connect(postgres, name) as connection:
            fill(connection, size)
        yield name

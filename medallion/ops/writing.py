"""The projection's tables in PostgreSQL: made where they are missing, filled in bulk, and how far each source has been read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from medallion.ops.tables import PROJECTION

Connection = psycopg.Connection[dict[str, Any]]
TABLES = tuple(re.findall(r"CREATE TABLE IF NOT EXISTS ops\.(\w+)", PROJECTION))
_NAMES = [f"ops.{name}" for name in re.findall(r"CREATE (?:TABLE|INDEX) IF NOT EXISTS (?:ops\.)?(\w+)", PROJECTION)]
_MAKING = "SELECT pg_advisory_xact_lock(hashtext('medallion.ops.schema'))"


def missing(connection: Connection) -> list[str]:
    """The tables and indexes of the projection that are not there."""
    rows = connection.execute("SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL", (_NAMES,))
    return [row["name"] for row in rows]


def ensure(connection: Connection) -> bool:
    """Create what is missing of the projection's tables, in a transaction; the journal's are there. Several processes may do
    this at once. Returns: whether anything was created."""
    if not missing(connection):
        return False
    with connection.transaction():
        connection.execute(_MAKING)
        connection.execute(PROJECTION)
    return True


def copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to a table of `ops`; lists and dictionaries become JSON."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY ops.{} ({}) FROM STDIN").format(sql.Identifier(table), names)
    rows = list(rows)
    if not rows:
        return
    with connection.cursor() as cursor, cursor.copy(statement) as copying:
        for row in rows:
            copying.write_row([Jsonb(value) if isinstance(value, list | dict) else value for value in row])


def position(connection: Connection, source: str) -> str | None:
    """How far a source has been read; None: not at all."""
    row = connection.execute("SELECT position FROM ops.projected WHERE source = %s", (source,)).fetchone()
    return str(row["position"]) if row else None


def put_position(connection: Connection, source: str, at: str) -> None:
    """Note how far a source has been read."""
    connection.execute(
        "INSERT INTO ops.projected (source, position) VALUES (%s, %s) "
        "ON CONFLICT (source) DO UPDATE SET position = excluded.position, projected_at = clock_timestamp()",
        (source, at),
    )


def forget_positions(connection: Connection, sources: Sequence[str] | None = None) -> None:
    """Let these sources, or all, be read from their beginning; a name that ends in a dot stands for all that begin so."""
    if sources is None:
        connection.execute("DELETE FROM ops.projected")
        return
    patterns = [f"{name}%" if name.endswith(".") else name for name in sources]
    connection.execute("DELETE FROM ops.projected WHERE source LIKE ANY(%s)", (patterns,))

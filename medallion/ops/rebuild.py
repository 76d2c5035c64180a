"""The projection made anew from its sources alone, and whether that is equal to what was there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.steps import step
from medallion.ops.projection import PARTS, begin, catch_up, prepare
from medallion.ops.sources import Sources
from medallion.ops.writing import Connection, forget_positions

log = logging.getLogger(__name__)

_WAIT_S = 60.0
_KEY = """
SELECT a.attname AS name FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
WHERE i.indrelid = to_regclass(%s) AND i.indisprimary ORDER BY array_position(i.indkey::int[], a.attnum::int)
"""


@dataclass(frozen=True)
class Rebuilt:
    """One table: its key, how many rows it had and has; how many of these differ, and the first that does, by the key: `before`
    and `now` as columns, None where there is none."""

    table: str
    key: tuple[str, ...]
    rows_before: int
    rows: int
    differing: int
    before: dict[str, Any] | None = None
    now: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """What differs, for a person; empty: nothing."""
        if not self.differing:
            return ""
        old, new = self.before or {}, self.now or {}
        key = ", ".join(f"{name} {(old or new)[name]}" for name in self.key)
        if old and new:
            what = "; ".join(f"{name} was {old[name]}, is {new[name]}" for name in new if old[name] != new[name])
        else:
            what = "was there, and comes from no source" if old else "was lacking"
        more = f" (and {self.differing - 1} more rows)" if self.differing > 1 else ""
        return f"{self.table}: {key}: {what}{more}"


def rebuild(sources: Sources, *, check: bool = False) -> list[Rebuilt]:
    """Make all tables of the projection anew, in one transaction; readers see the old rows until it ends.

    What was there is first brought up to date, so that what differs afterwards was wrong.

    Args:
        check: only compare; the tables stay as they are.
    Returns: each table.
    Raises: ServiceUnavailable; then nothing has changed.
    """
    try:
        with step("ops.rebuild"), Journal(sources.lake.settings.postgres) as own:
            prepare(own, _WAIT_S)
            found = _anew(own, sources, check)
    except psycopg.Error as error:
        raise ServiceUnavailable(
            f"the projection could not be made anew, nothing of it has changed: {str(error).strip().splitlines()[0]}",
            hint="`medallion doctor` says whether PostgreSQL is well; another process may be filling it: try again",
        ) from error
    return found


def _anew(own: Journal, sources: Sources, check: bool) -> list[Rebuilt]:
    found: list[Rebuilt] = []
    with own.transaction() as connection:
        begin(connection, _WAIT_S, 0)
        _bring_up_to_date(connection, sources)
        tables = [table for part in PARTS for table in part.tables]
        for table in tables:
            names = {"old": sql.Identifier(f"old_{table}"), "new": sql.Identifier("ops", table)}
            connection.execute(sql.SQL("CREATE TEMP TABLE {old} ON COMMIT DROP AS TABLE {new}").format(**names))
        forget_positions(connection, ["lineage", *(name for part in PARTS for name in part.positions)])
        for part in PARTS:
            part.fill(connection, sources)
        found += [_compared(connection, table) for table in tables]
        # no part of the projection: looks for alerts fill it, and leave alone what other processes may know
        connection.execute("DELETE FROM ops.freshness WHERE dataset <> ALL(%s)", (sorted(sources.domains.contracts),))
        if check:
            raise psycopg.Rollback
    return found


def _bring_up_to_date(connection: Connection, sources: Sources) -> None:
    try:
        with connection.transaction():
            catch_up(connection, sources)
    except psycopg.Error as error:
        log.warning("the projection could not be brought up to date before it is made anew", exc_info=True)
        sources.report(f"ops: it could not be brought up to date first, so more may differ: {str(error).splitlines()[0]}")


def _compared(connection: Connection, table: str) -> Rebuilt:
    key = tuple(row["name"] for row in connection.execute(_KEY, (f"ops.{table}",)))
    columns = sql.SQL(", ").join(map(sql.Identifier, key))
    parts = {"old": sql.Identifier(f"old_{table}"), "new": sql.Identifier("ops", table), "key": columns}
    counts = connection.execute(
        sql.SQL("SELECT (SELECT count(*) FROM {old}) AS before, (SELECT count(*) FROM {new}) AS now").format(**parts)
    ).fetchone()
    first = connection.execute(
        sql.SQL(
            "SELECT to_jsonb(was) AS before, to_jsonb(now) AS now, count(*) OVER () AS differing "
            "FROM {old} was FULL JOIN {new} now USING ({key}) WHERE was IS DISTINCT FROM now ORDER BY {key} LIMIT 1"
        ).format(**parts)
    ).fetchone()
    assert counts is not None
    return Rebuilt(f"ops.{table}", key, counts["before"], counts["now"], **(first or {"differing": 0}))

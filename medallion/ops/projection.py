"""The projection: what main's log, the journal, the evidence, the ledgers and the contracts tell, as tables of schema `ops`.

It is filled in at the end of each run and publication, in one transaction: each source from where it was last read. Whoever
is killed, or finds it broken, has changed nothing, and the next one catches up. One process at a time works on it, on a
connection of its own, so that a server that cuts off what waits too long cuts off no run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from medallion.lakehouse.journal import Journal
from medallion.lakehouse.steps import step
from medallion.ops import contracts, journal_runs, ledgers, main_log
from medallion.ops.sources import Sources
from medallion.ops.writing import Connection, ensure, forget_positions

log = logging.getLogger(__name__)

LOCK_WAIT_S = 5.0
"""How long a run waits for another process's projection, and for whatever else locks its tables."""
STATEMENT_S = 60.0
"""How long one statement of it may take at the end of a run."""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('medallion.ops.projection'))"


class Part(NamedTuple):
    """One source: the tables that are filled from it alone, its positions' names, and what fills the tables from there on."""

    tables: tuple[str, ...]
    positions: tuple[str, ...]
    fill: Callable[[Connection, Sources], None]


PARTS = (
    Part(contracts.TABLES, (contracts.SOURCE,), contracts.fill),
    Part(main_log.TABLES, (main_log.SOURCE,), main_log.fill),  # before the runs, which say whether their commit is there
    Part(journal_runs.TABLES, (journal_runs.SOURCE,), journal_runs.fill),
    Part(ledgers.TABLES, (ledgers.SOURCE, ledgers.SOURCES), ledgers.fill),
)


def project(sources: Sources) -> bool:
    """Fill in what is new. Whatever goes wrong is told in one line, and changes nothing.

    Returns: whether the projection is up to date.
    """
    try:
        with step("ops.project"), Journal(sources.lake.settings.postgres) as own:
            prepare(own, LOCK_WAIT_S)
            with own.transaction() as connection:
                begin(connection, LOCK_WAIT_S, STATEMENT_S)
                catch_up(connection, sources)
    except Exception as error:
        log.exception("the projection could not be filled in")
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        sources.report(f"ops: what is new could not be filled in, the next run catches up: {first}")
        return False
    return True


def prepare(journal: Journal, lock_wait_s: float) -> None:
    """Make the tables that are missing, in a transaction of their own: an index on the journal's tables keeps every run
    waiting until it is committed. Raises: psycopg.Error."""
    with journal.transaction() as connection:
        limit(connection, lock_wait_s, STATEMENT_S)
        if ensure(connection):  # a table was lost, or none was there
            forget_positions(connection)


def limit(connection: Connection, lock_wait_s: float, statement_s: float) -> None:
    """Bound how long this transaction waits for a lock, and how long a statement of it takes."""
    for name, seconds in (("lock_timeout", lock_wait_s), ("statement_timeout", statement_s)):
        connection.execute("SELECT set_config(%s, %s, true)", (name, f"{seconds * 1000:.0f}ms"))


def begin(connection: Connection, lock_wait_s: float, statement_s: float) -> None:
    """Take the projection's lock, until the transaction ends. Raises: psycopg.Error."""
    limit(connection, lock_wait_s, statement_s)
    connection.execute(_LOCK)


def catch_up(connection: Connection, sources: Sources) -> None:
    """Fill in what is new, in a transaction that has the lock. Raises: MedallionError; psycopg.Error."""
    for part in PARTS:
        part.fill(connection, sources)

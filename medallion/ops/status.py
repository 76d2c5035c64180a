"""How far the projection is behind its sources."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.nessie import MAIN, NO_ANCESTOR
from medallion.ops import contracts, journal_runs, ledgers, main_log
from medallion.ops.sources import Sources
from medallion.ops.writing import Connection, missing
from medallion.settings import Settings


@dataclass(frozen=True)
class Position:
    """One source: how far it has been read, how far it has come, and when it was last read. `behind` is how many commits, runs,
    publications or contracts (changed or not: 1 or 0) are not filled in yet; None: not known, `note` says why."""

    source: str
    position: str | None
    newest: str | None
    behind: int | None
    projected_at: datetime | None
    note: str = ""


def status(sources: Sources) -> list[Position]:
    """Where the projection stands in each source; nothing is changed. Raises: ServiceUnavailable."""
    try:
        return _status(sources)
    except psycopg.Error as error:
        raise ServiceUnavailable(
            f"the tables of schema ops cannot be read: {str(error).strip().splitlines()[0]}",
            hint="`medallion doctor` says whether PostgreSQL is well; the user needs the right to read them",
        ) from error


def _status(sources: Sources) -> list[Position]:
    with sources.lake.journal.transaction() as connection:
        if lacking := missing(connection):
            why = f"{len(lacking)} tables or indexes are missing ({lacking[0]}): the next run makes them, and fills them anew"
            names = [main_log.SOURCE, journal_runs.SOURCE, contracts.SOURCE, *map(ledgers.source_of, sources.warehouses)]
            return [Position(name, None, None, None, None, why) for name in names]
        known = {row["source"]: row for row in connection.execute("SELECT * FROM ops.projected")}
        found = [_main(sources, _at(known, main_log.SOURCE)), _journal(connection, _at(known, journal_runs.SOURCE))]
        at, now = _at(known, contracts.SOURCE), contracts.at_now(sources.domains)
        found.append(Position(contracts.SOURCE, at, now, int(at != now), None))
        found += [_ledger(settings, _at(known, ledgers.source_of(settings))) for settings in sources.warehouses]
    return [
        Position(p.source, p.position, p.newest, p.behind, known[p.source]["projected_at"] if p.source in known else None, p.note)
        for p in found
    ]


def _at(known: dict[str, dict[str, str]], source: str) -> str | None:
    return known[source]["position"] if source in known else None


def _main(sources: Sources, at: str | None) -> Position:
    nessie = sources.lake.nessie
    head = nessie.reference(MAIN)
    if head.hash == (at or NO_ANCESTOR):
        return Position(main_log.SOURCE, at, head.hash, 0, None)
    if head.hash == NO_ANCESTOR:
        return Position(main_log.SOURCE, at, head.hash, None, None, "main is empty: the next run takes out what is there")
    count, oldest = 0, head.hash
    for commit in nessie.log(head, until=at):
        count, oldest = count + 1, commit.parent
    if at is None or oldest == at:
        return Position(main_log.SOURCE, at, head.hash, count, None)
    return Position(main_log.SOURCE, at, head.hash, None, None, "main has another history: the next run makes anew what differs")


def _journal(connection: Connection, at: str | None) -> Position:
    row = connection.execute("SELECT max(changed_at)::text AS at FROM ops.runs").fetchone()
    return Position(journal_runs.SOURCE, at, row["at"] if row else None, journal_runs.changed(connection, at), None)


def _ledger(settings: Settings, at: str | None) -> Position:
    try:
        newest, lacking = ledgers.behind(settings, at)
    except ledgers.NoAnswer as error:
        return Position(ledgers.source_of(settings), at, None, None, None, str(error))
    return Position(ledgers.source_of(settings), at, newest, lacking, None)

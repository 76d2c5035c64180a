"""The log in PostgreSQL: read, searched, verified."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from medallion.audit import guard
from medallion.audit.chain import NAMES, PRUNED, RESTORED, Anchor, Kind, Problem, Record, Walk, compare, stamp
from medallion.errors import UsageError
from medallion.lakehouse.audit_sql import GENESIS
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import AUDIT_HASH, AUDIT_SEQUENCE
from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.settings import Settings

_COLUMNS = ", ".join("detail::text" if name == "detail" else name for name in NAMES)
_BATCH = 5000


@dataclass(frozen=True)
class Verified:
    """What was found. `commits` is how many commits of main name a record that is there, `pruned` whether records were
    removed by `medallion audit prune`, `excused` how many anchors name records that a restore has taken away by right
    (`restores`: the records that say so)."""

    records: int
    first: int | None
    last: int | None
    head: str
    commits: int
    pruned: int
    restores: tuple[int, ...]
    excused: int
    problems: tuple[Problem, ...]


def verify(settings: Settings, others: Sequence[Anchor] = ()) -> Verified:
    """Look at the whole chain, and compare it with the log of `main` and with what was exported.

    Args:
        others: further anchors, as `medallion.audit.export.anchors` takes them from a file.
    Raises: ServiceUnavailable.
    """
    with closing(Nessie(settings.nessie)) as nessie:  # first: records come before the commits that name them
        log = [commit for commit in nessie.log(nessie.reference(MAIN)) if AUDIT_HASH in commit.properties]
    anchors, unread = list[Anchor](), list[Problem]()
    for commit in log:
        source, number = f"main's commit {commit.hash[:12]}", commit.properties.get(AUDIT_SEQUENCE, "")
        if number.isascii() and number.isdecimal():
            anchors.append(Anchor(source, commit.time, int(number), commit.properties[AUDIT_HASH]))
        else:
            what = f"{source} names a record's hash, and as its number '{number}' ({AUDIT_SEQUENCE})"
            unread.append(Problem(0, "changed", what))
    pruned: list[dict[str, Any]] = []
    restored: list[tuple[int, datetime]] = []
    problems: list[Problem] = []
    with reading(settings) as connection:
        walk = Walk((one.sequence for one in (*anchors, *others)), lambda hash_: _is_there(connection, hash_))
        for record in walk.over(records(connection)):
            if record.action == PRUNED:
                pruned.append(json.loads(record.detail))
                if young := guard.too_young(record, pruned[-1]):
                    problems.append(young)
            elif record.action == RESTORED:
                restored.append((record.sequence, datetime.fromisoformat(record.at)))
        problems = [*([walk.problem] if walk.problem else []), *_beginning(walk, pruned), *problems]
        more, excused = compare(walk, (*anchors, *others), restored)
        problems += [*more, *unread]
        if not problems:  # else it is told already
            problems += guard.unrecorded(connection, walk, restored)
        problems += guard.unguarded(connection)
    first = walk.first.sequence if walk.first else None
    return Verified(
        records=walk.records,
        first=first,
        last=walk.last.sequence if walk.last else None,
        head=walk.last.hash if walk.last else GENESIS,
        commits=sum(one.sequence in walk.hashes for one in anchors),
        pruned=first - 1 if first else 0,
        restores=tuple(sequence for sequence, _ in restored),
        excused=len(excused),
        problems=tuple(problems),
    )


def _beginning(walk: Walk, pruned: list[dict[str, Any]]) -> list[Problem]:
    """Records from 1 on are missing, and no prune says so."""
    if walk.first is None:
        return []
    before, hash_ = walk.first.sequence - 1, walk.first.previous
    if (before, hash_) == (0, GENESIS) or any((one.get("through"), one.get("hash")) == (before, hash_) for one in pruned):
        return []
    kind: Kind = "removed" if before else "changed"
    what = f"the first record is {before + 1}, and no record of `medallion audit prune` says what was before it"
    return [Problem(1, kind, what if before else "record 1 does not say that it is the first")]


def _is_there(connection: psycopg.Connection[Any], hash_: str) -> bool:
    return connection.execute("SELECT 1 FROM ops.audit WHERE hash = %s", (hash_,)).fetchone() is not None


@contextmanager
def reading(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """One state of the log to read, and nothing to write. Raises: ServiceUnavailable."""
    with Journal(settings.postgres) as journal, journal.reading() as connection:
        connection.row_factory = tuple_row
        connection.execute("SET LOCAL search_path = pg_catalog")  # names are told in full, whatever the user's path
        yield connection


def records(connection: psycopg.Connection[Any], where: str = "true", values: Sequence[Any] = ()) -> Iterator[Record]:
    """The records in order, as they are fetched."""
    with connection.cursor("audit") as cursor:
        cursor.itersize = _BATCH
        cursor.execute(f"SELECT {_COLUMNS} FROM ops.audit WHERE {where} ORDER BY sequence", values)
        for sequence, at, *rest in cursor:
            yield Record(sequence, stamp(at), *rest)


def search(
    settings: Settings,
    *,
    since: datetime | None = None,
    run: str | None = None,
    who: str | None = None,
    action: str | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """The newest records first, with all their columns.

    Args:
        run: a run's id, or its beginning. who: a part of the name. action: in full, or its beginning, as `run`.
    """
    conditions = {
        "at >= %s": since,
        "starts_with(run_id, %s)": run,
        "position(%s in who) > 0": who,
        "starts_with(action, %s)": action,
    }
    given = {text: value for text, value in conditions.items() if value is not None}
    where = " AND ".join(given) or "true"
    with reading(settings) as connection:
        asked = f"SELECT {', '.join(NAMES)} FROM ops.audit WHERE {where} ORDER BY sequence DESC LIMIT %s"
        rows = connection.execute(asked, (*given.values(), limit)).fetchall()
    return [dict(zip(NAMES, row, strict=True)) | {"at": stamp(row[1])} for row in rows]


def parse_time(text: str) -> datetime:
    """A date or a time in ISO form; without an offset it is UTC. Raises: UsageError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"'{text}' is no time", hint="write it as 2026-01-31 or 2026-01-31T09:30 (UTC)") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def readable(path: Path) -> Path:
    """The file, if it is one. Raises: UsageError."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="name one that `medallion audit export` wrote")
    return path

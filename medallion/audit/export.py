"""Exported records: a file that can be verified alone, and that says afterwards what the log was.

JSON lines, one record a line, in order, with the columns of `ops.audit`; `detail` is the very text that the hash is over. The
last line is the record of the export itself, which says how many there are and where they end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from medallion.audit.chain import EXPORTED, NAMES, Anchor, Problem, Record, Walk, digest
from medallion.audit.log import Verified, readable, reading, records
from medallion.audit.record import recorded
from medallion.errors import InputError, UsageError
from medallion.lakehouse.journal import Journal
from medallion.settings import Settings


@dataclass(frozen=True)
class Exported:
    """What was written: records `first` to `last`, and the export's own record as the last line."""

    file: str
    records: int
    first: int | None
    last: int | None
    hash: str | None


def export(settings: Settings, path: Path, since: datetime | None, until: datetime | None) -> Exported:
    """Write the records of a span of time (from `since`, before `until`) to a new file; whole or not at all.

    Args:
        since: None: where the last export ended, or from the first record on.
    Raises: UsageError if the file exists; ServiceUnavailable.
    """
    path = path.expanduser().absolute()
    if path.exists() or not path.parent.is_dir():
        what = "exists already" if path.exists() else f"cannot be written: there is no folder {path.parent}"
        raise UsageError(f"{path} {what}", hint="name a new file in a folder that exists")
    span = _span(settings, since, until)
    done = Exported(str(path), **span)
    told = span | {"since": since, "until": until}
    new = path.with_name(f".{uuid4().hex}.new")
    with recorded(settings.postgres, EXPORTED, str(path), told) as own, reading(settings) as connection:
        wanted = ("sequence BETWEEN %s AND %s OR sequence = %s", (done.first, done.last, own["begun"]))
        try:
            with new.open("x", encoding="utf-8") as file:
                for record in records(connection, *wanted):
                    file.write(f"{json.dumps(asdict(record), ensure_ascii=False)}\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(new, path)  # unlike a rename, it never replaces what somebody else put there meanwhile
        except FileExistsError as error:
            raise UsageError(f"{path} exists already", hint="name a new file in a folder that exists") from error
        finally:
            new.unlink(missing_ok=True)
    return done


def _span(settings: Settings, since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """`first`, `last`, `hash` (of the last) and `records` of a span of time."""
    with reading(settings) as connection:
        begin = exported_through(settings) + 1 if since is None else 0
        first, last, count = connection.execute(
            "SELECT min(sequence), max(sequence), count(*) FROM ops.audit WHERE sequence >= %s "
            "AND at >= coalesce(%s::timestamptz, '-infinity') AND at < coalesce(%s::timestamptz, 'infinity')",
            (begin, since, until),
        ).fetchall()[0]
        rows = connection.execute("SELECT hash FROM ops.audit WHERE sequence = %s", (last,)).fetchall()
    return {"first": first, "last": last, "records": count, "hash": rows[0][0] if rows else None}


def exported_through(settings: Settings) -> int:
    """Up to which record all have been exported, without a gap; what came before the first one counts as exported."""
    with Journal(settings.postgres) as journal:
        return journal.exported_through()


def read(path: Path) -> Iterator[Record]:
    """The records of an exported file. Raises: InputError naming the line; UsageError if there is no file."""
    with readable(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
                record = Record(**{name: found[name] for name in NAMES})
                if not isinstance(record.sequence, int) or not isinstance(record.detail, str):
                    raise ValueError("sequence or detail is of another type")
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number}, is no record of the audit log: {error!r}",
                    hint="name a file that `medallion audit export` wrote, as it wrote it",
                ) from error
            yield record


def verify_file(path: Path) -> Verified:
    """Verify an exported file alone. Raises: InputError, UsageError."""
    found = list(read(path))
    walk, own = Walk(), found[-1] if found else None
    for _ in walk.over(found[:-1]):
        pass
    problems = [walk.problem] if walk.problem else []
    if own is None or own.action != EXPORTED:
        problems.append(Problem(own.sequence + 1 if own else 1, "cut off", "the last line is not the record of the export"))
    elif digest(own) != own.hash:
        problems.append(Problem(own.sequence, "changed", f"record {own.sequence}, of the export itself, is not what it was"))
    else:
        problems += _ends(walk, json.loads(own.detail))
    return Verified(
        records=walk.records,
        first=walk.first.sequence if walk.first else None,
        last=walk.last.sequence if walk.last else None,
        head=walk.last.hash if walk.last else "",
        commits=0,
        pruned=0,
        restores=(),
        excused=0,
        problems=tuple(sorted(problems, key=lambda one: one.sequence)),
    )


def _ends(walk: Walk, told: dict[str, Any]) -> list[Problem]:
    """Whether the records begin and end where the export says."""
    first, last = (walk.first, walk.last) if walk.records else (None, None)
    if (first and first.sequence) != told.get("first"):
        return [Problem(told.get("first") or 0, "removed", f"the export began with record {told.get('first')}")]
    if (last and last.sequence, last and last.hash) != (told.get("last"), told.get("hash")):
        at = last.sequence + 1 if last and last.sequence < (told.get("last") or 0) else (told.get("last") or 0)
        return [Problem(at, "cut off", f"the export ended with record {told.get('last')}, of another hash or further on")]
    return []


def anchors(path: Path) -> list[Anchor]:
    """What an exported file says that the log was. Raises: as `read`."""
    return [Anchor(str(path), datetime.fromisoformat(one.at), one.sequence, one.hash) for one in read(path)]

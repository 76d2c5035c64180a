"""The chain of records, looked at by itself: what one record's hash is over, and which record is the first that is wrong.

Nothing here asks PostgreSQL for a hash: whoever could change records could change its functions too.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Literal

from medallion.lakehouse.audit_sql import GENESIS

Kind = Literal["changed", "removed", "inserted", "reordered", "cut off", "rewritten", "unguarded", "unrecorded"]
EXPORTED, PRUNED, RESTORED = "audit.exported", "audit.pruned", "stack.restored"
"""Actions that say something of the chain itself."""
_NEAR = 1000
"""So far is it looked for where a record stood before."""


@dataclass(frozen=True)
class Record:
    """A record as its hash is over it: `at` in UTC as 2026-01-31T09:30:00.000000Z, `detail` as PostgreSQL writes JSONB."""

    sequence: int
    at: str
    who: str
    place: str
    action: str
    object: str
    outcome: str
    run_id: str | None
    detail: str
    previous: str
    hash: str


NAMES = tuple(field.name for field in fields(Record))


@dataclass(frozen=True)
class Problem:
    """What is wrong, and at which record first."""

    sequence: int
    kind: Kind
    what: str


@dataclass(frozen=True)
class Anchor:
    """Somebody else's word for what a record's hash was at a time: a commit of `main`, or an exported file."""

    source: str
    at: datetime
    sequence: int
    hash: str


def stamp(when: datetime) -> str:
    """A time as the hash is over it."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def canonical(record: Record) -> bytes:
    """What the hash is over: netstrings (http://cr.yp.to/proto/netstrings.txt) of `previous`, `sequence`, `at`, `who`,
    `place`, `action`, `object`, `outcome`, `run_id` and `detail`, in UTF-8; `-,` for a `run_id` that is NULL."""
    parts = (
        record.previous, str(record.sequence), record.at, record.who, record.place, record.action, record.object,
        record.outcome, record.run_id, record.detail,
    )  # fmt: skip
    return b"".join(b"-," if part is None else b"%d:%s," % (len(raw := part.encode()), raw) for part in parts)


def digest(record: Record) -> str:
    """The hash that a record ought to have."""
    return hashlib.sha256(canonical(record)).hexdigest()


class Walk:
    """Reads a chain once, in its order, and keeps the first problem.

    Args:
        anchored: sequences whose hashes are asked for afterwards (`hashes`).
        elsewhere: says whether a record with this hash is somewhere in the chain.
    """

    def __init__(self, anchored: Iterable[int] = (), elsewhere: Callable[[str], bool] = lambda hash_: False) -> None:
        self.problem: Problem | None = None
        self.first: Record | None = None
        self.last: Record | None = None
        self.records = 0
        self.hashes: dict[int, str] = {}
        self._anchored = frozenset(anchored)
        self._elsewhere = elsewhere
        self._recent: deque[tuple[int, str]] = deque(maxlen=_NEAR)

    def over(self, records: Iterable[Record]) -> Iterator[Record]:
        """The same records, each looked at."""
        for record in records:
            if self.problem is None:
                self.problem = self._wrong(record)
            self.first = self.first or record
            self.last = record
            self.records += 1
            self._recent.append((record.sequence, record.hash))
            if record.sequence in self._anchored:
                self.hashes[record.sequence] = record.hash
            yield record

    def _wrong(self, record: Record) -> Problem | None:
        before, n = self.last, record.sequence
        wanted = before.sequence + 1 if before else n
        if n > wanted:
            many = f"records {wanted} to {n - 1} are" if n - 1 > wanted else f"record {wanted} is"
            return Problem(wanted, "removed", f"{many} missing")
        if n < wanted:
            return Problem(n, "reordered", f"record {n} stands after record {wanted - 1}")
        if digest(record) == record.hash:
            if before is None or record.previous == before.hash:
                return None
            what = f"record {n} does not follow on record {n - 1} as it is now: one of them was changed, and its hash with it"
            return Problem(n - 1, "changed", what)
        return self._moved(record) or Problem(n, "changed", f"record {n} is not what it was: its hash is of other contents")

    def _moved(self, record: Record) -> Problem | None:
        """What is wrong with a record that is whole, but stood somewhere else."""
        n = record.sequence
        near = (c for c in range(max(1, n - _NEAR), n + _NEAR) if c != n)
        was = next((c for c in near if digest(replace(record, sequence=c)) == record.hash), None)
        if was is None:
            return None
        if was < n and record.previous == (dict(self._recent).get(was - 1) if was > 1 else GENESIS):
            many = f"records {was} to {n - 1} were" if n - 1 > was else f"record {was} was"
            return Problem(was, "inserted", f"{many} put in: what stands as record {n} was record {was}")
        if was > n and not self._elsewhere(record.previous):
            many = f"{was - n} records were" if was - n > 1 else f"record {n} was"
            return Problem(n, "removed", f"{many} taken out: what stands as record {n} was record {was}")
        return Problem(n, "reordered", f"what stands as record {n} was record {was}")


def compare(
    walk: Walk, anchors: Iterable[Anchor], restored: Iterable[tuple[int, datetime]]
) -> tuple[list[Problem], list[Anchor]]:
    """Compare a chain with what others say that it was.

    Args:
        walk: over the whole chain, with the anchors' sequences as `anchored`.
        restored: sequence and time of the records that say that the stack was restored to an earlier moment. What was
            recorded after that moment and before the restore is gone by right.
    Returns: the problems, at most one of a kind; the anchors that are excused by a restore.
    """
    first = walk.first.sequence if walk.first else 1
    known = walk.hashes | {first - 1: walk.first.previous if walk.first else GENESIS}
    last, restores = (walk.last.sequence if walk.last else 0), list(restored)
    good, problems, excused = first - 1, dict[str, Problem](), list[Anchor]()
    for anchor in sorted(anchors, key=lambda one: one.sequence):
        if anchor.sequence < first - 1:
            continue  # pruned
        if known.get(anchor.sequence) == anchor.hash:
            good = max(good, anchor.sequence)
        elif any(sequence <= anchor.sequence and anchor.at < at for sequence, at in restores):
            excused.append(anchor)
        elif anchor.sequence > last:
            what = f"{anchor.source} names record {anchor.sequence}, and the newest is {last}: the end was cut off"
            problems.setdefault("cut off", Problem(last + 1, "cut off", what))
        elif walk.problem is None:  # else it is told already
            what = f"{anchor.source} names another hash for record {anchor.sequence}: records after {good} were written anew"
            problems.setdefault("rewritten", Problem(good + 1, "rewritten", what))
    return list(problems.values()), excused

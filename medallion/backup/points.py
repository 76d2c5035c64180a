"""What a second location says of itself: whose it is, which points it can be restored to, and the newest of them.

lake.json           whose lake it is the copy of
files/BUCKET/KEY    copies
brought/*.json      size and SHA-256 of every copy, by its `s3://…`
catalog/bases/…     base backups of the catalog's PostgreSQL
catalog/wal/…       its write-ahead log
points/*.json       one of each backup: a commit of main, and the named point in that log at which main was there
watermark.json      the newest point, written last: the recovery point
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from medallion.backup.location import Location, get_json, put_text
from medallion.errors import InputError, SettingsError, UsageError

FORMAT = 1
LAKE, WATERMARK, POINTS = "lake.json", "watermark.json", "points"


@dataclass(frozen=True)
class Change:
    """A commit of main, as its log has it."""

    hash: str
    parent: str
    time: datetime
    message: str
    run: str | None


@dataclass(frozen=True)
class Point:
    """A state of the lake that is in the location, whole.

    `id` sorts by time; `mark` is the name of the point in the write-ahead log; `commit` is where main was then, `at` the
    time by PostgreSQL's clock; `wal` the last segment of the log that it needs, `base` the base backup. `changes` are the
    commits that this backup brought, newest first. `files` and `bytes` count all copies in the location by then.
    """

    id: str
    mark: str
    commit: str
    at: datetime
    base: str
    wal: str
    changes: tuple[Change, ...]
    files: int
    bytes: int


def write(location: Location, point: Point) -> None:
    """Add a point, and only then make it the recovery point."""
    text = json.dumps(asdict(point), indent=1, default=lambda value: value.isoformat())
    put_text(location, f"{POINTS}/{point.id}.json", text)
    put_text(location, WATERMARK, json.dumps({"point": point.id}))


def newest(location: Location) -> Point | None:
    """The recovery point; None before the first backup has ended."""
    if location.size(WATERMARK) is None:
        return None
    return _read(location, f"{POINTS}/{get_json(location, WATERMARK)['point']}.json")


def every(location: Location) -> list[Point]:
    """All points up to the recovery point, oldest first. Raises: InputError if there is none."""
    last = newest(location)
    if last is None:
        raise InputError(
            f"{location.name} holds no backup that has ended: there is nothing to restore",
            hint="`medallion backup` makes one; `medallion backup status` shows the recovery point",
        )
    names = [name for name in location.names(POINTS) if name <= f"{POINTS}/{last.id}.json"]
    return [_read(location, name) for name in names]


def _read(location: Location, name: str) -> Point:
    found = get_json(location, name)
    try:
        changes = tuple(Change(**(one | {"time": datetime.fromisoformat(one["time"])})) for one in found["changes"])
        return Point(**(found | {"at": datetime.fromisoformat(found["at"]), "changes": changes}))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{location.name}/{name} cannot be read: {error!r}", hint="is that the location of a backup?") from error


def whose(location: Location) -> dict[str, Any] | None:
    """What the location says of its lake: `lake` (an id), `format`; None if it is empty.

    Raises: SettingsError if it holds other things, or is of another format.
    """
    if location.size(LAKE) is None:
        if any(not name.startswith("incoming/") for name in location.names("")):  # there: what a killed backup was writing
            raise SettingsError(
                f"{location.name}, the setting backup.location, holds files that are no backup",
                hint="name an empty folder or prefix",
            )
        return None
    found = get_json(location, LAKE)
    if found.get("format") != FORMAT:
        raise SettingsError(
            f"{location.name} has the format {found.get('format')}, this version knows {FORMAT}",
            hint="use the version of medallion that made it",
        )
    return found


def changes(points: list[Point]) -> list[Change]:
    """The commits of main that the location has, oldest first."""
    return [change for point in points for change in reversed(point.changes)]


def find(points: list[Point], to: str) -> Change:
    """The commit that is meant by a hash (or a unique beginning of it) or a time.

    Args:
        to: 8 to 64 hexadecimal digits; or a time as ISO 8601 has it, without a zone in UTC: main as it was then.
    Raises: UsageError for what is neither, for a commit that is not there, for a time that is not covered.
    """
    known = changes(points)
    last = points[-1]
    span = (
        f"the first is {known[0].hash[:12]} of {known[0].time:%Y-%m-%d %H:%M:%S}, "
        f"the recovery point {last.commit[:12]} of {last.at:%Y-%m-%d %H:%M:%S}, UTC"
    )
    found = {one.hash: one for one in known if one.hash.startswith(to)}
    looks_so = len(to) >= 8 and all(letter in "0123456789abcdef" for letter in to)
    if looks_so and len(found) == 1:
        return next(iter(found.values()))
    if looks_so and (found or not _is_time(to)):  # 20260131 is a date
        what = "no commit" if not found else "more than one commit"
        raise UsageError(
            f"--to {to}: {what} of main in the backup begins so ({span})",
            hint="`medallion backup points` lists them; one that is newer than the recovery point was not copied yet",
        )
    when = time(to)
    if when > last.at:
        raise UsageError(f"--to {to} is after the recovery point: {span}", hint="leave --to out to restore the recovery point")
    before = [one for one in known if one.time <= when]
    if not before:
        raise UsageError(f"--to {to} is before the first commit: {span}", hint="name a later time")
    return before[-1]


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def time(text: str) -> datetime:
    """A time as ISO 8601 has it; in UTC if it does not say. Raises: UsageError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--to {text} is neither a commit's hash nor a time", hint="write a time as 2026-01-31T12:30:00Z"
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)

"""Copy what is new on `main` to the second location, and record up to where it can be restored.

In this order: files of all commits, a named point in the log of the catalog's PostgreSQL, that log, and last the point
itself. Killed anywhere, the recovery point is the one before, and the next backup goes on.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from medallion.audit.record import recorded
from medallion.backup import points
from medallion.backup.catalog import Catalog
from medallion.backup.copying import copy, sweep
from medallion.backup.location import Location, own_store, place, put_text
from medallion.backup.needs import Needs
from medallion.backup.own import OWN, Mirrored
from medallion.backup.points import Change, Point
from medallion.errors import ConflictError, InputError, MedallionError, SettingsError, UsageError
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, NO_ANCESTOR, Commit, Content, Nessie, Reference
from medallion.lakehouse.store import Store
from medallion.settings import Settings

log = logging.getLogger(__name__)
Report = Callable[[str], None]
EVIDENCE_PROPERTY = "medallion.evidence"
_TRIES = 50


@dataclass(frozen=True)
class Done:
    """What came of a backup. `files` and `bytes` were copied for commits, `log_bytes` for the catalog (packed);
    `commits` is how many commits of main are covered that were not before."""

    point: str
    commit: str
    at: datetime
    commits: int
    files: int
    bytes: int
    log_bytes: int
    base: bool
    seconds: float


@dataclass(frozen=True)
class Status:
    """How far the copies go. `commit` and `at`: the recovery point; `behind` the commits of main that would be lost, the
    oldest of which is `lost_since`; `points` times that can be restored exactly; `files` and `bytes` all copies of the lake."""

    location: str
    commit: str | None
    at: datetime | None
    main: str
    behind: int
    lost_since: datetime | None
    points: int
    files: int
    bytes: int


def backup(settings: Settings, report: Report = print) -> Done:
    """Bring the second location up to `main` as it is now. Two at a time follow one another.

    Raises: ConflictError if another one takes longer than `backup.wait_s`; SettingsError for a location that cannot be this
        lake's; InputError for a file that a commit needs and that is gone; ServiceUnavailable. The recovery point is then as
        it was.
    """
    second = place(settings)
    with recorded(settings.postgres, "lake.backed-up", second.name) as found:
        done = _backup(settings, second, report)
        found |= {"point": done.point, "commit": done.commit}
    return done


def _backup(settings: Settings, second: Location, report: Report) -> Done:
    began = time.monotonic()
    work = settings.home / "backup"
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store(settings.s3)
    location = Mirrored(second, store)
    with (
        Journal(settings.postgres) as journal,
        closing(Nessie(settings.nessie)) as nessie,
        Catalog(settings.postgres, work) as catalog,
        journal.queue(["medallion.backup"], settings.backup.wait_s),
    ):
        id_ = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z-{secrets.token_hex(2)}"
        doing = f"backup-{id_}"
        last = _begin(settings, journal, doing, location, store)
        location.prepare()
        sweep(location)
        new = list(nessie.puts(nessie.reference(MAIN), until=last.commit if last else None))
        count = copy(store, location, _needed(settings, nessie, store, last, new), id_)
        if count.files:
            report(f"{count.files:,} files of {len(new)} commits copied ({count.bytes / 1e6:.1f} MB)")
        with journal.step(doing, "backup.base") as found:  # before the point: a restore goes from a base to a point
            base, base_bytes = catalog.base(location, id_, settings.backup.base_after_mb)
            found["base"], found["bytes"] = base.id, base_bytes
        head, mark, at, more = _mark(settings, nessie, catalog, store, location, journal, id_, new, last)
        with journal.step(doing, "backup.catalog") as found:
            wal, log_bytes = catalog.log(location)
            found["segment"], found["bytes"] = wal, log_bytes
        new = more + new
        point = Point(
            id=id_,
            mark=mark,
            commit=head,
            at=at,
            base=base.id,
            wal=wal,
            changes=tuple(_change(commit) for commit, _ in new),
            files=(last.files if last else 0) + count.files,
            bytes=(last.bytes if last else 0) + count.bytes,
        )
        with journal.step(doing, "backup.watermark", commit=head):
            points.write(location, point)
    done = Done(
        id_, head, at, len(new), count.files, count.bytes, base_bytes + log_bytes, bool(base_bytes), time.monotonic() - began
    )
    report(
        f"backup: the recovery point is main@{head[:12]} of {at:%Y-%m-%d %H:%M:%S} UTC; {done.commits} commits, "
        f"{done.files} files, {(done.bytes + done.log_bytes) / 1e6:.1f} MB in {done.seconds:.1f} s"
    )
    return done


def status(settings: Settings) -> Status:
    """How far the copies go. Raises: SettingsError; ServiceUnavailable."""
    location = place(settings)
    last = points.newest(location) if _same_lake(location, Store(settings.s3)) else None
    with closing(Nessie(settings.nessie)) as nessie:
        main = nessie.reference(MAIN)
        behind = list(nessie.log(main, until=last.commit if last else None))
    return Status(
        location=location.name,
        commit=last.commit if last else None,
        at=last.at if last else None,
        main=main.hash,
        behind=len(behind),
        lost_since=behind[-1].time if behind else None,
        points=len(location.names(points.POINTS)) if last else 0,
        files=last.files if last else 0,
        bytes=last.bytes if last else 0,
    )


def _same_lake(location: Location, store: Store) -> bool:
    """Whether the location has been begun. Raises: SettingsError if it is another lake's."""
    found = points.whose(location)
    if found is None:
        return False
    own = _own(store)
    if found["lake"] != own:
        raise SettingsError(
            f"{location.name}, the setting backup.location, holds the backup of another lake "
            f"({found['lake']}, this is {own or 'new'})",
            hint="name an empty folder or prefix; a stack that was restored from a backup needs one of its own",
        )
    return True


def _begin(settings: Settings, journal: Journal, doing: str, location: Location, store: Store) -> Point | None:
    """Make an empty location ours. Returns: its newest point."""
    if _same_lake(location, store):
        return points.newest(location)
    own = _own(store)
    with journal.step(doing, "backup.begin", location=location.name):
        if own is None:
            own = secrets.token_hex(16)
            store.put(f"{OWN}/lake.json", f'{{"lake": "{own}"}}'.encode(), "application/json")
        if own.encode() in (location.reads(f"{OWN}/lake.json") or b""):
            raise own_store(settings)
        location.prepare()
        put_text(location, points.LAKE, f'{{"lake": "{own}", "format": {points.FORMAT}}}')
    return None


def _own(store: Store) -> str | None:
    try:
        return str(json.loads(store.get(f"{OWN}/lake.json"))["lake"])
    except InputError:
        return None


def _needed(
    settings: Settings, nessie: Nessie, store: Store, last: Point | None, new: list[tuple[Commit, dict[str, Content]]]
) -> Iterator[str]:
    """The files of commits, oldest first, that those up to the last point do not have."""
    needs = Needs(settings.s3)
    before = nessie.tables(Reference(MAIN, last.commit)) if last else {}
    for dataset in {dataset for _, tables in new for dataset in tables} & set(before):
        needs.known(before[dataset])
    for commit, tables in reversed(new):
        for content in tables.values():
            yield from needs.of(content)
        if evidence := commit.properties.get(EVIDENCE_PROPERTY):
            yield evidence
            for one in json.loads(store.get(evidence)).get("deliveries", ()):
                if store.holds(one["uri"]):  # its owner may have removed it: bronze has its rows
                    yield one["uri"]


def _mark(
    settings: Settings,
    nessie: Nessie,
    catalog: Catalog,
    store: Store,
    location: Location,
    journal: Journal,
    id_: str,
    new: list[tuple[Commit, dict[str, Content]]],
    last: Point | None,
) -> tuple[str, str, datetime, list[tuple[Commit, dict[str, Content]]]]:
    """Name a point in the log at which main is at a commit whose every file is there: main is looked at before and after.

    Returns: the commit, the point's name, its time, and the commits that came since `new` was listed; their files are copied.
    """
    covered = new[0][0].hash if new else last.commit if last else None
    more: list[tuple[Commit, dict[str, Content]]] = []
    for attempt in range(_TRIES):
        head = nessie.reference(MAIN)
        if head.hash != covered:
            newer = list(nessie.puts(head, until=covered))
            copy(store, location, _needed(settings, nessie, store, last, newer), f"{id_}-{attempt}")
            more, covered = newer + more, head.hash
            continue
        if head.hash == NO_ANCESTOR:
            raise UsageError("main has no commit yet: there is nothing to back up", hint="`medallion run` a date first")
        mark = f"{id_}-{attempt}"  # a restore would stop at the first of one name
        with journal.step(f"backup-{id_}", "backup.mark", commit=head.hash):
            at = catalog.mark(mark)
        if nessie.reference(MAIN) == head:
            return head.hash, mark, at, more
    raise ConflictError(
        f"main moved in each of {_TRIES} looks at it; the recovery point is as it was", hint="back up when fewer runs merge"
    )


def _change(commit: Commit) -> Change:
    return Change(commit.hash, commit.parent, commit.time, commit.message, commit.properties.get(RUN_PROPERTY))


def after_merge(settings: Settings, report: Report) -> dict[str, Any]:
    """Back up after a run was merged. A backup that fails takes nothing from the run: it is told, and the next one goes on.

    Returns: what came of it, as JSON.
    """
    try:
        return vars(backup(settings, report))
    except Exception as error:  # whatever it is, the run is merged
        log.exception("the backup after a merge failed")
        if not isinstance(error, MedallionError):
            error = MedallionError(f"{type(error).__name__}: {error}", hint="the log has the traceback; then back up again")
        report(f"backup: failed, the recovery point is as it was: {error}")
        return {"error": error.message, "hint": error.hint}

"""A new embedded stack from a second location alone: the lake that was lost, as it was at a commit or a time.

PostgreSQL is recovered by its own log to the moment: catalog, journal and, where the warehouse is that PostgreSQL, what was
published then. The buckets get every file that commits up to there need, so log, time travel and evidence are whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from medallion.audit.chain import RESTORED
from medallion.backup import catalog, points
from medallion.backup.copying import Copied, brought, fill, newest_versions
from medallion.backup.location import Location, place
from medallion.backup.own import OWN, OwnBucket
from medallion.backup.points import Change, Point
from medallion.backup.recover import Goal, recover
from medallion.errors import InputError, MedallionError, UsageError
from medallion.lakehouse import merge
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Nessie, Reference
from medallion.lakehouse.run import LIVE
from medallion.lakehouse.steps import step
from medallion.lakehouse.store import Store
from medallion.services import ports, stack
from medallion.services.state import State, exclusively, read, read_or_begin
from medallion.settings import Ports, Settings

if TYPE_CHECKING:
    from medallion.publish.publication import HasContracts

Report = Callable[[str], None]


@dataclass(frozen=True)
class Restored:
    """A new stack. `commit` is where main is, `at` the time of the commit; `ended` the runs that were under way then and
    have failed, `branches` those that were removed, `published` the commit that the warehouse shows, if it shows one;
    `absent` the deliveries that have no copy, for their owner had removed them: bronze has their rows."""

    home: Path
    commit: str
    at: datetime
    files: int
    bytes: int
    absent: tuple[str, ...]
    ended: tuple[str, ...]
    branches: tuple[str, ...]
    published: str | None
    catalog_seconds: float
    seconds: float


def restore_into(
    settings: Settings,
    to: str | None,
    into: Path,
    where: str | None,
    report: Report = print,
    *,
    domains: HasContracts | None = None,
    guard: int | None = None,
) -> Restored:
    """Make a new stack, which runs afterwards.

    Args:
        to: a commit of main or a time, as in `points.find`; None: the recovery point.
        into: the new stack's state folder; it must not exist, or be empty.
        where: the second location, else the setting `backup.location`.
        domains: whose gold is published, if the warehouse is an emulator that begins empty; those of the settings by default.
        guard: as in `medallion.services.stack.up`.

    Raises: UsageError, SettingsError, InputError for what cannot be: nothing was made then. MedallionError for damaged copies;
        ServiceUnavailable. The new stack is then stopped, cannot be started, and is to be removed; so it is after a kill.
    """
    began = time.monotonic()
    location = source(settings, where)
    change, point, base, goal = plan(location, to)
    files = newest_versions(brought(location, point.id).values())
    new = settings.model_copy(update={"home": _fresh(into), "ports": Ports(), "profile": "embedded"})
    report(f"restoring main@{change.hash[:12]} of {change.time:%Y-%m-%d %H:%M:%S} UTC into {new.home}")
    with _whole_or_stopped(new, report):
        return _restore(new, location, change, point, base, goal, files, domains, guard, began, report)


@contextmanager
def _whole_or_stopped(new: Settings, report: Report) -> Iterator[None]:
    """Mark the new stack as one that is not whole until all is done; however that ends early, stop it."""
    new.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    new.restoring_file.touch()
    try:
        yield
    except BaseException:
        stack.down(new, report)
        state = read(new)
        elsewhere = state.postgres_folder if state else None
        folders = f"{new.home} and {elsewhere}" if elsewhere and new.home not in elsewhere.parents else str(new.home)
        report(f"the restore has not ended: its stack is stopped and cannot be started; remove {folders}")
        raise
    new.restoring_file.unlink()


def _restore(
    new: Settings,
    location: Location,
    change: Change,
    point: Point,
    base: catalog.Base,
    goal: Goal,
    files: list[Copied],
    domains: HasContracts | None,
    guard: int | None,
    began: float,
    report: Report,
) -> Restored:
    with exclusively(new):
        state = read_or_begin(new)
        ports.settle(state, new.ports, report)
        state.passing = guard is not None
        state.save()
        with step("restore.catalog"):
            catalog_seconds = recover(state, location, base, point.wal, goal)
    report(f"PostgreSQL is as it was, main is at {change.hash[:12]} ({catalog_seconds:.1f} s)")
    stack.up(new, report, guard=guard, restoring=True)
    new = _own(new, state)
    with Journal(new.postgres) as journal, closing(Nessie(new.nessie)) as nessie:
        sequence, hash_ = journal.audit_head()  # what was recorded later is not there any more
        told = {"commit": change.hash, "from": location.name, "newest": sequence, "hash": hash_}
        journal.record(RESTORED, str(new.home), detail=told)
        ended = _end_runs(nessie, journal, change)
        branches = _remove_branches(nessie)
    work = new.home / "backup"
    work.mkdir(mode=0o700, exist_ok=True)
    store = Store(new.s3)
    with step("restore.files"):
        absent = fill(location, store, files, work, lambda bucket: _ensure(store, bucket), report)
    files = [one for one in files if one.uri not in set(absent)]
    report(f"{len(files):,} files are in their buckets")
    if absent:
        report(
            f"{len(absent):,} deliveries have no copy, as their owner removed them, the first {absent[0]}; bronze has their rows"
        )
    published = _publish(new, domains, report)
    done = Restored(
        home=new.home,
        commit=change.hash,
        at=change.time,
        files=len(files),
        bytes=sum(one.bytes for one in files),
        absent=tuple(absent),
        ended=ended,
        branches=branches,
        published=published,
        catalog_seconds=catalog_seconds,
        seconds=time.monotonic() - began,
    )
    report(f"restored in {done.seconds:.1f} s; use it with MEDALLION_HOME={new.home}")
    return done


def source(settings: Settings, where: str | None) -> Location:
    """Where to restore from: the lake's own bucket, if that is named, or the second location. Raises: as `place`."""
    if where and where.rstrip("/") == OWN:
        return OwnBucket(settings.s3, settings.home / "backup" / "incoming")
    return place(settings, where)


def plan(location: Location, to: str | None) -> tuple[Change, Point, catalog.Base, Goal]:
    """What `to` means: the commit, the point whose log and files are used, the base backup before it, where to stop in that log.

    Raises: UsageError, InputError if it cannot be restored.
    """
    if points.whose(location) is None:
        raise InputError(f"{location.name} is empty: there is no backup", hint="name the location that backups went to (--from)")
    known = points.every(location)
    change = points.find(known, to) if to else points.changes(known)[-1]
    point, begin, goal = _goal(known, change, to)
    base = next((one for one in catalog.bases(location) if one.id == begin), None)
    if base is None or not catalog.whole(location, base, point.wal):
        raise InputError(
            f"{location.name} lacks a part of the catalog's log for {change.hash[:12]}",
            hint="`medallion backup points` lists others",
        )
    return change, point, base, goal


def _goal(known: list[Point], change: Change, to: str | None) -> tuple[Point, str, Goal]:
    """The point whose log and files are used, the base backup to begin with, and where in that log to stop.

    Raises: UsageError for a moment before the first point: there is no base backup before it.
    """
    order = points.changes(known)
    later = order[[one.hash for one in order].index(change.hash) + 1 :]
    after = frozenset(one.hash for one in later)
    named = [point for point in known if point.commit == change.hash]
    by_time = to is not None and not change.hash.startswith(to)
    if named and not by_time:  # the newest: with what was published and written down after the merge
        point = named[-1]
        return point, point.base, Goal(change.hash, point.mark, None, after, point.at, point.at)
    when = points.time(to) if by_time and to else later[0].time - timedelta(microseconds=1)
    before = [point for point in known if point.at <= when]
    if not before:
        first = known[0]
        raise UsageError(
            f"--to {to} is before the first backup, of main@{first.commit[:12]} at {first.at:%Y-%m-%d %H:%M:%S} UTC: the catalog "
            "cannot be recovered to a moment before it",
            hint=f"restore to {first.commit[:12]}: what main was at {change.hash[:12]} can be read there "
            f"(`medallion sql --at {change.hash[:12]}…`)",
        )
    point = next(point for point in known if point.at >= when)
    return point, before[-1].base, Goal(change.hash, None, when, after, before[-1].at, point.at)


def _fresh(into: Path) -> Path:
    home = into.expanduser().resolve()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise UsageError(
            f"--into {home} is not empty: a stack is restored into a folder of its own", hint="name one that does not exist"
        )
    return home


def _own(settings: Settings, state: State) -> Settings:
    """The new stack's addresses and secrets, whatever the environment says of the one that was lost."""
    parts = {name: values for name, values in state.settings().items() if name != "sources"}
    told = {name: type(getattr(settings, name)).model_validate(values) for name, values in parts.items()}
    if not settings.snowflake.emulated and settings.snowflake.account != "fakesnow":
        told.pop("snowflake")
    return settings.model_copy(update=told)


def _ensure(store: Store, bucket: str) -> None:
    with store.answering(f"s3://{bucket}"):
        if not store.client.bucket_exists(bucket):
            store.client.make_bucket(bucket)


def _end_runs(nessie: Nessie, journal: Journal, change: Change) -> tuple[str, ...]:
    """End runs that were under way: what they wrote on their branches was not copied, so none may go on or merge."""
    ended = []
    for row in journal.runs(limit=1_000_000, states=LIVE):
        merged = merge.find(nessie, row["run_id"], Reference(MAIN, row["h0"])) if row["state"] == "merging" else None
        with step("restore.runs"):
            if merged:
                journal.update(row["run_id"], state="merged", merged_hash=merged)
                continue
            why = f"the stack was restored to main@{change.hash[:12]}, at which this run was under way"
            journal.update(row["run_id"], state="failed", error=why)
        ended.append(str(row["run_id"]))
    return tuple(ended)


def _remove_branches(nessie: Nessie) -> tuple[str, ...]:
    names = tuple(one.name for one in nessie.references() if one.name != MAIN)
    for name in names:
        with step("restore.branches"):
            nessie.delete_branch(name)
    return names


def _publish(settings: Settings, domains: HasContracts | None, report: Report) -> str | None:
    """Show main in the warehouse, if that is an emulator: its disk was not copied. PostgreSQL as the warehouse is as it was
    at that moment; an account is somebody else's."""
    from medallion import domain
    from medallion.publish.publication import publish

    if settings.warehouse != "snowflake" or not settings.snowflake.emulated:
        return None
    try:
        return publish(settings, domains or domain.load(settings), report=report).shown
    except MedallionError as error:
        report(f"the warehouse is still empty: {error}")
        return None

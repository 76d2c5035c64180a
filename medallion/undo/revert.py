"""A run taken off `main` again, as a whole.

What it only appended goes by its files, also where later runs appended beside it. What it replaced goes back to what it
was, if nothing later depends on it (see `medallion.undo.dependents`); else these runs have to be taken back first, or with it,
and be run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from medallion.contract import LAYERS
from medallion.errors import UsageError
from medallion.lake import Lake
from medallion.lakehouse.nessie import MAIN, Content, Reference
from medallion.lakehouse.putback import put_back, same_state
from medallion.lakehouse.replay import NotReplayable, Write, replay, undone
from medallion.lakehouse.run import LIVE, Run
from medallion.lakehouse.standing import REVERTS_PROPERTY
from medallion.pipeline import Request
from medallion.undo.carrying_out import Change, Prepared, Report, Undone, a_write, carry_out, check_files, rows, tables_at
from medallion.undo.dependents import History, Merged, history

KIND = "revert"


@dataclass(frozen=True)
class Step:
    """How one table is taken back: to the state of `before` (None: empty), or by files, which are `what`."""

    table: str
    before: Content | None
    what: Write | None

    @property
    def way(self) -> str:
        return "files" if self.what else "state" if self.before else "empty"


class Depended(Exception):
    """A table of a run cannot be taken back alone; the message says why."""

    def __init__(self, run_id: str, table: str, reason: str) -> None:
        super().__init__(f"{table}: {reason}")
        self.run_id = run_id
        self.table = table


@dataclass(frozen=True)
class Plan:
    """What a revert takes back: `runs`, newest first, the last of them the one that was asked for, over the tables of
    `main` as they are in `now`; `reasons` are why a table could not be taken back alone."""

    runs: list[Merged]
    now: dict[str, Content]
    reasons: list[str]


def revert(lake: Lake, run_id: str, report: Report = print, *, again: bool = False, publish: bool = True) -> Undone:
    """Take a run off `main`, in one commit.

    Args:
        again: also take back the later runs that depend on it, and run them again, in the same commit.
    Raises: UsageError if the run does not stand on `main`, or others depend on it: the message names them, newest first;
        as `medallion.undo.carrying_out.carry_out`.
    """
    plan(lake, lake.nessie.reference(MAIN), run_id, again=again)  # what cannot be is told before anything begins
    return carry_out(lake, KIND, lambda run: _prepare(lake, run, run_id, again), report, publish=publish)


def dry_run(lake: Lake, run_id: str, *, again: bool = False) -> Undone:
    """What `revert` would do; nothing is written. Of several runs the tables are not worked out. Raises: as `revert`."""
    found = plan(lake, lake.nessie.reference(MAIN), run_id, again=again)
    s3, changes = lake.settings.s3, []
    if len(found.runs) == 1:
        for step in steps(lake, found.runs[0], found.now):
            before = rows(s3, found.now.get(step.table))
            after = before + _difference(step.what) if step.what else rows(s3, step.before)
            changes.append(Change(step.table, step.way, before, after))
    again_ = [str(one.logical_date) for one in _requests(found.runs[:-1])]
    return Undone(None, "dry run", None, [one.run_id for one in found.runs], [], changes, again_)


def _difference(what: Write) -> int:
    added, removed = (sum(file.record_count for file in files) for files in (what.changes.added, what.changes.removed))
    return added - removed


def plan(lake: Lake, main: Reference, run_id: str, *, again: bool) -> Plan:
    """Which runs have to go. Raises: UsageError as `revert`."""
    wanted = _known(lake, run_id)
    log = history(lake.nessie, lake.journal, lake.store, main, wanted)
    target = log.run(wanted)
    if target is None:
        raise _not_there(lake, wanted, log)
    if target.kind == "init":
        raise UsageError(
            f"run {wanted} only created tables, empty: there is nothing to take back", hint="`medallion runs` lists the others"
        )
    now = tables_at(lake, main.hash)
    taken, reasons = log.closure([wanted], lake.domains), []
    if len(taken) == 1:
        try:
            steps(lake, target, now)
        except Depended as depended:
            taken, reasons = _widened(lake, log, [wanted], depended), [str(depended)]
    if len(taken) > 1 and not again:
        raise _depended_upon(wanted, taken[:-1], reasons)
    _requests(taken[:-1])
    return Plan(taken, now, reasons)


def _widened(lake: Lake, log: History, begin: list[str], depended: Depended) -> list[Merged]:
    """The runs to take back if a table of one of them cannot be taken back alone: all that changed it later go too.
    Raises: UsageError if there is none."""
    at = log.places[depended.run_id]
    later = [one.run_id for one in log.runs if log.places[one.run_id] > at and depended.table in one.tables]
    if set(later) <= set(begin):
        raise UsageError(
            f"run {depended.run_id} cannot be taken back: {depended}; nothing was changed",
            hint="`medallion restore --to` puts back everything as it was at a commit or a time",
            run=depended.run_id,
        )
    return log.closure([*begin, *later], lake.domains)


def _prepare(lake: Lake, run: Run, run_id: str, again: bool) -> Prepared:
    found = plan(lake, run.h0, run_id, again=again)
    taken, s3 = found.runs, lake.settings.s3
    while True:
        try:
            tables, ways = _taken_back(lake, taken, found.now)
            break
        except Depended as depended:
            log = history(lake.nessie, lake.journal, lake.store, run.h0, taken[-1].run_id)
            taken = _widened(lake, log, [one.run_id for one in taken], depended)
    changes = [Change(name, ways[name], rows(s3, found.now.get(name)), rows(s3, new)) for name, new in sorted(tables.items())]
    writes = [
        a_write(dataset, when, f"takes back {one.run_id}", takes_back=one.run_id)
        for one in taken
        for dataset, when in sorted(_written(one), key=repr)
    ]
    by_files = {change.table for change in changes if change.way == "files"} & {write["dataset"] for write in writes}
    contracts = lake.domains.contracts
    judged = sorted(d for d in by_files if d in contracts and any(rule.scope == "table" for rule in contracts[d].table_rules))
    properties = {REVERTS_PROPERTY: ",".join(one.run_id for one in taken)}
    return Prepared(tables, writes, properties, changes, judged, _requests(taken[:-1]))


def _taken_back(lake: Lake, taken: Sequence[Merged], now: dict[str, Content]) -> tuple[dict[str, Content], dict[str, str]]:
    """The new versions of the tables once these runs, newest first, are taken back, and the way of each."""
    tables: dict[str, Content] = {}
    ways: dict[str, str] = {}
    for one in taken:
        for step in steps(lake, one, now | tables):
            onto = tables.get(step.table) or now.get(step.table)
            if step.what and onto:
                tables[step.table] = replay(lake.settings.s3, onto, [step.what])
            else:
                tables[step.table] = put_back(lake.settings.s3, onto, step.before)
            ways[step.table] = step.way
    return tables, ways


def steps(lake: Lake, one: Merged, now: dict[str, Content]) -> list[Step]:
    """How each table that a run changed is taken back. Raises: Depended; UsageError if files that are needed are gone."""
    before, after = tables_at(lake, one.commit.parent), tables_at(lake, one.commit.hash)
    s3, found = lake.settings.s3, []
    for table in sorted(one.tables & (before.keys() | after.keys())):
        old, new, current = before.get(table), after.get(table), now.get(table)
        if same_state(s3, current, new):
            found.append(Step(table, old, None))
            continue
        try:
            if old is None or new is None or current is None:
                raise NotReplayable("it was created or dropped")
            found.append(Step(table, old, undone(s3, old, new, current)))
        except NotReplayable as error:
            raise Depended(one.run_id, table, str(error)) from error
    check_files(s3, [step.before for step in found if step.before], f"run {one.run_id}")
    return found


def _written(one: Merged) -> set[tuple[str, date | None]]:
    """(dataset, date) of all that a run wrote; its tables as a whole where its story is not known."""
    if one.story is None:
        return {(table, None) for table in one.tables}
    return {(write["dataset"], _date(write.get("logical_date"))) for write in one.writes}


def _date(value: Any) -> date | None:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _requests(later: Sequence[Merged]) -> list[Request]:
    """What has to be asked for to run these again, oldest first. Marts are left out: they are built from main anew.

    Raises: UsageError for a run that cannot be run again.
    """
    found = []
    for one in reversed(later):
        if one.kind == "marts":
            continue
        when, options = one.row.get("logical_date"), (one.story or {}).get("options", {})
        if when is None:
            raise UsageError(
                f"{one.run_id} cannot be run again by itself ({one.kind or 'no run made it'}); nothing was changed",
                hint=f"take it back first: `medallion revert {one.run_id}`",
                run=one.run_id,
            )
        written = {write["dataset"].split(".")[0] for write in one.writes}
        layers = tuple(layer for layer in LAYERS if layer in options.get("layers", written))
        domains = {write["dataset"].split(".")[1] for write in one.writes}
        domain = options.get("domain") or (domains.pop() if "layers" not in options and len(domains) == 1 else None)
        note = f"{one.run_id} again"
        found.append(Request(when, layers, domain, options.get("dataset"), note=note))
    return found


def _known(lake: Lake, run_id: str) -> str:
    """The full id of a run that may be taken back. Raises: UsageError."""
    try:
        row = lake.journal.run(run_id)
    except UsageError:
        if any(commit.properties.get("medallion.run") == run_id for commit in lake.nessie.log(lake.nessie.reference(MAIN))):
            return run_id  # the journal does not know it, the log of main does
        raise
    name, state = str(row["run_id"]), row["state"]
    if row["reverted_by"]:
        raise UsageError(
            f"run {name} is reverted already, by {row['reverted_by']}; nothing was changed",
            hint=f"`medallion revert {row['reverted_by']}` brings it back",
            run=name,
        )
    if state in LIVE:
        raise UsageError(
            f"run {name} is {state}: it is not at an end", hint=f"wait for it, or `medallion resume {name}`", run=name
        )
    if state not in ("merged", "published"):
        raise UsageError(
            f"run {name} is {state}: nothing of it is on main, so there is nothing to take back",
            hint="`medallion runs` shows which were merged",
            run=name,
        )
    return name


def _not_there(lake: Lake, run_id: str, log: History) -> UsageError:
    if run_id in log.places:
        why, hint = "was taken back already", "`medallion show` of the newest reverts and restores says by which"
    else:
        why, hint = "is in the journal, and not on main", "the catalog may have been restored to an earlier time"
    return UsageError(f"run {run_id} {why}; nothing was changed", hint=hint, run=run_id)


def _depended_upon(run_id: str, later: Sequence[Merged], reasons: Sequence[str]) -> UsageError:
    names = [one.run_id for one in later]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    lines = "\n".join(f"  medallion revert {name}" for name in names)
    return UsageError(
        f"run {run_id} cannot be taken back alone: {len(names)} later run{'s' if len(names) > 1 else ''} read or replaced what "
        f"it wrote{why}; nothing was changed. To take them back first, the newest first:\n{lines}",
        hint=f"or `medallion revert {run_id} --replay`, which takes them back too and runs them again, in one commit",
        run=run_id,
    )

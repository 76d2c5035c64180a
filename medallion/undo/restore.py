"""Everything as it was at a commit of `main`, put on top of what is there now, in one commit.

Each table that differs gets a new version with the rows, the schema and the layout of then (see
`medallion.lakehouse.putback`); no data file is read or written. A table that did not exist then has no rows afterwards, and
stays: everyone who reads it finds it, the warehouse empties its own, and the next run would create it, empty, anyway.
Namespaces stay too. What was merged since counts as reverted.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from medallion.errors import UsageError
from medallion.lake import Lake
from medallion.lakehouse.nessie import MAIN, Commit, Content, Nessie
from medallion.lakehouse.putback import put_back, same_state
from medallion.lakehouse.run import Run
from medallion.lakehouse.standing import RESTORES_PROPERTY, RETURNS, REVERTS, SINCE_PROPERTY, moved
from medallion.undo.carrying_out import Change, Prepared, Report, Undone, a_write, carry_out, check_files, rows, tables_at

KIND = "restore"
_QUARANTINE = "__quarantine"


def restore(lake: Lake, to: str, report: Report = print, *, publish: bool = True) -> Undone:
    """Put the contents of a commit of `main` on top of `main`, for all tables.

    Args:
        to: a commit, at least its first 8 digits; or a time, which stands for the newest commit that is not after it.
    Raises: UsageError if there is no such commit or time, or files that are needed are gone; as `carry_out`.
    """
    at, main = find(lake.nessie, to), lake.nessie.reference(MAIN)
    then = tables_at(lake, at.hash)
    _check(lake, tables_at(lake, main.hash), then, at)
    return carry_out(lake, KIND, lambda run: _prepare(lake, run, at, then), report, publish=publish)


def dry_run(lake: Lake, to: str) -> Undone:
    """What `restore` would do; nothing is written. Raises: as `restore`."""
    at, main = find(lake.nessie, to), lake.nessie.reference(MAIN)
    now, then = tables_at(lake, main.hash), tables_at(lake, at.hash)
    _check(lake, now, then, at)
    changes = _changes(lake, now, then)
    runs = moved(list(lake.nessie.log(main)), _properties(at, main.hash))
    return Undone(None, "dry run", None, runs[REVERTS], runs[RETURNS], changes)


def find(nessie: Nessie, to: str) -> Commit:
    """The commit of `main` that a hash or a time names. Raises: UsageError."""
    log = nessie.log(nessie.reference(MAIN))
    if re.fullmatch(r"[0-9a-f]{8,64}", to):
        if found := next((commit for commit in log if commit.hash.startswith(to)), None):
            return found
        raise UsageError(
            f"main has no commit '{to}'; nothing was changed",
            hint="`medallion runs` and `medallion show RUN` tell the commits of runs; a time will do as well",
        )
    when = parse_time(to)
    oldest: Commit | None = None
    for commit in log:
        if commit.time <= when:
            return commit
        oldest = commit
    began = f": main begins at {_said(oldest.time)}" if oldest else ": main has no commit yet"
    raise UsageError(
        f"there was nothing on main at {_said(when)}{began}; nothing was changed", hint="choose a time after its first commit"
    )


def parse_time(text: str) -> datetime:
    """An ISO date and time; without an offset it is UTC. Raises: UsageError for anything else, and for what is to come."""
    try:
        if not re.match(r"\d{4}-?\d{2}-?\d{2}[T ]\d", text):
            raise ValueError("no date with a time")
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"'{text}' is neither a commit of main nor a time",
            hint="write a time as 2026-01-31T09:30 (UTC) or 2026-01-31T10:30+01:00, a commit with at least 8 of its digits",
        ) from error
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    if found > datetime.now(UTC):
        raise UsageError(f"{_said(found)} is still to come; nothing was changed", hint="times without an offset are UTC")
    return found


def _said(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _prepare(lake: Lake, run: Run, at: Commit, then: dict[str, Content]) -> Prepared:
    now = {name: content for name, content in run.base.items() if content["type"] == "ICEBERG_TABLE"}
    changes = _changes(lake, now, then)
    run.notes.append(f"main as it was at {at.hash[:12]}, {_said(at.time)}")
    tables = {one.table: put_back(lake.settings.s3, now.get(one.table), then.get(one.table)) for one in changes}
    names = sorted({one.table.removesuffix(_QUARANTINE) for one in changes})
    writes = [a_write(name, None, f"as it was at {at.hash[:12]}") for name in names]
    return Prepared(tables, writes, _properties(at, run.h0.hash), changes)


def _properties(at: Commit, since: str) -> dict[str, str]:
    return {RESTORES_PROPERTY: at.hash, SINCE_PROPERTY: since}


def _changes(lake: Lake, now: dict[str, Content], then: dict[str, Content]) -> list[Change]:
    s3 = lake.settings.s3
    return [
        Change(name, "state" if name in then else "empty", rows(s3, now.get(name)), rows(s3, then.get(name)))
        for name in sorted({*now, *then})
        if not same_state(s3, now.get(name), then.get(name)) and not (name not in then and _empty(now[name]))
    ]


def _empty(content: Content) -> bool:
    """Whether a table has never had a row: nothing has to be taken from it."""
    return content["snapshotId"] in (-1, None)


def _check(lake: Lake, now: dict[str, Content], then: dict[str, Content], at: Commit) -> None:
    """See that what is not in use now is there all the same. Raises: UsageError."""
    wanted = [content for name, content in then.items() if content != now.get(name)]
    check_files(lake.settings.s3, wanted, f"main as it was at {at.hash[:12]}")

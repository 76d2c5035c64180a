"""Every command, and what the audit log keeps of it. A test holds that each command of `medallion.cli` stands here.

`Recorded` commands leave a record before they begin (`begun`) and one when they have ended. `Elsewhere` is what leaves its
records by itself, as the states of runs do. `NotRecorded` changes nothing outside the caller's own files and shows no rows
of the lake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Parameters = Mapping[str, Any]
About = Callable[[Parameters], str | None]
"""Of a command's arguments, what it is about; None: nothing is recorded of it this time."""


@dataclass(frozen=True)
class Recorded:
    """`keep`: the arguments that are kept in the record's detail. `when`: not `before`, where PostgreSQL only runs
    afterwards; not `after`, where it no longer does. Both of these go on without a record, and say so; all others are refused."""

    action: str
    about: About
    keep: tuple[str, ...] = ()
    when: Literal["both", "before", "after"] = "both"


@dataclass(frozen=True)
class Elsewhere:
    """What it does is recorded as these actions."""

    actions: tuple[str, ...]


@dataclass(frozen=True)
class NotRecorded:
    """Why not."""

    why: str


Entry = Recorded | Elsewhere | NotRecorded


def _named(name: str) -> About:
    return lambda given: str(given[name])


def _always(text: str) -> About:
    return lambda given: text


def _asked(given: Parameters) -> str:
    return "warehouse" if given["warehouse"] else f"lake at {given['at']}"


def _table(given: Parameters) -> str | None:
    """A table of the lake that a contract is drafted from; a file is the caller's own."""
    source = str(given["source"])
    return None if Path(source).exists() or source.count(".") != 2 or "/" in source else source


_RUN = Elsewhere(("run.opened", "run.gated", "run.merged"))
_ENDED = Elsewhere(("run.gated", "run.merged"))
_COUNTS = NotRecorded("counts, names and states; no row of the lake")
_OWN_FILES = NotRecorded("files of the caller's own")

ACTIONS: dict[str, Entry] = {
    # the stack
    "up": Recorded("services.started", _always("embedded stack"), when="after"),
    "down": Recorded("services.stopped", _always("embedded stack"), when="before"),
    "status": NotRecorded("looks at processes"),
    "doctor": NotRecorded("looks at the installation"),
    # runs
    "landing": Recorded("delivery.landed", _named("date"), ("spoiled",)),
    "deliver": Recorded("delivery.handed-over", _named("dataset"), ("date", "file")),
    "run": _RUN,
    "open": Elsewhere(("run.opened",)),
    "merge": _ENDED,
    "abandon": Elsewhere(("run.failed",)),
    "resume": Recorded("run.resumed", lambda given: given["run_id"] or "all"),
    "demo": Recorded("demo.played", lambda given: given["domain"] or "all domains", when="after"),
    "runs": _COUNTS,
    "branches": _COUNTS,
    "diff": _COUNTS,
    "quality": _COUNTS,
    "show": Recorded("run.shown", _named("run_id")),
    "lineage": NotRecorded("names of tables, columns and files"),
    # taken back
    "revert": Elsewhere(("run.opened", "run.reverted")),
    "restore": Elsewhere(("run.opened", "run.reverted", "stack.restored")),
    "janitor": Elsewhere(("branch.dropped",)),
    "backup": Elsewhere(("lake.backed-up",)),
    "backup status": _COUNTS,
    "backup points": _COUNTS,
    # rows
    "sql": Recorded("sql.asked", _asked, ("query",)),
    "quarantine list": _COUNTS,
    "quarantine show": Recorded("quarantine.shown", _named("dataset"), ("date", "rule", "limit", "run", "at")),
    "quarantine replay": Recorded("quarantine.replayed", _named("dataset"), ("date", "rows", "run")),
    "sandbox create": Recorded("sandbox.created", _named("name"), ("at",)),
    "sandbox drop": Recorded("sandbox.dropped", _named("name")),
    "sandbox diff": Recorded("sandbox.shown", _named("name"), ("dataset",)),
    "sandbox list": _COUNTS,
    # the warehouse
    "publish": Recorded("publication.asked", _always("gold"), ("at", "allow_rewind", "allow_breaking")),
    "reconcile": _COUNTS,
    "marts": Recorded("marts.asked", lambda given: "compare" if given["compare"] else "build", ("compare",)),
    "marts sources": _OWN_FILES,
    "marts docs": _OWN_FILES,
    # contracts and schemas
    "contract check": _OWN_FILES,
    "contract new": Recorded("contract.drafted", _table),
    "domain new": _OWN_FILES,
    "domain list": _OWN_FILES,
    "schema log": _COUNTS,
    "schema diff": _COUNTS,
    # what is seen of it all
    "alerts list": _COUNTS,
    "alerts show": Recorded("alert.shown", _named("alert_id")),
    "alerts acknowledge": Elsewhere(("alert.acknowledged",)),
    "alerts silence": Elsewhere(("alert.silenced",)),
    "alerts silences": _COUNTS,
    "alerts unsilence": Elsewhere(("alert.unsilenced",)),
    "alerts resend": Elsewhere(("alert.resent",)),
    "alerts test": Recorded("channel.tested", _named("channel")),
    "watch": NotRecorded("looks at what has ended or has not come; what it opens stands in ops.alerts"),
    "ops rebuild": Recorded("projection.rebuilt", _always("ops"), ("check",)),
    "ops status": _COUNTS,
    "dashboards": NotRecorded("shows figures, names and states; what is done there is recorded as it is done"),
    # the log itself
    "audit list": NotRecorded("shows this log"),
    "audit verify": NotRecorded("shows this log"),
    "audit export": Elsewhere(("audit.exported",)),
    "audit prune": Elsewhere(("audit.pruned",)),
    "audit restored": Elsewhere(("stack.restored",)),
}


def entry(command: str) -> Entry:
    """What is kept of a command, as `quarantine show`. One that is not known is recorded by its name."""
    return ACTIONS.get(command, Recorded("command.called", _always(command)))

"""The commands `medallion audit …`; `medallion.cli` takes them in."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medallion.commands.options import Json
from medallion.errors import MedallionError, UsageError
from medallion.settings import load
from medallion.terminal import show_json, show_table

app = typer.Typer(name="audit", no_args_is_help=True, help="Who did what, from where, when and with what outcome.")
_COLUMNS = ("sequence", "at", "who", "action", "object", "outcome", "run_id", "detail")
Since = Annotated[str | None, typer.Option(help="A date or a time (UTC), as 2026-01-31T09:30.")]


@app.command("list")
def list_(
    since: Since = None,
    run: Annotated[str | None, typer.Option(help="A run, or the beginning of its id.")] = None,
    who: Annotated[str | None, typer.Option(help="A name, or a part of it.")] = None,
    action: Annotated[str | None, typer.Option(help="As sql.asked, or its beginning, as run.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many records.")] = 50,
    as_json: Json = False,
) -> None:
    """The newest records first."""
    from medallion.audit import log

    after = log.parse_time(since) if since else None
    rows = log.search(load(), since=after, run=run, who=who, action=action, limit=limit)
    if as_json:
        show_json(rows)
    elif rows:
        show_table([row | {"at": row["at"][:19], "detail": _told(row["detail"])} for row in rows], _COLUMNS)
    else:
        print("there is no such record")


@app.command()
def verify(
    file: Annotated[Path | None, typer.Option(help="Verify an exported file alone, without any server.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Also compare the log with what was exported; repeat for others.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find a record that was changed, removed, inserted, reordered, cut off or written anew. Exit code 1 if there is one."""
    from medallion.audit import export, log

    if file and against:
        raise UsageError("--file verifies a file alone, --against the log with files", hint="give one of them")
    if file:
        found = export.verify_file(file)
    else:
        found = log.verify(load(), [anchor for path in against or () for anchor in export.anchors(path)])
    if as_json:
        show_json(asdict(found) | {"whole": not found.problems})
    else:
        span = f"{found.first} to {found.last}" if found.records else "none"
        print(f"{found.records:,} records ({span}), newest hash {found.head[:12] or '-'}, {found.commits:,} named by main's log")
        if found.pruned:
            print(f"records 1 to {found.pruned} were removed by `medallion audit prune`")
        if found.restores:
            told = f"restored, says record {', '.join(map(str, found.restores))}"
            print(f"{told}: {found.excused} names of records that were taken away by it are accepted")
        for one in found.problems:
            print(f"record {one.sequence}: {one.kind}: {one.what}")
    if found.problems:
        first = found.problems[0]
        raise MedallionError(
            f"the audit log is not whole, from record {first.sequence} on: {first.kind}",
            hint="keep what is there; compare with exported files (--against) and with a backup from before; see docs/audit.md",
        )
    if not as_json:
        print("whole")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A new file, as audit-2026-01.jsonl.")],
    since: Annotated[str, typer.Option(help="A date or a time (UTC); `last`: where the last export ended.")] = "last",
    until: Annotated[str | None, typer.Option(help="Only what was recorded before it.")] = None,
    as_json: Json = False,
) -> None:
    """Write records to a file that can be verified alone. That is recorded too."""
    from medallion.audit import export as exports
    from medallion.audit.log import parse_time

    after, before = (parse_time(text) if text and text != "last" else None for text in (since, until))
    done = exports.export(load(), file, after, before)
    if as_json:
        show_json(asdict(done))
    else:
        print(f"{done.file}: {done.records:,} records" + (f", {done.first} to {done.last}" if done.records else ""))


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run/--yes", help="Only say what would go, or remove it.")] = True,
    not_exported: Annotated[bool, typer.Option("--not-exported", help="Also what was never exported.")] = False,
    as_json: Json = False,
) -> None:
    """Remove records older than audit.keep_days; what is left verifies as before."""
    from medallion.audit import retention

    done = retention.old(load()) if dry_run else retention.prune(load(), not_exported=not_exported)
    if as_json:
        show_json(asdict(done))
        return
    what = f"{done.records:,} records older than {done.keep_days} days"
    if not done.records:
        print(f"{what}: nothing to remove")
    elif done.removed:
        print(f"{what}, up to record {done.through}: removed")
    else:
        print(
            f"{what}, up to record {done.through} (exported up to {done.exported_through}); `medallion audit prune --yes` does it"
        )


@app.command()
def restored(why: Annotated[str, typer.Option(help="What happened: from which backup, to which moment, by whom.")]) -> None:
    """Say that PostgreSQL was put back to an earlier moment by other means: records made since then are gone by right."""
    from medallion.audit.chain import RESTORED
    from medallion.lakehouse.journal import Journal

    with Journal(load().postgres) as journal:
        print(f"record {journal.record(RESTORED, 'by hand', detail={'why': why})}")


def _told(detail: dict[str, object]) -> str:
    """The detail in words; hashes are cut."""
    text = ", ".join(f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in detail.items())
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", text)

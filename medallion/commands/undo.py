"""The commands `medallion revert`, `restore` and `janitor`; `medallion.cli` takes them in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medallion.commands import backup
from medallion.commands.options import Json
from medallion.errors import UsageError
from medallion.settings import load
from medallion.terminal import reporter, reporter_beside_json, show_json, show_table

if TYPE_CHECKING:
    from medallion.pipeline import Lake
    from medallion.undo.carrying_out import Undone

app = typer.Typer()
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Publish = Annotated[bool, typer.Option(help="Publish gold afterwards.")]


@app.command()
def revert(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run, or a unique beginning of its id.")],
    replay: Annotated[
        bool, typer.Option("--replay", help="Take back the later runs that depend on it as well, and run them again.")
    ] = False,
    dry_run: DryRun = False,
    publish: Publish = True,
    as_json: Json = False,
) -> None:
    """Take a whole run off main, in a commit of its own; what others appended since stays."""
    from medallion.undo import revert as reverts

    def work(lake: Lake, report: Callable[[str], None]) -> Undone:
        if dry_run:
            return reverts.dry_run(lake, run_id, again=replay)
        return reverts.revert(lake, run_id, report, again=replay, publish=publish)

    _carry_out(work, publish and not dry_run, as_json)


@app.command()
def restore(
    to: Annotated[
        str | None, typer.Option(help="A commit of main, or a time: 2026-01-31T09:30 (UTC), 2026-01-31T10:30+01:00.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="A new stack's folder: restore into it from the second location alone.")
    ] = None,
    where: backup.Where = None,
    dry_run: DryRun = False,
    publish: Publish = True,
    as_json: Json = False,
) -> None:
    """Put everything as it was then on top of main, in a commit of its own; or, with --into, make a new stack."""
    if into is not None:
        return backup.restore(into, to, where, as_json)
    if to is None:
        raise UsageError("--to is missing: a commit of main, or a time", hint="`medallion runs` shows commits and times")
    from medallion.undo import restore as restores

    def work(lake: Lake, report: Callable[[str], None]) -> Undone:
        return restores.dry_run(lake, to) if dry_run else restores.restore(lake, to, report, publish=publish)

    _carry_out(work, publish and not dry_run, as_json)


@app.command()
def janitor(
    dry_run: Annotated[bool, typer.Option("--dry-run/--yes", help="Only say what would go, or remove it.")] = True,
    as_json: Json = False,
) -> None:
    """Branches that nobody needs: of runs that failed or were abandoned, when their time is over; of merged ones at once."""
    from contextlib import closing

    from medallion import janitor as cleaning
    from medallion.lakehouse.journal import Journal
    from medallion.lakehouse.nessie import Nessie

    settings = load()
    with closing(Nessie(settings.nessie)) as nessie, Journal(settings.postgres) as journal:
        work = cleaning.leaving if dry_run else cleaning.clean
        rows = [asdict(one) for one in work(nessie, journal, settings.runs.failed_branch_ttl_days)]
    if as_json:
        show_json(rows)
        return
    if rows:
        show_table(rows, ("run_id", "state", "branch", "why"))
    count = f"{len(rows)} branch{'' if len(rows) == 1 else 'es'}"
    print(f"{count} would be removed; `medallion janitor --yes` does it" if dry_run else f"{count} removed")


def _carry_out(work: Callable[[Lake, Callable[[str], None]], Undone], publish: bool, as_json: bool) -> None:
    from medallion import job, recovery
    from medallion.afterwards import followed_up
    from medallion.pipeline import Lake

    report = reporter_beside_json() if as_json else reporter()
    with Lake(load()) as lake, followed_up(lake, report) as copied:
        for one in recovery.resume(lake.nessie, lake.journal):
            if one.before != one.after:
                report(f"run {one.run_id} was left {one.before}: {one.why}")
        done = work(lake, report)
        shown = job.publish_gold(lake, report) if publish else None
    if as_json:
        show_json(asdict(done) | {"publication": shown} | copied)
        return
    _tell(done)


def _tell(done: Undone) -> None:
    rows: list[dict[str, Any]] = [asdict(change) for change in done.tables]
    if rows:
        show_table(rows, tuple(rows[0]))
    for name, runs in (("taken back", done.reverted), ("on main again", done.returned), ("run again", done.again)):
        if runs:
            print(f"{name}: {', '.join(runs)}")
    if done.run_id is None:
        print("nothing was changed: that was a dry run")
    else:
        print(f"run {done.run_id}: {done.state}" + (f", main is at {done.merged_hash}" if done.merged_hash else ""))

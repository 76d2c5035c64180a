"""The command `medallion`. Each command is thin: arguments, one call, what came of it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from types import SimpleNamespace
from typing import Annotated

import typer
from typer.exceptions import TyperException

from medallion import terminal
from medallion.audit.record import record_commands
from medallion.commands import (
    alerts,
    audit,
    backup,
    contract,
    dashboards,
    domain,
    lineage,
    ops,
    quality,
    quarantine,
    sandbox,
    schema,
    undo,
    warehouse,
)
from medallion.commands import marts as mart_commands
from medallion.commands.options import Json
from medallion.contract import LAYERS
from medallion.errors import ServiceUnavailable
from medallion.settings import load
from medallion.terminal import show_json, show_table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A lakehouse that cannot publish bad or half data.",
)
app.add_typer(domain.app)
app.add_typer(contract.app)
app.add_typer(quarantine.app)
app.add_typer(sandbox.app)
app.add_typer(quality.app)
app.add_typer(schema.app)
app.add_typer(lineage.app)
app.add_typer(mart_commands.app)
app.add_typer(undo.app)
app.add_typer(backup.app)
app.add_typer(warehouse.app)
app.add_typer(audit.app)
app.add_typer(dashboards.app)
app.add_typer(alerts.watching)
app.add_typer(alerts.app)
app.add_typer(ops.app)
Date = Annotated[str, typer.Option("--date", help="The logical date, e.g. 2013-01-05.")]


def main() -> None:
    """The entry point: run a command, end with its exit code (see `medallion.errors`)."""
    raise SystemExit(terminal.guard(_run))


def _run() -> None:
    try:
        code = app(standalone_mode=False)
        if code == terminal.INTERRUPTED:  # typer keeps a KeyboardInterrupt to itself and returns this
            raise KeyboardInterrupt
        if code:
            raise SystemExit(code)
    except typer.Abort as interrupted:
        raise KeyboardInterrupt from interrupted
    except TyperException as wrong:
        show, code = getattr(wrong, "show", None), getattr(wrong, "exit_code", 2)
        if show is None:
            raise
        show()
        raise SystemExit(code) from wrong


# ── the stack ─────────────────────────────────────────────────────────────────────────────────────
@app.command()
def up() -> None:
    """Start the embedded stack; use what runs already."""
    from medallion.services import stack

    stack.up(load(), terminal.reporter())


@app.command()
def down() -> None:
    """Stop the embedded stack; its data stays."""
    from medallion.services import stack

    stopped = stack.down(load(), terminal.reporter())
    print(f"{stopped} servers stopped" if stopped else "nothing was running")


@app.command()
def status(as_json: Json = False) -> None:
    """How each server of the embedded stack is."""
    from medallion.services import stack

    rows = [asdict(one) for one in stack.status(load())]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, ("name", "state", "pid", "address", "uptime_s", "detail"))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check Java, versions, ports, buckets and endpoints; each failure names its remedy."""
    from medallion.services.doctor import doctor as check

    rows = [asdict(one) for one in check(load())]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, ("name", "ok", "detail", "remedy"))
    if failed := [str(row["name"]) for row in rows if not row["ok"]]:
        raise ServiceUnavailable(f"{len(failed)} checks failed: {', '.join(failed)}", hint="each one names its remedy above")


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────
@app.command()
def landing(
    date: Date,
    spoiled: Annotated[bool, typer.Option(help="Damage the day on purpose, so that the gate must refuse it.")] = False,
    as_json: Json = False,
) -> None:
    """Lay a day's real files into the bronze buckets, as their owners would deliver them."""
    from medallion.landing import land

    rows = [asdict(one) for one in land(load(), terminal.parse_date(date), spoiled=spoiled)]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, tuple(rows[0]) if rows else ())


@app.command()
def run(
    date: Date,
    domain: Annotated[str | None, typer.Option(help="Only this domain.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this dataset.")] = None,
    publish: Annotated[bool, typer.Option(help="Publish gold afterwards.")] = True,
    marts: Annotated[bool, typer.Option("--marts", help="Build and publish the dbt marts after gold (DBT_TARGET).")] = False,
    refetch: Annotated[bool, typer.Option(help="Ask sources again that were asked for this date before.")] = False,
    as_json: Json = False,
) -> None:
    """Make bronze, silver and gold of a date in one run, and publish."""
    from medallion import job

    options = SimpleNamespace(date=date, domain=domain, dataset=dataset, run=None, json=as_json, refetch=refetch)
    job.run(LAYERS, options, publish=publish, marts=marts and publish)


@app.command("open")
def open_(date: Date) -> None:
    """Open a run to be written in parts (`--run ID` of the jobs) and print its id."""
    from medallion.lakehouse.catalog import ensure_tables
    from medallion.lakehouse.run import open_run
    from medallion.pipeline import Lake
    from medallion.recovery import PARTS

    with Lake(load()) as lake:
        ensure_tables(lake.settings, lake.nessie, lake.journal, lake.domains.contracts.values())
        print(open_run(lake.nessie, lake.journal, PARTS, terminal.parse_date(date), options={PARTS: True}).id)


@app.command()
def merge(run_id: str) -> None:
    """Gate and merge a run that was written in parts."""
    from medallion.afterwards import followed_up
    from medallion.pipeline import Lake, merge_run

    report = terminal.reporter()
    with Lake(load()) as lake, followed_up(lake, report):
        outcome = merge_run(lake, run_id, report)
    print(f"run {outcome.run_id}: {outcome.state}" + (f", main is at {outcome.merged_hash}" if outcome.merged_hash else ""))


@app.command()
def abandon(run_id: str) -> None:
    """Give an open run up; its branch is sealed."""
    from medallion import recovery
    from medallion.afterwards import told
    from medallion.lake import Lake

    with Lake(load()) as lake, told(lake, terminal.reporter(sys.stderr)):
        print(f"run {recovery.abandon(lake.journal, run_id)}: failed (abandoned)")


@app.command()
def resume(run_id: Annotated[str | None, typer.Argument(help="Only this run.")] = None, as_json: Json = False) -> None:
    """Finish or fail what a killed process left, by the evidence in Nessie and the ledger; remove expired branches."""
    from medallion import janitor, job, recovery
    from medallion.afterwards import followed_up
    from medallion.pipeline import Lake

    report = terminal.reporter(sys.stderr)
    with Lake(load()) as lake, followed_up(lake, report):
        found = [asdict(one) for one in recovery.resume(lake.nessie, lake.journal, run_id)]
        if any(row["story"].get("options", {}).get("publish") for row in lake.journal.runs(1000, states=("merged",))):
            publication = job.publish_gold(lake, report)
            found += [
                {"run_id": r, "before": "merged", "after": "published", "why": f"publication {publication['sequence']}"}
                for r in publication["marked"]
            ]
        if run_id is None:
            found += [
                {
                    "run_id": one.run_id,
                    "before": one.state,
                    "after": one.state,
                    "why": f"branch {one.branch} is removed: {one.why}",
                }
                for one in janitor.clean(lake.nessie, lake.journal, lake.settings.runs.failed_branch_ttl_days)
            ]
    if as_json:
        show_json(found)
    elif found:
        show_table(found, ("run_id", "before", "after", "why"))
    else:
        print("nothing was left behind")


@app.command()
def runs(limit: int = 20, as_json: Json = False) -> None:
    """The newest runs."""
    from medallion import story
    from medallion.lakehouse.journal import Journal

    with Journal(load().postgres) as journal:
        rows = story.runs(journal, limit)
    if as_json:
        show_json(rows)
    else:
        told = [row | {"run": f"{row['run']}\nreverted by {row['reverted_by']}"} if row["reverted_by"] else row for row in rows]
        show_table(told, story.RUN_COLUMNS)


@app.command()
def show(run_id: str, as_json: Json = False) -> None:
    """A run's whole story: inputs with hashes, rows, rules and verdicts, times, what it published."""
    from medallion import story
    from medallion.pipeline import Lake
    from medallion.publish.publication import history

    with Lake(load()) as lake:
        found = story.show(lake.journal, lake.store, run_id)
        found["publications"] = [
            {"sequence": e.sequence, "publication_id": e.publication_id, "hash": e.hash, "published_at": e.published_at,
             "changed": list(e.changed), "staged_bytes": e.staged_bytes, "reencoded_bytes": e.reencoded_bytes}
            for e in (history(lake.settings) if found["state"] == "published" else ())
            if found["run_id"] in e.runs
        ]  # fmt: skip
    if as_json:
        show_json(found)
    else:
        story.tell(found)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A run, a branch, or a hash on main.")],
    new: Annotated[str | None, typer.Argument(help="Another; without it OLD is a run, compared with where it began.")] = None,
    as_json: Json = False,
) -> None:
    """Which tables differ between two states of the lake, and by how many rows."""
    from medallion import story
    from medallion.lakehouse.nessie import MAIN, Reference
    from medallion.pipeline import Lake

    with Lake(load()) as lake:
        right = story.resolve(lake.nessie, lake.journal, new or old)
        left = story.resolve(lake.nessie, lake.journal, old) if new else Reference(MAIN, lake.journal.newest(old)["h0"])
        rows = story.diff(lake.settings.s3, lake.nessie.tables(left), lake.nessie.tables(right))
    if as_json:
        show_json(rows)
    elif rows:
        show_table(rows, tuple(rows[0]))
    else:
        print("no table differs")


@app.command()
def branches(prefix: Annotated[str, typer.Argument(help="Only names that begin so.")] = "", as_json: Json = False) -> None:
    """The branches of the catalog."""
    from medallion.lakehouse.nessie import Nessie

    rows = [asdict(one) for one in Nessie(load().nessie).references(prefix)]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, ("name", "hash"))


@app.command()
def demo(domain: Annotated[str | None, typer.Option(help="Only this built-in domain.")] = None) -> None:
    """The whole pipeline on real data: three days, a spoiled one, its correction, and the proof."""
    from medallion.demo import demo as play

    play(load(), terminal.reporter(), domain)


record_commands(app)

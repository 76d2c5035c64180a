"""The commands `medallion quarantine …`; `medallion.cli` takes them in."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medallion.commands.options import Json
from medallion.settings import Settings, load
from medallion.terminal import parse_date, reporter, reporter_beside_json, show_json, show_table

if TYPE_CHECKING:
    from medallion.quarantined import State

app = typer.Typer(name="quarantine", no_args_is_help=True, help="Rows that broke an error rule: look at them, judge them again.")
Run = Annotated[str | None, typer.Option("--run", help="What this run put aside; of a failed run, on its kept branch.")]
At = Annotated[str | None, typer.Option("--at", help="A branch, a hash on main, or a run; else main.")]
Dataset = Annotated[str, typer.Argument(help="As in silver.operations.flights.")]


@app.command("list")
def list_(run: Run = None, at: At = None, as_json: Json = False) -> None:
    """How many rows lie in quarantine, by dataset, date and rule, and which run put them there."""
    from medallion import domain, quarantined

    settings = load()
    state = _state(settings, run, at)
    rows = [asdict(one) for one in quarantined.count(settings.s3, domain.load(settings), state)]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(rows, tuple(rows[0]))
    else:
        print(f"no row is in quarantine at {state.name}")


@app.command()
def show(
    dataset: Dataset,
    date: Annotated[str | None, typer.Option(help="Only rows of this logical date.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 20,
    run: Run = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """The rows with the rules they broke, and where in bronze the originals are. Never shows personal columns."""
    from medallion import domain, quarantined

    settings = load()
    domains = domain.load(settings)
    domains.contract(dataset)  # before anything is asked for over the network
    on = parse_date(date) if date else None
    state = _state(settings, run, at)
    rows = quarantined.show(settings.s3, domains, dataset, state, on=on, rule=rule, limit=limit)
    if as_json:
        show_json(rows)
    elif rows:
        columns = ("logical_date", "rules", "delivery", "source_row", "record")
        told = [r | {"rules": "\n".join(r["rules"]), "record": json.dumps(r["record"], ensure_ascii=False)} for r in rows]
        show_table(told, columns, f"{dataset} at {state.name}")
        for bronze, uri in sorted({(r["bronze"], r["uri"]) for r in rows if r["bronze"]}):
            print(f"the originals are in {bronze} under _delivery and _source_row, and in {uri}")
    else:
        print(f"no such row is in quarantine at {state.name}")


@app.command()
def replay(
    dataset: Dataset,
    date: Annotated[str, typer.Option(help="The logical date of the rows.")],
    rows: Annotated[
        Path | None, typer.Option(help="A CSV file of corrected rows: _source_row and columns of the source.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="The failed run that put the rows aside.")] = None,
    publish: Annotated[bool, typer.Option(help="Publish gold afterwards.")] = True,
    as_json: Json = False,
) -> None:
    """Put corrected rows through the gate again, by a usual run of their date; or all rows, by a corrected contract."""
    from medallion import corrections
    from medallion.afterwards import followed_up
    from medallion.pipeline import Lake
    from medallion.publish.publication import publish as publish_gold
    from medallion.recovery import mark_published

    on, report = parse_date(date), reporter_beside_json() if as_json else reporter()
    with Lake(load()) as lake, followed_up(lake, report) as copied:
        found = corrections.replay(lake, dataset, on, rows=rows, run=run, publish=publish, report=report)
        publication = None
        if publish and found.outcome.state == "merged":
            publication = publish_gold(lake.settings, lake.domains, report=report, journal=lake.journal)
            mark_published(lake.nessie, lake.journal, publication.shown)
    if as_json:
        show_json(asdict(found) | {"publication": publication and publication.sequence} | copied)
        return
    print(f"run {found.outcome.run_id}: {found.outcome.state}; {dataset} {on}: {found.before} rows in quarantine before, "
          f"{found.after} now")  # fmt: skip
    if found.outcome.state == "unchanged":
        print("nothing was corrected: deliveries, contract and transform are those that made the date")


def _state(settings: Settings, run: str | None, at: str | None) -> State:
    from medallion import quarantined
    from medallion.lakehouse.journal import Journal
    from medallion.lakehouse.nessie import Nessie

    with closing(Nessie(settings.nessie)) as nessie, Journal(settings.postgres) as journal:
        return quarantined.look_at(nessie, journal, run=run, at=at)

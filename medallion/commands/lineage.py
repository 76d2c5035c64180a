"""The command `medallion lineage`; `medallion.cli` takes it in."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medallion.commands.options import Json
from medallion.errors import UsageError
from medallion.settings import Settings, load
from medallion.terminal import parse_date, show_json, show_table

if TYPE_CHECKING:
    from medallion.domain import Domains
    from medallion.lakehouse.journal import Journal
    from medallion.lakehouse.nessie import Nessie
    from medallion.lineage.beyond import Place
    from medallion.lineage.dbt_models import Project
    from medallion.lineage.tables import Node

app = typer.Typer()


@app.command()
def lineage(
    dataset: Annotated[
        str | None,
        typer.Argument(help="A dataset (gold.operations.fact_flight), a table of the warehouse, a mart or an exposure."),
    ] = None,
    of_date: Annotated[str | None, typer.Option("--date", help="Its rows of one date only.")] = None,
    column: Annotated[str | None, typer.Option(help="A column of it; starts a JVM, which reads the transforms.")] = None,
    down: Annotated[bool, typer.Option("--down/--up", help="What is made of it; else what it is made of.")] = False,
    at: Annotated[
        str | None,
        typer.Option(help="A hash on main, a run or a branch; else main, or what the warehouse shows.", show_default=False),
    ] = None,
    run: Annotated[str | None, typer.Option(help="What this run read and wrote; and the dataset as the run left it.")] = None,
    as_json: Json = False,
) -> None:
    """Which landing files made this: every table in between, and each file with its SHA-256."""
    from medallion import domain
    from medallion.lineage import beyond, dbt_models

    if dataset is None and (run is None or column or of_date or down):
        raise UsageError("which dataset?", hint="name one; only --run stands without")
    if run and (at or down):
        raise UsageError(
            f"--run does not go with {'--at' if at else '--down'}", hint="--run is what a run read, and its own commit"
        )
    settings = load()
    domains, project = domain.load(settings), dbt_models.read(settings.marts.project)
    place = beyond.find(domains, project, dataset) if dataset else None
    columns, decided_by = _columns(domains, project, place, column, down) if place and column else ([], [])
    if place and down:
        rows = columns or [{"dataset": each, "made_of": list(of)} for each, of in beyond.down(domains, project, place)]
        if as_json:
            show_json(rows)
        else:
            show_table([_flat(row) for row in rows], ("dataset", "column", "made_of") if column else ("dataset", "made_of"))
        return
    with ExitStack() as closing_:
        from medallion.lakehouse.journal import Journal
        from medallion.lakehouse.nessie import Nessie

        nessie = closing_.enter_context(closing(Nessie(settings.nessie)))
        journal = closing_.enter_context(Journal(settings.postgres))
        told: dict[str, Any] = {}
        if run:
            told = _of_run(settings, nessie, journal, run, as_json)
            if not told["merged_hash"] and place:
                raise UsageError(f"run {told['run']} is {told['state']}: nothing of it is on main", hint="leave the dataset out")
        if place:
            told |= _up(settings, domains, project, nessie, journal, place, at or told.get("merged_hash"), of_date)
    nodes: list[Node] = told.pop("nodes", [])
    if column:
        reached = {str(row["dataset"]) for row in columns}
        nodes = [node for node in nodes if node.dataset in reached]
    if as_json:
        asked = {"dataset": place.name, "column": column, "date": of_date} if place else {}
        made = {"columns": columns, "decided_by": decided_by, "nodes": [node.as_json() for node in nodes]} if place else {}
        show_json(asked | told | made)
    elif place:
        _show(place, of_date, column, told, columns, decided_by, nodes)


def _up(
    settings: Settings,
    domains: Domains,
    project: Project,
    nessie: Nessie,
    journal: Journal,
    place: Place,
    at: str | None,
    when: str | None,
) -> dict[str, Any]:
    """`hash`, `at` and `nodes`. A date of a table in the warehouse is one of its dataset's; marts are whole."""
    from medallion.lineage import beyond
    from medallion.lineage import tables as lineages
    from medallion.story import resolve

    if when and place.kind in ("mart", "exposure"):
        raise UsageError(f"{place.name} is made whole", hint="leave the date out, or ask about the gold that it is made of")
    of_date: date | None = parse_date(when) if when else None
    found = beyond.up(domains, project, place)
    where = resolve(nessie, journal, at or _shown(settings, place))
    below = [place.name] if place.kind == "dataset" else beyond.datasets(domains, found)
    if not below:
        raise UsageError(f"{place.name} is made of no dataset", hint=f"look into {settings.marts.project}")
    found += lineages.up_from(settings.s3, domains, nessie.tables(where), [(each, of_date) for each in below])
    return {"hash": where.hash, "at": where.name, "nodes": found}


def _shown(settings: Settings, place: Place) -> str:
    """Which version is meant where none is named: main as it is, or for what a warehouse shows the commit that it is of.

    Raises: UsageError if the warehouse shows nothing; ServiceUnavailable.
    """
    from medallion.lakehouse.nessie import MAIN
    from medallion.marts.targets import settings_of
    from medallion.publish.publication import history

    mart = place.kind in ("mart", "exposure")
    if place.kind == "dataset" or (mart and settings.marts.target == "spark"):
        return MAIN
    newest = history(settings_of(settings, settings.marts.target) if mart else settings, 1)
    hashes = {state.hash for entry in newest for state in entry.marts.values()} if mart else {entry.hash for entry in newest}
    if not hashes:
        what = "no marts are" if mart else "nothing is"
        command = "medallion marts" if mart else "medallion publish"
        raise UsageError(f"{what} published in the warehouse", hint=f"`{command}`; or `--at main`, what it would be made of")
    return hashes.pop()


def _of_run(settings: Settings, nessie: Nessie, journal: Journal, name: str, as_json: bool) -> dict[str, Any]:
    from medallion.lakehouse.store import Store
    from medallion.lineage import of_run

    told = of_run.of_run(nessie, journal, Store(settings.s3), name)
    if not as_json:
        print(f"run {told['run']}: {told['state']}, from main@{told['h0'][:12]} to {(told['merged_hash'] or 'nothing')[:12]}")
        print(f"evidence: {told['evidence'] or 'none, as it passed no gate'}")
        show_table(told["read"], of_run.READ, "read")
        show_table(told["deliveries"], of_run.TAKEN_IN, "deliveries")
        show_table(told["wrote"], of_run.WROTE, "wrote")
    return told


def _show(
    place: Place,
    of_date: str | None,
    column: str | None,
    told: dict[str, Any],
    columns: list[dict[str, Any]],
    decided_by: list[str],
    nodes: list[Node],
) -> None:
    from medallion.lineage import tables as lineages

    print(f"{place.name}{f' of {of_date}' if of_date else ''} at {told['at']}@{told['hash'][:12]}\n")
    if column:
        show_table([_flat(row) for row in columns], ("dataset", "column", "made_of"))
        print(f"which rows there are is decided by: {', '.join(decided_by) or 'nothing'}\n")
    show_table(lineages.by_table(nodes), lineages.TABLES)
    print()
    show_table(lineages.files(nodes), lineages.FILES)


def _columns(domains: Domains, project: Project, place: Place, column: str, down: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of `dataset`, `column` and `made_of` (`dataset.column` each); and the columns that decide which rows it has."""
    from medallion import session
    from medallion.lineage.beyond import OfColumns

    of = OfColumns(domains, project, session.local)
    rows = [
        {"dataset": name, "column": each, "made_of": sorted(f"{source}.{one}" for source, one in sources)}
        for (name, each), sources in (of.down if down else of.up)(place, column)
    ]
    return rows, [] if down else sorted(f"{source}.{one}" for source, one in of.conditions(place))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"made_of": ", ".join(row["made_of"])}

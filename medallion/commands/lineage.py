"""The command `medallion lineage`; `medallion.cli` takes it in."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import parse_date, show_json, show_table

if TYPE_CHECKING:
    from medallion.domain import Domains

app = typer.Typer()


@app.command()
def lineage(
    dataset: Annotated[str, typer.Argument(help="A dataset, e.g. gold.operations.route_performance.")],
    of_date: Annotated[str | None, typer.Option("--date", help="Its rows of one date only.")] = None,
    column: Annotated[str | None, typer.Option(help="A column of it; starts a JVM, which reads the transforms.")] = None,
    down: Annotated[bool, typer.Option("--down/--up", help="What is made of it; else what it is made of.")] = False,
    at: Annotated[str, typer.Option(help="A hash on main, a run or a branch; else main as it is now.")] = "main",
    as_json: Json = False,
) -> None:
    """Which landing files made this: every table in between, and each file with its SHA-256."""
    from medallion import domain
    from medallion.lakehouse.journal import Journal
    from medallion.lakehouse.nessie import Nessie
    from medallion.lineage import tables as lineages
    from medallion.story import resolve

    settings = load()
    domains = domain.load(settings)
    columns, decided_by = _columns(domains, dataset, column, down) if column else ([], [])
    if down:
        rows = columns or [{"dataset": each, "made_of": list(through)} for each, through in lineages.down(domains, dataset)]
        if as_json:
            show_json(rows)
        else:
            show_table([_flat(row) for row in rows], ("dataset", "column", "made_of") if column else ("dataset", "made_of"))
        return
    with ExitStack() as closing_:
        nessie = closing_.enter_context(closing(Nessie(settings.nessie)))
        journal = closing_.enter_context(Journal(settings.postgres))
        where = resolve(nessie, journal, at)
        nodes = lineages.up(settings.s3, domains, nessie.tables(where), dataset, parse_date(of_date) if of_date else None)
    if column:
        reached = {str(row["dataset"]) for row in columns}
        nodes = [node for node in nodes if node.dataset in reached]
    if as_json:
        told = {
            "dataset": dataset,
            "column": column,
            "date": of_date,
            "hash": where.hash,
            "columns": columns,
            "decided_by": decided_by,
        }
        show_json(told | {"nodes": [node.as_json() for node in nodes]})
        return
    print(f"{dataset}{f' of {of_date}' if of_date else ''} at {where.name}@{where.hash[:12]}\n")
    if column:
        show_table([_flat(row) for row in columns], ("dataset", "column", "made_of"))
        print(f"which rows there are is decided by: {', '.join(decided_by) or 'nothing'}\n")
    show_table(lineages.by_table(nodes), lineages.TABLES)
    print()
    show_table(lineages.files(nodes), lineages.FILES)


def _columns(domains: Domains, dataset: str, column: str, down: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of `dataset`, `column` and `made_of` (`dataset.column` each); and the columns that decide which rows it has."""
    from medallion import session
    from medallion.lineage import columns

    spark = session.local()
    found = (columns.down if down else columns.up)(spark, domains, dataset, column)
    rows = [
        {"dataset": of, "column": name, "made_of": sorted(f"{source}.{one}" for source, one in sources)}
        for (of, name), sources in found
    ]
    deciding = columns.of_transform(spark, domains, dataset).conditions if dataset in domains.transforms else ()
    return rows, sorted(f"{source}.{one}" for source, one in deciding)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"made_of": ", ".join(row["made_of"])}

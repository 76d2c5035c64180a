"""The command `medallion lineage`; `medallion.cli` takes it in."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Annotated

import typer

from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import parse_date, show_json, show_table

app = typer.Typer()


@app.command()
def lineage(
    dataset: Annotated[str, typer.Argument(help="A dataset, e.g. gold.operations.route_performance.")],
    of_date: Annotated[str | None, typer.Option("--date", help="Its rows of one date only.")] = None,
    down: Annotated[bool, typer.Option("--down/--up", help="What is made of it; else what it is made of.")] = False,
    at: Annotated[str, typer.Option(help="A hash on main, a run or a branch; else main as it is now.")] = "main",
    as_json: Json = False,
) -> None:
    """Which landing files made this: every table in between, and each file with its SHA-256."""
    from medallion import domain
    from medallion import lineage as lineages
    from medallion.lakehouse.journal import Journal
    from medallion.lakehouse.nessie import Nessie
    from medallion.story import resolve

    settings = load()
    domains = domain.load(settings)
    if down:
        rows = [{"dataset": each, "reads": list(through)} for each, through in lineages.down(domains, dataset)]
        if as_json:
            show_json(rows)
        else:
            show_table([row | {"reads": ", ".join(row["reads"])} for row in rows], ("dataset", "reads"))
        return
    with ExitStack() as closing_:
        nessie = closing_.enter_context(closing(Nessie(settings.nessie)))
        journal = closing_.enter_context(Journal(settings.postgres))
        where = resolve(nessie, journal, at)
        nodes = lineages.up(settings.s3, domains, nessie.tables(where), dataset, parse_date(of_date) if of_date else None)
    if as_json:
        show_json({"dataset": dataset, "date": of_date, "hash": where.hash, "nodes": [node.as_json() for node in nodes]})
        return
    print(f"{dataset}{f' of {of_date}' if of_date else ''} at {where.name}@{where.hash[:12]}\n")
    show_table(lineages.by_table(nodes), lineages.TABLES)
    print()
    show_table(lineages.files(nodes), lineages.FILES)

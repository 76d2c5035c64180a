"""`medallion publish`, `reconcile` and `sql`: what the warehouse shows, and questions to it and to the lake."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from medallion import terminal
from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import show_json, show_table

app = typer.Typer()


@app.command()
def publish(
    at: Annotated[str | None, typer.Option(help="A hash on main; else the newest.")] = None,
    allow_rewind: Annotated[
        bool,
        typer.Option("--allow-rewind", help="Also show a commit that is older, or of another history; replaces every table."),
    ] = False,
    allow_breaking: Annotated[
        list[str] | None,
        typer.Option("--allow-breaking", metavar="DATASET.COLUMN", help="The warehouse may lose this column; repeat for others."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show gold as it is on main in the warehouse, in one transaction."""
    from medallion import job

    job.publish(at, as_json, allow_rewind=allow_rewind, allow_breaking=allow_breaking or ())


@app.command()
def reconcile(as_json: Json = False) -> None:
    """Compare lake and warehouse, table by table, value by value."""
    from medallion import domain
    from medallion.errors import MedallionError
    from medallion.publish.reconcile import reconcile as compare

    settings = load()
    found = compare(settings, domain.load(settings))
    rows = [asdict(one) | {"note": one.note} for one in found]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, ("dataset", "lake_rows", "warehouse_rows", "agreed", "note"))
    if differing := [one.dataset for one in found if not one.agreed]:
        raise MedallionError(
            f"lake and warehouse differ in {', '.join(differing)}",
            hint="someone wrote to the warehouse past `medallion publish`; see docs/limits.md",
        )


@app.command()
def sql(
    query: str,
    at: Annotated[str, typer.Option(help="A branch, or a hash on main.")] = "main",
    warehouse: Annotated[bool, typer.Option("--warehouse", help="Ask the warehouse instead of the lake.")] = False,
    as_json: Json = False,
) -> None:
    """Answer a SELECT over the lake (no JVM) or the warehouse. Read only."""
    from medallion import query as queries
    from medallion.left_out import leave_out

    leave_out("boto3" if warehouse else "pandas")  # a quarter of the time, and no answer needs them
    settings = load()
    found = queries.warehouse(settings, query) if warehouse else queries.lake(settings, query, at)
    if as_json:
        print(queries.to_json(found))
    else:
        terminal.console().print(queries.to_rich(found))

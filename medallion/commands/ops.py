"""The commands `medallion ops …`; `medallion.cli` takes them in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from medallion.commands.options import Json
from medallion.errors import MedallionError
from medallion.settings import load
from medallion.terminal import reporter_beside_json, show_json, show_table

app = typer.Typer(name="ops", no_args_is_help=True, help="The tables that dashboards, alerts and people read: docs/ops.md.")


@app.command()
def rebuild(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail if the tables are not as their sources say.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the projection anew from main's log, the journal, the evidence and the ledgers, and compare it with what was there."""
    from medallion import afterwards
    from medallion.ops import rebuild as rebuilding
    from medallion.pipeline import Lake

    report = reporter_beside_json()
    with Lake(load()) as lake:
        found = rebuilding.rebuild(afterwards.sources(lake, report), check=check)
        if not check:
            afterwards.fill_lineage(lake, report, lake.domains)
    differing = [one for one in found if one.differing]
    if as_json:
        show_json([asdict(one) for one in found])
    else:
        show_table([asdict(one) for one in found], ("table", "rows_before", "rows", "differing"))
        for one in differing:
            print(one.text)
        if not differing:
            print("the projection is equal to its sources" if check else "made anew, equal to what was there")
        elif not check:
            print(f"made anew; it was wrong in {len(differing)} tables")
    if check and differing:
        raise MedallionError(
            f"the projection is not as its sources say, in {', '.join(one.table for one in differing)}; nothing was changed",
            hint="`medallion ops rebuild` makes it anew",
        )


@app.command()
def status(as_json: Json = False) -> None:
    """How far the projection has come in each of its sources, and what is behind."""
    from medallion import afterwards
    from medallion.ops import status as statuses
    from medallion.pipeline import Lake

    with Lake(load()) as lake:
        rows = [asdict(one) for one in statuses.status(afterwards.sources(lake, reporter_beside_json()))]
    if as_json:
        show_json(rows)
        return
    for row in rows:
        row |= {name: (row[name] or "-")[:32] for name in ("position", "newest")}
    show_table(rows, ("source", "position", "newest", "behind", "projected_at", "note"))

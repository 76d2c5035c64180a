"""The command `medallion quality`; `medallion.cli` takes it in."""

from __future__ import annotations

from typing import Annotated

import typer

from medallion.settings import load
from medallion.terminal import show_json, show_table

app = typer.Typer()
_COLUMNS = ("dataset", "dates", "newest", "score", "mean_score", "quarantine_share", "worst_rules", "unusual")


@app.command()
def quality(
    dataset: Annotated[str | None, typer.Argument(help="Only this dataset, e.g. silver.operations.flights.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Over so many of each dataset's newest dates.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Score per dataset and layer over the last dates that are on main: worst rules, quarantine, what was unusual."""
    from medallion import domain
    from medallion.lakehouse.journal import Journal
    from medallion.quality.overview import overview

    settings = load()
    with Journal(settings.postgres) as journal:
        found = overview(journal, domain.load(settings).contracts, dataset, last)
    if as_json:
        show_json(found)
        return
    if not found["datasets"]:
        print("nothing of it is on main yet; `medallion run --date …` makes it")
        return
    shown = [
        one
        | {
            "quarantine_share": f"{one['quarantine_share']:.2%}",
            "worst_rules": "\n".join(f"{r['rule']} ({r['severity']}): {r['bad']:,}" for r in one["worst_rules"]),
            "unusual": "\n".join(f"{u['logical_date']}: {u['what']}" for u in one["unusual"]),
        }
        for one in found["datasets"]
    ]
    show_table(shown, _COLUMNS)
    show_table(found["layers"], ("layer", "datasets", "score", "mean_score"))

"""The commands `medallion domain …` and `medallion deliver`; `medallion.cli` takes them in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medallion import terminal
from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import show_json, show_table

app = typer.Typer()
domains = typer.Typer(no_args_is_help=True, help="Domains: folders of contracts and transforms.")
app.add_typer(domains, name="domain")


@domains.command("new")
def new(
    name: str,
    folder: Annotated[Path | None, typer.Option(help="Where; it must not exist. Else ./NAME.")] = None,
) -> None:
    """Write a working domain to begin with: contracts, transforms, their test, a sample delivery."""
    from medallion.domain_skeleton import create

    files = create(load(), name, folder)
    for file in files:
        print(file)
    print(f"it works as it is: see {next(file for file in files if file.name == 'README.md')}")


@domains.command("list")
def list_(as_json: Json = False) -> None:
    """The domains that a run sees, who brought them, and which datasets of others they read."""
    from medallion.domain import summaries

    rows = [asdict(one) for one in summaries(load())]
    if as_json:
        show_json(rows)
    else:
        show_table([row | {"reads": ", ".join(row["reads"]) or None} for row in rows], tuple(rows[0]))


@app.command()
def deliver(
    dataset: Annotated[str, typer.Argument(help="A bronze dataset, e.g. bronze.bakery.orders.")],
    file: Annotated[Path, typer.Argument(help="What its owner hands over; it keeps its name.")],
    date: Annotated[str, typer.Option("--date", help="The logical date, e.g. 2013-01-05.")],
    as_json: Json = False,
) -> None:
    """Put a file, unchanged, to where its dataset's contract expects it."""
    from medallion.deliver import deliver as hand_over

    done = hand_over(load(), dataset, file, terminal.parse_date(date))
    if as_json:
        show_json(asdict(done))
    else:
        same = "; the same bytes again, nothing was written" if done.state == "already there" else ""
        print(f"{done.state}: {done.uri} ({done.bytes:,} bytes, sha256 {done.sha256[:12]}…){same}")

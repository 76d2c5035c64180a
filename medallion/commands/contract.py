"""The commands `medallion contract …`; `medallion.cli` takes them in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import show_json

app = typer.Typer()
contracts = typer.Typer(no_args_is_help=True, help="Contracts: check them, draft one from data.")
app.add_typer(contracts, name="contract")


@contracts.command("check")
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Contract files or folders; none: all known domains.")] = None,
    as_json: Json = False,
) -> None:
    """Tell everything that is wrong with contracts, by file, line and column. Exit code 2 if something is."""
    from medallion.odcs.check import check as look

    found = look(load(), paths or ())
    if as_json:
        show_json({"files": found.files, "problems": [asdict(one) for one in found.problems]})
    else:
        for one in found.problems:
            print(f"{one.text}\n  → {one.hint}")
        count = len(found.problems)
        wrong = f"{count} problem{'' if count == 1 else 's'}" if count else "no problem"
        print(f"{found.files} contract{'' if found.files == 1 else 's'}: {wrong}")
    if found.problems:
        raise typer.Exit(2)


@contracts.command("new")
def new(
    source: Annotated[str, typer.Argument(help="A csv, json or parquet file (also .gz), or a table of the lake.")],
    layer: Annotated[str | None, typer.Option(help="bronze, silver or gold; else bronze, or the table's own.")] = None,
    domain: Annotated[str | None, typer.Option(help="Whose data this is; a table's own domain, if not given.")] = None,
    zone: Annotated[str | None, typer.Option(help="The zone of the layer; else the usual one.")] = None,
    output: Annotated[Path | None, typer.Option(help="A file or folder to write it to; nothing is overwritten.")] = None,
) -> None:
    """Draft a contract from data, with types, key and rules that hold on them."""
    from medallion.odcs import draft

    name, text = draft.draft(load(), source, layer=layer, domain=domain, zone=zone)
    if output is None:
        print(text, end="")
    else:
        print(draft.write(text, name, output))

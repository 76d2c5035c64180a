"""The commands `medallion contract …`; `medallion.cli` takes them in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medallion.settings import load
from medallion.terminal import show_json

app = typer.Typer()
contracts = typer.Typer(no_args_is_help=True, help="Contracts: check them, draft one from data.")
app.add_typer(contracts, name="contract")
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@contracts.command("check")
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Contract files or folders; none: all known domains.")] = None,
    as_json: Json = False,
) -> None:
    """Tell everything that is wrong with contracts, by file, line and column. Exit code 2 if something is."""
    from medallion.contract_check import check as look

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

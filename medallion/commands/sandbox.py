"""The commands `medallion sandbox …`; `medallion.cli` takes them in."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer

from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import console, show_json, show_table

app = typer.Typer(name="sandbox", no_args_is_help=True, help="Branches to try things out on, which never merge.")
Name = Annotated[str, typer.Argument(help="The sandbox's name, as in 'delay-model'.")]
_COLUMNS = ("name", "forked_from", "forked_at", "created_at", "commits")


@app.command()
def create(
    name: Name,
    at: Annotated[str, typer.Option(help="What to fork: a branch, a run, or a hash on main.")] = "main",
) -> None:
    """Fork a sandbox; its new files go to the bucket dev-sandbox."""
    from medallion import story
    from medallion.lakehouse import sandbox
    from medallion.pipeline import Lake

    with Lake(load()) as lake:
        made = sandbox.create(lake.nessie, lake.store, name, story.resolve(lake.nessie, lake.journal, at))
    print(f"{made.head.name}: forked from {made.forked_from}@{made.forked_at[:12]}")
    print(f'in Python: import medallion; spark = medallion.sandbox("{made.name}")')


@app.command("list")
def list_(as_json: Json = False) -> None:
    """The sandboxes: what they were forked from, and how many commits they have had since."""
    from medallion.lakehouse import sandbox
    from medallion.lakehouse.nessie import Nessie

    with closing(Nessie(load().nessie)) as nessie:
        rows: list[dict[str, Any]] = [
            {"branch": one.head.name} | {column: getattr(one, column) for column in _COLUMNS} for one in sandbox.every(nessie)
        ]
    if as_json:
        show_json(rows)
    elif rows:
        show_table([row | {"forked_at": row["forked_at"][:12]} for row in rows], _COLUMNS)
    else:
        print("there is none; `medallion sandbox create NAME` makes one")


@app.command()
def drop(name: Name) -> None:
    """Remove a sandbox, with all that was written on it, without asking."""
    from medallion.lakehouse import sandbox
    from medallion.lakehouse.nessie import Nessie

    with closing(Nessie(load().nessie)) as nessie:
        print(f"sandbox {sandbox.drop(nessie, name)}: dropped")


@app.command()
def diff(
    name: Name,
    dataset: Annotated[str | None, typer.Argument(help="Show the rows of this table.")] = None,
    as_json: Json = False,
) -> None:
    """How a sandbox differs from main as it was forked: tables, rows, and values by column."""
    from medallion.answers import to_json, to_rich
    from medallion.sandboxes import sandbox_diff

    found = sandbox_diff(name, dataset)
    if as_json:
        print(to_json(found))
    elif found.num_rows:
        console().print(to_rich(found))
    else:
        print("nothing differs")

"""The commands `medallion schema …`; `medallion.cli` takes them in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import show_json, show_table

app = typer.Typer()
schemas = typer.Typer(no_args_is_help=True, help="Schemas: their versions, and how these differ.")
app.add_typer(schemas, name="schema")
Dataset = Annotated[str, typer.Argument(help="A dataset, e.g. silver.operations.flights.")]


@schemas.command("log")
def log(dataset: Dataset, as_json: Json = False) -> None:
    """Every version of a dataset's schema with the commit, run and contract that brought it."""
    from medallion import schema_log
    from medallion.lakehouse.nessie import Nessie

    settings = load()
    with closing(Nessie(settings.nessie)) as nessie:
        rows = [one.as_row() for one in schema_log.versions(settings.s3, nessie, dataset)]
    if as_json:
        show_json(rows)
        return
    for row in rows:
        row |= {
            "hash": row["hash"][:12],
            "fingerprint": (row["fingerprint"] or "")[:12] or None,
            "changed": "\n".join(row["changed"]),
        }
    show_table(rows, schema_log.COLUMNS)


@schemas.command("diff")
def diff(
    dataset: Dataset,
    old: Annotated[int | None, typer.Argument(help="A version of `schema log`; else the newest.")] = None,
    new: Annotated[int | None, typer.Argument(help="Another; else the contract as it is now.")] = None,
    as_json: Json = False,
) -> None:
    """Two versions of a schema side by side; without numbers, main and the contract."""
    from medallion import domain, schema_log
    from medallion.lakehouse.nessie import Nessie

    settings = load()
    contract = domain.load(settings).contracts.get(dataset) if new is None else None
    with closing(Nessie(settings.nessie)) as nessie:
        text, found = schema_log.diff(schema_log.versions(settings.s3, nessie, dataset), contract, old, new)
    if as_json:
        show_json([asdict(one) | {"breaks": one.breaks} for one in found])
    else:
        print(text if found else f"{text}\nnothing differs")

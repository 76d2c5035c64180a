"""The commands `medallion marts …`; `medallion.cli` takes them in."""

from __future__ import annotations

from typing import Annotated

import typer

from medallion.commands.options import Json
from medallion.errors import MedallionError, UsageError
from medallion.settings import load
from medallion.terminal import show_json, show_table

app = typer.Typer(name="marts", invoke_without_command=True, help="Build, test and publish the dbt marts; see docs/marts.md.")
_COLUMNS = ("mart", "rows", "other_rows", "agreed", "hash", "other_hash")


@app.callback()
def marts(
    context: typer.Context,
    compare: Annotated[
        tuple[str, str] | None, typer.Option("--compare", metavar="TARGET TARGET", help="Compare two targets' marts, row by row.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build all marts where DBT_TARGET says, test them, and show them in one transaction."""
    if context.invoked_subcommand:
        return
    if compare:
        _compare(*compare, as_json)
        return
    from medallion import job

    job.marts(as_json)


@app.command()
def sources(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if the file is not as the contracts say.")] = False,
) -> None:
    """Write dbt's sources from the contracts of published gold."""
    from medallion import domain
    from medallion.marts import sources as written

    settings = load()
    path, text = settings.marts.project / written.PLACE, written.text(domain.load(settings))
    if path.is_file() and path.read_text("utf-8") == text:
        print(f"{path}: as the contracts say")
    elif check:
        raise UsageError(f"{path} is not as the contracts say", hint="`medallion marts sources` writes it")
    else:
        path.write_text(text, "utf-8")
        print(f"{path}: written")


@app.command()
def docs() -> None:
    """Write the documentation of the marts as one page, with their lineage back to bronze."""
    import subprocess

    from medallion.marts import lineage, plain

    settings = load()
    words, environment = plain.docs(settings)
    if subprocess.run(words, env=environment, cwd=settings.marts.project).returncode:
        raise MedallionError("dbt could not write the documentation", hint="what it says stands above")
    lineage.draw(settings.marts.project / "target")
    print(f"open {settings.marts.project / 'target' / lineage.PAGE}, or: cd dbt && dbt docs serve")


def _compare(one: str, other: str, as_json: bool) -> None:
    from medallion.marts.compare import compare
    from medallion.marts.targets import named

    rows = [each.as_row() for each in compare(load(), named(one), named(other))]
    if as_json:
        show_json(rows)
    else:
        show_table(
            [row | {"hash": (row["hash"] or "-")[:12], "other_hash": (row["other_hash"] or "-")[:12]} for row in rows], _COLUMNS
        )
        for line in (f"{row['mart']}: {each}" for row in rows for each in row["differences"]):
            print(line)
    if differing := [str(row["mart"]) for row in rows if not row["agreed"]]:
        raise MedallionError(
            f"the marts of {one} and {other} differ in {', '.join(differing)}",
            hint="run `medallion marts` for both targets at the same main; the hashes say what each was built from",
        )

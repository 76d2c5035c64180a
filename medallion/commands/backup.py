"""The commands `medallion backup …`; `medallion.cli` takes them in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medallion.commands.options import Json
from medallion.settings import load
from medallion.terminal import reporter, reporter_beside_json, show_json, show_table

app = typer.Typer(name="backup", help="Copies of the lake in a second location (the setting backup.location).")
Where = Annotated[str | None, typer.Option("--from", help="The second location: a folder, or s3://bucket/prefix.")]


@app.callback(invoke_without_command=True)
def backup(context: typer.Context, as_json: Json = False) -> None:
    """Bring the second location up to main as it is now."""
    if context.invoked_subcommand is not None:
        return
    from medallion.backup.backup import backup as make

    done = make(load(), reporter_beside_json() if as_json else reporter())
    if as_json:
        show_json(asdict(done))


@app.command()
def status(as_json: Json = False) -> None:
    """The recovery point: the newest commit of main whose every file is in the second location; how far behind it is."""
    from medallion.backup.backup import status as look

    found = asdict(look(load()))
    if as_json:
        show_json(found)
    else:
        show_table([{"": name.replace("_", " "), "value": value} for name, value in found.items()], ("", "value"))


@app.command()
def points(where: Where = None, as_json: Json = False) -> None:
    """The commits of main that can be restored, newest first; those with a point are restored without a search."""
    from medallion.backup import points as all_points
    from medallion.backup.restore import source

    known = all_points.every(source(load(), where))
    named = {point.commit: point.at for point in known}
    rows = [asdict(one) | {"point_at": named.get(one.hash)} for one in reversed(all_points.changes(known))]
    if as_json:
        show_json(rows)
    else:
        show_table([row | {"hash": row["hash"][:12]} for row in rows], ("hash", "time", "point_at", "run", "message"))


def restore(into: Path, to: str | None, where: str | None, as_json: bool) -> None:
    """What `medallion restore --into` does: a new stack from the second location, of then or of the recovery point."""
    from medallion.backup.restore import restore_into

    done = restore_into(load(), to, into, where, reporter_beside_json() if as_json else reporter())
    if as_json:
        show_json(asdict(done))

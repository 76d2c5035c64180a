"""The command `dbt` of the environment: it becomes plain dbt.

Where a warehouse of the lake's own has never shown gold, which models read, it is published there first, as `medallion marts`
would do it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from medallion.errors import MedallionError
from medallion.marts import plain, targets
from medallion.settings import MartTarget, load

if TYPE_CHECKING:
    from medallion.lake import Lake

Report = Callable[[str], None]


def main() -> NoReturn:
    """The entry point. Ends with the error's exit code, and what is wrong, if dbt cannot be begun."""
    try:
        arguments, settings = sys.argv[1:], load()
        target = plain.chosen(settings, arguments)
        words, environment = plain.command(settings, target, arguments)
        if plain.lacks_gold(settings, target, arguments):
            from medallion.afterwards import told
            from medallion.lake import Lake

            with Lake(settings) as lake, told(lake, _report):
                show_gold(lake, target, _report)
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    os.execve(words[0], words, environment)


def show_gold(lake: Lake, target: MartTarget, report: Report) -> None:
    """Publish gold as it is on main in a target. Raises: as `medallion.publish.publication.publish`."""
    from medallion import job

    report(f"{target} shows no gold yet: publishing it, as it is on main")
    job.publish_gold(lake, report, settings=targets.settings_of(lake.settings, target))


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

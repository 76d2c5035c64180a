"""The command `dbt` of the environment: plain dbt, for the target that DBT_TARGET or `--target` chooses.

It knows from medallion's settings where that target is. What it builds goes to a schema for trying things out
(`DBT_SCHEMA`, by default dbt_dev), on Spark to the sandbox `dbt`; only `medallion marts` changes what marts are published.
Where a warehouse has never shown gold, which models read, it is published there first, as `medallion marts` would do it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

from medallion.errors import MedallionError, UsageError
from medallion.marts import dbt, targets
from medallion.publish.marts import SCHEMA
from medallion.settings import MartTarget, Settings, load

if TYPE_CHECKING:
    from medallion.lake import Lake

SANDBOX = "dbt"
_NEEDS_NO_TABLES = ("deps", "clean", "parse", "list", "ls", "serve", "--version", "--help", "-h")
_READS_GOLD = ("build", "clone", "retry", "run", "show", "snapshot", "source", "test")


def main() -> NoReturn:
    """The entry point: become dbt. Ends with exit code 2, and what is wrong, if the settings are."""
    try:
        arguments = sys.argv[1:]
        settings = load()
        target = chosen(settings, arguments)
        words, environment = command(settings, target, arguments)
        if set(arguments) & set(_READS_GOLD) and lacks_gold(settings, target):
            _show_gold(settings, target)
    except MedallionError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    os.execve(words[0], words, environment)


def chosen(settings: Settings, arguments: Sequence[str]) -> MartTarget:
    """The target of dbt's own option, else the settings'. Raises: UsageError for one that does not exist."""
    name: str = settings.marts.target
    for before, word in zip(("", *arguments), arguments, strict=False):
        name = word if before in ("--target", "-t") else word.removeprefix("--target=") if word.startswith("--target=") else name
    return targets.named(name)


def command(settings: Settings, target: MartTarget, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What to run, and its environment. Raises: SettingsError; UsageError; ServiceUnavailable."""
    variables = targets.variables(settings, target)
    program: Sequence[str] = dbt.PROGRAM
    if target == "spark" and not set(arguments) & set(_NEEDS_NO_TABLES):
        from medallion.marts.on_spark import PROGRAM

        program = PROGRAM
        variables |= {"DBT_SPARK_BRANCH": _sandbox(settings)}
    return [sys.executable, *program, *arguments], dbt.environment(variables)


def lacks_gold(settings: Settings, target: MartTarget) -> bool:
    """Whether a target is a warehouse in which gold has never been published. Raises: ServiceUnavailable; SettingsError."""
    from medallion.publish.target import connect

    if target == "spark":
        return False
    with closing(connect(targets.settings_of(settings, target))) as opened:
        return not opened.head().sequence


def show_gold(lake: Lake, target: MartTarget, report: Callable[[str], None]) -> None:
    """Publish gold as it is on main in a target. On an account nobody does that but who asks for it.

    Raises: UsageError for a target that is an account; as `medallion.publish.publication.publish`.
    """
    from medallion import job

    its = targets.settings_of(lake.settings, target)
    if its.warehouse == "snowflake" and not its.snowflake.emulated:
        raise UsageError(
            f"no gold is published in {target} yet, and the models read it",
            hint="`MEDALLION_WAREHOUSE=snowflake medallion publish` publishes it in the account",
        )
    report(f"{target} shows no gold yet: publishing it, as it is on main")
    job.publish_gold(lake, report, settings=its)


def docs(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """What writes the documentation of the published marts, to be run in the project's folder. Raises: as `command`."""
    target = settings.marts.target
    words, environment = command(settings, target, ["docs", "generate"])
    return words, environment | ({} if target == "spark" else {"DBT_SCHEMA": SCHEMA})


def _show_gold(settings: Settings, target: MartTarget) -> None:
    from medallion.afterwards import told
    from medallion.lake import Lake

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with Lake(settings) as lake, told(lake, report):
        show_gold(lake, target, report)


def _sandbox(settings: Settings) -> str:
    """The branch of the sandbox `dbt`; it is made where it is missing."""
    from medallion.lakehouse import sandbox
    from medallion.lakehouse.nessie import MAIN, Nessie
    from medallion.lakehouse.store import Store

    with closing(Nessie(settings.nessie)) as nessie:
        wanted = sandbox.branch(SANDBOX)
        if wanted not in {known.name for known in nessie.references(sandbox.PREFIX)}:
            sandbox.create(nessie, Store(settings.s3), SANDBOX, nessie.reference(MAIN))
    return wanted

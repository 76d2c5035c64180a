"""Plain dbt, for the target that DBT_TARGET or `--target` chooses (`medallion.commands.dbt` is the command).

It knows from medallion's settings where that target is. What it builds goes to a schema for trying things out
(`DBT_SCHEMA`, by default dbt_dev), on Spark to the sandbox `dbt`; only `medallion marts` changes what marts are published.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing

from medallion.marts import dbt, targets
from medallion.publish.marts import SCHEMA
from medallion.settings import MartTarget, Settings

SANDBOX = "dbt"
_NEEDS_NO_TABLES = ("deps", "clean", "parse", "list", "ls", "serve", "--version", "--help", "-h")
_READS_GOLD = ("build", "clone", "retry", "run", "show", "snapshot", "source", "test")


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


def lacks_gold(settings: Settings, target: MartTarget, arguments: Sequence[str]) -> bool:
    """Whether models are to read gold in a warehouse in which it has never been published.

    Raises: ServiceUnavailable; SettingsError.
    """
    from medallion.publish.target import connect

    if target == "spark" or not set(arguments) & set(_READS_GOLD):
        return False
    with closing(connect(targets.settings_of(settings, target))) as opened:
        return not opened.head().sequence


def docs(settings: Settings) -> tuple[list[str], dict[str, str]]:
    """What writes the documentation of the published marts, to be run in the project's folder. Raises: as `command`."""
    target = settings.marts.target
    words, environment = command(settings, target, ["docs", "generate"])
    return words, environment | ({} if target == "spark" else {"DBT_SCHEMA": SCHEMA})


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

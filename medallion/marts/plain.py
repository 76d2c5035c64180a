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
_NEEDS_NO_TABLES = ("deps", "clean", "init", "parse", "list", "ls", "serve", "")
_READS_GOLD = ("build", "clone", "retry", "run", "show", "snapshot", "source", "test")
_OTHERS = ("compile", "debug", "docs", "run-operation", "seed")


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
    if target == "spark" and _asked(arguments) not in _NEEDS_NO_TABLES:
        from medallion.marts.on_spark import PROGRAM

        program = PROGRAM
        variables |= {"DBT_SPARK_BRANCH": _sandbox(settings)}
    return [sys.executable, *program, *arguments], dbt.environment(variables)


def lacks_gold(settings: Settings, target: MartTarget, arguments: Sequence[str]) -> bool:
    """Whether models are to read gold in a warehouse of the lake's own in which it has never been published. What others keep,
    such as an account, is not asked: whoever builds there need not have the rights to see the ledger.

    Raises: ServiceUnavailable; SettingsError.
    """
    from medallion.publish.target import connect

    its = targets.settings_of(settings, target)
    at = {(part.host, part.port) for part in (settings.postgres, its.warehouse_postgres)}
    own = len(at) == 1 if its.warehouse == "postgres" else its.snowflake.emulated
    if target == "spark" or not own or _asked(arguments) not in _READS_GOLD:
        return False
    with closing(connect(its)) as opened:
        return not opened.head().sequence


def _asked(arguments: Sequence[str]) -> str:
    """Which of dbt's commands is asked for; of `docs` the one below it. None, as an empty text, where only help is wanted."""
    if {"--version", "--help", "-h"} & set(arguments):
        return ""
    found = (word for word in arguments if word in (*_NEEDS_NO_TABLES, *_READS_GOLD, *_OTHERS))
    word = next(found, "")
    return "serve" if word == "docs" and "serve" in arguments else word


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

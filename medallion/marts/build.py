"""Build, test and publish the marts of a warehouse."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from medallion.marts import dbt, targets
from medallion.publish import marts
from medallion.publish.ledger import Head
from medallion.publish.marts import Columns, MartsPublication
from medallion.publish.target import Journal
from medallion.settings import Settings

Report = Callable[[str], None]


def build(settings: Settings, report: Report = lambda line: None, journal: Journal | None = None) -> MartsPublication:
    """Build all marts in a schema of their own, test them there, and show them in one transaction.

    Args:
        settings: as `targets.settings_of` gives them, of a target that is a warehouse.

    Raises: as `dbt.build` and `medallion.publish.marts.publish`; then the marts are as they were.
    """
    target = settings.marts.target
    variables = targets.variables(settings, target)

    def into(head: Head, schema: str) -> Columns:
        report(f"dbt builds and tests the marts of main@{(head.hash or '')[:12]} in {target}, schema {schema}")
        with tempfile.TemporaryDirectory(prefix="medallion-marts-") as folder:
            built = dbt.build(settings, Path(folder), variables | {"DBT_SCHEMA": schema}, {"main_hash": head.hash or ""})
        report(f"{built.models} models built, {built.tests} tests passed")
        return {mart.name: mart.columns for mart in built.marts}

    return marts.publish(settings, into, report, journal)

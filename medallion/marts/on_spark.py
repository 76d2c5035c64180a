"""The marts as Iceberg tables: built and tested by Spark on a branch of their own, and merged as any run is.

The branch is the place to build in, and the one commit on `main` is what shows them all at once: it names the gold
tables that the models read, and is refused if one of them has changed since.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medallion.errors import ConflictError
from medallion.lake import Lake
from medallion.lakehouse.catalog import ensure_tables
from medallion.lakehouse.history import total_records
from medallion.lakehouse.nessie import CommitConflict
from medallion.lakehouse.run import Run, fail, open_run, remove_branch
from medallion.marts import dbt, targets
from medallion.marts.dbt import Built
from medallion.pipeline import judge_and_merge
from medallion.publish.marts import SCHEMA, dataset

Report = Callable[[str], None]

PROGRAM = ("-P", "-m", "medallion.marts.spark_program")
NAMESPACE = f"gold.{SCHEMA}"
_PLACE = "s3://gold-reporting/tables/marts"


@dataclass(frozen=True)
class MartsMerge:
    """What came of it: the run, the commit on `main` that shows the marts, the one that they were built from (`hash`),
    and the rows of each."""

    run_id: str
    merged_hash: str | None
    hash: str
    rows: dict[str, int]


def build(lake: Lake, report: Report = lambda line: None) -> MartsMerge:
    """Build all marts on a branch, test them there, and show them on `main` in one commit.

    Raises: as `medallion.marts.dbt.build`: then the run is failed, its branch sealed and `main` unchanged;
        ConflictError if others changed what was read, more often than we retry; ServiceUnavailable.
    """
    ensure_tables(lake.settings, lake.nessie, lake.journal, lake.domains.contracts.values())
    previous: str | None = None
    for _ in range(lake.settings.runs.conflict_retries + 1):
        run = open_run(lake.nessie, lake.journal, "marts", None, retry_of=previous)
        try:
            _write(lake, run, report)
            merged = judge_and_merge(lake, run, report)
        except CommitConflict as conflict:
            report(f"run {run.id}: conflict on {', '.join(conflict.keys)}; building the marts again")
            fail(lake.journal, run, str(conflict), "conflicted")
            remove_branch(lake.nessie, lake.journal, run.id, run.branch)
            previous = run.id
            continue
        except BaseException as error:
            if run.state in ("open", "written"):
                fail(lake.journal, run, f"{type(error).__name__}: {error}")
            raise
        rows = {write["dataset"].rpartition(".")[2]: write["rows_out"] for write in run.writes}
        return MartsMerge(run.id, merged, run.h0.hash, rows)
    raise ConflictError(
        f"what the marts are made of changed on main in each of {lake.settings.runs.conflict_retries + 1} attempts; "
        "nothing was merged",
        hint="run `medallion marts` when fewer runs write gold",
    )


def _write(lake: Lake, run: Run, report: Report) -> None:
    report(f"run {run.id}: dbt builds and tests the marts of main@{run.h0.hash[:12]} on branch {run.branch}")
    began = time.monotonic()
    with lake.journal.step(run.id, "marts.build", branch=run.branch) as found:
        built = _run_dbt(lake, run)
        found |= {"models": built.models, "tests": built.tests}
    report(f"{built.models} models built, {built.tests} tests passed")
    contents = lake.nessie.tables(lake.nessie.reference(run.branch))
    run.reads |= {name for mart in built.marts for name in mart.reads}
    run.writes = [_written(lake, contents[name], name, time.monotonic() - began) for name in map(dataset, _names(built))]
    run.save(lake.journal, "written")


def _names(built: Built) -> list[str]:
    return [mart.name for mart in built.marts]


def _written(lake: Lake, content: Mapping[str, Any], name: str, seconds: float) -> dict[str, Any]:
    """A mart's entry in the run's story."""
    rows = total_records(lake.settings.s3, dict(content))
    return {
        "dataset": name, "logical_date": None, "reason": "marts", "rows_in": rows, "rows_out": rows, "quarantined": 0,
        "warned": 0, "verdicts": [], "seconds": round(seconds, 1),
    }  # fmt: skip


def _run_dbt(lake: Lake, run: Run) -> Built:
    """Build and test every model over the tables of the run's branch. Raises: as `medallion.marts.dbt.build`."""
    published = [name for name, contract in lake.domains.contracts.items() if contract.published and name in run.base]
    rows = max((total_records(lake.settings.s3, run.base[name]) for name in published), default=0)
    variables = targets.variables(lake.settings, "spark")
    variables |= {"DBT_SCHEMA": NAMESPACE, "DBT_SPARK_BRANCH": run.branch, "DBT_SPARK_ROWS": str(rows)}
    values = {"main_hash": run.h0.hash, "location_root": f"{_PLACE}/{run.id}"}
    with tempfile.TemporaryDirectory(prefix="medallion-marts-") as folder:
        return dbt.build(lake.settings, Path(folder), variables, values, PROGRAM)

"""`make crash`: many cases of every step and every fault, each process on a stack of its own; goes on where it was stopped.

python -m tests.crash --cases 10 --seed 1 [--minutes 30] [--workers 4] [--only merge.commit] [--warehouse postgres] [--spark]

Results are kept in .medallion/crash/seed-<SEED>.jsonl, one line for each case; docs/guarantees.md gets the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medallion.settings import ROOT
from tests.crash import spark_case, table
from tests.crash.case import SERVERS, Result
from tests.crash.faults import FAULTS, KILLS
from tests.crash.workers import Job, in_processes

WITHOUT_SPARK = (
    "journal.open", "journal.state", "run.branch", "init.tables", "table.create", "write", "data.append", "data.overwrite",
    "data.evolve", "quarantine", "branch.commit", "gate", "object.put", "merge.request", "merge.commit", "run.branch.remove",
    "fetch", "land", "run.branch.expire", "rebase.branch", "rebase.commit", "undo.tables", "publish.prepare", "publish.create",
    "publish.add_columns", "publish.widen", "publish.describe", "publish.relate", "publish.stage", "publish.copy",
    "publish.begin", "publish.head", "publish.delete", "publish.insert", "publish.ledger", "publish.commit",
    "publish.rollback", "publish.cleanup", "ops.project",
)  # fmt: skip
"""The steps that are passed without Spark; the others of `medallion.lakehouse.steps.STEPS` need it."""
WITHOUT_SERVER = ("publish.stage", "publish.prepare")
"""Steps that with PostgreSQL as the warehouse ask no server for anything, or only whether something is there."""
NOT_SENT = ("publish.describe", "publish.relate")
"""Steps that are not passed with the emulated Snowflake, which knows neither comments nor foreign keys."""


def jobs(
    cases: int, seed: int, done: list[table.Line], only: str | None, warehouse: str, steps: Sequence[str] = WITHOUT_SPARK,
) -> list[Job]:  # fmt: skip
    """What is still to do: every fault at every step so many times."""
    have = Counter((each["step"], each["kind"]) for each in done)
    return [
        (step, kind, seed * 1_000_000 + number)
        for number in range(cases)
        for step in steps
        for kind in FAULTS
        if possible(step, kind, warehouse) and number >= have[step, kind] and (only is None or step.startswith(only))
    ]


def possible(step: str, kind: str, warehouse: str = "postgres") -> bool:
    """Whether a fault can come at a step: nothing can be lost where nobody is asked."""
    if warehouse == "snowflake":
        return step not in NOT_SENT
    return kind in KILLS or step not in WITHOUT_SERVER


class Tally:
    """Keeps what came of the cases, and shows how far they are."""

    def __init__(self, results: Path, total: int) -> None:
        self.results, self.total = results, total
        self.finished = self.violated = self.uncounted = 0
        self._began = time.monotonic()

    def keep(self, job: Job, result: Result | str) -> None:
        """One more."""
        self.finished += 1
        if isinstance(result, str):
            self.uncounted += 1
            print(f"  {job[0]}, {job[1]}: {result}", flush=True)
            return
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result.as_json()) + "\n")
        if result.violations:
            self.violated += 1
            told = "\n      ".join(result.violations)
            print(f"  VIOLATED: {result.step}, {result.kind}, seed {result.seed}:\n      {told}", flush=True)
        if self.finished % 20 == 0 or self.finished == self.total:
            rate = self.finished / (time.monotonic() - self._began)
            left = (self.total - self.finished) / rate / 60
            print(
                f"{self.finished} of {self.total} cases, {rate:.2f} a second, {left:.0f} min left, {self.violated} violations",
                flush=True,
            )


def main() -> int:
    """Returns: 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Crash every step in every way.")
    parser.add_argument("--cases", type=int, default=10, help="cases of every step and fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long; called again, it goes on")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with a stack of its own")
    parser.add_argument("--only", help="steps whose name begins so")
    parser.add_argument("--warehouse", choices=("postgres", "snowflake"), default="postgres")
    parser.add_argument("--spark", action="store_true", help="cases that go through the whole Spark pipeline")
    options = parser.parse_args()
    folder = ROOT / ".medallion" / "crash"
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / f"seed-{options.seed}.jsonl"
    done = [
        each
        for each in table.read(results)
        if (each["warehouse"], each.get("spark", False)) == (options.warehouse, options.spark)
    ]
    steps = spark_case.STEPS if options.spark else WITHOUT_SPARK
    todo = jobs(options.cases, options.seed, done, options.only, options.warehouse, steps)
    print(f"{len(todo)} cases to do, {len(done)} done before; results in {results.relative_to(ROOT)}", flush=True)
    if todo:
        tally = Tally(results, len(todo))
        workers = min(options.workers, len(todo))
        in_processes(todo, tally.keep, workers, options.warehouse, options.spark, time.time() + options.minutes * 60)
        print(f"{tally.uncounted} are not counted: the fault could not come, or the case broke", flush=True)
    found = table.read(results)
    table.write(ROOT / "docs" / "guarantees.md", table.markdown(found, options.seed))
    violated = sum(bool(each["violations"]) for each in found)
    print(f"{len(found)} cases in all, {violated} violations; the table is in docs/guarantees.md", flush=True)
    return 1 if violated else 0


if __name__ == "__main__":
    assert set(SERVERS) >= {step.partition(".")[0] for step in WITHOUT_SPARK}
    sys.exit(main())

"""`make crash`: many cases of every step and every fault, on a stack of its own; goes on where it was stopped.

python -m tests.crash --cases 10 --seed 1 [--minutes 30] [--workers 4] [--only merge.commit] [--warehouse postgres] [--spark]

Results are kept in .medallion/crash/seed-<SEED>.jsonl, one line for each case; docs/guarantees.md gets the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, Queue

from medallion.settings import ROOT, Settings
from tests.conftest import new_stack
from tests.crash import spark_case, table
from tests.crash.case import SERVERS, Result, Site, run_case, scenario
from tests.crash.faults import FAULTS, KILLS, SERVER_KILLED

WITHOUT_SPARK = (
    "journal.open", "journal.state", "run.branch", "init.tables", "table.create", "write", "data.append", "data.overwrite",
    "data.evolve", "quarantine", "branch.commit", "gate", "object.put", "merge.request", "merge.commit", "run.branch.remove",
    "run.branch.expire", "rebase.branch", "rebase.commit", "undo.tables", "publish.prepare", "publish.create",
    "publish.add_columns", "publish.stage", "publish.copy", "publish.begin", "publish.head", "publish.delete", "publish.insert",
    "publish.ledger", "publish.commit", "publish.rollback", "publish.cleanup",
)  # fmt: skip
"""The steps that are passed without Spark; the others of `medallion.lakehouse.steps.STEPS` need it, or a source."""
WITHOUT_SERVER = ("publish.stage", "publish.prepare")
"""Steps that with PostgreSQL as the warehouse ask no server for anything, or only whether something is there."""
TRIES = 6
Job = tuple[str, str, int]
NewSite = Callable[[Settings, str], Site]


def jobs(
    cases: int, seed: int, done: list[table.Line], only: str | None, steps: Sequence[str] = WITHOUT_SPARK,
    kinds: Sequence[str] = FAULTS,
) -> list[Job]:  # fmt: skip
    """What is still to do: every fault at every step so many times, kills of servers last, as nothing else may run then."""
    have = Counter((each["step"], each["kind"]) for each in done)
    wanted = [
        (step, kind, seed * 1_000_000 + number)
        for number in range(cases)
        for step in steps
        for kind in kinds
        if possible(step, kind) and number >= have[step, kind] and (only is None or step.startswith(only))
    ]
    return sorted(wanted, key=lambda job: job[1] == SERVER_KILLED)


def possible(step: str, kind: str) -> bool:
    """Whether a fault can come at a step: nothing can be lost where nobody is asked."""
    return kind in KILLS or step not in WITHOUT_SERVER


class Runner:
    """Cases in several threads, each with places of its own."""

    def __init__(self, stack: Settings, results: Path, warehouse: str, until: float, new_site: NewSite = Site) -> None:
        self.stack, self.results, self.warehouse, self.until = stack, results, warehouse, until
        self._new_site = new_site
        self._lock = threading.Lock()
        self.finished = self.violated = self.missed = self.broken = 0
        self._began = time.monotonic()

    def work(self, todo: Queue[Job], total: int) -> None:
        """Take cases until there are none."""
        site: Site | None = None
        try:
            while time.monotonic() < self.until:
                try:
                    step, kind, seed = todo.get_nowait()
                except Empty:
                    return
                fresh, result = self._new_site is Site and scenario(step) == "first", None
                for again in (True, True, False):
                    try:
                        if site is None or fresh or site.cases >= site.lasts:
                            if site:
                                site.close()
                            site = None
                            site = self._new_site(self.stack, self.warehouse)
                            if not fresh:
                                site.prepare()
                        result = self._try(site, step, kind, seed)
                        break
                    except AssertionError as error:  # something is not as it must be, if only that a command hangs
                        result, site = (
                            Result(step, kind, seed, self.warehouse, "not as it must be", (repr(error)[-1500:],), 0.0),
                            None,
                        )
                        break
                    except Exception as error:  # of the harness, or of a machine that does too much at a time
                        site = None
                        if not again:
                            self.broken += 1
                            print(f"  {step}, {kind}, seed {seed} broke, and is not counted: {error!r}", flush=True)
                if site and (result is None or result.violations):
                    site.close()
                    site = None
                self._keep(result, total, (step, kind, seed))
        finally:
            if site:
                site.close()

    def _try(self, site: Site, step: str, kind: str, seed: int) -> Result | None:
        for attempt in range(TRIES if scenario(step) != "first" else 1):
            if result := run_case(site, step, kind, seed + attempt * 1_000):
                return result
        return None

    def _keep(self, result: Result | None, total: int, job: Job) -> None:
        with self._lock:
            self.finished += 1
            if result is None:
                self.missed += 1
                print(f"  {job[0]}, {job[1]}: the fault could not come", flush=True)
                return
            with self.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result.as_json()) + "\n")
            if result.violations:
                self.violated += 1
                told = "\n      ".join(result.violations)
                print(f"  VIOLATED: {result.step}, {result.kind}, seed {result.seed}:\n      {told}", flush=True)
            if self.finished % 20 == 0 or self.finished == total:
                rate = self.finished / (time.monotonic() - self._began)
                left = (total - self.finished) / rate / 60
                print(
                    f"{self.finished} of {total} cases, {rate:.2f} a second, {left:.0f} min left, {self.violated} violations",
                    flush=True,
                )


def main() -> int:
    """Returns: 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="Crash every step in every way.")
    parser.add_argument("--cases", type=int, default=10, help="cases of every step and fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after so long; called again, it goes on")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--only", help="steps whose name begins so")
    parser.add_argument("--warehouse", choices=("postgres", "snowflake"), default="postgres")
    parser.add_argument("--spark", action="store_true", help="cases that go through the whole Spark pipeline, one at a time")
    options = parser.parse_args()
    folder = ROOT / ".medallion" / "crash"
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / f"seed-{options.seed}.jsonl"
    done = [
        each
        for each in table.read(results)
        if (each["warehouse"], each.get("spark", False)) == (options.warehouse, options.spark)
    ]
    with_spark = (spark_case.STEPS, spark_case.KINDS) if options.spark else (WITHOUT_SPARK, FAULTS)
    todo = jobs(options.cases, options.seed, done, options.only, *with_spark)
    print(f"{len(todo)} cases to do, {len(done)} done before; results in {results.relative_to(ROOT)}", flush=True)
    if todo:
        with new_stack() as stack, ExitStack() as closing:
            new_site: NewSite = closing.enter_context(spark_case.sites()) if options.spark else Site
            runner = Runner(stack, results, options.warehouse, time.monotonic() + options.minutes * 60, new_site)
            for alone in (False, True):
                queue: Queue[Job] = Queue()
                for job in todo:
                    if (job[1] == SERVER_KILLED) == alone:
                        queue.put(job)
                workers = 1 if alone or options.spark else options.workers
                with ThreadPoolExecutor(workers) as pool:
                    for each in [pool.submit(runner.work, queue, len(todo)) for _ in range(workers)]:
                        each.result()
        print(f"{runner.missed} times the fault could not come, {runner.broken} cases broke and are not counted", flush=True)
    found = table.read(results)
    table.write(ROOT / "docs" / "guarantees.md", table.markdown(found, options.seed))
    violated = sum(bool(each["violations"]) for each in found)
    print(f"{len(found)} cases in all, {violated} violations; the table is in docs/guarantees.md", flush=True)
    return 1 if violated else 0


if __name__ == "__main__":
    assert set(SERVERS) >= {step.partition(".")[0] for step in WITHOUT_SPARK}
    sys.exit(main())

"""What a catalog of many runs costs: fork, merge, publish, list and look back with 5,000 runs behind them, against a fresh one.

Two stacks of the same tables, asked in turn: `fresh`, where only a few runs have been, and `deep`. The runs behind are real
ones as far as the servers can tell (opened, committed to their branch, merged, branch removed, with a story of a usual run's
size in the journal); their tables' contents are pointers only, so that a run takes milliseconds. Beside them Nessie's own
merge of a branch that changes the same tables, which checks neither what was read nor that main stood still.
Medians; nothing is asserted about times.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from medallion import afterwards, story
from medallion import settings as settings_module
from medallion.domain import Domains
from medallion.lake import Lake
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import merge
from medallion.lakehouse.nessie import MAIN, Content, Nessie, Reference
from medallion.lakehouse.run import Run, open_run, put_on_branch, remove_branch
from medallion.ops.projection import project
from medallion.ops.rebuild import rebuild
from medallion.publish.publication import publish
from medallion.quality.past import previous
from medallion.recovery import mark_published, resume
from medallion.services import stack
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold

TABLES = 60
"""Keys on main, as many as the three domains have."""
WRITTEN = 3
RULES, COLUMNS = 30, 12
FIRST = date(2010, 1, 1)
WORKERS = 4
SHOWN = gold("shown", {"n": "bigint"}, domain="depth")


def measure(runs: int, rounds: int) -> None:
    """Make both stacks, and print the table as Markdown."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder, ExitStack() as closing_:
        lakes = {}
        for name, behind in (("fresh", 10), ("deep", runs)):
            lakes[name] = closing_.enter_context(Deep.on_its_own(Path(folder) / name))
            lakes[name].go_on(behind)
        taken: dict[str, dict[str, list[float]]] = {}
        for round_ in range(rounds + 1):
            for name, lake in lakes.items():
                for what, seconds in lake.once().items():
                    if round_:
                        taken.setdefault(what, {}).setdefault(name, []).append(seconds)
    print(f"\n{runs:,} runs behind, {TABLES} tables, {rounds} rounds\n")
    print("| what | fresh, ms | deep, ms | deep ÷ fresh |\n|---|---|---|---|")
    for what, of in taken.items():
        fresh, deep = (statistics.median(of[name]) * 1_000 for name in ("fresh", "deep"))
        print(f"| {what} | {fresh:.1f} | {deep:.1f} | {deep / fresh:.2f} |")


class Deep:
    """One stack, its tables, and how far its runs have come."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.nessie, self.journal = Nessie(settings.nessie), Journal(settings.postgres)
        self.lake = LakeTables(settings)
        self.whole = Lake(settings, Domains({}, {}))
        self.sources = afterwards.sources(self.whole, lambda line: None)
        self.tables = [gold(f"t{n:02}", {"n": "bigint"}, domain="depth") for n in range(TABLES)]
        self.lake.commit({SHOWN: [{"n": 0}]} | {table: [{"n": 0}] for table in self.tables})
        self.contents = self.nessie.tables(self.nessie.reference(MAIN))
        self.done = 0

    @classmethod
    @contextmanager
    def on_its_own(cls, home: Path) -> Iterator[Deep]:
        """A stack in a folder of its own, gone afterwards."""
        os.environ["MEDALLION_HOME"] = str(home)
        settings_module.load.cache_clear()
        settings = stack.up(settings_module.load(), lambda line: None, guard=os.getpid())
        try:
            with closing(cls(settings)) as deep:
                yield deep
        finally:
            stack.down(settings, lambda line: None, remove=True)

    def close(self) -> None:
        with self.whole:
            self.lake.close()
        self.journal.close()
        self.nessie.close()

    def go_on(self, runs: int) -> None:
        """So many runs more, several at a time, each of tables that no other one has."""
        until, began = self.done + runs, time.monotonic()
        numbers, lock = iter(range(self.done, until)), threading.Lock()

        def work(own: int) -> None:
            with closing(Nessie(self.settings.nessie)) as nessie, Journal(self.settings.postgres) as journal:
                while (number := _next(numbers, lock)) is not None:
                    run = open_run(nessie, journal, "test", FIRST + timedelta(days=number))
                    self._finish(nessie, journal, run, number, own)
                    if number % 500 == 499:
                        rate = (number + 1) / (time.monotonic() - began)
                        print(f"  {number + 1} of {until} runs, {rate:.0f} a second", flush=True)

        threads = [threading.Thread(target=work, args=(own,)) for own in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.done = until
        mark_published(self.nessie, self.journal, self.nessie.reference(MAIN).hash)
        for what, work in (("filled in", project), ("made anew", rebuild)):
            began, cpu = time.monotonic(), time.process_time()
            assert work(self.sources)
            print(
                f"  {until} runs {what} in {time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s of CPU", flush=True
            )

    def once(self) -> dict[str, float]:
        """Every operation once. Returns: seconds of each."""
        took: dict[str, float] = {}
        number = self.done
        self.done += 1
        run = _timed(took, "fork", lambda: open_run(self.nessie, self.journal, "test", FIRST + timedelta(days=number)))
        judged = self._written(self.nessie, self.journal, run, number, number % WORKERS)
        _timed(took, "merge", lambda: merge(self.nessie, self.journal, run, judged, "one more", {}))
        _timed(took, "remove the branch", lambda: remove_branch(self.nessie, self.journal, run.id, run.branch))
        self.journal.release(run.id)
        cpu = time.process_time()
        _timed(took, "fill the projection", lambda: project(self.sources))
        took["fill the projection: CPU of the process"] = time.process_time() - cpu
        _timed(took, "Nessie's own merge of the same", self._plain_merge(number))
        self.lake.commit({SHOWN: [{"n": number}]})
        shown = _timed(took, "publish a table", lambda: publish(self.settings, Contracts(SHOWN), journal=self.journal))
        _timed(took, "fill it after a publication", lambda: project(self.sources))
        _timed(took, "mark what is published", lambda: mark_published(self.nessie, self.journal, shown.shown))
        _timed(took, "`runs`", lambda: story.runs(self.journal))
        _timed(took, "resume, with nothing to do", lambda: resume(self.nessie, self.journal))
        dataset, when = self.tables[number % WORKERS * WRITTEN].dataset, FIRST + timedelta(days=number + 1)
        _timed(took, "a dataset's last two dates", lambda: previous(self.journal, dataset, when, 2))
        return took

    def _finish(self, nessie: Nessie, journal: Journal, run: Run, number: int, own: int) -> None:
        merge(nessie, journal, run, self._written(nessie, journal, run, number, own), "one more", {})
        remove_branch(nessie, journal, run.id, run.branch)
        journal.release(run.id)

    def _written(self, nessie: Nessie, journal: Journal, run: Run, number: int, own: int) -> Reference:
        mine = self._changed(run.base, number, own)
        run.reads = set(mine)
        run.writes = [_story(dataset, run.logical_date, number) for dataset in mine]
        judged = put_on_branch(nessie, run, mine, "written")
        run.save(journal, "validated")
        return judged

    def _changed(self, base: dict[str, Content], number: int, own: int) -> dict[str, Content]:
        """Other pointers for the tables of a worker."""
        names = [table.dataset for table in self.tables[own * WRITTEN : (own + 1) * WRITTEN]]
        return {name: base[name] | {"snapshotId": number + 1} for name in names}

    def _plain_merge(self, number: int) -> Callable[[], object]:
        """Prepare a branch that changes as many tables, and give what merges it by Nessie's own request."""
        main = self.nessie.reference(MAIN)
        run = Run(f"plain-{number}", "test", None, main, "open", self.nessie.contents(main))
        self.nessie.create_branch(run.branch, main)
        branch = put_on_branch(self.nessie, run, self._changed(run.base, -number, number % WORKERS), "written")
        body = {"fromRefName": branch.name, "fromHash": branch.hash}

        def send() -> None:
            path = f"{self.settings.nessie.api_v2}/trees/{MAIN}@{main.hash}/history/merge"
            httpx.post(path, json=body, timeout=60).raise_for_status()
            self.nessie.delete_branch(branch.name)

        return send


def _next(numbers: Iterator[int], lock: threading.Lock) -> int | None:
    with lock:
        return next(numbers, None)


def _timed(took: dict[str, float], what: str, work: Callable[[], Any]) -> Any:
    began = time.monotonic()
    found = work()
    took[what] = time.monotonic() - began
    return found


def _story(dataset: str, when: date | None, number: int) -> dict[str, Any]:
    """A write as runs tell it, of a usual size."""
    verdicts = [
        {"rule": f"rule_{n}", "severity": "error", "bad": 0, "judged": 900, "tolerance": 0.0, "passed": True,
         "description": f"column_{n} is given and between its bounds", "samples": [], "allowed": "", "decided_by": "figures"}
        for n in range(RULES)
    ]  # fmt: skip
    shares = {f"column_{n}": round((number * 7 + n) % 100 / 1_000, 4) for n in range(COLUMNS)}
    metrics = {
        "rows": 900 + number % 50, "bytes": 40_000 + number, "files": 1, "null_share": shares, "mean": shares,
        "distribution": {f"column_{n}": {str(b): (number + b) % 90 for b in range(10)} for n in range(4)},
    }  # fmt: skip
    return {"dataset": dataset, "logical_date": when.isoformat() if when else None, "rows_in": 900, "rows_out": 900,
            "quarantined": 0, "seconds": 1.2, "score": 99.0, "verdicts": verdicts, "metrics": metrics}  # fmt: skip

"""Who takes the cases of `make crash`: processes, each with a stack of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from medallion.services import stack as services
from medallion.settings import Settings
from tests.conftest import new_stack
from tests.crash import spark_case
from tests.crash.case import Result, Site, run_case, scenario

TRIES = 6
"""A fault that does not come is tried so often, at other moments."""
CASES_IN_A_STACK = 150
"""Each place has tables of its own, and a run reads the names of all that main has."""
Job = tuple[str, str, int]
NewSite = Callable[[Settings, str], Site]
Told = tuple[Job, Result | str] | None
"""A case and what came of it; None when a worker has ended."""


class Worker:
    """Takes cases, in a process with a stack of its own, so that a server may be killed in each."""

    def __init__(self, stack: Settings, warehouse: str, new_site: NewSite) -> None:
        self.stack, self.warehouse, self._new_site = stack, warehouse, new_site
        self._site: Site | None = None

    def close(self) -> None:
        """Give the place up that the last case was in."""
        if self._site:
            self._site.close()
        self._site = None

    def take(self, job: Job) -> Result | str:
        """Returns: what came of the case, or why there is nothing to count."""
        step, kind, seed = job
        fresh = self._new_site is Site and scenario(step) == "first"
        for again in (True, True, False):
            try:
                result = self._try(self._place(fresh), step, kind, seed, 1 if fresh else TRIES)
                if result is None or result.violations:
                    self.close()
                return result or "the fault could not come"
            except AssertionError as error:  # something is not as it must be, if only that a command hangs
                self._site = None
                return Result(step, kind, seed, self.warehouse, "not as it must be", (repr(error)[-1500:],), 0.0)
            except Exception as error:  # of the harness, or of a machine that does too much at a time
                self._site = None
                if not again:
                    return f"seed {seed} broke, and is not counted: {error!r}"
                self.stack = services.up(self.stack, lambda _: None, guard=os.getpid())  # a server may have another port now
        raise AssertionError

    def _place(self, fresh: bool) -> Site:
        if fresh or (self._site and self._site.cases >= self._site.lasts):
            self.close()
        if self._site is None:
            site = self._new_site(self.stack, self.warehouse)
            if not fresh:
                site.prepare()
            self._site = site
        return self._site

    def _try(self, site: Site, step: str, kind: str, seed: int, tries: int) -> Result | None:
        for attempt in range(tries):
            if result := run_case(site, step, kind, seed + attempt * 1_000):
                return result
        return None


def work(todo: Queue[Job], told: Queue[Told], warehouse: str, spark: bool, until: float) -> None:
    """What a worker's process does: cases until there are none, or the time is over; then tells that it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends this one
    left = True
    try:
        while left and time.time() < until:
            with new_stack() as stack, spark_case.sites() if spark else nullcontext(Site) as new_site:
                worker = Worker(stack, warehouse, new_site)
                for _ in range(CASES_IN_A_STACK):
                    try:
                        job = todo.get(timeout=1)
                    except Empty:
                        left = False
                        break
                    told.put((job, worker.take(job)))
                    if time.time() >= until:
                        break
                worker.close()
    finally:
        told.put(None)


def in_processes(todo: list[Job], keep: Callable[[Job, Result | str], None], workers: int, *arguments: Any) -> None:
    """Let so many processes take the cases. `keep` is called for each; `arguments`: as `work` takes them, after its queues."""
    context = multiprocessing.get_context("spawn")
    queue: Queue[Job] = context.Queue()
    told: Queue[Told] = context.Queue()
    for job in todo:
        queue.put(job)
    started = [context.Process(target=work, args=(queue, told, *arguments)) for _ in range(workers)]
    for process in started:
        process.start()
    try:
        going = workers
        while going:
            if (one := told.get()) is None:
                going -= 1
            else:
                keep(*one)
    finally:
        queue.cancel_join_thread()
        for process in started:
            process.terminate()
            process.join()

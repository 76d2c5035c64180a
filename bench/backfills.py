"""Backfills of different days, all started together: do they all merge, how often does each run again, how long?

Every run goes through the whole pipeline (bronze, silver and gold of a small shop, in several operating-system
processes with one Spark session and several threads each) and is held until all have forked from the same `main`.
Three variants, each in tables of its own, with the same deliveries:

- `one by one`: the serial result, and the time that the work itself takes;
- `rebased`: as it is;
- `run again`: the same without taking anything over: whoever loses a conflict is run again.

What main holds at the end is compared with the serial result, row by row.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from medallion import pipeline, rebase
from medallion import settings as settings_module
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.services import stack
from medallion.settings import Settings
from tests.meeting_runs import MeetingShop
from tests.toy_domains import quick

FIRST = date(2024, 1, 1)
VARIANTS = ("one by one", "rebased", "run again")
ORDERS_A_DAY = 200


@dataclass(frozen=True)
class Done:
    """What came of one backfill; `seconds` from the common start to its merge."""

    day: date
    outcome: Outcome
    seconds: float


def measure(runs: int, processes: int, skipped: Collection[str] = ()) -> None:
    """Run every variant once, but those `skipped`, and print a line for each, and how often each run ran again."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        os.environ["MEDALLION_HOME"] = str(Path(folder) / "home")
        settings_module.load.cache_clear()
        settings = quick(stack.up(settings_module.load(), lambda line: None, guard=os.getpid()))
        settings = settings.model_copy(update={"runs": settings.runs.model_copy(update={"conflict_retries": runs})})
        try:
            compare(settings, Path(folder), runs, processes, skipped)
        finally:
            stack.down(settings, lambda line: None, remove=True)


def compare(settings: Settings, folder: Path, runs: int, processes: int, skipped: Collection[str]) -> None:
    days = [FIRST + timedelta(days=number) for number in range(1, runs + 1)]
    held: dict[str, Any] = {}
    print(f"{runs} backfills of different days, {processes} processes, {ORDERS_A_DAY} orders a day")
    for variant in (one for one in VARIANTS if one == VARIANTS[0] or one not in skipped):
        shop = MeetingShop(settings, folder, "history")
        chance = random.Random(runs)
        for day in (FIRST, *days):
            shop.deliver(day, *(f"{day:%j}{n},c{n % 40},{chance.randint(-200, 9999) / 100}," for n in range(ORDERS_A_DAY)))
        done = backfill(shop, days, 1 if variant == "one by one" else processes, variant)
        held[variant] = rows(shop)
        shop.close()
        equal = "the serial result" if held[variant] == held[VARIANTS[0]] else "NOT EQUAL to the serial result"
        states = Counter(one.outcome.state for one in done)
        again = [one.outcome.attempts - 1 - one.outcome.rebased for one in done]
        rebased = [one.outcome.rebased for one in done]
        print(
            f"  {variant:<11} {max(one.seconds for one in done):6.1f} s; {dict(states)}; run again {sum(again)}, "
            f"rebased {sum(rebased)}, at most {max(one.outcome.attempts for one in done)} attempts; {equal}"
        )
        for one in sorted(done, key=lambda one: one.seconds):
            told = f"{one.outcome.attempts - 1 - one.outcome.rebased} again, {one.outcome.rebased} rebased"
            print(f"    {one.day}  merged after {one.seconds:5.1f} s  {told}")


def backfill(shop: MeetingShop, days: list[date], processes: int, variant: str) -> list[Done]:
    """Run these days, all at once, spread over processes; one after the other in one process."""
    context = multiprocessing.get_context("spawn")
    start, forked = context.Barrier(processes), context.Barrier(len(days))
    shares = [days[number::processes] for number in range(processes)]
    answers = context.SimpleQueue()
    folders = (str(shop.domains.contracts[f"bronze.{shop.name}.orders"].path.parent), shop.name)
    arguments = [(shop.settings, *folders, share, variant, start, forked, answers) for share in shares]
    workers = [context.Process(target=_work, args=each) for each in arguments]
    for worker in workers:
        worker.start()
    done: list[Done] = []
    for _ in workers:
        found = answers.get()
        if isinstance(found, BaseException):
            for worker in workers:
                worker.kill()
            raise found
        done += found
    for worker in workers:
        worker.join()
    return done


def _work(
    settings: Settings, folder: str, name: str, days: list[date], variant: str, start: Any, forked: Any, answers: Any
) -> None:
    """One process: a session, warmed up by the first day, then all its days at once."""
    try:
        from medallion import domain
        from medallion.domain import Domains

        every = domain.load(settings.model_copy(update={"domains": folder}))
        mine = {d: c for d, c in every.contracts.items() if c.domain == name}
        domains = Domains(mine, {d: t for d, t in every.transforms.items() if d in mine})
        with Lake(settings, domains) as lake:
            execute(lake, Request(FIRST), report=lambda line: None)
        start.wait()
        began = time.monotonic()
        together = variant != VARIANTS[0]
        waiting = threading.local()
        open_run = pipeline.open_run

        def opened(*arguments: Any, **options: Any) -> Any:
            run = open_run(*arguments, **options)
            if together and not getattr(waiting, "passed", False):
                waiting.passed = True
                forked.wait()
            return run

        def never(*arguments: Any) -> Any:
            raise rebase.CannotRebase("this variant takes nothing over")

        def one(day: date) -> Done:
            with Lake(settings, domains) as lake:
                outcome = execute(lake, Request(day), report=lambda line: None)
            return Done(day, outcome, time.monotonic() - began)

        nothing = mock.patch.object(rebase, "rebase", never) if variant == "run again" else nullcontext()
        with mock.patch.object(pipeline, "open_run", opened), nothing, ThreadPoolExecutor(len(days) if together else 1) as pool:
            answers.put(list(pool.map(one, days)))
    except BaseException as error:
        answers.put(RuntimeError(repr(error)))
        raise


def rows(shop: MeetingShop) -> dict[str, list[tuple[Any, ...]]]:
    """What the tables on main hold, without what differs from run to run."""
    bronze = "order_id, customer, amount, ordered_on, _logical_date, _source_row, _row_hash, _repeat"
    silver = "order_id, customer, amount, ordered_on, _logical_date, _source_row"
    return {
        "bronze": shop.select(f"SELECT {bronze} FROM bronze.{{}}.orders ORDER BY ALL"),
        "silver": shop.select(f"SELECT {silver} FROM silver.{{}}.orders ORDER BY ALL"),
        "quarantine": shop.select("SELECT _logical_date, rules, _source_row FROM silver.{}.orders__quarantine ORDER BY ALL"),
        "gold": shop.select("SELECT * FROM gold.{}.daily_totals ORDER BY ALL"),
    }

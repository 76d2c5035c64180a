"""What a page of the dashboards takes with 5,000 runs and 500 datasets behind it.

A year is made up (`tests.ui.seed`) and copied into a database of its own. Each page is then measured twice:

- `server`: all questions to PostgreSQL and all that is drawn of the answers, nothing kept from before;
- `browser`: from the request to the page that is whole, in headless Chromium, as `medallion dashboards` serves it.

Medians of rounds in turn, after one to warm up; `CPU` is the processor time of the page's own process in `server`. Nothing is
asserted about times.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from playwright.sync_api import sync_playwright

from medallion import settings as settings_module
from medallion.services import stack
from medallion.settings import ROOT, Postgres
from tests import ops_databases
from tests.ui.browsing import Site
from tests.ui.seed import Size

_ONE = """
from dashboards import look
from dashboards.asking import forget
from dashboards.database import connected
from dashboards.pages import {module}
look.style()
forget()
with connected() as db:
    {module}.show(db)
"""


def measure(runs: int, rounds: int) -> None:
    """Print the table as Markdown."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        os.environ["MEDALLION_HOME"] = str(Path(folder) / "home")
        settings_module.load.cache_clear()
        postgres = stack.up(settings_module.load(), lambda line: None, guard=os.getpid()).postgres
        began = time.monotonic()
        with ops_databases.seeded(postgres, Size(runs=runs)) as database:
            print(f"seeded in {time.monotonic() - began:.0f} s", flush=True)
            os.environ["MEDALLION_POSTGRES__DATABASE"] = database
            settings_module.load.cache_clear()
            pages = _pages(postgres, database)
            server, processor = _on_the_server(pages, rounds)
            browser = _in_the_browser(pages, rounds)
        print(f"\n{runs:,} runs, 500 datasets, {rounds} rounds, load {os.getloadavg()[1]:.1f}\n")
        print("| page | server | of it CPU | browser |\n|---|---|---|---|")
        for name in pages:
            print(f"| {name} | {server[name]:.2f} s | {processor[name]:.2f} s | {browser[name]:.2f} s |")


def _pages(postgres: Postgres, database: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Name -> module and query parameters."""
    with ops_databases.connect(postgres, database) as db:
        run = _first(db, "SELECT run_id FROM ops.runs WHERE state = 'published' ORDER BY opened_at DESC LIMIT 1")
    gold = "gold.customers.orders_per_day"
    return {
        "Today": ("today", {}),
        "Quality": ("quality", {}),
        "Quality of a dataset": ("quality", {"dataset": gold}),
        "Operations": ("operations", {}),
        "Lineage": ("lineage", {}),
        "Lineage of a domain": ("lineage", {"domain": "customers"}),
        "Lineage of a dataset": ("lineage", {"dataset": gold}),
        "Lineage of a column": ("lineage", {"dataset": gold, "column": "amount_share"}),
        "Runs": ("run", {}),
        "Run": ("run", {"run": run}),
        "Alerts": ("alerts", {}),
    }


def _first(db: psycopg.Connection[tuple[str]], statement: str) -> str:
    row = db.execute(statement).fetchone()
    assert row is not None
    return row[0]


def _on_the_server(pages: dict[str, tuple[str, dict[str, str]]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    from streamlit.testing.v1 import AppTest

    wall: dict[str, list[float]] = {name: [] for name in pages}
    processor: dict[str, list[float]] = {name: [] for name in pages}
    for round_ in range(rounds + 1):
        for name, (module, parameters) in pages.items():
            page = AppTest.from_string(_ONE.format(module=module), default_timeout=120)
            for key, value in parameters.items():
                page.query_params[key] = value
            began, used = time.monotonic(), time.process_time()
            page.run()
            if round_:
                wall[name].append(time.monotonic() - began)
                processor[name].append(time.process_time() - used)
            assert not page.exception, page.exception
    return ({n: statistics.median(t) for n, t in wall.items()}, {n: statistics.median(t) for n, t in processor.items()})


def _in_the_browser(pages: dict[str, tuple[str, dict[str, str]]], rounds: int) -> dict[str, float]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    taken: dict[str, list[float]] = {name: [] for name in pages}
    with _served() as address, sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        site = Site(browser.new_page(), address)
        for round_ in range(rounds + 1):
            for name, (module, parameters) in pages.items():
                query = "&".join(f"{key}={value}" for key, value in parameters.items())
                began = time.monotonic()
                site.open(("" if module == "today" else module) + (f"?{query}" if query else ""))
                if round_:
                    taken[name].append(time.monotonic() - began)
        browser.close()
    return {name: statistics.median(times) for name, times in taken.items()}


@contextmanager
def _served() -> Iterator[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [shutil.which("medallion") or "medallion", "dashboards"]
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1]
        process.terminate()

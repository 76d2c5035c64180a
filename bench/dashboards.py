"""What a page of the dashboards takes with 5,000 runs and 500 datasets behind it.

A year is made up (`tests.ui.seed`) and copied into a database of its own. Each page is then measured twice:

- `server`: all questions to PostgreSQL and all that is drawn of the answers, nothing kept from before;
- `browser`: from the request to the page that is whole, in headless Chromium, as `medallion dashboards` serves it.

Medians of rounds in turn, after one to warm up; `CPU` is the processor time that `server` took, of the page and of PostgreSQL,
which is the same on a busy machine. Nothing is asserted about times.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import psycopg

from medallion import settings as settings_module
from medallion.services import process, stack
from medallion.services.state import read
from medallion.settings import Postgres
from tests import ops_databases
from tests.ui.browsing import Site, browsing, served
from tests.ui.seed import Size

_ONE = """
from dashboards import look
from dashboards.asking import forget
from dashboards.database import connected
from dashboards.views import {module}
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
        settings = stack.up(settings_module.load(), lambda line: None, guard=os.getpid())
        try:
            began = time.monotonic()
            with ops_databases.seeded(settings.postgres, Size(runs=runs)) as database:
                print(f"seeded in {time.monotonic() - began:.0f} s", flush=True)
                os.environ["MEDALLION_POSTGRES__DATABASE"] = database
                settings_module.load.cache_clear()
                pages = pages_of(settings.postgres, database)
                server, processor = on_the_server(pages, rounds)
                browser = _in_the_browser(pages, rounds)
        finally:
            stack.down(settings, lambda line: None, remove=True)
        print(f"\n{runs:,} runs, 500 datasets, {rounds} rounds, load {os.getloadavg()[1]:.1f}\n")
        print("| page | server | of it CPU | browser |\n|---|---|---|---|")
        for name in pages:
            print(f"| {name} | {server[name]:.2f} s | {processor[name]:.2f} s | {browser[name]:.2f} s |")


def pages_of(postgres: Postgres, database: str) -> dict[str, tuple[str, dict[str, str]]]:
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


def on_the_server(pages: dict[str, tuple[str, dict[str, str]]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Name -> seconds, and seconds of processor time."""
    from streamlit.testing.v1 import AppTest

    wall: dict[str, list[float]] = {name: [] for name in pages}
    processor: dict[str, list[float]] = {name: [] for name in pages}
    for round_ in range(rounds + 1):
        for name, (module, parameters) in pages.items():
            page = AppTest.from_string(_ONE.format(module=module), default_timeout=120)
            for key, value in parameters.items():
                page.query_params[key] = value
            began, used = time.monotonic(), _processor()
            page.run()
            took = time.monotonic() - began
            time.sleep(0.3)  # until the connection's process has ended, too
            if round_:
                wall[name].append(took)
                processor[name].append(_processor() - used)
            assert not page.exception, page.exception
    return ({n: statistics.median(t) for n, t in wall.items()}, {n: statistics.median(t) for n, t in processor.items()})


def _processor() -> float:
    """Processor time so far of this process, and of the connections to the stack's PostgreSQL that have ended."""
    state = read(settings_module.load())
    running = process.recorded(state.record("postgres")) if state else None
    assert running is not None
    fields = Path(f"/proc/{running.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return time.process_time() + (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def _in_the_browser(pages: dict[str, tuple[str, dict[str, str]]], rounds: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in pages}
    with served() as address, browsing() as browser:
        site = Site(browser.new_page(), address)
        for round_ in range(rounds + 1):
            for name, (module, parameters) in pages.items():
                query = urlencode(parameters)
                began = time.monotonic()
                site.open(("" if module == "today" else module) + (f"?{query}" if query else ""))
                if round_:
                    taken[name].append(time.monotonic() - began)
    return {name: statistics.median(times) for name, times in taken.items()}

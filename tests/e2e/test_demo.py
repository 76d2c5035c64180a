"""What a new user does: the demo, once and again, and then the README's commands, on a lake of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from medallion.services import stack as services
from medallion.settings import ROOT, load
from tests import independent, independent_finance, independent_sales, other_engines, small_domain
from tests.conftest import new_home
from tests.shown import assert_shown

DAYS = [date(2013, 1, day) for day in (1, 2, 3, 4)]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The environment of a user whose stack runs (and ends with this process), with nothing in it."""
    before = os.environ.get("MEDALLION_HOME")
    os.environ["MEDALLION_HOME"] = str(new_home())
    load.cache_clear()
    try:
        settings = services.up(load(), lambda line: None, guard=os.getpid())
        yield dict(os.environ)
        services.down(settings, lambda line: None, remove=True)
    finally:
        os.environ.pop("MEDALLION_HOME")
        if before:
            os.environ["MEDALLION_HOME"] = before
        load.cache_clear()


def sh(command: str, environment: dict[str, str]) -> str:
    """Run a line in bash, as a user would; what it prints."""
    done = subprocess.run(
        ["bash", "-e", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def first(environment: dict[str, str]) -> str:
    return sh("medallion demo", environment)


def test_the_spoiled_day_is_refused_and_the_true_one_is_published(first: str) -> None:
    assert "the gate refused run 2013-01-04-pipeline-" in first
    assert re.search(r"silver\.operations\.flights 2013-01-04: parses — \d+ of \d+ rows", first)
    refused, corrected = first.split("main is still at", 1)
    assert "the warehouse still shows 2013-01-03" in corrected
    assert refused.count("gate passed") == 3
    assert corrected.count("gate passed") == 1
    table = [line for line in first.splitlines() if re.search(r"gold\.(operations|sales|finance)\.", line) and "│" in line]
    assert len(table) == 9
    assert all(line.split("│")[-2].strip() == "yes" for line in table)


TABLES = {  # table -> (what pandas makes of the package's files, its key)
    "route_performance": (lambda: independent.route_performance(DAYS), ("flight_date", "origin", "dest")),
    "dim_aircraft": (independent.dim_aircraft, ("aircraft_key",)),
    "delay_features": (
        lambda: independent.delay_features(DAYS), ("flight_date", "carrier", "flight_number", "origin"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_gold_equals_an_independent_computation(first: str, environment: dict[str, str], table: str) -> None:
    expected, key = TABLES[table]
    query = f"SELECT * FROM gold.operations.{table}"
    for where in ("", "--warehouse"):
        found = pd.DataFrame(json.loads(sh(f"medallion sql --json {where} '{query}'", environment)))
        independent.assert_same(found, expected(), *key)


def test_sales_and_finance_equal_an_independent_computation(first: str, environment: dict[str, str]) -> None:
    shown = {
        ("gold.sales.customer_value", "customer_id"): independent_sales.customer_value(),
        ("gold.sales.monthly_revenue", "month"): independent_sales.monthly_revenue(),
        ("gold.finance.index_returns", "index_name", "trade_date"): independent_finance.index_returns(),
    }
    for (dataset, *key), expected in shown.items():
        assert_shown(load(), dataset, expected, *key)


def test_other_engines_read_every_gold_table_as_spark_does(first: str, environment: dict[str, str], tmp_path: Path) -> None:
    settings = load()
    expected = other_engines.by_spark(settings, other_engines.gold(settings))
    assert all(table.num_rows for table in expected.values())
    for read in other_engines.ENGINES.values():
        assert other_engines.differing(read(settings, expected, tmp_path), expected) == []


def test_again_it_changes_nothing_and_says_so(first: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Also with a domain of one's own, for which it has no deliveries; and of one domain alone."""
    before = sh("medallion branches --json main", environment)
    mine = environment | {"MEDALLION_DOMAINS": str(small_domain.write(tmp_path / "shop"))}
    again = sh("medallion demo", mine)
    assert "Nothing had to be changed" in again
    assert again.count("nothing to do, main@") == 4
    sales = sh("medallion demo --domain sales", mine)
    assert (sales.count("nothing to do, main@"), "gold.sales.monthly_revenue" in sales) == (3, True)
    assert "gold.operations." not in sales.partition("6/6")[2].partition("Worth trying")[0]
    assert ".shop." not in again + sales
    assert sh("medallion branches --json main", environment) == before


def test_the_commands_of_the_readme_run(first: str, environment: dict[str, str]) -> None:
    block = (ROOT / "README.md").read_text("utf-8").split("## In daily use", 1)[1].split("```")[1]
    printed = sh(block, environment)
    assert "run 2013-01-05-pipeline-" in printed
    assert "published" in printed

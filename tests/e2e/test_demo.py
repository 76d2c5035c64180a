"""What a new user does: the demo, once and again, and then the README's commands, on a lake of their own."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from medallion import domain, query
from medallion.lakehouse.store import Store
from medallion.landing import content
from medallion.settings import ROOT, Settings, load
from tests import (
    independent,
    independent_finance,
    independent_flights,
    independent_marts,
    independent_sales,
    other_engines,
    small_domain,
)
from tests import independent_reference as reference
from tests.demo_lake import ROUTES, sh
from tests.opened_files import opening
from tests.shown import Rows, assert_in_warehouse, assert_rows, assert_shown

pytest_plugins = ["tests.demo_lake"]

DAYS = [date(2013, 1, day) for day in (1, 2, 3, 4)]


def test_the_spoiled_day_is_refused_and_the_true_one_is_published(first: str) -> None:
    assert "the gate refused run 2013-01-04-pipeline-" in first
    assert re.search(r"silver\.operations\.flights 2013-01-04: parses — \d+ of \d+ rows", first)
    refused, corrected = first.split("main is still at", 1)
    assert "the warehouse still shows 2013-01-03" in corrected
    assert refused.count("gate passed") == 3
    assert corrected.count("gate passed") == 1
    table = [line for line in first.splitlines() if re.search(r"gold\.(operations|sales|finance)\.", line) and "│" in line]
    assert len(table) == 10
    assert all(line.split("│")[-2].strip() == "yes" for line in table)


OPERATIONS = ("flight_date", "carrier", "flight_number", "origin")
LINEAGE = ("_logical_date", "_delivery", "_source_row")
BRONZE: dict[str, tuple[Callable[[], Rows], tuple[str, ...]]] = {  # dataset -> (its rows as they came, what tells them apart)
    "bronze.operations.airports": (lambda: reference.lines("airports.csv"), ("faa",)),
    "bronze.operations.airlines": (lambda: reference.lines("airlines.csv"), ("carrier",)),
    "bronze.operations.weather": (lambda: reference.bronze_weather(DAYS), ("origin", "time_hour")),
    "bronze.operations.planes": (reference.bronze_planes, ("tailnum",)),
    "bronze.finance.index_prices": (reference.bronze_index_prices, ("_file", "_source_row")),
}
SILVER: dict[str, tuple[Callable[[], Rows | pd.DataFrame], tuple[str, ...]]] = {
    "silver.operations.flights": (lambda: independent_flights.flights(DAYS), OPERATIONS),
    "silver.operations.airports": (reference.airports, ("airport_code",)),
    "silver.operations.airlines": (reference.airlines, ("airline_code",)),
    "silver.operations.weather": (lambda: independent.weather(DAYS), ("origin", "time_hour")),
    "silver.operations.planes": (lambda: reference.planes(independent.MAKERS), ("tail_number",)),
    "silver.sales.purchases": (independent_sales.purchases, ("customer_id", "purchased_on", "cds", "amount_usd")),
    "silver.finance.index_prices": (reference.index_prices, ("index_name", "trade_date")),
}
GOLD: dict[str, tuple[Callable[[], Rows | pd.DataFrame], tuple[str, ...]]] = {
    "gold.operations.fact_flight": (lambda: independent_flights.fact_flight(DAYS), OPERATIONS),
    "gold.operations.dim_airport": (reference.dim_airport, ("airport_key",)),
    "gold.operations.dim_airline": (reference.dim_airline, ("airline_key",)),
    "gold.operations.dim_aircraft": (independent.dim_aircraft, ("aircraft_key",)),
    "gold.operations.route_performance": (lambda: independent.route_performance(DAYS), ("flight_date", "origin", "dest")),
    "gold.operations.delay_features": (lambda: independent.delay_features(DAYS), OPERATIONS),
    "gold.sales.customer_value": (independent_sales.customer_value, ("customer_id",)),
    "gold.sales.monthly_revenue": (independent_sales.monthly_revenue, ("month",)),
    "gold.sales.customer_month": (independent_sales.customer_month, ("customer_id", "month")),
    "gold.finance.index_returns": (independent_finance.index_returns, ("index_name", "trade_date")),
}
"""dataset -> (what was worked out from the packages' files, its key)"""


def test_every_table_is_compared(first: str) -> None:
    assert {*BRONZE, "bronze.operations.flights", "bronze.sales.purchases", *SILVER, *GOLD} == {*domain.load(load()).contracts}


@pytest.mark.parametrize("dataset", BRONZE)
def test_bronze_holds_the_rows_as_they_came(first: str, environment: dict[str, str], dataset: str) -> None:
    made, key = BRONZE[dataset]
    found = query.lake(load(), f"SELECT *, regexp_extract(_source_uri, '[^/?]*[.]gz') AS _file FROM {dataset}")
    wanted = made()
    assert_rows(found.select([*wanted[0]]), wanted, *key)
    assert {*found["_repeat"].to_pylist(), *found["_malformed"].to_pylist(), *found["_extra"].to_pylist()} == {None}
    originals_are_kept(found)


def test_bronze_holds_both_deliveries_of_the_spoiled_day_and_marks_what_came_twice(
    first: str, environment: dict[str, str]
) -> None:
    """The gate refuses what silver would make of the damaged file; bronze keeps it beside the true one."""
    damaged = content("bronze.operations.flights", DAYS[-1], spoiled=True)
    true = [independent_flights.source_bytes(day) for day in DAYS]
    wanted: list[dict[str, Any]] = []
    seen: set[tuple[str, ...]] = set()
    for file in (*true[:-1], damaged, true[-1]):
        sha256 = hashlib.sha256(file).hexdigest()
        rows = list(csv.DictReader(io.StringIO(file.decode())))
        for number, row in enumerate(rows, 1):
            repeat = "delivery" if tuple(row.values()) in seen else None
            wanted.append(row | {"_source_sha256": sha256, "_source_row": number, "_repeat": repeat})
        seen |= {tuple(row.values()) for row in rows}
    found = query.lake(load(), "FROM bronze.operations.flights")
    assert_rows(found.select([*wanted[0]]), wanted, "_source_sha256", "_source_row")
    originals_are_kept(found)


def test_bronze_holds_every_line_of_the_shop_and_marks_the_copies(first: str, environment: dict[str, str]) -> None:
    found = query.lake(load(), "FROM bronze.sales.purchases")
    source = independent_sales.source_purchases()
    rows = zip(*(found[name].to_pylist() for name in independent_sales.PURCHASE), strict=True)
    assert sorted(rows) == sorted(source.itertuples(index=False, name=None))
    assert Counter(found["_repeat"].to_pylist()) == {None: 69_659 - 255, "file": 255}
    originals_are_kept(found)


def originals_are_kept(bronze: pa.Table) -> None:
    """The bytes that each row came in lie where it says, unchanged."""
    named = {(row["_source_uri"], row["_source_sha256"]) for row in bronze.select(["_source_uri", "_source_sha256"]).to_pylist()}
    store = Store(load().s3)
    assert {(uri, hashlib.sha256(store.get(uri)).hexdigest()) for uri, _ in named} == named


@pytest.mark.parametrize("dataset", SILVER)
def test_silver_equals_an_independent_computation(first: str, environment: dict[str, str], dataset: str) -> None:
    made, key = SILVER[dataset]
    assert_rows(query.lake(load(), f"FROM {dataset}"), made(), *key, besides=LINEAGE)
    put_aside = 2 if dataset == "silver.operations.airports" else 0
    assert query.lake(load(), f"SELECT count(*) AS n FROM {dataset}__quarantine").to_pylist() == [{"n": put_aside}]


@pytest.fixture(scope="module")
def postgres(first: str, environment: dict[str, str]) -> Settings:
    """The same lake with PostgreSQL as its warehouse, published a second time."""
    sh("MEDALLION_WAREHOUSE=postgres medallion publish", environment)
    return load().model_copy(update={"warehouse": "postgres"})


@pytest.mark.parametrize("dataset", GOLD)
def test_gold_equals_an_independent_computation_in_the_lake_and_in_both_warehouses(postgres: Settings, dataset: str) -> None:
    made, key = GOLD[dataset]
    expected = made()
    assert_shown(load(), dataset, expected, *key)
    assert_in_warehouse(postgres, dataset, expected, *key)


def test_the_commands_show_the_same(first: str, environment: dict[str, str]) -> None:
    expected = independent.route_performance(DAYS)
    for where in ("", "--warehouse"):
        answer = sh(f"medallion sql --json {where} 'SELECT * FROM gold.operations.route_performance'", environment)
        independent.assert_same(pd.DataFrame(json.loads(answer)), expected, "flight_date", "origin", "dest")


def test_the_run_s_story_counts_copies_and_what_was_worth_nothing(first: str, environment: dict[str, str]) -> None:
    story = json.loads(sh("medallion show --json 2013-01-01", environment))
    broken = {(w["dataset"], v["rule"]): v["bad"] for w in story["writes"] for v in w["verdicts"]}
    assert broken["bronze.sales.purchases", "exact_copy"] == 255
    assert broken["silver.sales.purchases", "worth_nothing"] == 80


@pytest.mark.parametrize(
    ("sql", "files", "of"),
    [
        ("SELECT count(*) FROM gold.operations.fact_flight WHERE flight_date = '2013-01-02'", 1, 4),
        ("SELECT count(*) FROM gold.operations.route_performance WHERE flight_date = '2013-01-02'", 1, 4),
        ("SELECT count(*) FROM gold.operations.delay_features WHERE flight_date >= '2013-01-03'", 2, 4),
        ("SELECT revenue_usd FROM gold.sales.customer_value WHERE customer_id = '00002'", 1, 4),
    ],
)
def test_a_query_for_one_day_or_one_customer_opens_only_the_files_that_it_must(
    first: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, sql: str, files: int, of: int
) -> None:
    narrow, narrow_files = opening(monkeypatch, lambda: query.lake(load(), sql))
    everything = sql.replace("FROM ", "FROM (FROM ").replace(" WHERE", ") WHERE")  # nothing is known of a subquery
    wide, wide_files = opening(monkeypatch, lambda: query.lake(load(), everything))
    assert (narrow_files, wide_files) == (files, of)
    assert narrow.num_rows == 1
    assert narrow == wide


def test_other_engines_read_every_gold_table_as_spark_does(first: str, environment: dict[str, str], tmp_path: Path) -> None:
    settings = load()
    expected = other_engines.by_spark(settings, other_engines.gold(settings))
    assert all(table.num_rows for table in expected.values())
    for read in other_engines.ENGINES.values():
        assert other_engines.differing(read(settings, expected, tmp_path), expected) == []
    one_row_less = expected | {ROUTES: expected[ROUTES].slice(1)}
    assert other_engines.differing(one_row_less, expected) == [ROUTES], "it would be seen"


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


@pytest.fixture(scope="module")
def in_daily_use(first: str, environment: dict[str, str]) -> tuple[list[str], str]:
    """The README's commands, and what they print. The last of them builds the marts in the target that is the default."""
    block = (ROOT / "README.md").read_text("utf-8").split("## In daily use", 1)[1].split("```")[1]
    return [line.partition("#")[0].strip() for line in block.splitlines()], sh(block, environment)


def test_the_three_closing_commands_work_as_printed(
    first: str, in_daily_use: tuple[list[str], str], environment: dict[str, str]
) -> None:
    closing = first.split("Worth trying next", 1)[1].splitlines()[1:]
    commands = [line.strip() for line in closing if line.strip()]
    assert [command.split()[:2] for command in commands] == [
        ["medallion", "sql"],
        ["medallion", "runs"],
        ["medallion", "landing"],
    ]
    answer, runs = (sh(command, environment) for command in commands[:2])
    typed, day = in_daily_use
    assert {*commands[2].split(" && ")} <= {*typed}, "the README has them too, and they were typed there"
    assert answer.count("│") > 5 * 4
    assert all(f"2013-01-0{day}-pipeline-" in runs for day in (1, 2, 3, 4))
    assert re.search(r"run 2013-01-05-pipeline-\w+: merged, main is at", day)
    shown = query.lake(
        load(), "SELECT sum(flights)::INT AS n FROM gold.operations.route_performance WHERE flight_date = '2013-01-05'"
    )
    assert shown.to_pylist() == [{"n": len(independent_flights.source_flights(date(2013, 1, 5)))}]


def test_the_commands_of_the_readme_run(in_daily_use: tuple[list[str], str]) -> None:
    _, printed = in_daily_use
    assert re.search(r"2013-01-05-pipeline-\w+ +│ pipeline +│ 2013-01-05 +│ published", printed), "in what `medallion runs` lists"


def same(found: pd.DataFrame, expected: pd.DataFrame, *key: str) -> None:
    """Every column of `expected`, to what rounding to six decimals takes away."""
    both = expected.merge(found, on=list(key), how="outer", suffixes=("", "_found"), indicator=True)
    assert set(both._merge) == {"both"}
    for name in set(expected) - set(key):
        one, other = both[name].astype(float), both[f"{name}_found"].astype(float)
        assert ((one - other).abs().fillna(0) <= 5.1e-7).all(), name
        assert (one.isna() == other.isna()).all(), name


def test_the_marts_are_the_same_in_every_target_and_what_pandas_makes_of_gold(
    in_daily_use: tuple[list[str], str], environment: dict[str, str]
) -> None:
    assert load().marts.target == "postgres_local"
    for target in ("snowflake_dev", "spark"):
        sh(f"DBT_TARGET={target} medallion marts", environment)
    for other in ("snowflake_dev", "spark"):
        rows = json.loads(sh(f"medallion marts --compare postgres_local {other} --json", environment))
        assert len(rows) == 6
        assert all(row["agreed"] and row["rows"] for row in rows)
    gold = {name: query.lake(load(), f"FROM gold.{name}").to_pandas() for name in (
        "operations.fact_flight", "sales.customer_month", "finance.index_returns", "marts.airline_league",
        "marts.cohort_retention", "marts.index_drawdown", "marts.index_volatility",
    )}  # fmt: skip
    league = independent_marts.airline_league(gold["operations.fact_flight"])
    same(gold["marts.airline_league"][list(league)], league, "airline_key")
    cohorts = independent_marts.cohort_retention(gold["sales.customer_month"])
    same(gold["marts.cohort_retention"][list(cohorts)], cohorts, "cohort_month", "months_since")
    risk = independent_marts.index_risk(gold["finance.index_returns"])
    day = ["index_name", "trade_date"]
    same(gold["marts.index_drawdown"][[*day, "drawdown"]], risk[[*day, "drawdown"]], *day)
    same(gold["marts.index_drawdown"][[*day, "worst_drawdown"]], risk[[*day, "worst_drawdown"]], *day)
    same(gold["marts.index_volatility"][[*day, "volatility_60d"]], risk[[*day, "volatility_60d"]], *day)

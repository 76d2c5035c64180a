"""Sales and finance on real servers: history on the first day, nothing on the second, an increment on the third.

What the lake and the warehouses show is compared with pandas: over the whole histories of prices, and over a tenth of
the purchases, in a shop of the tests' own. (The demo's test compares all of them.)
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from medallion import domain, query
from medallion.domain import Domains
from medallion.lakehouse.nessie import MAIN
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.publish.publication import publish
from medallion.publish.reconcile import reconcile
from medallion.settings import Settings
from tests import independent_finance, independent_sales
from tests.opened_files import opening
from tests.shown import assert_shown
from tests.warehouse import POSTGRES

pytest_plugins = ["tests.warehouse"]

FIRST, SECOND, THIRD = (date(2013, 1, day) for day in (1, 2, 3))
APPENDED = [  # customer, day, CDs, dollars
    ("00002", "19980701", "2", "29.97"),  # somebody who bought before
    ("99999", "19980701", "1", "0.10"),  # somebody new
    ("00001", "19970101", "1", "11.77"),  # the first line of the file once more
]
KEYS = {
    "gold.sales.customer_value": ["customer_id"],
    "gold.sales.monthly_revenue": ["month"],
    "gold.sales.customer_month": ["customer_id", "month"],
    "gold.finance.index_returns": ["index_name", "trade_date"],
}
SALES = {"bronze.sales.purchases", "silver.sales.purchases"} | {dataset for dataset in KEYS if ".sales." in dataset}


@pytest.fixture(scope="module")
def lake(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake that knows these two domains only, and a shop that has sold nothing yet."""
    everything = domain.load(stack)
    mine = everything.select(domain="sales") + everything.select(domain="finance")
    transforms = {d: t for d, t in everything.transforms.items() if d in mine}
    shop = stack.sources["shop"].model_copy(update={"url": str(tmp_path_factory.mktemp("shop"))})
    settings = stack.model_copy(update={"sources": stack.sources | {"shop": shop}})
    with Lake(settings, Domains({d: everything.contracts[d] for d in mine}, transforms)) as lake:
        yield lake


def sell(lake: Lake, purchases: pd.DataFrame) -> None:
    """Append to the shop's Delta table."""
    rows: Any = pa.Table.from_pandas(purchases, preserve_index=False)
    written = lake.spark().createDataFrame(rows).coalesce(1).write.format("delta").mode("append")
    written.option("delta.enableChangeDataFeed", "true").save(f"{lake.settings.sources['shop'].url}/purchases")


def run(lake: Lake, day: date) -> Outcome:
    outcome = execute(lake, Request(day), lambda line: None)
    publish(lake.settings, lake.domains)
    return outcome


def warned(outcome: Outcome) -> dict[tuple[str, str], int]:
    """(dataset, rule) -> how many rows broke it."""
    return {(w["dataset"], v["rule"]): v["bad"] for w in outcome.writes for v in w["verdicts"] if v["bad"]}


def rows(outcome: Outcome) -> dict[str, tuple[int, int]]:
    """dataset -> rows in, rows out."""
    return {w["dataset"]: (w["rows_in"], w["rows_out"]) for w in outcome.writes}


def dropped(outcome: Outcome) -> dict[str, int]:
    """How many rows silver dropped, by reason."""
    return next(w["dropped"] for w in outcome.writes if w["dataset"] == "silver.sales.purchases")


@pytest.fixture(scope="module")
def source() -> pd.DataFrame:
    """A tenth of the purchases: those of the first customers."""
    return independent_sales.source_purchases().head(7_000)


def gold_of(source: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each gold table as pandas makes it."""
    return {
        "gold.sales.customer_value": independent_sales.customer_value(source),
        "gold.sales.monthly_revenue": independent_sales.monthly_revenue(source),
        "gold.sales.customer_month": independent_sales.customer_month(source),
        "gold.finance.index_returns": independent_finance.index_returns(),
    }


@pytest.fixture(scope="module")
def expected(source: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return gold_of(source)


@pytest.fixture(scope="module")
def first(lake: Lake, source: pd.DataFrame) -> Outcome:
    sell(lake, source)
    return run(lake, FIRST)


def test_the_history_comes_with_the_first_day_and_its_copies_are_counted(
    first: Outcome, source: pd.DataFrame, expected: dict[str, pd.DataFrame]
) -> None:
    assert first.state == "merged"
    copies, customers = int(source.duplicated().sum()), expected["gold.sales.customer_value"]
    once, months = len(source) - copies, expected["gold.sales.customer_month"]
    assert rows(first) == {
        "bronze.sales.purchases": (7_000, 7_000),
        "silver.sales.purchases": (7_000, once),
        "gold.sales.customer_value": (len(customers), len(customers)),
        "gold.sales.monthly_revenue": (18, 18),
        "gold.sales.customer_month": (len(months), len(months)),
        "bronze.finance.index_prices": (5_031, 5_031),  # the second of its two files
        "silver.finance.index_prices": (10_062, 10_062),
        "gold.finance.index_returns": (10_062, 10_062),
    }
    assert dropped(first) == {"exact_copy": copies}
    found = warned(first)
    assert min(found.values()) > 0
    assert found == {
        ("bronze.sales.purchases", "exact_copy"): copies,
        ("silver.sales.purchases", "worth_nothing"): (source.drop_duplicates().dollars == "0.00").sum(),
        ("gold.sales.customer_value", "brought_no_revenue"): (customers.revenue_usd <= 0).sum(),
        ("gold.sales.customer_month", "cost_nothing"): (months.revenue_usd <= 0).sum(),
        ("silver.finance.index_prices", "nothing_traded"): 2,
    }


def test_lake_and_snowflake_equal_pandas(lake: Lake, first: Outcome, expected: dict[str, pd.DataFrame]) -> None:
    for dataset, rows in expected.items():
        assert_shown(lake.settings, dataset, rows, *KEYS[dataset])
    assert {one.dataset for one in reconcile(lake.settings, lake.domains) if one.agreed} == set(KEYS)


def test_a_query_for_one_customer_opens_one_file_of_four(
    lake: Lake, first: Outcome, expected: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    customers = "gold.sales.customer_value"
    for row in expected[customers].head(3).to_dict("records"):
        sql = f"SELECT revenue_usd FROM {customers} WHERE customer_id = '{row['customer_id']}'"
        found, opened = opening(monkeypatch, lambda sql=sql: query.lake(lake.settings, sql).to_pylist())
        assert (found, opened) == ([{"revenue_usd": row["revenue_usd"]}], 1)
    assert opening(monkeypatch, lambda: query.lake(lake.settings, f"SELECT count(*) FROM {customers}"))[1] == 4


@POSTGRES
def test_postgres_equals_pandas(lake: Lake, first: Outcome, settings: Settings, expected: dict[str, pd.DataFrame]) -> None:
    publish(settings, lake.domains)
    for dataset, rows in expected.items():
        assert_shown(settings, dataset, rows, *KEYS[dataset])
    assert {one.dataset for one in reconcile(settings, lake.domains) if one.agreed} == set(KEYS)


def test_a_day_with_nothing_new_is_no_error_and_changes_nothing(lake: Lake, first: Outcome) -> None:
    before = lake.nessie.reference(MAIN)
    outcome = run(lake, SECOND)
    assert (outcome.state, outcome.writes) == ("unchanged", [])
    assert lake.nessie.reference(MAIN) == before


def test_an_increment_brings_what_is_new_and_nothing_twice(lake: Lake, first: Outcome, source: pd.DataFrame) -> None:
    appended = pd.DataFrame(APPENDED, columns=independent_sales.PURCHASE)
    sell(lake, appended)
    outcome = run(lake, THIRD)
    found, before = rows(outcome), rows(first)["silver.sales.purchases"][1]
    assert found.keys() == SALES, "finance had no news"
    assert found["bronze.sales.purchases"] == (3, 3)
    assert found["silver.sales.purchases"] == (7_003, before + 2)
    assert dropped(outcome) == {"exact_copy": 7_003 - before - 2}
    assert warned(outcome)["bronze.sales.purchases", "exact_copy"] == 1
    for dataset, rows_ in gold_of(pd.concat([source, appended], ignore_index=True)).items():
        assert_shown(lake.settings, dataset, rows_, *KEYS[dataset])

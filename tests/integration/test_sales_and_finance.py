"""Sales and finance as the demo runs them: history on the first day, nothing on the second, an increment on the third.

What the lake and the warehouses show is compared with pandas over the packages' files.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from medallion import domain, landing, query
from medallion.domain import Domains
from medallion.lakehouse.nessie import MAIN
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.publish.publication import publish
from medallion.publish.reconcile import reconcile
from medallion.settings import Settings
from tests import independent_finance, independent_sales
from tests.warehouse import POSTGRES, database

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
    "gold.finance.index_returns": ["index_name", "trade_date"],
}
SALES = {"bronze.sales.purchases", "silver.sales.purchases", "gold.sales.customer_value", "gold.sales.monthly_revenue"}


@pytest.fixture(scope="module")
def lake(stack: Settings) -> Iterator[Lake]:
    """A lake that knows these two domains only."""
    everything = domain.load(stack)
    mine = everything.select(domain="sales") + everything.select(domain="finance")
    transforms = {d: t for d, t in everything.transforms.items() if d in mine}
    with Lake(stack, Domains({d: everything.contracts[d] for d in mine}, transforms)) as lake:
        yield lake


def run(lake: Lake, day: date) -> Outcome:
    landing.land(lake.settings, day, only="purchases", spark=lake.spark)
    outcome = execute(lake, Request(day), lambda line: None)
    publish(lake.settings, lake.domains)
    return outcome


def warned(outcome: Outcome) -> dict[tuple[str, str], int]:
    """(dataset, rule) -> how many rows broke it."""
    return {(w["dataset"], v["rule"]): v["bad"] for w in outcome.writes for v in w["verdicts"] if v["bad"]}


def rows(outcome: Outcome) -> dict[str, tuple[int, int]]:
    """dataset -> rows in, rows out."""
    return {w["dataset"]: (w["rows_in"], w["rows_out"]) for w in outcome.writes}


def compare(settings: Settings, dataset: str, expected: pd.DataFrame) -> None:
    """What the lake and the warehouse of these settings show of a table must be this, bit by bit but for doubles."""
    there = dataset.replace("gold", database(settings), 1)
    select, order = "SELECT * FROM", f"ORDER BY {', '.join(KEYS[dataset])}"
    for table in (
        query.lake(settings, f"{select} {dataset} {order}"), query.warehouse(settings, f"{select} {there} {order}")
    ):  # fmt: skip
        found = table.rename_columns([name.lower() for name in table.column_names]).to_pandas(date_as_object=True)
        assert list(found) == list(expected)
        for column in expected:
            if expected[column].dtype == float:
                pd.testing.assert_series_equal(found[column], expected[column], rtol=1e-12, atol=0)
            else:
                assert found[column].tolist() == expected[column].tolist(), column


@pytest.fixture(scope="module")
def expected() -> dict[str, pd.DataFrame]:
    """Each gold table as pandas makes it from the packages' files."""
    return {
        "gold.sales.customer_value": independent_sales.customer_value(),
        "gold.sales.monthly_revenue": independent_sales.monthly_revenue(),
        "gold.finance.index_returns": independent_finance.index_returns(),
    }


@pytest.fixture(scope="module")
def first(lake: Lake) -> Outcome:
    return run(lake, FIRST)


def test_the_history_comes_with_the_first_day_and_its_copies_are_counted(first: Outcome, expected: dict[str, Any]) -> None:
    assert first.state == "merged"
    assert rows(first) == {
        "bronze.sales.purchases": (69_659, 69_659),
        "silver.sales.purchases": (69_404, 69_404),
        "gold.sales.customer_value": (23_570, 23_570),
        "gold.sales.monthly_revenue": (18, 18),
        "bronze.finance.index_prices": (5_031, 5_031),  # the second of its two files
        "silver.finance.index_prices": (10_062, 10_062),
        "gold.finance.index_returns": (10_062, 10_062),
    }
    assert warned(first) == {
        ("bronze.sales.purchases", "exact_copy"): 69_659 - 69_404,
        ("silver.sales.purchases", "worth_nothing"): 80,
        ("gold.sales.customer_value", "brought_no_revenue"): (expected["gold.sales.customer_value"].revenue_usd <= 0).sum(),
        ("silver.finance.index_prices", "nothing_traded"): 2,
    }


def test_lake_and_snowflake_equal_pandas(lake: Lake, first: Outcome, expected: dict[str, pd.DataFrame]) -> None:
    for dataset, rows in expected.items():
        compare(lake.settings, dataset, rows)
    assert {one.dataset for one in reconcile(lake.settings, lake.domains) if one.agreed} == set(KEYS)


@POSTGRES
def test_postgres_equals_pandas(lake: Lake, first: Outcome, settings: Settings, expected: dict[str, pd.DataFrame]) -> None:
    publish(settings, lake.domains)
    for dataset, rows in expected.items():
        compare(settings, dataset, rows)
    assert {one.dataset for one in reconcile(settings, lake.domains) if one.agreed} == set(KEYS)


def test_a_day_with_nothing_new_is_no_error_and_changes_nothing(lake: Lake, first: Outcome) -> None:
    before = lake.nessie.reference(MAIN)
    outcome = run(lake, SECOND)
    assert (outcome.state, outcome.writes) == ("unchanged", [])
    assert lake.nessie.reference(MAIN) == before


def test_an_increment_brings_what_is_new_and_nothing_twice(lake: Lake, first: Outcome) -> None:
    columns = dict(zip(independent_sales.PURCHASE, zip(*APPENDED, strict=True), strict=True))
    appended: Any = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    table = Path(lake.settings.sources["shop"].url) / "purchases"
    lake.spark().createDataFrame(appended).coalesce(1).write.format("delta").mode("append").save(str(table))
    outcome = run(lake, THIRD)
    assert rows(outcome).keys() == SALES, "finance had no news"
    assert rows(outcome)["bronze.sales.purchases"] == (3, 3)
    assert rows(outcome)["silver.sales.purchases"] == (69_406, 69_406)
    assert warned(outcome)["bronze.sales.purchases", "exact_copy"] == 1
    source = pd.concat([independent_sales.source_purchases(), appended.to_pandas()], ignore_index=True)
    compare(lake.settings, "gold.sales.customer_value", independent_sales.customer_value(source))
    compare(lake.settings, "gold.sales.monthly_revenue", independent_sales.monthly_revenue(source))

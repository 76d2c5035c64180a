"""Gold of sales on rows written by hand, and on the package's whole file."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion.domains.sales import gold
from tests import independent_sales
from tests.unit.planted_rows import Row
from tests.unit.sales_rows import SALES

CUSTOMER, MONTH = "gold.sales.customer_value", "gold.sales.monthly_revenue"
CUSTOMER_MONTH = "gold.sales.customer_month"


def bought(spark: SparkSession, *rows: tuple[str, date, str]) -> DataFrame:
    """Purchases as (customer, day, amount), one CD each."""
    full: list[Row] = [
        {"customer_id": customer, "purchased_on": day, "amount_usd": Decimal(amount), "_source_row": n}
        for n, (customer, day, amount) in enumerate(rows, 1)
    ]
    return SALES.frame(spark, "silver.sales.purchases", full).drop("_unparsed")


def test_customer_value(spark: SparkSession) -> None:
    rows = [
        ("00002", date(1997, 1, 13), "77.00"),  # two baskets of one day are two purchases
        ("00002", date(1997, 1, 13), "0.00"),  # and one that was worth nothing is one too
        ("00002", date(1997, 1, 12), "12.00"),
        ("00003", date(1998, 6, 30), "0.10"),
        ("00003", date(1998, 6, 30), "0.20"),
        ("00003", date(1998, 6, 30), "-0.10"),
    ]
    expected = [
        {"purchases": 3, "mean_basket_usd": 89 / 3},
        {
            "customer_id": "00003", "first_purchase": date(1998, 6, 30), "last_purchase": date(1998, 6, 30),
            "purchases": 3, "revenue_usd": Decimal("0.20"), "mean_basket_usd": 0.2 / 3,
        },
    ]  # fmt: skip
    made = gold.customer_value(bought(spark, *rows))
    assert_df_equality(made, SALES.frame(spark, CUSTOMER, expected), ignore_nullable=True, ignore_row_order=True)
    assert gold.customer_value(bought(spark)).isEmpty()


def test_monthly_revenue(spark: SparkSession) -> None:
    rows = [
        ("00001", date(1997, 1, 31), "1.00"),  # new in January, the first and the last day belong to it
        ("00001", date(1997, 1, 1), "2.00"),
        ("00002", date(1997, 1, 15), "0.00"),  # who got a gift has bought
        ("00001", date(1997, 2, 1), "4.00"),  # no longer new
        ("00003", date(1997, 2, 28), "8.00"),
        ("00002", date(1998, 1, 1), "16.00"),  # another year's January; none between has a row
    ]
    expected = [
        {"month": date(1997, 1, 1), "revenue_usd": Decimal("3.00"), "customers": 2, "new_customers": 2},
        {"month": date(1997, 2, 1), "revenue_usd": Decimal("12.00"), "customers": 2, "new_customers": 1},
        {"month": date(1998, 1, 1), "revenue_usd": Decimal("16.00"), "customers": 1, "new_customers": 0},
    ]
    made = gold.monthly_revenue(bought(spark, *rows))
    assert_df_equality(made, SALES.frame(spark, MONTH, expected), ignore_nullable=True, ignore_row_order=True)
    assert gold.monthly_revenue(bought(spark)).isEmpty()


def test_customer_month(spark: SparkSession) -> None:
    rows = [
        ("00002", date(1997, 1, 31), "77.00"),
        ("00002", date(1997, 1, 1), "12.00"),
        ("00002", date(1997, 3, 2), "0.00"),  # a gift is a purchase; there is no row of February
        ("00003", date(1998, 1, 5), "0.10"),  # another year's January
    ]
    expected = [
        {"month": date(1997, 1, 1)},
        {"month": date(1997, 3, 1), "purchases": 1, "revenue_usd": Decimal("0.00")},
        {
            "customer_id": "00003", "month": date(1998, 1, 1), "first_month": date(1998, 1, 1), "purchases": 1,
            "revenue_usd": Decimal("0.10"),
        },
    ]  # fmt: skip
    made = gold.customer_month(bought(spark, *rows))
    assert_df_equality(made, SALES.frame(spark, CUSTOMER_MONTH, expected), ignore_nullable=True, ignore_row_order=True)
    assert gold.customer_month(bought(spark)).isEmpty()


# ── the whole file ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def whole(spark: SparkSession) -> DataFrame:
    """Silver of all lines, as pandas makes it."""
    rows = pa.Table.from_pandas(independent_sales.purchases(), preserve_index=False)
    amount = rows.schema.get_field_index("amount_usd")
    rows = rows.set_column(amount, "amount_usd", rows["amount_usd"].cast(pa.decimal128(10, 2)))
    return spark.createDataFrame(rows).repartition(2).cache()


@pytest.fixture(scope="module")
def values(whole: DataFrame) -> DataFrame:
    return gold.customer_value(whole).orderBy("customer_id").cache()


@pytest.fixture(scope="module")
def months(whole: DataFrame) -> DataFrame:
    return gold.monthly_revenue(whole).orderBy("month").cache()


@pytest.fixture(scope="module")
def customer_months(whole: DataFrame) -> DataFrame:
    return gold.customer_month(whole).orderBy("customer_id", "month").cache()


@pytest.fixture(scope="module")
def expected_customer_months() -> pd.DataFrame:
    return independent_sales.customer_month()


def test_customer_value_of_the_whole_file_equals_pandas(values: DataFrame) -> None:
    expected = independent_sales.customer_value()
    found = values.toArrow().to_pandas()
    assert len(found) == 23_570
    for column in ("customer_id", "first_purchase", "last_purchase", "purchases", "revenue_usd"):
        assert found[column].tolist() == expected[column].tolist(), column
    assert found.mean_basket_usd.tolist() == pytest.approx(expected.mean_basket_usd.tolist(), rel=1e-12, abs=0)


def test_monthly_revenue_of_the_whole_file_equals_pandas(months: DataFrame) -> None:
    expected = independent_sales.monthly_revenue()
    found = months.toArrow().to_pandas()
    assert (len(found), found.new_customers.sum()) == (18, 23_570)
    for column in expected:
        assert found[column].tolist() == expected[column].tolist(), column


def test_customer_month_of_the_whole_file_equals_pandas(
    customer_months: DataFrame, expected_customer_months: pd.DataFrame
) -> None:
    found = customer_months.toArrow().to_pandas()
    assert found.customer_id.nunique() == 23_570
    for column in expected_customer_months:
        assert found[column].tolist() == expected_customer_months[column].tolist(), column


def test_the_same_bits_come_of_any_order_and_spread(whole: DataFrame, values: DataFrame, months: DataFrame) -> None:
    spread = whole.repartition(5).sortWithinPartitions(F.rand(5))
    assert gold.customer_value(spread).orderBy("customer_id").toArrow().equals(values.toArrow())
    assert gold.monthly_revenue(spread).orderBy("month").toArrow().equals(months.toArrow())


def test_the_rules_hold_in_the_whole_file_but_for_what_had_no_value(
    values: DataFrame, months: DataFrame, customer_months: DataFrame, expected_customer_months: pd.DataFrame
) -> None:
    found = {}
    for made, dataset in ((values, CUSTOMER), (months, MONTH), (customer_months, CUSTOMER_MONTH)):
        rules = SALES.contracts[dataset].row_rules
        broken = [F.count_if(F.expr(f"NOT coalesce(({rule.passes}), true)")).alias(rule.name) for rule in rules]
        row = made.agg(*broken).collect()[0].asDict()
        found |= {name: count for name, count in row.items() if count}
    worthless = (independent_sales.customer_value().revenue_usd <= 0).sum()
    gifts = (expected_customer_months.revenue_usd <= 0).sum()
    assert found == {"brought_no_revenue": worthless, "cost_nothing": gifts}

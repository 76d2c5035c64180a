"""Skeleton's transforms over frames made by hand: `pytest` in this folder. No servers are needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from medallion import domain, session
from medallion.settings import load

DOMAINS = domain.load(load(), Path(__file__).parent)  # refuses contracts and code that do not fit together
DAY = date(2024, 5, 1)
BRONZE = "order_id string, customer string, amount string, _logical_date date, _delivery string, _source_row bigint, \
_repeat string, _malformed string"
SILVER = "order_id bigint, customer string, amount_eur decimal(10,2), ordered_on date, _logical_date date, \
_delivery string, _source_row bigint, _unparsed string"


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    spark = session.local()
    yield spark
    spark.stop()


def test_orders_are_typed_and_name_what_does_not_parse(spark: SparkSession) -> None:
    bronze = [
        ("1", " ann ", "1.50", DAY, "d", 1, None, None),
        ("2", "", "many", DAY, "d", 2, None, None),
        ("1", " ann ", "1.50", DAY, "d", 3, "file", None),
        ("", "", "", DAY, "d", 4, None, "4;dee;2.00"),
    ]
    expected = [
        (1, "ann", Decimal("1.50"), DAY, DAY, "d", 1, None),
        (2, None, None, DAY, DAY, "d", 2, "amount"),
        (None, None, None, DAY, DAY, "d", 4, "_malformed"),
    ]
    orders = DOMAINS.transforms["silver.skeleton.orders"].function(spark.createDataFrame(bronze, BRONZE))
    assert_df_equality(orders, spark.createDataFrame(expected, SILVER), ignore_nullable=True, ignore_row_order=True)


def test_daily_orders_are_counted_and_summed(spark: SparkSession) -> None:
    silver = [(n, "ann", Decimal(n), DAY, DAY, "d", n, None) for n in (1, 2, 3)]
    expected = spark.createDataFrame([(DAY, 3, Decimal(6))], "ordered_on date, orders bigint, revenue_eur decimal(20,2)")
    daily = DOMAINS.transforms["gold.skeleton.daily_orders"].function(spark.createDataFrame(silver, SILVER))
    assert_df_equality(daily, expected, ignore_nullable=True)

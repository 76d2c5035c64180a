"""Silver of finance on rows written by hand: what a line of text becomes."""

from __future__ import annotations

from datetime import date

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from medallion.contract import UNPARSED
from medallion.domains.finance import silver
from tests.unit.finance_rows import FINANCE, PRICES, SP500
from tests.unit.planted_rows import Row

BRONZE, SILVER = "bronze.finance.index_prices", "silver.finance.index_prices"
NASDAQ = SP500.replace("sp500", "nasdaq")

CASES: dict[str, tuple[Row, Row]] = {  # case -> (changes to the sound row, what silver must say)
    "as it comes": ({}, FINANCE.sound[SILVER]),
    "the other file": ({"_source_uri": NASDAQ}, {"index_name": "nasdaq"}),
    "a bucket without versions": ({"_source_uri": NASDAQ.partition("?")[0]}, {"index_name": "nasdaq"}),
    "a folder that is called like a file": (
        {"_source_uri": "s3://bronze-external/sp500.csv.gz/nasdaq.csv.gz"}, {"index_name": "nasdaq"}
    ),
    "a file of another kind": ({"_source_uri": "s3://bronze-external/sp500.zip"}, {"index_name": None, UNPARSED: None}),
    "leading zeros": ({"trade_date": "01/04/1999"}, {"trade_date": date(1999, 1, 4), UNPARSED: None}),
    "the last day of a year": ({"trade_date": "12/31/2018"}, {"trade_date": date(2018, 12, 31)}),
    "month before day": ({"trade_date": "2/1/1999"}, {"trade_date": date(1999, 2, 1)}),
    "day before month": ({"trade_date": "13/1/1999"}, {"trade_date": None, UNPARSED: "trade_date"}),
    "a day that no calendar has": ({"trade_date": "2/29/1999"}, {"trade_date": None, UNPARSED: "trade_date"}),
    "two digits of a year": ({"trade_date": "1/4/99"}, {"trade_date": None, UNPARSED: "trade_date"}),
    "as ISO writes it": ({"trade_date": "1999-01-04"}, {"trade_date": None, UNPARSED: "trade_date"}),
    "spaces": ({"close": " 1228.099976 ", "volume": " 5"}, {"close": 1228.099976, "volume_shares": 5, UNPARSED: None}),
    "empty is missing": ({"close": "", "volume": " "}, {"close": None, "volume_shares": None, UNPARSED: None}),
    "the mark of another archive": ({"close": "."}, {"close": None, UNPARSED: "close"}),
    "not a number": ({"high": "NaN", "low": "-Infinity"}, {"high": None, "low": None, UNPARSED: "high,low"}),
    "below zero": ({"close": "-1228.1"}, {"close": -1228.1, UNPARSED: None}),
    "thousands": ({"adj_close": "1,228.10"}, {"adjusted_close": None, UNPARSED: "adj_close"}),
    "more shares than an int counts": ({"volume": "11456230000"}, {"volume_shares": 11_456_230_000, UNPARSED: None}),
    "half a share": ({"volume": "0.5"}, {"volume_shares": None, UNPARSED: "volume"}),
    "a line that did not fit": (
        {"_malformed": "1/4/1999,1229.2"} | dict.fromkeys(PRICES, ""),
        {UNPARSED: "_malformed"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def prices(spark: SparkSession) -> dict[str, Row]:
    """case -> its row of silver."""
    rows = [row | {"_source_row": n} for n, (row, _) in enumerate(CASES.values())]
    made = silver.index_prices(FINANCE.frame(spark, BRONZE, rows)).collect()
    return {case: row.asDict() for case, row in zip(CASES, sorted(made, key=lambda r: r._source_row), strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_index_prices(prices: dict[str, Row], case: str) -> None:
    expected = {name: value for name, value in CASES[case][1].items() if name != "_source_row"}
    assert {name: prices[case][name] for name in expected} == expected


def test_index_prices_have_the_columns_of_their_contract(spark: SparkSession) -> None:
    made = silver.index_prices(FINANCE.frame(spark, BRONZE, [{}]))
    assert_df_equality(made, FINANCE.frame(spark, SILVER, [{}]), ignore_nullable=True)
    assert silver.index_prices(FINANCE.frame(spark, BRONZE, [])).isEmpty()

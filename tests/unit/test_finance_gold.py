"""Gold of finance on rows written by hand, and on the package's whole files."""

from __future__ import annotations

import math
import statistics
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion.contract import BRONZE_COLUMNS, UNPARSED
from medallion.domains.finance import gold, silver
from tests import independent_finance
from tests.unit.finance_rows import FINANCE
from tests.unit.planted_rows import Row

SILVER, GOLD = "silver.finance.index_prices", "gold.finance.index_returns"
FIRST = date(1999, 1, 4)


def closed(spark: SparkSession, **closes: list[float]) -> DataFrame:
    """Prices of indices, a calendar day a row, newest first."""
    rows: list[Row] = [
        {"index_name": name, "trade_date": FIRST + timedelta(days=n), "close": close}
        for name, series in closes.items()
        for n, close in enumerate(series)
    ]
    return FINANCE.frame(spark, SILVER, rows[::-1]).drop(UNPARSED)


def test_index_returns(spark: SparkSession) -> None:
    """Two doublings, then a halving: returns are of neighbours in time, each index for itself."""
    made = gold.index_returns(closed(spark, sp500=[100.0, 200.0, 400.0, 200.0], nasdaq=[7.0, 7.0]))
    returns = {"sp500": [None, math.log(2), math.log(2), -math.log(2)], "nasdaq": [None, 0.0]}
    closes = {"sp500": [100.0, 200.0, 400.0, 200.0], "nasdaq": [7.0, 7.0]}
    expected = [
        {"index_name": name, "trade_date": FIRST + timedelta(days=n), "close": closes[name][n], "log_return": value}
        | {"volatility_20d": None}
        for name, series in returns.items()
        for n, value in enumerate(series)
    ]
    assert_df_equality(made, FINANCE.frame(spark, GOLD, expected), ignore_nullable=True, ignore_row_order=True)
    assert gold.index_returns(closed(spark)).isEmpty()


def test_a_hole_is_a_return_over_more_days(spark: SparkSession) -> None:
    prices = closed(spark, sp500=[100.0, 150.0, 400.0]).filter("close <> 150.0")
    assert [row.log_return for row in gold.index_returns(prices).orderBy("trade_date").collect()] == [None, math.log(4)]


def test_volatility_needs_20_returns_and_looks_back_on_no_more(spark: SparkSession) -> None:
    closes = [100.0, 1.0, *(100.0 * 1.01 ** (n % 3) for n in range(21))]  # the fall to 1 leaves the last windows
    made = gold.index_returns(closed(spark, sp500=closes)).orderBy("trade_date").collect()
    volatility = [row.volatility_20d for row in made]
    assert volatility[:20] == [None] * 20, "19 returns are too few"
    returns = [math.log(after / before) for before, after in pairwise(closes)]
    for n in (20, 21, 22):
        assert volatility[n] == pytest.approx(statistics.stdev(returns[n - 20 : n]) * math.sqrt(252), rel=1e-12)
    assert volatility[22] < 0.5 < volatility[20]


# ── the whole files ───────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def whole(spark: SparkSession) -> DataFrame:
    """Silver of both files."""
    names = {"Date": "trade_date", "Adj Close": "adj_close"}
    tables = []
    for index in independent_finance.INDICES:
        source = independent_finance.source_prices(index).rename(columns=lambda name: names.get(name, name.lower()))
        system = {"_source_uri": f"s3://bronze-external/{index}.csv.gz?versionId=1", "_delivery": index}
        rows = source.assign(_source_row=range(1, len(source) + 1), _logical_date=date(2013, 1, 1), **system)
        tables.append(pa.Table.from_pandas(rows, preserve_index=False))
    table = pa.concat_tables(tables)
    for name in BRONZE_COLUMNS.keys() - set(table.column_names):
        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    return silver.index_prices(spark.createDataFrame(table)).cache()


@pytest.fixture(scope="module")
def returns(whole: DataFrame) -> DataFrame:
    return gold.index_returns(whole).orderBy("index_name", "trade_date").cache()


def test_index_returns_of_the_whole_files_equal_pandas(returns: DataFrame) -> None:
    expected = independent_finance.index_returns()
    found = returns.toArrow().to_pandas()
    assert len(found) == 2 * 5031
    for column in ("index_name", "trade_date", "close"):
        assert found[column].tolist() == expected[column].tolist(), column
    for column, missing in (("log_return", 1), ("volatility_20d", 20)):
        assert found[column].isna().sum() == 2 * missing
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-12, atol=0, equal_nan=True)


def test_the_same_bits_come_of_any_order_and_spread(whole: DataFrame, returns: DataFrame) -> None:
    spread = gold.index_returns(whole.repartition(5).sortWithinPartitions(F.rand(5)))
    assert spread.orderBy("index_name", "trade_date").toArrow().equals(returns.toArrow())


def test_the_rules_find_in_the_whole_files_what_is_known_of_them(whole: DataFrame, returns: DataFrame) -> None:
    found = {}
    for frame, dataset in ((whole, SILVER), (returns, GOLD)):
        contract = FINANCE.contracts[dataset]
        broken = [F.count_if(F.expr(f"NOT coalesce(({rule.passes}), true)")).alias(rule.name) for rule in contract.row_rules]
        row = frame.agg(F.count_distinct(*contract.key).alias("keys"), *broken).collect()[0].asDict()
        found |= {(contract.layer, name): count for name, count in row.items() if count}
    assert found == {("silver", "keys"): 10_062, ("gold", "keys"): 10_062, ("silver", "nothing_traded"): 2}

"""Finance, gold: how indices moved."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

DAYS = 20
"""Returns that a volatility looks back on."""
TRADING_DAYS_A_YEAR = 252


def index_returns(index_prices: DataFrame) -> DataFrame:
    """One row per index and trading day, with the log return since the trading day before and the volatility.

    log_return = ln(close / close of the day before); volatility_20d = sample standard deviation of the last
    20 of them x sqrt(252): historical volatility, a year's worth (J. Hull, Options, Futures, and Other
    Derivatives, chapter on the Black-Scholes-Merton model). Spark goes through each window in order of the
    days, so the same prices give the same bits however the rows are spread.
    """
    days = Window.partitionBy("index_name").orderBy("trade_date")
    last = days.rowsBetween(1 - DAYS, Window.currentRow)
    returns = index_prices.select(
        "index_name",
        "trade_date",
        "close",
        F.log(F.col("close") / F.lag("close").over(days)).alias("log_return"),
    )
    volatility = F.stddev_samp("log_return").over(last) * F.sqrt(F.lit(float(TRADING_DAYS_A_YEAR)))
    return returns.withColumn("volatility_20d", F.when(F.count("log_return").over(last) == DAYS, volatility))

"""Finance, silver: prices of indices, typed, with the index that they are about.

Text that is empty is missing. Text that does not parse as its type becomes null and its source column
is named in `_unparsed`, so that the gate refuses the row with its reason.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_LINEAGE = ("_logical_date", "_delivery", "_source_row")
_PRICES = {"open": "open", "high": "high", "low": "low", "close": "close", "adjusted_close": "adj_close"}
_NUMBER = r"^-?[0-9]+([.][0-9]+)?$"  # a cast would take NaN and Infinity too, which pass comparisons


def index_prices(bronze_index_prices: DataFrame) -> DataFrame:
    """One row per line of the newest file of each index.

    The index is the name of the file that the row came in: `…/sp500.csv.gz`. A price is the double
    nearest to the text, so the text can be had back from it.
    """
    sources = ("trade_date", *_PRICES.values(), "volume")
    text = bronze_index_prices.select(
        "_source_uri",
        *_LINEAGE,
        "_malformed",
        *[F.nullif(F.trim(source), F.lit("")).alias(f"_{source}") for source in sources],
    )
    typed = text.select(
        F.nullif(F.regexp_extract("_source_uri", r"([a-z0-9]+)\.csv\.gz(\?|$)", 1), F.lit("")).alias("index_name"),
        F.when(F.col("_trade_date").rlike("^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}$"), F.try_to_date("_trade_date", "M/d/yyyy")).alias(
            "trade_date"
        ),
        *[
            F.when(F.col(f"_{source}").rlike(_NUMBER), F.col(f"_{source}").try_cast("double")).alias(name)
            for name, source in _PRICES.items()
        ],
        F.col("_volume").try_cast("bigint").alias("volume_shares"),
        *_LINEAGE,
        "_malformed",
        *[f"_{source}" for source in sources],
    )
    columns = {"trade_date": "trade_date", **_PRICES, "volume_shares": "volume"}
    return typed.select("index_name", *columns, *_LINEAGE, _unparsed(columns).alias("_unparsed"))


def _unparsed(sources: dict[str, str]) -> Column:
    """Names of the source columns (`typed column -> source`) whose text did not parse, or null. A line that
    did not fit the header counts as well, under the name `_malformed`."""
    names = [F.when(F.col("_malformed").isNotNull(), "_malformed")]
    names += [F.when(F.col(name).isNull() & F.col(f"_{source}").isNotNull(), source) for name, source in sources.items()]
    return F.nullif(F.concat_ws(",", *names), F.lit(""))

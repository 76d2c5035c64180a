"""Sales, silver: the shop's purchases, typed.

Text that is empty is missing. Text that does not parse as its type becomes null and its source column
is named in `_unparsed`, so that the gate can quarantine the row with its reason.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_LINEAGE = ("_logical_date", "_delivery", "_source_row")
_SOURCES = {"customer_id": "customer_id", "purchased_on": "purchased_on", "cds": "cds", "amount_usd": "dollars"}
_DOLLARS = r"^-?[0-9]{1,8}([.][0-9]{1,2})?$"


def purchases(bronze_purchases: DataFrame) -> DataFrame:
    """One row per purchase, over all deliveries; that copies are dropped is said by the contract.

    Rows that agree in customer, day, number of CDs and amount are copies of one purchase. That goes by what
    the rows say once they are typed and not by bronze's marks.
    """
    text = bronze_purchases.select(
        *_LINEAGE,
        "_malformed",
        *[F.nullif(F.trim(source), F.lit("")).alias(f"_{source}") for source in _SOURCES.values()],
    )
    typed = text.select(
        F.col("_customer_id").alias("customer_id"),
        F.when(F.col("_purchased_on").rlike("^[0-9]{8}$"), F.try_to_date("_purchased_on", "yyyyMMdd")).alias("purchased_on"),
        F.col("_cds").try_cast("int").alias("cds"),
        # a cast would round a third decimal away
        F.when(F.col("_dollars").rlike(_DOLLARS), F.col("_dollars").try_cast("decimal(10,2)")).alias("amount_usd"),
        *_LINEAGE,
        "_malformed",
        *[f"_{source}" for source in _SOURCES.values()],
    )
    return typed.select(*_SOURCES, *_LINEAGE, _unparsed().alias("_unparsed"))


def _unparsed() -> Column:
    """Names of the source columns whose text did not parse, or null. A row that did not fit its delivery
    counts as well, under the name `_malformed`."""
    names = [F.when(F.col("_malformed").isNotNull(), "_malformed")]
    names += [F.when(F.col(name).isNull() & F.col(f"_{source}").isNotNull(), source) for name, source in _SOURCES.items()]
    return F.nullif(F.concat_ws(",", *names), F.lit(""))

"""Skeleton, silver: what bronze holds, typed.

A function makes the table of its name from the tables that its parameters name. It gets the rows of
one logical date and reads nothing else: no files, no clock, no settings.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

_NUMBERS = {"order_id": "bigint", "amount": "decimal(10,2)"}


def orders(bronze_orders: DataFrame) -> DataFrame:
    """One row per order; lines that repeat an earlier one of the same file are left out.

    Text that does not parse becomes null and `_unparsed` names its column: the row goes to
    `silver.skeleton.orders__quarantine` with its reason.
    """
    malformed = F.when(F.col("_malformed").isNotNull(), "_malformed")
    unparsed = [F.when(F.col(name).try_cast(type_).isNull() & (F.trim(name) != ""), name) for name, type_ in _NUMBERS.items()]
    return bronze_orders.filter(~F.col("_repeat").eqNullSafe("file")).select(
        F.col("order_id").try_cast(_NUMBERS["order_id"]).alias("order_id"),
        F.nullif(F.trim("customer"), F.lit("")).alias("customer"),
        F.col("amount").try_cast(_NUMBERS["amount"]).alias("amount_eur"),
        F.col("_logical_date").alias("ordered_on"),
        "_logical_date",  # these three are carried on, so that every row can be traced to its file and line
        "_delivery",
        "_source_row",
        F.nullif(F.concat_ws(",", malformed, *unparsed), F.lit("")).alias("_unparsed"),
    )

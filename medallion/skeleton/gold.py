"""Skeleton, gold: what people read."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def daily_orders(orders: DataFrame) -> DataFrame:
    """Orders and their worth, one row a day."""
    return orders.groupBy("ordered_on").agg(
        F.count("*").alias("orders"),
        F.sum("amount_eur").cast("decimal(20,2)").alias("revenue_eur"),
    )

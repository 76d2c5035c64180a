"""Sales, gold: what customers are worth, when they bought, and what each month brought.

Sums of decimals are exact in any order, so the same purchases give the same bits on every engine.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F


def customer_value(purchases: DataFrame) -> DataFrame:
    """One row per customer. A purchase is one row of silver: one basket, also where it was worth nothing."""
    summed = purchases.groupBy("customer_id").agg(
        F.min("purchased_on").alias("first_purchase"),
        F.max("purchased_on").alias("last_purchase"),
        F.count("*").alias("purchases"),
        F.sum("amount_usd").alias("revenue_usd"),
    )
    # the quotient as a double is the nearest one to the true mean; as a decimal it would be cut
    return summed.withColumn("mean_basket_usd", F.col("revenue_usd").cast("double") / F.col("purchases"))


def monthly_revenue(purchases: DataFrame) -> DataFrame:
    """One row per month in which anybody bought. A customer is new in the month of the first purchase of all."""
    month = F.trunc("purchased_on", "month").alias("month")
    of_customer = purchases.groupBy("customer_id", month).agg(F.sum("amount_usd").alias("_revenue_usd"))
    first = F.min("month").over(Window.partitionBy("customer_id"))
    return (
        of_customer.withColumn("_is_new", F.col("month") == first)
        .groupBy("month")
        .agg(
            F.sum("_revenue_usd").cast("decimal(20,2)").alias("revenue_usd"),
            F.count("*").alias("customers"),
            F.count_if("_is_new").alias("new_customers"),
        )
    )


def customer_month(purchases: DataFrame) -> DataFrame:
    """One row per customer and month in which the customer bought; `first_month` is that of the first purchase of all."""
    month = F.trunc("purchased_on", "month").alias("month")
    of_month = purchases.groupBy("customer_id", month).agg(
        F.count("*").alias("purchases"), F.sum("amount_usd").cast("decimal(20,2)").alias("revenue_usd")
    )
    first = F.min("month").over(Window.partitionBy("customer_id"))
    return of_month.select("customer_id", "month", first.alias("first_month"), "purchases", "revenue_usd")

"""Sales worked out a second time, in pandas, from the package's file. It shares no code with the transforms."""

from __future__ import annotations

import importlib.util
from decimal import Decimal
from pathlib import Path

import pandas as pd

PURCHASE = ["customer_id", "purchased_on", "cds", "dollars"]


def source_purchases() -> pd.DataFrame:
    """All lines of CDNOW_master.txt as text, in the order of the file."""
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or ()
    lines = (Path(folder) / "datasets" / "CDNOW_master.txt").read_text("ascii").splitlines()[1:]  # below the header
    return pd.DataFrame([line.split() for line in lines], columns=PURCHASE)


def purchases(source: pd.DataFrame | None = None) -> pd.DataFrame:
    """silver.sales.purchases without its lineage: `customer_id`, `purchased_on` (date), `cds`, `amount_usd` (Decimal),
    in the order of the source; of exact copies the first."""
    found = (source_purchases() if source is None else source).drop_duplicates(PURCHASE, keep="first")
    return pd.DataFrame(
        {
            "customer_id": found.customer_id,
            "purchased_on": pd.to_datetime(found.purchased_on, format="%Y%m%d").dt.date,
            "cds": found.cds.astype(int),
            "amount_usd": found.dollars.map(Decimal),
        }
    )


def customer_value(source: pd.DataFrame | None = None) -> pd.DataFrame:
    """gold.sales.customer_value, sorted by customer; money in whole cents until the end."""
    bought = purchases(source)
    bought = bought.assign(cents=(bought.amount_usd * 100).astype(int), day=pd.to_datetime(bought.purchased_on))
    found = bought.groupby("customer_id", sort=True).agg(
        first_purchase=("day", "min"), last_purchase=("day", "max"), purchases=("cents", "size"), cents=("cents", "sum"),
    ).reset_index()  # fmt: skip
    found = found.assign(first_purchase=found.first_purchase.dt.date, last_purchase=found.last_purchase.dt.date)
    found["revenue_usd"] = found.cents.map(_dollars)
    found["mean_basket_usd"] = [int(c) / (100 * int(n)) for c, n in zip(found.cents, found.purchases, strict=True)]
    return found.drop(columns="cents")


def monthly_revenue(source: pd.DataFrame | None = None) -> pd.DataFrame:
    """gold.sales.monthly_revenue, sorted by month."""
    bought = purchases(source)
    bought["month"] = [day.replace(day=1) for day in bought.purchased_on]
    seen: set[str] = set()
    rows = []
    for month, of_month in bought.groupby("month", sort=True):
        customers = set(of_month.customer_id)
        cents = int((of_month.amount_usd * 100).astype(int).sum())
        rows.append((month, _dollars(cents), len(customers), len(customers - seen)))
        seen |= customers
    return pd.DataFrame(rows, columns=["month", "revenue_usd", "customers", "new_customers"])


def customer_month(source: pd.DataFrame | None = None) -> pd.DataFrame:
    """gold.sales.customer_month, sorted by customer and month."""
    bought = purchases(source)
    bought["month"] = [day.replace(day=1) for day in bought.purchased_on]
    rows, first = [], {}
    for (customer, month), cents in (bought.amount_usd * 100).astype(int).groupby([bought.customer_id, bought.month]):
        rows.append((customer, month, first.setdefault(customer, month), len(cents), _dollars(cents.sum())))
    return pd.DataFrame(rows, columns=["customer_id", "month", "first_month", "purchases", "revenue_usd"])


def _dollars(cents: int) -> Decimal:
    return Decimal(int(cents)).scaleb(-2)

"""The marts worked out a second time, in pandas, from gold; shares and means are not rounded."""

from __future__ import annotations

import numpy as np
import pandas as pd


def airline_league(flights: pd.DataFrame) -> pd.DataFrame:
    """`airline_key`, `place`, `flights`, `cancelled_share`, `on_time_share`, `mean_arr_delay_min`."""
    rows = []
    for airline, its in flights.groupby("airline_key"):
        delays = its.arr_delay_min.dropna().astype(float)
        rows.append(
            {
                "airline_key": airline,
                "flights": len(its),
                "cancelled_share": (its.status == "cancelled").mean(),
                "on_time_share": (delays <= 15).mean(),
                "mean_arr_delay_min": delays.mean(),
            }
        )
    found = pd.DataFrame(rows)
    found["place"] = found.on_time_share.round(6).rank(method="min", ascending=False).astype(int)
    return found


def cohort_retention(months: pd.DataFrame) -> pd.DataFrame:
    """`cohort_month`, `months_since`, `cohort_customers`, `active_customers`, `revenue_usd`."""
    first, month = pd.to_datetime(months.first_month), pd.to_datetime(months.month)
    since = (month.dt.year - first.dt.year) * 12 + month.dt.month - first.dt.month
    counted = months.assign(months_since=since).groupby(["first_month", "months_since"])
    found = counted.agg(active_customers=("customer_id", "nunique"), revenue_usd=("revenue_usd", "sum")).reset_index()
    sizes = months.groupby("first_month").customer_id.nunique()
    return found.assign(cohort_customers=found.first_month.map(sizes)).rename(columns={"first_month": "cohort_month"})


def index_risk(returns: pd.DataFrame) -> pd.DataFrame:
    """`index_name`, `trade_date`, `drawdown`, `worst_drawdown`, `volatility_60d` (NaN where there is none)."""
    parts = []
    for _, its in returns.sort_values("trade_date").groupby("index_name"):
        peak = np.maximum.accumulate(its.close.to_numpy())
        drawdown = its.close.to_numpy() / peak - 1
        volatility = its.log_return.astype(float).rolling(60).std(ddof=1) * np.sqrt(252)
        parts.append(its.assign(drawdown=drawdown, worst_drawdown=np.minimum.accumulate(drawdown), volatility_60d=volatility))
    return pd.concat(parts, ignore_index=True)

"""Rows of sales for its tests."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from medallion.contract import UNPARSED
from tests.unit.planted_rows import BRONZE, SILVER, Rows, missing

PURCHASE = {"customer_id": "00001", "purchased_on": "19970101", "cds": "1", "dollars": "11.77"}
NAN = float("nan")

SALES = Rows(
    "sales",
    sound={
        "bronze.sales.purchases": BRONZE | PURCHASE,
        "silver.sales.purchases": SILVER
        | {"customer_id": "00001", "purchased_on": date(1997, 1, 1), "cds": 1, "amount_usd": Decimal("11.77")},
        "gold.sales.customer_value": {
            "customer_id": "00002", "first_purchase": date(1997, 1, 12), "last_purchase": date(1997, 1, 13),
            "purchases": 2, "revenue_usd": Decimal("89.00"), "mean_basket_usd": 44.5,
        },
        "gold.sales.monthly_revenue": {
            "month": date(1997, 2, 1), "revenue_usd": Decimal("379590.03"), "customers": 9598, "new_customers": 8476,
        },
        "gold.sales.customer_month": {
            "customer_id": "00002", "month": date(1997, 2, 1), "first_month": date(1997, 1, 1), "purchases": 2,
            "revenue_usd": Decimal("89.00"),
        },
    },
    planted={
        "bronze.sales.purchases": {
            "exact_copy": ({"_repeat": "file"}, {}),
            "customer_malformed": ({"customer_id": "1"}, {"customer_id": " 00001"}),
            "date_malformed": ({"purchased_on": "1997-01-01"}, {"purchased_on": "19971301"}),
            "amount_malformed": ({"dollars": "11,77"}, {"dollars": "-0.50"}),
        },
        "silver.sales.purchases": {
            "parses": ({UNPARSED: "dollars"}, {UNPARSED: None}),
            **missing("customer_id", "purchased_on", "cds", "amount_usd"),
            "customer_id_pattern": ({"customer_id": "1"}, {"customer_id": "23570"}),
            "purchased_on_minimum": ({"purchased_on": date(1970, 1, 1)}, {"purchased_on": date(1994, 1, 1)}),
            "cds_minimum": ({"cds": 0}, {"cds": 1}),
            "cds_maximum": ({"cds": 1001}, {"cds": 1000}),
            "bought_after_its_delivery": ({"purchased_on": date(2013, 1, 2)}, {"purchased_on": date(2013, 1, 1)}),
            "dearer_than_any_box_set": (
                {"cds": 2, "amount_usd": Decimal("800.01")}, {"cds": 2, "amount_usd": Decimal("800.00")}
            ),
            "worth_nothing": ({"amount_usd": Decimal("0.00")}, {"amount_usd": Decimal("0.01")}),
        },
        "gold.sales.customer_value": {
            **missing("customer_id", "first_purchase", "last_purchase", "purchases", "revenue_usd", "mean_basket_usd"),
            "purchases_minimum": ({"purchases": 0}, {"purchases": 1}),
            "last_before_first": (
                {"last_purchase": date(1997, 1, 11)}, {"last_purchase": date(1997, 1, 12)}
            ),
            "one_purchase_on_two_days": ({"purchases": 1}, {"purchases": 1, "last_purchase": date(1997, 1, 12)}),
            "mean_contradicts_revenue": ({"mean_basket_usd": NAN}, {"mean_basket_usd": 44.501}),
            "brought_no_revenue": ({"revenue_usd": Decimal("0.00")}, {"revenue_usd": Decimal("0.01")}),
        },
        "gold.sales.monthly_revenue": {
            **missing("month", "revenue_usd", "customers", "new_customers"),
            "customers_minimum": ({"customers": 0}, {"customers": 1}),
            "new_customers_minimum": ({"new_customers": -1}, {"new_customers": 0}),
            "not_the_first_of_the_month": ({"month": date(1997, 2, 2)}, {"month": date(1998, 1, 1)}),
            "more_new_customers_than_customers": ({"customers": 8475}, {"customers": 8476}),
            "earned_nothing": ({"revenue_usd": Decimal("-0.01")}, {"revenue_usd": Decimal("0.01")}),
        },
        "gold.sales.customer_month": {
            **missing("customer_id", "month", "first_month", "purchases", "revenue_usd"),
            "purchases_minimum": ({"purchases": 0}, {"purchases": 1}),
            "not_the_first_of_a_month": ({"first_month": date(1997, 1, 31)}, {"first_month": date(1996, 12, 1)}),
            "bought_before_the_first_month": ({"first_month": date(1997, 3, 1)}, {"first_month": date(1997, 2, 1)}),
            "cost_nothing": ({"revenue_usd": Decimal("0.00")}, {"revenue_usd": Decimal("0.01")}),
        },
    },
    neighbours={
        "silver.sales.purchases": [
            {"customer_id": "00002"}, {"purchased_on": date(1997, 1, 2)}, {"cds": 2}, {"amount_usd": Decimal("11.78")},
        ],
        "gold.sales.customer_value": [{"customer_id": "00001"}],
        "gold.sales.monthly_revenue": [{"month": date(1998, 2, 1)}],
        "gold.sales.customer_month": [{"customer_id": "00001"}, {"month": date(1998, 2, 1)}],
    },
)  # fmt: skip

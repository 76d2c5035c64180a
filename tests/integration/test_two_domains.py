"""Two domains that both have a `customers`: run, published and asked for side by side."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from medallion import domain, query
from medallion.domain import Domains
from medallion.job import publish_gold
from medallion.marts.targets import settings_of
from medallion.pipeline import Lake, Request, execute
from medallion.settings import Settings
from tests.small_domain import csv
from tests.unit.test_several_domains import customers

pytest_plugins = ["tests.warehouse"]

DAY = date(2022, 3, 1)
ROWS = {"retail": ("1,ann,1.50,", "2,bob,2.00,"), "care": ("1,cid,40.00,",)}


def test_each_keeps_its_own_customers_in_lake_and_warehouse(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"domains": ":".join(str(customers(tmp_path, name)) for name in ROWS)})
    every = domain.load(settings)
    mine = {dataset: contract for dataset, contract in every.contracts.items() if contract.domain in ROWS}
    domains = Domains(mine, {dataset: made for dataset, made in every.transforms.items() if dataset in mine})
    with Lake(settings, domains) as lake:
        for name, rows in ROWS.items():
            key = f"domain={name}/customers/year={DAY:%Y}/month={DAY:%m}/day={DAY:%d}/customers.csv"
            lake.store.put(f"s3://bronze-raw-data/{key}", csv(*rows), "text/csv")
        outcome = execute(lake, Request(DAY, publish=True), lambda _: None)
        assert {write["dataset"]: write["rows_out"] for write in outcome.writes} == {
            f"{layer}.{name}": rows
            for layer, name, rows in (
                ("bronze", "retail.customers", 2), ("silver", "retail.customers", 2), ("gold", "retail.daily_totals", 1),
                ("bronze", "care.customers", 1), ("silver", "care.customers", 1), ("gold", "care.daily_totals", 1),
            )
        }  # fmt: skip
        elsewhere = publish_gold(lake, lambda _: None, settings=settings_of(settings, "postgres_local"))
        assert (elsewhere["outcome"], elsewhere["marked"]) == ("published", [])
        assert str(lake.journal.runs(limit=1)[0]["state"]) == "merged", "the lake's own warehouse does not show it yet"
        assert outcome.run_id in publish_gold(lake, lambda _: None)["marked"]

    both = """SELECT r.customer, c.customer AS other FROM silver.retail.customers r
        LEFT JOIN silver.care.customers c USING (order_id) ORDER BY 1"""
    assert query.lake(settings, both).to_pylist() == [{"customer": "ann", "other": "cid"}, {"customer": "bob", "other": None}]
    totals = """SELECT r.amount AS retail, c.amount AS care FROM {0}.retail.daily_totals r
        JOIN {0}.care.daily_totals c ON r.ordered_on = c.ordered_on"""
    for ask, place in ((query.lake, "gold"), (query.warehouse, settings.snowflake.database)):
        (row,) = ask(settings, totals.format(place)).to_pylist()
        assert {name.lower(): str(value) for name, value in row.items()} == {"retail": "3.50", "care": "40.00"}

"""Gold lies in its files as its contract says: a query opens only the files that it must."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual

from medallion.contract import LAYERS, Layer
from medallion.lakehouse.history import deliveries
from medallion.lakehouse.store import Store
from medallion.lakehouse.table import open_static
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from tests import small_domain, toy_domains

DAYS = [date(2031, 5, day) for day in (1, 2, 3)]
CUSTOMERS = [f"c{n:02}" for n in range(24)]
CUSTOMER_TOTALS = '''

def customer_totals(silver_orders):
    """What each customer has ordered."""
    return silver_orders.groupBy("customer").agg(F.sum("amount").cast("decimal(20,2)").alias("amount"))
'''
BUCKETS = 4


def _documents(documents: dict[str, Any], buckets: int = BUCKETS) -> None:
    totals = documents["gold.daily_totals.odcs.yaml"]
    by_customer = small_domain.copy.deepcopy(totals)
    by_customer |= {"id": "gold.shop.customer_totals", "name": "customer_totals"}
    by_customer["customProperties"] = [
        *(
            {"property": k, "value": v}
            for k, v in {"layer": "gold", "zone": "analytics", "materialisation": {"kind": "full"}}.items()
        ),
        _layout(partitionedBy=[{"column": "customer", "transform": "bucket", "argument": buckets}], sortedBy=["customer"]),
    ]
    by_customer["schema"][0] |= {
        "name": "customer_totals",
        "properties": [
            {"name": "customer", "logicalType": "string", "primaryKey": True, "primaryKeyPosition": 1},
            totals["schema"][0]["properties"][2],
        ],
    }
    documents["gold.customer_totals.odcs.yaml"] = by_customer
    documents["bronze.orders.odcs.yaml"]["customProperties"].append(_layout(compactAbove=2))


def _layout(**value: Any) -> dict[str, Any]:
    return {"property": "layout", "value": value}


class Shop:
    """The small domain with a bucketed gold table, and what it says of its files."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def deliver(self, day: date, amount: int, *, twice: int = 0, run: bool = True) -> Outcome | None:
        rows = [f"{day.day}{n:02},{customer},{amount},{day}" for n, customer in enumerate(CUSTOMERS)]
        rows += rows[:twice]
        uri = f"s3://bronze-raw-data/domain=shop/orders/year={day:%Y}/month={day:%m}/day={day:%d}/orders.csv"
        Store(self.lake.settings.s3).put(uri, small_domain.csv(*rows), "text/csv")
        layers: tuple[Layer, ...] = ("bronze",) if twice else LAYERS  # this domain's silver would refuse them
        return execute(self.lake, Request(day, layers, domain="shop"), lambda _: None) if run else None

    def table(self, dataset: str) -> Any:
        return open_static(self.lake.settings.s3, self.lake.nessie.content("main", dataset))

    def opened(self, dataset: str, row_filter: Any) -> int:
        """How many files a reader must open."""
        return len(list(self.table(dataset).scan(row_filter=row_filter).plan_files()))

    def delivered(self, row_filter: Any) -> list[tuple[str, int, str | None]]:
        """Of each row of bronze its delivery, its place in it, and whether it was there before."""
        columns = "_delivery", "_source_row", "_repeat"
        rows = self.table("bronze.shop.orders").scan(row_filter, selected_fields=columns).to_arrow().to_pylist()
        return sorted(tuple(row[name] for name in columns) for row in rows)

    def files(self, dataset: str) -> int:
        return len(list(self.table(dataset).scan().plan_files()))


@pytest.fixture(scope="module")
def shop(stack: Settings, spark: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = small_domain.write(
        tmp_path_factory.mktemp("layout") / "shop", _documents, gold=small_domain.GOLD_PY + CUSTOMER_TOTALS
    )
    toys = toy_domains.Toys((str(folder),))
    with Lake(stack, toys.load(stack)) as lake:
        shop = Shop(lake)
        for day in DAYS:
            shop.deliver(day, 5)
        yield shop


def test_a_query_for_one_day_opens_the_files_of_that_day(shop: Shop) -> None:
    whole = shop.files("gold.shop.daily_totals")
    assert whole >= len(DAYS)
    assert shop.opened("gold.shop.daily_totals", EqualTo("ordered_on", DAYS[1].isoformat())) == 1
    ours = GreaterThanOrEqual("_logical_date", DAYS[0].isoformat())  # other modules have days of their own in these tables
    orders = shop.opened("silver.shop.orders", ours)
    of_one_day = shop.opened("silver.shop.orders", EqualTo("_logical_date", DAYS[0].isoformat()))
    assert of_one_day * len(DAYS) == orders


def test_a_query_for_one_customer_opens_one_bucket(shop: Shop) -> None:
    assert shop.files("gold.shop.customer_totals") == BUCKETS
    for customer in CUSTOMERS[:3]:
        assert shop.opened("gold.shop.customer_totals", EqualTo("customer", customer)) == 1
    found = shop.table("gold.shop.customer_totals").scan(EqualTo("customer", CUSTOMERS[7])).to_arrow().to_pylist()
    assert [(row["customer"], int(row["amount"])) for row in found] == [(CUSTOMERS[7], 15)]


def test_rows_are_sorted_in_each_file(shop: Shop) -> None:
    table = shop.table("gold.shop.customer_totals")
    for task in table.scan().plan_files():
        with table.io.new_input(task.file.file_path).open() as stream:
            customers = pq.read_table(stream, columns=["customer"])["customer"].to_pylist()
        assert customers == sorted(customers)
        assert customers


def test_many_small_files_are_compacted_on_the_run_s_own_branch(shop: Shop) -> None:
    """A delivery and its first correction fit the threshold of two files; the second makes three, which become one, and
    beside that the third fits again. Nothing else changes."""
    day = DAYS[2]
    of_day = EqualTo("_logical_date", day.isoformat())
    assert shop.opened("bronze.shop.orders", of_day) == 1
    seen, before = [], shop.delivered(of_day)
    for amount, twice in ((6, 2), (7, 0), (8, 0)):
        outcome = shop.deliver(day, amount, twice=twice)
        assert outcome is not None
        (compacted,) = [w["files_compacted"] for w in outcome.writes if w["dataset"] == "bronze.shop.orders"]
        seen.append((compacted, shop.opened("bronze.shop.orders", of_day)))
        after = shop.delivered(of_day)
        assert [row for row in after if row[0] in {row[0] for row in before}] == before, "rows say of themselves what they said"
        marks = [None] * len(CUSTOMERS) + ["file"] * twice
        assert [row[1:] for row in after if row not in before] == list(enumerate(marks, 1))
        before = after
        assert shop.opened("bronze.shop.orders", EqualTo("_logical_date", DAYS[0].isoformat())) == 1
    assert seen == [(0, 2), (3, 1), (0, 2)]
    kept = deliveries(shop.lake.settings.s3, shop.lake.nessie.content("main", "bronze.shop.orders"), logical_date=day)
    assert [one.rows for one in kept] == [len(CUSTOMERS) + twice for twice in (0, 2, 0, 0)]
    rows = shop.table("bronze.shop.orders").scan(of_day).to_arrow()
    assert sorted(set(rows["amount"].to_pylist())) == ["5", "6", "7", "8"]
    newest = And(of_day, EqualTo("customer", CUSTOMERS[0]))
    assert [int(v) for v in shop.table("silver.shop.orders").scan(newest).to_arrow()["amount"].to_pylist()] == [8]
    again = execute(shop.lake, Request(day, domain="shop"), lambda _: None)
    assert again.state == "unchanged"


def test_a_changed_layout_holds_from_the_next_write_on(shop: Shop, tmp_path: Path) -> None:
    """The table is laid out anew on the run's branch; the rows stay the same."""
    before = shop.table("gold.shop.customer_totals").scan().to_arrow().sort_by("customer").to_pylist()
    gold = small_domain.GOLD_PY + CUSTOMER_TOTALS
    folder = small_domain.write(tmp_path / "shop", lambda documents: _documents(documents, BUCKETS * 2), gold=gold)
    with Lake(shop.lake.settings, toy_domains.Toys((str(folder),)).load(shop.lake.settings)) as lake:
        outcome = execute(lake, Request(DAYS[2], domain="shop"), lambda _: None)
    assert [w["dataset"] for w in outcome.writes] == ["gold.shop.customer_totals"]
    assert shop.files("gold.shop.customer_totals") == BUCKETS * 2
    assert shop.opened("gold.shop.customer_totals", EqualTo("customer", CUSTOMERS[5])) == 1
    assert shop.table("gold.shop.customer_totals").scan().to_arrow().sort_by("customer").to_pylist() == before

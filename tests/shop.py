"""The small domain on a running stack: deliver, run, and look at what must not have changed.

Used with `pytest_plugins = ["tests.shop"]`. Each module of tests delivers for dates of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medallion import domain, query
from medallion.domain import Domains
from medallion.lakehouse.nessie import MAIN
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.publish.publication import history
from medallion.settings import Settings
from tests.small_domain import csv, write

BRONZE, SILVER, GOLD = "bronze.shop.orders", "silver.shop.orders", "gold.shop.daily_totals"
GOOD = ("1,ann,1.50,", "2,bob,2.00,", "3,cid,3.25,", "4,dee,0.00,")


class Shop:
    """The domain `shop` in a lake. `told` are the lines that runs reported."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings.model_copy(update={"domains": str(folder)})
        everything = domain.load(self.settings)
        self.domains = Domains(
            {d: c for d, c in everything.contracts.items() if c.domain == "shop"},
            {d: t for d, t in everything.transforms.items() if d.split(".")[1] == "shop"},
        )
        self.lake = Lake(self.settings, self.domains)
        self.told: list[str] = []

    def deliver(self, day: date, data: bytes, name: str = "orders.csv") -> str:
        uri = f"s3://bronze-raw-data/domain=shop/orders/year={day:%Y}/month={day:%m}/day={day:%d}/{name}"
        self.lake.store.put(uri, data, "text/csv")
        return uri

    def run(self, day: date, **request: Any) -> Outcome:
        self.told.clear()
        return execute(self.lake, Request(day, **request), self.told.append)

    def state(self) -> tuple[Any, ...]:
        """What a refused run must leave alone: main, all it holds, and what the warehouse shows."""
        main = self.lake.nessie.reference(MAIN)
        return main, self.lake.nessie.contents(main), [entry.publication_id for entry in history(self.settings)]

    def select(self, sql: str, at: str = MAIN) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in query.lake(self.settings, sql, at).to_pylist()]

    def newest_run(self) -> dict[str, Any]:
        return self.lake.journal.runs(limit=1)[0]


@pytest.fixture(scope="module")
def shop(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, with its tables on main."""
    shop = Shop(stack, write(tmp_path_factory.mktemp("domains") / "shop"))
    with shop.lake:
        first = date(2020, 1, 1)
        shop.deliver(first, csv(*GOOD))
        shop.run(first)
        yield shop

"""A small shop in which whole Spark runs are killed: nothing of the pipeline is left out, and the source is asked for each day.

Its orders come by HTTP, a CSV file a day, one row of which is bad; silver keeps the newest row of each order (MERGE), gold
their sums a day. What a day's file holds is worked out from its date, by the server and by whoever checks.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

from medallion import domain as domain_module
from medallion import job, pipeline
from medallion.contract import LAYERS
from medallion.domain import Domains
from medallion.pipeline import Lake
from medallion.settings import Settings, Source
from tests import small_domain
from tests.crash.invariants import Watch
from tests.crash.place import FIRST, Place, Told
from tests.crash.source import answering
from tests.crash.stores import Commit, Row
from tests.toy_domains import quick

BRONZE, SILVER, QUARANTINE, GOLD = (
    "bronze.shop.orders", "silver.shop.orders", "silver.shop.orders__quarantine", "gold.shop.daily_totals",
)  # fmt: skip
NEW = 3
"""New orders a day; besides, one of the day before changes, one is bad."""
_ONCE = {
    "name": "once", "metric": "duplicateValues", "arguments": {"properties": ["order_id", "ordered_on"]}, "mustBe": 0,
    "customProperties": [{"property": "scope", "value": "table"}],
}  # fmt: skip


def orders(day: date) -> list[tuple[int, Decimal]]:
    """What a day's file says: order and amount. The last one is bad."""
    number = (day - FIRST).days * 10 + 100
    new = [(number + n, Decimal(number + n) / 4) for n in range(NEW)]
    return [*new, (number - 10, Decimal(1)), (number + 9, Decimal(-1))]


def sound(days: Iterable[date]) -> dict[int, tuple[Decimal, date]]:
    """Silver, if it is made of these days: order -> amount, day."""
    return {order: (amount, day) for day in sorted(days) for order, amount in orders(day)[:-1]}


def _damage(documents: dict[str, Any]) -> None:
    bronze, silver, gold = (documents[f"{name}.odcs.yaml"] for name in ("bronze.orders", "silver.orders", "gold.daily_totals"))

    def custom(document: Any, **values: Any) -> None:
        kept = [each for each in document["customProperties"] if each["property"] not in values]
        document["customProperties"] = kept + [{"property": name, "value": value} for name, value in values.items()]

    source = {"kind": "http", "endpoint": "shop", "path": "/{year}-{month}-{day}.csv"}
    delivery = {"format": "csv", "path": "domain=shop/orders/{year}/{month}/{day}/", "expected": "daily", "source": source}
    custom(bronze, delivery=delivery)
    bronze["schema"][0]["quality"] += [_ONCE]
    custom(silver, materialisation={"kind": "upsert", "latestBy": "ordered_on"}, layout={"compactAbove": 1})
    silver["schema"][0]["quality"] = [_ONCE]
    custom(gold, materialisation={"kind": "full"})


def deliveries(path: str) -> bytes:
    """What the shop's own server has: a day's orders as CSV, at `{year}-{month}-{day}.csv`."""
    day = date.fromisoformat(path.removesuffix(".csv"))
    return small_domain.csv(*(f"{order},someone,{amount},{day}" for order, amount in orders(day)))


@dataclass(frozen=True)
class SparkPlace(Place):
    """The shop in a lake; runs are `medallion run` with Spark, in the process that calls them."""

    folder: str = ""
    with_spark: ClassVar = True

    @property
    def domains(self) -> Domains:
        every = domain_module.load(self.settings.model_copy(update={"domains": self.folder}))
        mine = {d: c for d, c in every.contracts.items() if c.domain == "shop"}
        return Domains(mine, {d: t for d, t in every.transforms.items() if d in mine})

    @property
    def published(self) -> dict[str, str]:
        return {GOLD: "ordered_on, orders, amount"}

    def run(self, day: date, *, refused: bool = False, only_bronze: bool = False) -> Told:
        assert not refused
        options = SimpleNamespace(date=str(day), domain=None, dataset=None, refetch=False, run=None, json=True)
        layers = ("bronze",) if only_bronze else LAYERS
        return self.command(lambda: job.run(layers, options, publish=not only_bronze))

    def patches(self, refused: bool) -> Iterator[Any]:
        yield mock.patch.object(pipeline, "Lake", lambda settings: Lake(settings, self.domains))


@contextmanager
def open_shop() -> Iterator[Callable[[Settings], SparkPlace]]:
    """The shop is open. Yields: what makes a place of settings; they are for few rows then."""
    with answering(deliveries) as url, tempfile.TemporaryDirectory() as folder:
        domain = small_domain.write(Path(folder) / "shop", _damage)
        sources = {"shop": Source(url=url, tries=2, first_wait_s=0.01)}

        def place(settings: Settings) -> SparkPlace:
            return SparkPlace(quick(settings).model_copy(update={"sources": sources}), "shop", folder=str(domain))

        yield place


class ShopWatch(Watch):
    """Follows the shop from its beginning. Whatever main holds is what some days' files make, and no part of that."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._before["bronze"] = (self.stores.rows(BRONZE, self.stores.main()) or []) if self._seen else []

    def _commit(self, commit: Commit, run: Row | None) -> list[str]:
        if run is None or commit.deletes or run["kind"] == "init":
            return super()._commit(commit, run)
        if not run["gated"]:
            return [f"run {commit.run} never passed the gate"]
        bronze, silver, refused, gold = (self.stores.rows(d, commit.hash) or [] for d in (BRONZE, SILVER, QUARANTINE, GOLD))
        held: dict[date, list[tuple[str, str]]] = {}
        for row in bronze:
            held.setdefault(row["_logical_date"], []).append((row["order_id"], row["amount"]))
        wrong = [
            f"bronze holds {sorted(rows)} of {day}"
            for day, rows in held.items()
            if Counter(rows) != Counter((str(order), str(amount)) for order, amount in orders(day))
        ]
        made = Counter(row["_logical_date"] for row in refused)
        wrong += [f"{count} rows of {day} were put aside" for day, count in made.items() if count != 1]
        wrong += [] if set(made) <= set(held) else [f"silver is made of {sorted(set(made) - set(held))}, which bronze lacks"]
        if {row["order_id"]: (row["amount"], row["ordered_on"]) for row in silver} != sound(made):
            wrong.append(f"silver is not what {sorted(map(str, made))} make")
        if len({row["order_id"] for row in silver}) != len(silver):
            wrong.append("silver holds an order twice")
        sums: dict[date, tuple[int, Decimal]] = {}
        for amount, day in sound(made).values():
            count, total = sums.get(day, (0, Decimal(0)))
            sums[day] = (count + 1, total + amount)
        if {row["ordered_on"]: (row["orders"], row["amount"]) for row in gold} != sums:
            wrong.append("gold's totals are not those of silver at this commit")
        before, self._before["bronze"] = {row["_logical_date"] for row in self._before["bronze"]}, bronze
        gone, new = before - set(held), set(held) - before
        if run["kind"] == "revert":
            wrong += [] if len(gone) == 1 and not new else [f"the revert took {sorted(gone)} and brought {sorted(new)}"]
        elif gone or len(new) > 1:
            wrong.append(f"it took {sorted(gone)} of bronze and brought {sorted(new)}")
        return wrong

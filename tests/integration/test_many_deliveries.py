"""Several deliveries of a date, in one run: the driver's memory has to hold one of them, not all."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from medallion import pipeline
from tests.shop import BRONZE, GOOD, Shop
from tests.small_domain import csv

pytest_plugins = ["tests.shop"]

DAY = date(2020, 3, 17)


@pytest.fixture
def by_hand() -> Iterator[None]:
    """Python looks for cycles when it is told to, and not by chance."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def frames() -> int:
    """How many frames Python holds: each holds its rows, or where they come from, in the JVM."""
    from pyspark.sql import DataFrame

    return sum(isinstance(each, DataFrame) for each in gc.get_objects())


def test_a_delivery_that_is_written_is_let_go_before_the_next_one(
    shop: Shop, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest, held = pipeline.ingest, []

    def counted(*arguments: Any) -> Any:
        held.append(frames())
        return ingest(*arguments)

    monkeypatch.setattr(pipeline, "ingest", counted)
    spark = shop.lake.settings.spark.model_copy(update={"small_rows": 3})
    monkeypatch.setattr(shop.lake, "settings", shop.lake.settings.model_copy(update={"spark": spark}))
    for number in range(3):
        shop.deliver(DAY, csv(*(line.replace(",", f"{number},", 1) for line in GOOD)), f"orders_{number}.csv")

    assert shop.run(DAY, layers=("bronze",)).state == "merged"

    assert len(held) == 3
    assert held[1] == held[2] == held[0]
    assert shop.select(f"SELECT count(*) FROM {BRONZE} WHERE _logical_date = '{DAY}'") == [(12,)]

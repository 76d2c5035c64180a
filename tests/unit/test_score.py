"""The score: what lowers it, by how much, and what a layer's is."""

from __future__ import annotations

from typing import Any

import pytest

from medallion.contract import Rule
from medallion.quality import score
from tests.lake_tables import gold

UNIQUE = Rule("key_unique", "error", 0, "", unique=("id",))
ROWS = Rule("enough_rows", "warning", 0, "", rows=(1, 10))
CONTRACT = gold("orders", {"id": "int"}, rules=(Rule("positive", "error", 0, "", "id > 0"), UNIQUE, ROWS))


def write(rows: int, quarantined: int = 0, warned: int = 0, **broken: str) -> dict[str, Any]:
    verdicts = [{"rule": rule, "severity": severity, "bad": 1} for rule, severity in broken.items()]
    held = [{"rule": "key_unique", "severity": "error", "bad": 0}]
    return {"rows_in": rows, "quarantined": quarantined, "warned": warned, "verdicts": held + verdicts}


@pytest.mark.parametrize(
    ("of", "points"),
    [
        (write(0), 100.0),
        (write(100), 100.0),
        (write(100, quarantined=3), 97.0),
        (write(100, warned=4), 99.0),
        (write(100, quarantined=3, warned=4, positive="error"), 96.0),
        (write(10, quarantined=10), 0.0),
        (write(1_000_000, quarantined=1), 99.9),
        (write(100, key_unique="error"), 50.0),
        (write(100, enough_rows="warning"), 90.0),
        (write(100, as_usual="warning"), 90.0),
        (write(100, as_usual="error"), 50.0),
        (write(100, quarantined=20, key_unique="error", as_usual="warning"), 36.0),
    ],
)
def test_what_a_write_loses(of: dict[str, Any], points: float) -> None:
    assert score.of_write(of, CONTRACT) == points


def test_a_dataset_counts_by_rows_and_a_layer_by_datasets() -> None:
    writes = [
        {"dataset": "silver.shop.orders", "rows_in": 900, "score": 100.0},
        {"dataset": "silver.shop.orders", "rows_in": 100, "score": 50.0},
        {"dataset": "silver.shop.customers", "rows_in": 1, "score": 75.0},
        {"dataset": "gold.shop.totals", "rows_in": 0, "score": 99.9},
        {"dataset": "bronze.shop.orders", "rows_in": 5},
    ]
    assert score.of_datasets(writes) == {"silver.shop.orders": 95.0, "silver.shop.customers": 75.0, "gold.shop.totals": 99.9}
    assert score.of_layers(writes) == {"silver": 85.0, "gold": 99.9}

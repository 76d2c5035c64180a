"""What the sound and the planted rows of operations have in common."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from medallion.contract import BRONZE_COLUMNS, SILVER_COLUMNS, UNPARSED

DAY = date(2013, 1, 1)

Row = dict[str, Any]
Planted = dict[str, tuple[Row, Row]]

BRONZE: Row = dict.fromkeys(BRONZE_COLUMNS) | {"_delivery": "d1", "_logical_date": DAY, "_source_row": 1}
SILVER: Row = {name: BRONZE[name] for name in SILVER_COLUMNS} | {UNPARSED: None}


def at(hour: int, minute: int, day: int = 1) -> datetime:
    """A wall clock in January 2013."""
    return datetime(2013, 1, day, hour, minute)


def utc(hour: int, minute: int, day: int = 1) -> datetime:
    """An instant in January 2013."""
    return datetime(2013, 1, day, hour, minute, tzinfo=UTC)


def missing(*columns: str) -> Planted:
    return {f"{column}_required": ({column: None}, {}) for column in columns}

"""Values of every type that go wrong somewhere: each column's type, its values, and what a warehouse is to give back."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

FLAT: dict[str, tuple[str, list[Any]]] = {
    "flag": ("boolean", [True, False, None]),
    "small": ("int", [-(2**31), 2**31 - 1, 0, None]),
    "big": ("bigint", [-(2**63), 2**63 - 1, 0, None]),
    "ratio": ("double", [-0.0, 0.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 1 / 3, None]),
    "single": ("float", [0.1, -0.0, 1e-45, 3.4028234663852886e38, None]),
    "money": ("decimal(38,18)", [Decimal("-12345678901234567890.123456789012345678"), Decimal("1E-18"), None]),
    "day": ("date", [date(1, 1, 1), date(1582, 10, 10), date(1905, 3, 1), date(9999, 12, 31), None]),
    "instant": ("timestamp", [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1, 1, 1, tzinfo=UTC), None]),
    "local": ("timestamp_ntz", [datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(9999, 12, 31, 23, 59, 59, 999_999), None]),
    "text": ("string", ["", "NULL", "\\N", "\\.", "a\n\\.\r\nb", 'O\'Reilly said "\\"', " \t,;", "Zürich 🛫", None]),
    "bytes": ("binary", [b"", b"\x00\xff'\\\n", b"\\x00", None]),
}  # fmt: skip
COUNT = max(len(values) for _, values in FLAT.values())
CELLS: dict[str, list[Any]] = {name: [values[i % len(values)] for i in range(COUNT)] for name, (_, values) in FLAT.items()}

NESTED = {
    "tags": "array<string>", "stop": "struct<zone:string,fee:decimal(20,4),ratio:double,at:timestamp>",
    "counts": "map<string,bigint>", "legs": "array<struct<number:int,flown:date>>",
}  # fmt: skip
TRIPS: list[dict[str, Any]] = [
    {
        "tags": ["a", None, 'the "b"\n'],
        "stop": {
            "zone": "é", "fee": Decimal("1234567890123456.7800"), "ratio": float("nan"), "at": datetime(2013, 1, 2, tzinfo=UTC),
        },
        "counts": [("longer key", 2**63 - 1), ("b", None)],
        "legs": [{"number": 1, "flown": date(1961, 2, 3)}, None],
    },
    {"tags": [], "stop": {"zone": None, "fee": None, "ratio": 5e-324, "at": None}, "counts": [], "legs": []},
    # pyiceberg writes a list of structs that is null as empty
    {"tags": None, "stop": None, "counts": None, "legs": []},
]  # fmt: skip
TRIPS_AS_JSON: list[dict[str, Any]] = [
    {
        "tags": ["a", None, 'the "b"\n'],
        "stop": {"zone": "é", "fee": Decimal("1234567890123456.78"), "ratio": "NaN", "at": "2013-01-02T00:00:00+00:00"},
        "counts": {"longer key": 2**63 - 1, "b": None},
        "legs": [{"number": 1, "flown": "1961-02-03"}, None],
    },
    {"tags": [], "stop": {"zone": None, "fee": None, "ratio": Decimal("5e-324"), "at": None}, "counts": {}, "legs": []},
    {"tags": None, "stop": None, "counts": None, "legs": []},
]

TYPES = {"id": "bigint"} | {name: type_ for name, (type_, _) in FLAT.items()} | NESTED


def flat_table() -> pa.Table:
    """The columns that are not nested, and `id`."""
    types = {"instant": pa.timestamp("us", tz="UTC"), "local": pa.timestamp("us"), "money": pa.decimal128(38, 18)}
    return pa.table({"id": range(COUNT)} | {name: pa.array(values, types.get(name)) for name, values in CELLS.items()})


def rows() -> list[dict[str, Any]]:
    """All columns; the first rows' nested values are `TRIPS`, over and over."""
    return [{"id": i} | {name: values[i] for name, values in CELLS.items()} | TRIPS[i % len(TRIPS)] for i in range(COUNT)]


def expected_back() -> list[dict[str, Any]]:
    """`rows()` as a warehouse is to give them: times as microseconds since 1970, a float as a double, what is nested as JSON."""
    singles = pa.array(CELLS["single"], pa.float32()).cast(pa.float64()).to_pylist()
    told = CELLS | {"single": singles} | {name: [_micros(value) for value in CELLS[name]] for name in ("instant", "local")}
    return [{"id": i} | {name: values[i] for name, values in told.items()} | TRIPS_AS_JSON[i % 3] for i in range(COUNT)]


def _micros(value: datetime | None) -> int | None:
    return None if value is None else (value.replace(tzinfo=None) - datetime(1970, 1, 1)) // timedelta(microseconds=1)


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its texts of JSON parsed, numbers exactly, and bytes as bytes."""
    texts = {name: None if row[name] is None else json.loads(row[name], parse_float=Decimal) for name in NESTED}
    return row | texts | {"bytes": None if row["bytes"] is None else bytes(row["bytes"])}

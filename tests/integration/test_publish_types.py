"""Every value arrives as it is, or is refused by name before anything is changed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from medallion.errors import UsageError
from medallion.publish.publication import history, publish
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.warehouse import BOTH, POSTGRES, SNOWFLAKE, agreed, columns, database, rows, select

pytest_plugins = ["tests.warehouse"]

COLUMNS = {"id": "bigint", "name": "string"}


@BOTH
def test_publishes_every_type_of_every_table_and_says_so(settings: Settings, lake: LakeTables, domain: str) -> None:
    every = gold(
        "every_type",
        {
            "flag": "boolean", "small": "int", "big": "bigint", "single": "float", "ratio": "double",
            "money": "decimal(20,4)", "day": "date", "instant": "timestamp", "local": "timestamp_ntz", "text": "string",
            "bytes": "binary",
        },
        domain=domain,
    )  # fmt: skip
    full: dict[str, Any] = {
        "flag": True, "small": -(2**31), "big": 2**63 - 1, "single": 0.5, "ratio": 0.1,
        "money": Decimal("-1234567890123456.7891"), "day": date(1905, 3, 1),
        "instant": datetime(1961, 2, 3, 4, 5, 6, 789012, tzinfo=UTC), "local": datetime(2013, 11, 3, 1, 30, 0, 1),
        "text": "Zürich 'quoted' \\ \"\n\t🛫", "bytes": b"\x00\xff'",
    }  # fmt: skip
    empty: dict[str, Any] = dict.fromkeys(full)
    odd = empty | {"ratio": float("nan"), "text": "", "bytes": b"", "small": 0, "money": Decimal("0.0000")}
    other = gold("other", COLUMNS, domain=domain)
    nothing = gold("nothing", COLUMNS, domain=domain)
    contracts = Contracts(every, other, nothing)
    at = lake.commit({every: [full, empty, odd, odd], other: [{"id": 1, "name": "a"}], nothing: []}, run="run-7")

    done = publish(settings, contracts)

    assert (done.outcome, done.hash, done.sequence, done.runs[-1]) == ("published", at, 1, "run-7")
    counted = {dataset: state.rows for dataset, state in done.tables.items()}
    assert counted == {every.dataset: 4, other.dataset: 1, nothing.dataset: 0}
    assert done.reencoded_bytes == 0 < done.staged_bytes
    assert agreed(settings, contracts)
    held = {each["text"]: each for each in lake.read(every).to_pylist()}
    table = f"{database(settings)}.{domain}.every_type"
    same = ("big", "ratio", "money", "day", "text", "bytes", "flag")
    in_warehouse = select(settings, f"SELECT {', '.join(same)} FROM {table} WHERE small < 0")
    assert in_warehouse == [tuple(held[full["text"]][column] for column in same)]
    count = f"SELECT COUNT(*) FROM {table} WHERE"
    assert select(settings, f"{count} instant = '1961-02-03 04:05:06.789012+00:00'") == [(1,)]
    assert select(settings, f"{count} instant IS NULL AND local IS NULL") == [(3,)]


ODD: dict[str, tuple[str, list[Any]]] = {
    "ratio": ("double", [-0.0, 0.0, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308, 1 / 3, None]),
    "single": ("float", [0.1, -0.0, 1e-45, 3.4028234663852886e38, None]),
    "money": ("decimal(38,18)", [Decimal("-12345678901234567890.123456789012345678"), Decimal("1E-18"), None]),
    "day": ("date", [date(1, 1, 1), date(1582, 10, 10), date(9999, 12, 31), None]),
    "instant": ("timestamp", [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1, 1, 1, tzinfo=UTC), None]),
    "local": ("timestamp_ntz", [datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(9999, 12, 31, 23, 59, 59, 999_999), None]),
    "text": ("string", ["", "NULL", "\\N", "\\.", "a\n\\.\r\nb", 'O\'Reilly said "\\"', " \t,;", "Zürich 🛫", None]),
    "bytes": ("binary", [b"", b"\x00\xff'\\\n", b"\\x00", None]),
}


@POSTGRES
def test_odd_values_stay_what_they_are(settings: Settings, lake: LakeTables, domain: str) -> None:
    odd = gold("odd", {"id": "bigint"} | {name: type_ for name, (type_, _) in ODD.items()}, domain=domain)
    types = {"instant": pa.timestamp("us", tz="UTC"), "local": pa.timestamp("us"), "money": pa.decimal128(38, 18)}
    count = max(len(values) for _, values in ODD.values())
    cells = {name: [values[i % len(values)] for i in range(count)] for name, (_, values) in ODD.items()}
    lake.commit({odd: pa.table({"id": range(count)} | {n: pa.array(v, types.get(n)) for n, v in cells.items()})})
    publish(settings, Contracts(odd))
    assert agreed(settings, Contracts(odd))
    there = f"FROM {domain}.odd ORDER BY id"
    for name in ("ratio", "money", "text", "bytes"):
        assert repr([value for (value,) in select(settings, f"SELECT {name} {there}")]) == repr(cells[name])
    stays = [(text,) for text in ("1969-12-31 23:59:59.999999+00", "0001-01-01 00:00:00+00", None)]
    assert select(settings, f"SELECT instant::text {there} LIMIT 3") == stays
    for name, damage in {"ratio": "0.0", "day": "'infinity'", "instant": "'-infinity'", "text": "NULL"}.items():
        (before,) = select(settings, f"SELECT {name} FROM {domain}.odd WHERE id = 0")[0]
        select(settings, f"UPDATE {domain}.odd SET {name} = {damage} WHERE id = 0")
        assert not agreed(settings, Contracts(odd)), name
        value = {"instant": "'1969-12-31 23:59:59.999999+00'", "day": "'0001-01-01'"}.get(name, f"'{before}'")
        select(settings, f"UPDATE {domain}.odd SET {name} = {value} WHERE id = 0")
        assert agreed(settings, Contracts(odd)), name


NESTED = {
    "tags": "array<string>", "stop": "struct<zone:string,fee:decimal(20,4),ratio:double,at:timestamp>",
    "counts": "map<string,bigint>", "legs": "array<struct<number:int,flown:date>>",
}  # fmt: skip
TRIP: dict[str, Any] = {
    "tags": ["a", None, 'the "b"\n'],
    "stop": {"zone": "é", "fee": Decimal("1234567890123456.7800"), "ratio": float("nan"), "at": datetime(2013, 1, 2, tzinfo=UTC)},
    "counts": [("longer key", 2**63 - 1), ("b", None)],
    "legs": [{"number": 1, "flown": date(1961, 2, 3)}, None],
}


@POSTGRES
def test_nested_values_are_json(settings: Settings, lake: LakeTables, domain: str) -> None:
    trips = gold("trips", {"id": "bigint"} | NESTED, domain=domain)
    small = {"tags": [], "stop": {"zone": None, "fee": None, "ratio": 1e-300, "at": None}, "counts": [], "legs": []}
    absent: dict[str, Any] = dict.fromkeys(NESTED) | {"legs": []}  # pyiceberg writes a list of structs that is null as empty
    lake.commit({trips: [{"id": 1} | TRIP, {"id": 2} | small, {"id": 3} | absent]})
    publish(settings, Contracts(trips))
    assert agreed(settings, Contracts(trips))
    question = f"SELECT {', '.join(f'{name}::text' for name in NESTED)} FROM {domain}.trips ORDER BY id"
    first, second, third = select(settings, question)
    assert [json.loads(text, parse_float=Decimal) for text in first] == [
        ["a", None, 'the "b"\n'],
        {"zone": "é", "fee": Decimal("1234567890123456.78"), "ratio": "NaN", "at": "2013-01-02T00:00:00+00:00"},
        {"longer key": 2**63 - 1, "b": None},
        [{"number": 1, "flown": "1961-02-03"}, None],
    ]
    assert [json.loads(text) for text in second] == [[], small["stop"], {}, []]
    assert third == (None, None, None, "[]")
    select(settings, f"""UPDATE {domain}.trips SET stop = jsonb_set(stop, '{{fee}}', '1234567890123456.7801') WHERE id = 1""")
    assert not agreed(settings, Contracts(trips))


@SNOWFLAKE
def test_a_nested_type_is_refused_by_name(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", {"id": "bigint", "tags": "array<string>"}, domain=domain)
    lake.commit({one: [{"id": 1, "tags": ["a"]}]})
    with pytest.raises(UsageError, match="'tags'"):
        publish(settings, Contracts(one))


@POSTGRES
def test_what_postgresql_cannot_hold_is_refused_by_name(settings: Settings, lake: LakeTables, domain: str) -> None:
    long = gold("long", {"id": "bigint", "ä" * 32: "string"}, domain=domain)
    lake.commit({long: []})
    with pytest.raises(UsageError, match="63 bytes"):
        publish(settings, Contracts(long))
    assert columns(settings, long) == []

    zero = gold("zero", COLUMNS, domain=domain)
    lake.commit({zero: [{"id": 1, "name": "fine"}]})
    publish(settings, Contracts(zero))
    before = history(settings)
    lake.commit({zero: [{"id": 2, "name": "a\x00b"}]})
    with pytest.raises(UsageError, match="0x00") as refused:
        publish(settings, Contracts(zero))
    assert zero.dataset in str(refused.value)
    assert "U+0000" in (refused.value.hint or "")
    assert history(settings) == before
    assert rows(settings, zero) == [(1, "fine")]

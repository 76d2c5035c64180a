"""JSON, Parquet and gzip as they are delivered: every value as it stands, or refused with its place."""

from __future__ import annotations

import dataclasses
import gzip
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from medallion.contract import Column, Contract
from medallion.errors import InputError
from medallion.lakehouse.history import Delivered
from medallion.sources.arrival import EXTRA, Arrival, arrived
from medallion.sources.formats import parse
from medallion.sources.parquet_format import to_bytes
from tests.unit.operations_rows import CONTRACTS

AIRLINES = CONTRACTS["bronze.operations.airlines"]  # carrier, name
URI = "s3://bronze-batch/airlines"


def as_(format_: str, columns: dict[str, str] | None = None, **delivery: Any) -> Contract:
    """The contract of airlines, handed over in another way."""
    assert AIRLINES.delivery
    changed = dataclasses.replace(AIRLINES.delivery, format=format_, **delivery)
    own = AIRLINES.columns if columns is None else tuple(Column(n, t, False, "", False) for n, t in columns.items())
    return dataclasses.replace(AIRLINES, delivery=changed, columns=own)


def parsed(contract: Contract, data: bytes) -> Arrival:
    return parse(contract, Delivered(date(2013, 1, 5), "d1", URI, "sha"), data)


def refused(contract: Contract, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        parsed(contract, data)
    assert caught.value.exit_code == 6
    assert caught.value.message.startswith(f"{AIRLINES.dataset}: {URI}: ")
    assert "new bytes for the same day are a correction" in (caught.value.hint or "")
    return caught.value.message


def rows(arrival: Arrival) -> list[tuple[Any, ...]]:
    """(carrier, name, number, extra, malformed) of each row."""
    return [tuple(row.values()) for row in arrival.rows.to_pylist()]


@pytest.mark.parametrize("malformed", [{}, {3: "torn"}])
def test_rows_reach_spark_also_from_a_table_with_empty_pieces(spark: SparkSession, malformed: dict[int, str]) -> None:
    one = rows_of({"carrier": ["UA"], "name": ["x"], "_source_row": [1]})
    other = rows_of({"carrier": ["AA"], "name": ["y"], "_source_row": [2]})
    pieces = pa.concat_tables([one, one.slice(0, 0), other.slice(0, 0), other])
    assert pieces["carrier"].num_chunks == 4
    found = arrived(AIRLINES, Delivered(date(2013, 1, 5), "d1", URI, "sha"), pieces, (), malformed)
    carriers = [row["carrier"] for row in spark.createDataFrame(found.rows).orderBy("_source_row").collect()]
    assert carriers == ["UA", "AA", *[""] * len(malformed)]


def rows_of(columns: dict[str, list[Any]]) -> pa.Table:
    """A parsed delivery of airlines, as `arrived` takes it."""
    table = pa.table(columns)
    return table.append_column("_extra", pa.nulls(table.num_rows, EXTRA))


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────
JSON = as_("json")


def values(*texts: str) -> list[str | None]:
    """What becomes of JSON values."""
    members = ", ".join(f'{{"carrier": {text}, "name": "x"}}' for text in texts)
    return [row[0] for row in rows(parsed(JSON, f"[{members}]".encode()))]


def test_a_number_keeps_its_digits() -> None:
    digits = ["1.10", "-0", "0.1000", "1e400", "1E+2", "12345678901234567890123456789", "10.357019999999999"]
    assert values(*digits) == digits


def test_what_is_no_number_is_text_and_null_is_nothing() -> None:
    assert values('""', "null", '" NA "', "true", "false", '"1.10"') == ["", None, " NA ", "true", "false", "1.10"]
    assert values(r'"Z\u00fcrich \ud83d\udeeb \"x\"\n"', '"007"') == ['Zürich 🛫 "x"\n', "007"]


def test_nested_values_are_json_with_their_digits() -> None:
    assert values('{"a": [1.10, null, "ü", {"b": false}]}', "[]", "{}") == [
        '{"a": [1.10, null, "ü", {"b": false}]}',
        "[]",
        "{}",
    ]


def test_absent_and_null_are_nothing_and_unknown_names_are_kept() -> None:
    found = parsed(
        JSON,
        b'[{"carrier": "UA", "name": "United", "hub": "ORD", "since": 1926.0},'
        b' {"carrier": "AA", "name": null, "fleet": [1]}, {"carrier": "DL", "hub": null}]',
    )
    assert found.extra_columns == ("hub", "since", "fleet")
    assert rows(found) == [
        ("UA", "United", 1, [("hub", "ORD"), ("since", "1926.0")], None),
        ("AA", None, 2, [("fleet", "[1]")], None),
        ("DL", None, 3, [("hub", None)], None),
    ]


def test_a_record_that_is_no_object_is_kept_as_text_in_its_place() -> None:
    found = parsed(JSON, b'[1.10, {"carrier": "UA", "name": "United"}, ["x"], null]')
    assert (found.malformed, found.delivered.rows) == (3, 4)
    assert [row[2:] for row in rows(found)] == [(1, None, "1.10"), (2, None, None), (3, None, '["x"]'), (4, None, "null")]


def test_the_records_may_lie_deeper_in_the_document() -> None:
    contract = as_("json", records="data.airlines")
    record = b'[{"carrier": "UA", "name": "United"}]'
    assert len(rows(parsed(contract, b'\xef\xbb\xbf{"date": 1, "data": {"airlines": ' + record + b"}}"))) == 1
    for other in (record, b'{"data": []}', b'{"data": {"airlines": {}}}', b"1", b"null", b'{"airlines": []}'):
        assert "has no list of records under 'data.airlines'" in refused(contract, other)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the document is empty"),
        (b" \n", "the document is empty"),
        (b"[]", "the list of records is empty"),
        (b'{"carrier": "UA"}', "has no list of records"),
        (b"\n<html>\n <body>Sign in</body>", "holds HTML or XML where JSON was expected: <html> <body>Sign in</body>"),
        (b'[{"carrier": "UA", "name": "Uni', "is no JSON: Unterminated string starting at: line 1 column 28"),
        (b'[{"carrier": "UA"}\n {"name": "x"}]', "is no JSON: Expecting ',' delimiter: line 2 column 2"),
        (b'[{"carrier": NaN, "name": "x"}]', "is no JSON: NaN is no number in JSON"),
        (b'[{"carrier": "UA", "name": "x", "name": "y"}]', "is no JSON: an object has 'name' twice"),
        (b'[{"carrier": "\xff", "name": "x"}]', "is no JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'[{"carrier": "\\ud800", "name": "x"}]', "a text holds half a character"),
        (b"[" * 100_000, "is no JSON: maximum recursion depth exceeded"),
        (b'[{"carrier": "UA", "title": "x"}]', "no record has 'name'; they have 'title' instead"),
        (b"[1, 2]", "no record has 'carrier', 'name'"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused(data: bytes, told: str) -> None:
    assert told in refused(JSON, data)


# ── gzip ──────────────────────────────────────────────────────────────────────────────────────────
CSV = b"carrier,name\nUA,United\nAA,American\n"
ZIPPED = as_("csv", compression="gzip")


def test_a_zipped_file_is_read_in_all_its_members() -> None:
    whole = parsed(ZIPPED, gzip.compress(CSV[:20]) + gzip.compress(CSV[20:]))
    assert rows(whole) == rows(parsed(as_("csv"), CSV))


def test_no_beginning_of_a_zipped_file_passes_for_the_whole() -> None:
    data = gzip.compress(CSV * 50)
    for length in range(1, len(data)):
        assert "is no whole gzip file" in refused(ZIPPED, data[:length])


def test_a_damaged_or_plain_file_is_no_gzip() -> None:
    data = gzip.compress(CSV)
    assert "Not a gzipped file" in refused(ZIPPED, CSV)
    assert "is no whole gzip file" in refused(ZIPPED, data[:15] + bytes([data[15] ^ 255]) + data[16:])
    assert "CRC check failed" in refused(ZIPPED, data[:-8] + b"\0\0\0\0" + data[-4:])
    assert "the file is empty" in refused(ZIPPED, b"")


# ── Parquet ───────────────────────────────────────────────────────────────────────────────────────
TYPED = {"id": "bigint", "price": "decimal(6,2)", "day": "date", "at": "timestamp", "name": "string"}


def file(**columns: Any) -> bytes:
    return to_bytes(pa.table(columns))


def test_a_file_is_read_with_the_contract_s_types() -> None:
    day, at = date(2013, 1, 5), datetime(2013, 1, 5, 12)
    data = file(
        name=["x", None], id=pa.array([1, 2], pa.int32()), at=pa.array([at, None], pa.timestamp("ms", "UTC")),
        day=pa.array([day, None]), price=pa.array([Decimal("1.5"), None], pa.decimal128(4, 1)), more=[[1, 2], None], tax=[0.5, 1],
    )  # fmt: skip
    found = parsed(as_("parquet", TYPED), data)
    assert {name: str(found.rows.schema.field(name).type) for name in TYPED} == {
        "id": "int64", "price": "decimal128(6, 2)", "day": "date32[day]", "at": "timestamp[us, tz=UTC]", "name": "string",
    }  # fmt: skip
    assert found.extra_columns == ("more", "tax")
    first, second = found.rows.to_pylist()
    assert (first["id"], first["price"], first["day"], first["at"].replace(tzinfo=None)) == (1, Decimal("1.50"), day, at)
    assert (first["_source_row"], first["_extra"]) == (1, [("more", "[1, 2]"), ("tax", "0.5")])
    assert [second[name] for name in ("price", "day", "at", "name")] == [None] * 4
    assert second["_extra"] == [("more", None), ("tax", "1")]


def test_the_same_rows_are_the_same_bytes() -> None:
    table = pa.table({"a": [1, 2, 3]})
    assert to_bytes(pa.concat_tables([table.slice(0, 1), table.slice(1)])) == to_bytes(table)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no Parquet file"),
        (b"carrier,name\nUA,United\n", "is no Parquet file"),
        (file(id=[1], name=["x"])[:-20], "is no Parquet file"),
        (file(id=[1]), "lacks the columns 'name'"),
        (file(id=pa.array([], pa.int64()), name=pa.array([], pa.string())), "has no row"),
        (file(id=["1x"], name=["x"]), "column 'id' is string, not bigint: Failed to parse string"),
        (file(id=[1.5], name=["x"]), "column 'id' is double, not bigint: Float value 1.5"),
        (file(id=[[1]], name=["x"]), "column 'id' is list<"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(data: bytes, told: str) -> None:
    assert told in refused(as_("parquet", {"id": "bigint", "name": "string"}), data)

"""The checksum depends on every value and on nothing else."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from medallion.publish.checksum import digest
from medallion.publish.columns import Column

COLUMNS = (
    Column("id", "bigint"), Column("text", "string"), Column("other", "string"), Column("ratio", "double"),
    Column("money", "decimal(10,2)"), Column("at", "timestamp"), Column("flag", "boolean"),
)  # fmt: skip
SCHEMA = pa.schema(
    {
        "id": pa.int64(), "text": pa.string(), "other": pa.string(), "ratio": pa.float64(),
        "money": pa.decimal128(10, 2), "at": pa.timestamp("us", tz="UTC"), "flag": pa.bool_(),
    }
)  # fmt: skip


def line(n: int) -> dict[str, Any]:
    at = datetime(2013, 1, n, tzinfo=UTC)
    return {"id": n, "text": f"t{n}", "other": None, "ratio": n / 3, "money": Decimal(n) / 4, "at": at}


LINES = [line(n) for n in range(1, 20)]


def of(lines: list[dict[str, Any]]) -> str:
    return digest(pa.Table.from_pylist(lines, schema=SCHEMA), COLUMNS).checksum


def test_order_of_rows_columns_and_files_does_not_matter(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(LINES, len(LINES))
    assert of(shuffled) == of(LINES)
    table = pa.Table.from_pylist(LINES, schema=SCHEMA)
    assert digest(table.select(SCHEMA.names[::-1]), COLUMNS[::-1]).checksum == of(LINES)
    pq.write_table(table.slice(0, 5), tmp_path / "a.parquet")
    pq.write_table(table.slice(5).select(SCHEMA.names[::-1]), tmp_path / "b.parquet")
    assert digest([tmp_path / "b.parquet", tmp_path / "a.parquet"], COLUMNS) == digest(table, COLUMNS)


def test_another_client_s_types_and_names_do_not_matter() -> None:
    table = pa.Table.from_pylist(LINES, schema=SCHEMA)
    as_decimals = table.set_column(0, "ID", table["id"].cast(pa.decimal128(38, 0)))
    micros = as_decimals.set_column(5, "AT", table["at"].cast(pa.int64()))
    assert digest(micros, COLUMNS).checksum == of(LINES)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 6}, {"text": "t5 "}, {"text": ""}, {"text": None}, {"other": ""}, {"ratio": 1.6666666666666665},
        {"ratio": float("nan")}, {"money": Decimal("1.26")}, {"at": datetime(2013, 1, 5, 0, 0, 0, 1, tzinfo=UTC)},
        {"at": None}, {"flag": False}, {"text": None, "other": "t5"}, {"text": "t", "other": "5"},
    ],
)  # fmt: skip
def test_every_value_matters(change: dict[str, Any]) -> None:
    lines = [line | change if line["id"] == 5 else line for line in LINES]
    assert of(lines) != of(LINES)


NESTED = (Column("id", "bigint"), Column("doc", "json"))
DOC = pa.struct(
    [("zone", pa.string()), ("fee", pa.decimal128(20, 4)), ("big", pa.int64()), ("counts", pa.map_(pa.string(), pa.float64()))]
)


def documents(*docs: Any, as_json: bool = False) -> pa.Table:
    return pa.table({"id": range(len(docs)), "doc": pa.array(docs, pa.string() if as_json else DOC)})


def test_a_nested_value_is_what_its_json_says(tmp_path: Path) -> None:
    doc = {"zone": "é", "fee": Decimal("1.5000"), "big": 2**63 - 1, "counts": [("b", float("nan")), ("aa", -0.0), ("c", 1e20)]}
    table = documents(doc, None)
    said = '{"fee": 1.50, "big": 9223372036854775807, "counts": {"aa": 0, "c": 100000000000000000000.0, "b": "NaN"}, "zone": "é"}'
    assert digest(documents(said, None, as_json=True), NESTED) == digest(table, NESTED)
    pq.write_table(table, tmp_path / "a.parquet")
    assert digest([tmp_path / "a.parquet"], NESTED) == digest(table, NESTED)
    wrong = [("1.50", "1.5001"), ("807", "806"), ('"NaN"', "null"), ('"é"', '"e"'), ('"aa": 0', '"ab": 0'), (said, "null")]
    found = {digest(documents(said.replace(*each), None, as_json=True), NESTED).checksum for each in wrong}
    assert len(found | {digest(table, NESTED).checksum, digest(documents(None, None), NESTED).checksum}) == len(wrong) + 2


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (5e-324, "4.940656458412465e-324"),  # with other digits than Python's, as a double is written elsewhere
        (1.7976931348623157e308, "1.79769313486231570e+308"),
        (1e-300, "1.000000000000000e-300"),
    ],
)
def test_a_number_of_more_than_38_digits_is_the_double_that_it_was(written: float, read: str) -> None:
    counts = {"zone": None, "fee": None, "big": None, "counts": [("a", written)]}
    said = f'{{"zone": null, "fee": null, "big": null, "counts": {{"a": {read}}}}}'
    assert digest(documents(counts), NESTED) == digest(documents(said, as_json=True), NESTED)
    other = said.replace(read, repr(written / 2 if written > 1 else written * 3))
    assert digest(documents(other, as_json=True), NESTED) != digest(documents(counts), NESTED)


def test_one_changed_byte_in_a_million_rows_is_found() -> None:
    numbers = np.arange(1_000_000)
    columns = (Column("id", "bigint"), Column("text", "string"))
    table = pa.table({"id": numbers, "text": pc.binary_join_element_wise("name", pa.array(numbers).cast(pa.string()), " ")})
    texts = bytearray(table["text"].chunk(0).buffers()[2].to_pybytes())
    assert texts[7_777_777] != ord("x")
    texts[7_777_777] = ord("x")
    offsets = table["text"].chunk(0).buffers()[1]
    changed = table.set_column(1, "text", pa.StringArray.from_buffers(len(table), offsets, pa.py_buffer(bytes(texts))))
    before, after = digest(table, columns), digest(changed, columns)
    assert before.rows == after.rows == 1_000_000
    assert before.checksum != after.checksum
    some = table.slice(0, 100_000)
    assert digest(some.take(np.random.default_rng(1).permutation(len(some))), columns) == digest(some, columns) != before


def test_repeated_rows_count() -> None:
    assert of([*LINES, LINES[0], LINES[0]]) != of(LINES)
    assert of([*LINES[1:], LINES[0], LINES[0]]) != of([*LINES, LINES[1]])
    assert digest([], COLUMNS) == digest(SCHEMA.empty_table(), COLUMNS)


def test_rows_that_were_replaced_are_taken_out_and_put_in() -> None:
    first, second, third = LINES[:4], LINES[4:9], LINES[9:]
    table = [pa.Table.from_pylist(lines, SCHEMA) for lines in (first + second, second, third, first + third)]
    whole, old, new, after = (digest(each, COLUMNS) for each in table)
    assert whole.replaced(old, new) == after
    assert whole.replaced(old, digest([], COLUMNS)) == digest(pa.Table.from_pylist(first, SCHEMA), COLUMNS)

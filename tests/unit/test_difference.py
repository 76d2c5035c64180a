"""The difference of two tables' rows, worked out by hand."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from medallion.difference import Difference, compare

SCHEMA = pa.schema({"id": pa.int64(), "name": pa.string(), "tags": pa.list_(pa.string()), "_run_id": pa.string()})


def table(*rows: tuple[Any, ...], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


def shown(found: Difference, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[c] for c in ("_change", *columns)) for row in found.rows.to_pylist()]


def test_rows_of_one_key_are_before_and_after() -> None:
    old = table((1, "same", ["a"], "r1"), (2, "old", None, "r1"), (3, None, None, "r1"), (4, "gone", None, "r1"))
    new = table((5, "come", None, "r2"), (3, "set", ["x"], "r2"), (2, "new", None, "r2"), (1, "same", ["a"], "r2"))
    found = compare(old, new, ("id",))
    assert shown(found, "id", "name") == [
        ("before", 2, "old"), ("after", 2, "new"), ("before", 3, None), ("after", 3, "set"),
        ("removed", 4, "gone"), ("added", 5, "come"),
    ]  # fmt: skip
    assert (found.added, found.removed, found.changed, found.columns) == (1, 1, 2, {"name": 2, "tags": 1})
    assert found.of_columns() == "name (2), tags (1)"


def test_without_a_key_whole_rows_are_compared_and_repeated_ones_counted() -> None:
    old = table(*[(1, "twice", None, "r")] * 2, (None, None, ["a", "b"], "r"))
    new = table(*[(1, "twice", None, "r")] * 3, (None, None, ["a", "c"], "r"))
    for key in ((), ("no_such_column",)):
        found = compare(old, new, key)
        assert sorted(shown(found, "id", "tags"), key=str) == [
            ("added", 1, None), ("added", None, "[a, c]"), ("removed", None, "[a, b]"),
        ]  # fmt: skip
        assert (found.added, found.removed, found.changed, found.columns) == (2, 1, 0, {})


def test_a_key_that_is_not_unique_does_not_multiply_rows() -> None:
    old, new = table((1, "a", None, ""), (1, "b", None, "")), table((1, "a", None, ""), (1, "c", None, ""), (1, "d", None, ""))
    found = compare(old, new, ("id",))
    assert (found.added, found.removed, found.changed) == (1, 0, 1)
    assert shown(found, "name") == [("before", "b"), ("after", "c"), ("added", "d")]


def test_columns_that_come_go_or_change_their_type() -> None:
    new_schema = pa.schema({"id": pa.int64(), "tags": pa.string(), "size": pa.int32(), "_run_id": pa.string()})
    old = table((1, "lost", None, "r"), (2, None, None, "r"))
    new = table((1, None, None, "r"), (2, None, 7, "r"), schema=new_schema)
    found = compare(old, new, ("id",))
    assert found.columns == {"name": 1, "size": 1}
    assert found.of_columns() == "name (1), size (1), size (new), name (lost)"
    assert shown(found, "id", "name", "size") == [
        ("before", 1, "lost", None), ("after", 1, None, None), ("before", 2, None, None), ("after", 2, None, 7),
    ]  # fmt: skip


@pytest.mark.parametrize("key", [(), ("id",)])
def test_who_wrote_a_row_and_in_which_order_is_no_difference(key: tuple[str, ...]) -> None:
    rows = [(1, "a", None, "r1"), (2, None, ["x"], "r1"), (2, None, ["x"], "r1")]
    other = [(*row[:3], "r2") for row in reversed(rows)]
    found = compare(table(*rows), table(*other), key)
    assert (found.rows.num_rows, found.added, found.removed, found.changed, found.of_columns()) == (0, 0, 0, 0, "")

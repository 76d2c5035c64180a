"""What the lake and the warehouse show of a table, compared with what was worked out from the source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from medallion import query
from medallion.settings import Settings
from tests.warehouse import database

Rows = Sequence[dict[str, Any]]


def records(frame: pd.DataFrame) -> Rows:
    """A frame's rows as plain values; what is missing is None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [dict(zip(plain.columns, row, strict=True)) for row in plain.itertuples(index=False, name=None)]


def assert_shown(settings: Settings, dataset: str, expected: pd.DataFrame | Rows, *key: str) -> None:
    """Both show these columns and rows: everything exactly, but for doubles, to the last bits.

    Args:
        key: the columns by which rows are matched; no two rows agree in them.
    """
    assert_rows(query.lake(settings, f"FROM {dataset}"), expected, *key)
    assert_in_warehouse(settings, dataset, expected, *key)


def assert_in_warehouse(settings: Settings, dataset: str, expected: pd.DataFrame | Rows, *key: str) -> None:
    """The warehouse shows these columns and rows."""
    there = dataset.replace("gold", database(settings), 1)
    assert_rows(query.warehouse(settings, f"SELECT * FROM {there}"), expected, *key)


def assert_rows(found: pa.Table, expected: pd.DataFrame | Rows, *key: str, besides: Sequence[str] = ()) -> None:
    """These columns and rows, in any order.

    Args:
        besides: further columns that were found, of which nothing is said.
    """
    wanted = records(expected) if isinstance(expected, pd.DataFrame) else expected
    names = [name.lower() for name in found.column_names]
    assert names == [*wanted[0], *besides]
    table = found.rename_columns(names).select(list(wanted[0]))
    there = {tuple(row[name] for name in key): row for row in table.to_pylist()}
    assert len(there) == found.num_rows == len(wanted)
    pairs = [(row, there.get(tuple(row[name] for name in key))) for row in wanted]
    differing = [pair for pair in pairs if not _same(*pair)]
    assert not differing, f"{len(differing)} rows differ, such as {differing[0]}"


def _same(row: dict[str, Any], found: dict[str, Any] | None) -> bool:
    return found is not None and all(_equal(value, found[name]) for name, value in row.items())


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    if isinstance(one, float) or isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=0.0)
    return bool(one == other)

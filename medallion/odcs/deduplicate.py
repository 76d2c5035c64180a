"""Which rows of a silver dataset are one and the same, as its contract's custom property `deduplicate` says it.

deduplicate: {exact: true, latestBy: updated_at, near: [{column: manufacturer, similarity: 0.8}]}

`exact` drops rows that agree in every column of the contract; `latestBy` keeps of the rows of one primary key
the one with the greatest value in this column; `near` drops nothing: it lists names that look like variants
of one another in the run's story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from medallion.contract import Column, Deduplication, Near
from medallion.errors import ContractError

_PLACE = "customProperties.deduplicate"
_KEYS = ("exact", "latestBy", "near")
SIMILARITY = 0.8
"""How alike two names must be where the contract does not say it; see `medallion.quality.near`."""

Refuse = Callable[[str, str, str], ContractError]


def read(
    value: Any, layer: str, columns: Sequence[Column], key: Sequence[str], refuse: Refuse, upserted_by: str | None = None
) -> Deduplication:
    """Read the property; absent, no row is dropped.

    Args:
        columns, key: the dataset's columns and the names of those in its primary key.
        refuse: makes the error from (place, problem, hint).
        upserted_by: the column that tells the latest row of a key across dates, where the dataset is upserted; it
            does so within a date too.
    Raises: ContractError naming the key.
    """
    if value is None:
        return Deduplication(latest_by=upserted_by)
    if layer != "silver":
        raise refuse(_PLACE, f"{layer} has none", "bronze keeps every row as it came, and gold is made of silver: say it there")
    if not isinstance(value, dict) or not value or set(value) - {*_KEYS}:
        raise refuse(_PLACE, f"{value!r} says nothing of rows to drop", f"use the keys {', '.join(_KEYS)}")
    exact, latest_by, near = value.get("exact", False), value.get("latestBy"), value.get("near", [])
    if not isinstance(exact, bool):
        raise refuse(f"{_PLACE}.exact", f"{exact!r} is neither true nor false", "write true or false")
    if latest_by is not None and upserted_by is not None:
        raise refuse(f"{_PLACE}.latestBy", "the materialisation upsert says it already", "leave it out here")
    if exact or latest_by:
        comparable(columns, _PLACE, refuse)
    if latest_by is not None:
        latest(latest_by, f"{_PLACE}.latestBy", columns, key, refuse)
    if not isinstance(near, list):
        raise refuse(f"{_PLACE}.near", f"{near!r} is no list", "write [{column: …, similarity: 0.8}]")
    return Deduplication(exact, latest_by or upserted_by, tuple(_near(one, columns, refuse) for one in near))


def comparable(columns: Sequence[Column], place: str, refuse: Refuse) -> None:
    """See that whole rows can be compared. Raises: ContractError naming the columns that cannot."""
    if maps := sorted(column.name for column in columns if "map<" in column.type):
        raise refuse(place, f"maps cannot be compared: {', '.join(maps)}", "make it an array of structs, or drop nothing here")


def latest(name: Any, place: str, columns: Sequence[Column], key: Sequence[str], refuse: Refuse) -> str:
    """The column that tells which row of a key is the latest. Raises: ContractError if it can not."""
    names = sorted(column.name for column in columns)
    if name not in names:
        raise refuse(place, f"there is no column '{name}'", f"use one of {names}")
    if not key:
        raise refuse(place, "the dataset has no key", "mark its columns with `primaryKey: true`")
    if name in key:
        raise refuse(place, f"'{name}' is part of the key", "rows of one key are alike in it; use another")
    return str(name)


def _near(value: Any, columns: Sequence[Column], refuse: Refuse) -> Near:
    place = f"{_PLACE}.near"
    if not isinstance(value, dict) or set(value) - {"column", "similarity"}:
        raise refuse(place, f"{value!r} is no column to look at", "write {column: …, similarity: 0.8}")
    column = next((each for each in columns if each.name == value.get("column")), None)
    if column is None or column.type != "string":
        texts = [each.name for each in columns if each.type == "string"]
        raise refuse(f"{place}.column", f"'{value.get('column')}' is no column of text", f"use one of {texts}")
    if column.personal:
        raise refuse(f"{place}.column", f"'{column.name}' is personal", "its values would stand in the run's story: leave it out")
    similarity = value.get("similarity", SIMILARITY)
    if isinstance(similarity, bool) or not isinstance(similarity, int | float) or not 0.5 <= similarity <= 1:
        raise refuse(f"{place}.similarity", f"{similarity!r} is no similarity", "write a number from 0.5 to 1")
    return Near(column.name, float(similarity))

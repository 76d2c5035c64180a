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


def read(value: Any, layer: str, columns: Sequence[Column], key: Sequence[str], refuse: Refuse) -> Deduplication:
    """Read the property; absent, no row is dropped.

    Args:
        columns, key: the dataset's columns and the names of those in its primary key.
        refuse: makes the error from (place, problem, hint).
    Raises: ContractError naming the key.
    """
    if value is None:
        return Deduplication()
    if layer != "silver":
        raise refuse(_PLACE, f"{layer} has none", "bronze keeps every row as it came, and gold is made of silver: say it there")
    if not isinstance(value, dict) or not value or set(value) - {*_KEYS}:
        raise refuse(_PLACE, f"{value!r} says nothing of rows to drop", f"use the keys {', '.join(_KEYS)}")
    exact, latest_by, near = value.get("exact", False), value.get("latestBy"), value.get("near", [])
    if not isinstance(exact, bool):
        raise refuse(f"{_PLACE}.exact", f"{exact!r} is neither true nor false", "write true or false")
    types = {column.name: column.type for column in columns}
    if (exact or latest_by) and (maps := sorted(name for name, type_ in types.items() if "map<" in type_)):
        raise refuse(_PLACE, f"maps cannot be compared: {', '.join(maps)}", "make it an array of structs, or drop nothing here")
    if latest_by is not None:
        if latest_by not in types:
            raise refuse(f"{_PLACE}.latestBy", f"there is no column '{latest_by}'", f"use one of {sorted(types)}")
        if not key:
            raise refuse(f"{_PLACE}.latestBy", "the dataset has no key", "mark its columns with `primaryKey: true`")
        if latest_by in key:
            raise refuse(
                f"{_PLACE}.latestBy", f"'{latest_by}' is part of the key", "rows of one key are alike in it; use another"
            )
    if not isinstance(near, list):
        raise refuse(f"{_PLACE}.near", f"{near!r} is no list", "write [{column: …, similarity: 0.8}]")
    return Deduplication(exact, latest_by, tuple(_near(one, columns, refuse) for one in near))


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

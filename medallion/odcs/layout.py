"""How a dataset lies in its files, as its contract's custom property `layout` says it.

layout: {partitionedBy: [{column: customer_id, transform: bucket, argument: 8}], sortedBy: [customer_id], compactAbove: 8}
"""

from __future__ import annotations

from typing import Any, get_args

from medallion.contract import Layout, PartitionBy, PartitionTransform
from medallion.odcs.problems import Problems

_PLACE = "customProperties.layout"
_KEYS = ("partitionedBy", "sortedBy", "compactAbove")
_WITH_ARGUMENT = ("bucket", "truncate")


def read(value: Any, columns: list[str], problems: Problems) -> Layout:
    """Read the property; absent, the layout is the engine's own.

    Args:
        columns: the dataset's columns.
        problems: what is wrong with it is noted there.
    Raises: ContractError if it cannot be read at all.
    """
    if value is None:
        return Layout()
    if not isinstance(value, dict) or set(value) - {*_KEYS}:
        raise problems.refuse(_PLACE, f"{value!r} is no layout", f"use the keys {', '.join(_KEYS)}")
    partitions = value.get("partitionedBy", [])
    if not isinstance(partitions, list):
        raise problems.refuse(f"{_PLACE}.partitionedBy", f"{partitions!r} is no list", "write [{column: …, transform: …}]")
    sorted_by = value.get("sortedBy", [])
    if not isinstance(sorted_by, list) or any(column not in columns for column in sorted_by):
        problems.note(f"{_PLACE}.sortedBy", f"{sorted_by!r} are no columns of the schema", f"use some of {columns}")
        sorted_by = []
    above = value.get("compactAbove")
    if above is not None and (isinstance(above, bool) or not isinstance(above, int) or above < 1):
        problems.note(f"{_PLACE}.compactAbove", f"{above!r} is no number of files", "write a whole number from 1")
    by = []
    for number, one in enumerate(partitions):
        with problems.going_on():
            by.append(_partition(one, f"{_PLACE}.partitionedBy[{number}]", columns, problems))
    return Layout(tuple(by), tuple(sorted_by), above)


def _partition(value: Any, place: str, columns: list[str], problems: Problems) -> PartitionBy:
    if not isinstance(value, dict) or set(value) - {"column", "transform", "argument"}:
        raise problems.refuse(place, f"{value!r} is no partition", "write {column: …, transform: …}")
    column, transform, argument = value.get("column"), value.get("transform", "identity"), value.get("argument")
    if column not in columns:
        raise problems.refuse(place, f"there is no column '{column}'", f"use one of {columns}")
    if transform not in get_args(PartitionTransform):
        raise problems.refuse(place, f"transform '{transform}' is unknown", f"use one of {get_args(PartitionTransform)}")
    wants = transform in _WITH_ARGUMENT
    if wants != (isinstance(argument, int) and not isinstance(argument, bool) and argument > 0):
        hint = "bucket and truncate, and only they, take a number"
        raise problems.refuse(place, f"argument {argument!r} does not fit {transform}", hint)
    return PartitionBy(column, transform, argument)

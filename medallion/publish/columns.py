"""A published column: its name, and its type by Spark SQL's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medallion.errors import UsageError

if TYPE_CHECKING:
    from pyiceberg.schema import Schema

_FROM_ICEBERG = {
    "boolean": "boolean",
    "int": "int",
    "long": "bigint",
    "float": "float",
    "double": "double",
    "date": "date",
    "timestamp": "timestamp_ntz",
    "timestamptz": "timestamp",
    "string": "string",
    "binary": "binary",
}
_DECIMAL = re.compile(r"decimal\((\d+), ?(\d+)\)")
_SIZED = re.compile(r"(\w+)\((\d+),(\d+)\)")
_NESTED = ("list<", "map<", "struct<")


@dataclass(frozen=True)
class Column:
    """One column. `type` is one of boolean, int, bigint, float, double, decimal(p,s), date,
    timestamp (an instant), timestamp_ntz (a local time), string, binary, and json for what is
    nested in the lake (see `nested.py`)."""

    name: str
    type: str


def from_iceberg(dataset: str, schema: Schema) -> tuple[Column, ...]:
    """The columns of a table as the lake has it.

    Raises: UsageError naming a column whose type no warehouse column can hold as it is.
    """
    columns = []
    for field in schema.fields:
        text = str(field.field_type)
        decimal = _DECIMAL.fullmatch(text)
        type_ = f"decimal({decimal[1]},{decimal[2]})" if decimal else _FROM_ICEBERG.get(text)
        if type_ is None and text.startswith(_NESTED):
            type_ = "json"
        if type_ is None:
            raise not_published(dataset, f"column '{field.name}' is {text}")
        columns.append(Column(field.name, type_))
    names = [column.name.lower() for column in columns]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            f"{dataset}: columns {repeated} differ in upper and lower case only; the warehouse is unchanged",
            hint="rename one of them",
            dataset=dataset,
        )
    return tuple(columns)


def wider(there: str, now: str) -> bool:
    """Whether a warehouse's column of the one type becomes one of the other by more digits before the point."""
    old, new = _SIZED.fullmatch(there), _SIZED.fullmatch(now)
    return bool(old and new and (old[1], old[3]) == (new[1], new[3]) and int(old[2]) < int(new[2]))


def not_published(dataset: str, why: str) -> UsageError:
    """A dataset has a column that cannot be published as it is."""
    return UsageError(
        f"{dataset}: {why}, which is not published; the warehouse is unchanged",
        hint="change it in the gold transform, or set `published: false` in its contract",
        dataset=dataset,
    )

"""How a table's schema may change: columns are added and types widened; what would break readers is refused.

Compared are paths: `address`, `address.city`, `tags.element`, `prices.key`, `prices.value`. The order of
columns is no part of it, since all engines find them by name. What widens is what Iceberg calls type
promotion (https://iceberg.apache.org/spec/#schema-evolution).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pyiceberg.schema import Schema
from pyiceberg.table import StaticTable
from pyiceberg.types import DecimalType, IcebergType, ListType, MapType, NestedField, StructType

from medallion.contract import Contract
from medallion.errors import BreakingSchema
from medallion.lakehouse.table import iceberg_type

Kind = Literal["added", "widened", "gone", "retyped"]
_NAMES = {"long": "bigint", "timestamptz": "timestamp", "timestamp": "timestamp_ntz"}
_WIDER = {("int", "bigint"), ("float", "double")}
_SAID: dict[str, str] = {"added": "added", "widened": "widened", "gone": "GONE", "retyped": "ANOTHER TYPE"}


@dataclass(frozen=True)
class Difference:
    """One column, or one field within a column, that differs; `old` and `new` are types by Spark SQL's names,
    None where it is not there. `after` is the field before an added one, None if it is the first."""

    path: str
    kind: Kind
    old: str | None
    new: str | None
    after: str | None = None

    @property
    def breaks(self) -> bool:
        """Whether readers of the old schema would break."""
        return self.kind in ("gone", "retyped")

    @property
    def text(self) -> str:
        """`amount: int → bigint`, `city: added, string`, `city: gone, was string`."""
        if self.old is None:
            return f"{self.path}: added, {self.new}"
        return f"{self.path}: gone, was {self.old}" if self.new is None else f"{self.path}: {self.old} → {self.new}"


def spark_name(type_: IcebergType) -> str:
    """Spark SQL's name of an Iceberg type."""
    if isinstance(type_, ListType):
        return f"array<{spark_name(type_.element_type)}>"
    if isinstance(type_, MapType):
        return f"map<{spark_name(type_.key_type)},{spark_name(type_.value_type)}>"
    if isinstance(type_, StructType):
        return f"struct<{','.join(f'{f.name}:{spark_name(f.field_type)}' for f in type_.fields)}>"
    if isinstance(type_, DecimalType):
        return f"decimal({type_.precision},{type_.scale})"
    return _NAMES.get(str(type_), str(type_))


def of_contract(contract: Contract) -> tuple[NestedField, ...]:
    """The columns that a contract asks for, as Iceberg has them; the ids mean nothing."""
    ids = iter(range(1, 10_000))
    return tuple(NestedField(next(ids), n, iceberg_type(t, ids), required=False) for n, t in contract.schema().items())


def differences(old: Sequence[NestedField], new: Sequence[NestedField]) -> list[Difference]:
    """What differs between two lists of columns: the new one's columns in its order, then what is gone."""
    return _fields("", old, new)


def changes(table: StaticTable, contract: Contract) -> list[Difference]:
    """What has to be done to a table so that it is as its contract says.

    Raises: BreakingSchema, with both sides side by side, if that would break readers.
    """
    wanted = of_contract(contract)
    found = differences(table.schema().fields, wanted)
    if breaking := [one for one in found if one.breaks]:
        first = breaking[0]
        raise BreakingSchema(
            f"{contract.path}: column '{first.path}' is {first.old} in the table and {first.new or 'nothing'} in the contract\n"
            + side_by_side(table.schema().fields, wanted, ("the table", "the contract")),
            hint=f"that breaks readers: give the new shape a dataset of a new name, as in {contract.name}_v2, or undo the change",
            dataset=contract.dataset,
        )
    return found


def statements(table: str, found: Sequence[Difference]) -> list[str]:
    """Spark SQL that adds and widens. Args: table: its name in full; found: differences that do not break."""
    added = [f"{_quoted(one.path)} {one.new} {f'AFTER `{one.after}`' if one.after else 'FIRST'}" for one in found if not one.old]
    widened = [f"ALTER TABLE {table} ALTER COLUMN {_quoted(one.path)} TYPE {one.new}" for one in found if one.kind == "widened"]
    return [*(f"ALTER TABLE {table} ADD COLUMNS ({column})" for column in added), *widened]


def side_by_side(old: Sequence[NestedField], new: Sequence[NestedField], heads: tuple[str, str]) -> str:
    """Old and new types of every column as a table in text, what differs is named."""
    before, after = ({field.name: spark_name(field.field_type) for field in fields} for fields in (old, new))
    told: dict[str, str] = {}
    for one in differences(old, new):
        inner = "" if one.path in {**before, **after} else f"{one.path} "
        column = one.path.split(".")[0]
        told[column] = "; ".join(filter(None, (told.get(column), inner + _SAID[one.kind])))
    rows = [("column", *heads, "")]
    rows += [(name, before.get(name, "-"), after.get(name, "-"), told.get(name, "")) for name in {**after, **before}]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"  {' | '.join(f'{row[i]:<{widths[i]}}' for i in range(3))}  {row[3]}" for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def columns(schema: Schema) -> dict[str, str]:
    """The columns of a schema: name -> type."""
    return {field.name: spark_name(field.field_type) for field in schema.fields}


def _fields(path: str, old: Sequence[NestedField], new: Sequence[NestedField]) -> list[Difference]:
    there: Mapping[str, NestedField] = {field.name: field for field in old}
    found: list[Difference] = []
    before: str | None = None
    for field in new:
        place = f"{path}{field.name}"
        if field.name in there:
            found += _types(place, there[field.name].field_type, field.field_type)
        else:
            found.append(Difference(place, "added", None, spark_name(field.field_type), before))
        before = field.name
    wanted = {field.name for field in new}
    gone = [field for field in old if field.name not in wanted]
    return found + [Difference(f"{path}{field.name}", "gone", spark_name(field.field_type), None) for field in gone]


def _types(path: str, old: IcebergType, new: IcebergType) -> list[Difference]:
    if isinstance(old, StructType) and isinstance(new, StructType):
        return _fields(f"{path}.", old.fields, new.fields)
    if isinstance(old, ListType) and isinstance(new, ListType):
        return _types(f"{path}.element", old.element_type, new.element_type)
    if isinstance(old, MapType) and isinstance(new, MapType):
        keys = _types(f"{path}.key", old.key_type, new.key_type)  # a map's key cannot change
        here = [Difference(path, "retyped", spark_name(old), spark_name(new))] if keys else []
        return here or _types(f"{path}.value", old.value_type, new.value_type)
    was, now = spark_name(old), spark_name(new)
    if was == now:
        return []
    return [Difference(path, "widened" if _widens(was, now) else "retyped", was, now)]


def _widens(old: str, new: str) -> bool:
    sizes = [re.fullmatch(r"decimal\((\d+),(\d+)\)", name) for name in (old, new)]
    if sizes[0] and sizes[1]:
        return sizes[0][2] == sizes[1][2] and int(sizes[0][1]) < int(sizes[1][1])
    return (old, new) in _WIDER


def _quoted(path: str) -> str:
    return ".".join(f"`{part}`" for part in path.split("."))

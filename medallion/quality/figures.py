"""What a file's figures say of its columns: null and NaN counts and bounds, as its manifest keeps them.

A condition (see `conditions`) has over them a set of possible outcomes: true, false, null; always at
least those that the file's rows have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType, PrimitiveType

Outcomes = frozenset[bool | None]
_ENUMERATED = 10_000
"""So many whole numbers between two bounds are looked for among literals one by one."""


@dataclass(frozen=True)
class Range:
    """What is known of some values: none is below `low` or above `high` (None: not known; both leave NaN
    out); whether there may be `nulls`, `nans`, and `values` that are neither."""

    low: Any = None
    high: Any = None
    nulls: bool = True
    nans: bool = True
    values: bool = True


Truth = Callable[[Mapping[str, Range]], Outcomes]
"""A condition's possible outcomes, by what is known of its columns."""


def ranges(file: DataFile, schema: Schema, columns: Iterable[str]) -> dict[str, Range]:
    """What a file's figures say of its columns. What they leave out is not known."""
    return {name: _range(file, schema, name) for name in columns}


def _range(file: DataFile, schema: Schema, name: str) -> Range:
    field = schema.find_field(name)
    nulls, nans = (file.null_value_counts or {}).get(field.field_id), (file.nan_value_counts or {}).get(field.field_id)
    if not isinstance(field.field_type, FloatType | DoubleType):
        nans = 0
    low, high = (
        _bound((bounds or {}).get(field.field_id), field.field_type) for bounds in (file.lower_bounds, file.upper_bounds)
    )
    some = nulls is None or nans is None or nulls + nans < file.record_count
    return Range(low, high, nulls is None or nulls > 0, nans is None or nans > 0, some)


def _bound(data: bytes | None, type_: Any) -> Any:
    if data is None or not isinstance(type_, PrimitiveType):
        return None
    value: Any = from_bytes(type_, data)
    if isinstance(value, str):
        return value.encode()  # Spark compares texts byte by byte
    return value if isinstance(value, bool | int | Decimal) or (isinstance(value, float) and value == value) else None


# ── outcomes ──────────────────────────────────────────────────────────────────────────────────────
def joined(left: Truth, right: Truth, join: Callable[[bool | None, bool | None], bool | None]) -> Truth:
    return lambda known: frozenset(join(a, b) for a, b in product(left(known), right(known)))


def both(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def either(a: bool | None, b: bool | None) -> bool | None:
    return True if a is True or b is True else None if a is None or b is None else False


def opposite(of: Truth) -> Truth:
    return lambda known: frozenset(None if outcome is None else not outcome for outcome in of(known))


def relations(a: Range, b: Range) -> str:
    """How values of one range may stand to those of another: `l`ess, `e`qual, `g`reater. In Spark NaN is
    equal to itself and greater than every other number."""
    found = ("g" if a.nans and b.values else "") + ("l" if a.values and b.nans else "") + ("e" if a.nans and b.nans else "")
    if not (a.values and b.values):
        return found
    found += "" if _at_least(a.low, b.high) else "l"
    found += "" if _at_least(b.low, a.high) else "g"
    return found + ("" if _above(a.low, b.high) or _above(b.low, a.high) else "e")


def _at_least(low: Any, high: Any) -> bool:
    return low is not None and high is not None and bool(low >= high)


def _above(low: Any, high: Any) -> bool:
    return low is not None and high is not None and bool(low > high)


def in_outcomes(found: Range, literals: set[Any], counted: bool) -> Outcomes:
    """The outcomes of values of a range being one of some literals; `counted` is whether they are whole numbers."""
    outcomes: set[bool | None] = {None} if found.nulls else set()
    if found.values and any(not _above(found.low, one) and not _above(one, found.high) for one in literals):
        outcomes.add(True)
    if found.nans or (found.values and not _covers(found, literals, counted)):
        outcomes.add(False)
    return frozenset(outcomes)


def _covers(found: Range, literals: set[Any], counted: bool) -> bool:
    """Whether every value of a range is one of the literals."""
    if found.low is None or found.high is None:
        return False
    if found.low == found.high:
        return found.low in literals
    return counted and found.high - found.low <= _ENUMERATED and all(n in literals for n in range(found.low, found.high + 1))

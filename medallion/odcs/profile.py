"""What the values of a table look like: types, ranges, sets, shapes, and columns that could be its key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SET_SIZE = 20
"""A text of at most so many distinct values, each ten times there on average, is proposed as a set."""
_SHAPES = (
    "^[0-9]+$", "^[A-Z]+$", "^[a-z]+$", "^[A-Z0-9]+$", "^[A-Za-z]+$", "^[A-Za-z0-9]+$", "^[A-Za-z0-9_-]+$",
    r"^[^@\s]+@[^@\s]+\.[^@\s]+$", r"^https?://\S+$", r"^[A-Za-z0-9_.:/-]+$",
)  # fmt: skip
_DATES = {"%m/%d/%Y": "month/day/year", "%d/%m/%Y": "day/month/year", "%d.%m.%Y": "day.month.year", "%Y%m%d": "yyyymmdd"}
_SCALE = 6
"""Numbers with more digits behind the point are measured or computed, so doubles."""
_INTEGER = "^[+-]?(0|[1-9][0-9]{0,17})$"
_DECIMAL = r"^[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_FLOAT = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_ISO_DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ISO_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
_MARKS = ("NA", "N/A", "n/a", "null", "NULL", "None", "nan", "NaN", "-", "--", "?", ".", "\\N")
_KEY_COLUMNS = 8
_KEY_TYPES = ("string", "int", "bigint", "date", "timestamp", "timestamp_ntz")


@dataclass(frozen=True)
class Profile:
    """One column. `type` by Spark SQL's name; `nulls` counts empty texts too, where text is to be typed;
    `low` and `high` are of numbers and dates; `values` all distinct texts, if they are few; `shape` a pattern
    that all texts have; `note` what a reader should know."""

    source: str
    type: str
    rows: int
    nulls: int
    distinct: int
    low: Any = None
    high: Any = None
    lengths: tuple[int, int] | None = None
    values: tuple[str, ...] = ()
    shape: str | None = None
    note: str = ""

    @property
    def unique(self) -> bool:
        return self.nulls == 0 and self.distinct == self.rows


@dataclass(frozen=True)
class Profiles:
    """All columns of a table, and the smallest sets of columns that no two of its rows share, best first.
    `null_text` stands for what is missing."""

    rows: int
    columns: tuple[Profile, ...]
    keys: tuple[tuple[str, ...], ...] = field(default=())
    null_text: str = ""


def profile(table: pa.Table, *, typed_from_text: bool) -> Profiles:
    """Look at every column.

    Args:
        typed_from_text: whether texts are to be given the type that all of them parse as, and empty ones
            are taken as missing; else text stays text.
    """
    import duckdb

    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        types = {name: spark_type(table.schema.field(name).type) for name in table.column_names}
        engine.register("given", table)
        as_text = [f"CAST({quoted(n)} AS VARCHAR) AS {quoted(n)}" if t == "string" else quoted(n) for n, t in types.items()]
        engine.execute(f"CREATE TABLE data AS SELECT {', '.join(as_text)} FROM given")
        missing = _null_text(engine, [name for name, type_ in types.items() if type_ == "string"])
        columns = tuple(
            _column(engine, name, type_, table.num_rows, missing if typed_from_text else None) for name, type_ in types.items()
        )
        return Profiles(table.num_rows, columns, _keys(engine, columns, table.num_rows), missing)


def spark_type(type_: pa.DataType) -> str:
    """Spark SQL's name of an Arrow type; what has none is text."""
    import pyarrow.types as kinds

    for is_kind, name in (
        (kinds.is_boolean, "boolean"), (kinds.is_int64, "bigint"), (kinds.is_uint32, "bigint"),
        (kinds.is_uint64, "decimal(20,0)"),
        (kinds.is_integer, "int"), (kinds.is_float64, "double"), (kinds.is_floating, "float"), (kinds.is_date, "date"),
    ):  # fmt: skip
        if is_kind(type_):
            return name
    if kinds.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    if kinds.is_timestamp(type_):
        return "timestamp" if type_.tz else "timestamp_ntz"
    if kinds.is_binary(type_) or kinds.is_large_binary(type_):
        return "binary"
    if kinds.is_list(type_) or kinds.is_large_list(type_):
        return f"array<{spark_type(type_.value_type)}>"
    if kinds.is_map(type_):
        return f"map<{spark_type(type_.key_type)},{spark_type(type_.item_type)}>"
    if kinds.is_struct(type_):
        return f"struct<{','.join(f'{type_.field(i).name}:{spark_type(type_.field(i).type)}' for i in range(type_.num_fields))}>"
    return "string"


def _null_text(engine: duckdb.DuckDBPyConnection, texts: Sequence[str]) -> str:
    """What stands for a missing value: a mark in a column whose other values are all numbers or dates; else ''."""
    for mark in _MARKS:
        for value in map(quoted, texts):
            others = f"CASE WHEN {value} NOT IN ('', '{mark}') THEN {value} END"
            fits = " OR ".join(_all(others, pattern) for pattern in (_FLOAT, _ISO_DATE, _ISO_TIME))
            if _one(engine, f"coalesce(bool_or({value} = '{mark}'), false) AND ({fits})")[0]:
                return mark
    return ""


def _column(engine: duckdb.DuckDBPyConnection, name: str, type_: str, rows: int, missing: str | None) -> Profile:
    """`missing`: the text that stands for a missing value, beside the empty one; None: text stays as it is."""
    raw, from_text = quoted(name), missing is not None
    value = f"nullif(nullif(CAST({raw} AS VARCHAR), ''), '{missing}')" if type_ == "string" and from_text else raw
    if "<" in type_ or type_ == "binary":
        (nulls,) = _one(engine, f"count(*) - count({raw})")
        return Profile(name, type_, rows, nulls, 0)
    note = ""
    if type_ == "string" and from_text:
        type_, value, note = _typed(engine, value)
    nulls, distinct = _one(engine, f"count(*) - count({value}), count(DISTINCT {value})")
    if type_ != "string":
        low, high = _one(engine, f"min({value}), max({value})") if type_ != "boolean" else (None, None)
        return Profile(name, type_, rows, nulls, distinct, low, high, note=note)
    shortest, longest = _one(engine, f"min(length({value})), max(length({value}))")
    values: tuple[str, ...] = ()
    if 0 < distinct <= SET_SIZE and rows - nulls >= 10 * distinct:
        found = engine.execute(f"SELECT DISTINCT {value} FROM data WHERE {value} IS NOT NULL ORDER BY 1").fetchall()
        values = tuple(str(one) for (one,) in found)
    held = _one(engine, ", ".join(_all(value, shape) for shape in _SHAPES))
    shape = next((shape for shape, holds in zip(_SHAPES, held, strict=True) if holds), None) if distinct >= 3 else None
    if shape and shape.endswith("]+$") and shortest == longest and distinct >= 20:
        shape = f"{shape.removesuffix('+$')}{{{longest}}}$"
    lengths = None if shortest is None else (shortest, longest)
    return Profile(name, type_, rows, nulls, distinct, lengths=lengths, values=values, shape=shape, note=note)


def _typed(engine: duckdb.DuckDBPyConnection, value: str) -> tuple[str, str, str]:
    """(type, SQL of the typed value, note) of a text column: the narrowest type that every value parses as."""
    checks = {
        "integer": _all(value, _INTEGER), "decimal": _all(value, _DECIMAL), "float": _all(value, _FLOAT),
        "date": f"{_all(value, _ISO_DATE)} AND count({value}) = count(TRY_CAST({value} AS DATE))",
        "timestamp": f"{_all(value, _ISO_TIME)} AND count({value}) = count(TRY_CAST({value} AS TIMESTAMPTZ))",
        "zone": f"bool_or(regexp_matches({value}, '(Z|[+-][0-9]{{2}}:?[0-9]{{2}})$'))",
        "boolean": f"coalesce(bool_and(lower({value}) IN ('true', 'false')), false)",
        "whole": f"max(length(regexp_extract({value}, '^[+-]?([0-9]+)', 1)))",
        "scale": f"max(length(regexp_extract({value}, '\\.([0-9]+)$', 1)))",
    }  # fmt: skip
    told = dict(zip(checks, _one(engine, ", ".join(checks.values())), strict=True))
    if told["integer"]:
        return "bigint", f"CAST({value} AS BIGINT)", ""
    if told["decimal"] and told["scale"] and told["scale"] <= _SCALE and told["whole"] + told["scale"] <= 18:
        type_ = f"decimal({max(told['whole'] + told['scale'] + 2, 10)},{told['scale']})"
        return type_, f"CAST({value} AS {type_})", ""
    if told["float"] and not _one(engine, f"bool_or(regexp_matches({value}, '^[+-]?0[0-9]'))")[0]:
        return "double", f"CAST({value} AS DOUBLE)", ""
    if told["date"]:
        return "date", f"CAST({value} AS DATE)", ""
    if told["timestamp"]:
        return ("timestamp", f"CAST({value} AS TIMESTAMPTZ)", "") if told["zone"] else (
            "timestamp_ntz", f"CAST({value} AS TIMESTAMP)", "")  # fmt: skip
    if told["boolean"]:
        return "boolean", f"CAST({value} AS BOOLEAN)", ""
    fits = [
        form
        for form in _DATES
        if _one(engine, f"count({value}) > 0 AND count({value}) = count(try_strptime({value}, '{form}'))")[0]
    ]
    if len(fits) == 1:
        return "date", f"CAST(strptime({value}, '{fits[0]}') AS DATE)", f"Delivered as {_DATES[fits[0]]}."
    if fits:
        return "string", value, f"Dates, either {' or '.join(_DATES[form] for form in fits)}: find out, and make it a date."
    return "string", value, ""


def _all(value: str, pattern: str) -> str:
    return f"coalesce(bool_and(regexp_full_match({value}, '{pattern}')), false)"


def _one(engine: duckdb.DuckDBPyConnection, columns: str) -> tuple[Any, ...]:
    return tuple(engine.execute(f"SELECT {columns} FROM data").fetchall()[0])


def _keys(engine: duckdb.DuckDBPyConnection, columns: Sequence[Profile], rows: int) -> tuple[tuple[str, ...], ...]:
    """Single columns that are unique; only if there is none pairs, only then threes: so each is minimal."""
    able = [c for c in columns if c.nulls == 0 and c.type in _KEY_TYPES and c.distinct > 1]
    singles = [c for c in able if c.unique and (c.lengths is None or c.lengths[1] <= 64)]
    if singles:
        return tuple((c.source,) for c in sorted(singles, key=lambda c: (not _called_key(c.source), columns.index(c))))
    chosen = sorted(able, key=lambda c: (not _called_key(c.source), -c.distinct))[:_KEY_COLUMNS]
    for size in (2, 3):
        found = []
        for some in combinations(sorted(chosen, key=columns.index), size):
            names = ", ".join(quoted(c.source) for c in some)
            if _product(some) >= rows and _one(engine, f"count(DISTINCT ({names}))")[0] == rows:
                found.append(tuple(c.source for c in some))
        if found:
            return tuple(sorted(found, key=lambda names: -sum(map(_called_key, names))))
    return ()


def _product(some: Sequence[Profile]) -> int:
    found = 1
    for column in some:
        found *= column.distinct
    return found


def _called_key(name: str) -> bool:
    return bool(
        re.search(r"(^|_)(id|key|code|no|nr|number|num|uuid|isbn|sku)$", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    )


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'

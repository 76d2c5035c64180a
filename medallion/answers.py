"""Rows of an answer: as JSON for programs, as a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table as RichTable


def to_json(table: pa.Table) -> str:
    """Rows as one JSON array of objects, and nothing else. Columns of Arrow's type `json` are JSON in it.

    Dates and times are ISO 8601, an instant with its offset. Whole numbers of any size are numbers;
    decimals with a fraction are texts, for most readers would make doubles of them; so are NaN
    and infinities, which JSON lacks. Bytes are hexadecimal.
    """
    names = _unique(table.column_names)
    rows = _in_microseconds(table.rename_columns(names)).to_pylist()
    documents = {name for name, field in zip(names, table.schema, strict=True) if str(field.type) == "extension<arrow.json>"}
    for row in rows:
        row.update({name: json.loads(row[name], parse_float=Decimal) for name in documents if row[name] is not None})
    plain = [{name: _plain(row[name]) for name in names} for row in rows]
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def to_rich(table: pa.Table, limit: int = 200) -> RichTable:
    """Rows for a person at a terminal; at most `limit` of them, and a last line that says so."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    shown = Table(header_style="bold")
    names = _unique(table.column_names)
    for name, field in zip(names, table.schema, strict=True):
        numeric = str(field.type).startswith(("int", "uint", "float", "double", "decimal"))
        shown.add_column(escape(name), justify="right" if numeric else "left")
    for row in _in_microseconds(table.rename_columns(names).slice(0, limit)).to_pylist():
        shown.add_row(*(Text("null", style="dim") if row[name] is None else Text(_shown(row[name])) for name in names))
    more = table.num_rows - limit
    shown.caption = f"{table.num_rows} rows" + (f", {more} of them not shown (--json shows all)" if more > 0 else "")
    return shown


def _in_microseconds(table: pa.Table) -> pa.Table:
    """Python's instants and times end at microseconds: those with nanoseconds become text."""
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        if str(field.type).startswith(("timestamp[ns", "time64[ns")):
            finer = table.column(i)
            try:
                coarser = finer.cast(pa.timestamp("us", field.type.tz) if pa.types.is_timestamp(field.type) else pa.time64("us"))
            except pa.ArrowInvalid:
                texts = finer.cast(pa.string()).to_pylist()
                coarser = pa.array([text and text.replace(" ", "T") for text in texts])
            table = table.set_column(i, field.name, coarser)
    return table


def _shown(value: Any) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _unique(names: list[str]) -> list[str]:
    """The same names, those that came before with a number behind them."""
    unique: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in unique:
            candidate, number = f"{name}_{number}", number + 1
        unique.append(candidate)
    return unique


_PLAIN: dict[type, Callable[[Any], Any]] = {
    datetime: lambda v: v.isoformat(),
    date: lambda v: v.isoformat(),
    time: lambda v: v.isoformat(),
    bytes: lambda v: v.hex(),
    Decimal: lambda v: int(v) if v == v.to_integral_value() and v.as_tuple().exponent == 0 else str(v),
    float: lambda v: v if math.isfinite(v) else str(v).replace("inf", "Infinity").replace("nan", "NaN"),
    dict: lambda v: {key: _plain(each) for key, each in v.items()},
    list: lambda v: [_plain(each) for each in v],
    tuple: lambda v: [_plain(each) for each in v],
}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    for type_, convert in _PLAIN.items():
        if isinstance(value, type_):
            return convert(value)
    return str(value)

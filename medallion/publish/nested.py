"""Lists, structs and maps as JSON, the one form in which lake and warehouse can both hold them.

A struct and a map are an object, a list is an array. Numbers are exact; NaN and infinities, which
JSON lacks, are texts, and so are dates and times (ISO 8601), bytes (hexadecimal) and a map's keys.
The text is canonical: keys sorted, numbers without exponent and trailing zeros, no negative zero,
because PostgreSQL's JSONB keeps neither order nor that sign. So equal values are equal texts.
Snowflake's VARIANT keeps 38 digits of a number exactly, as the lake's widest decimal has; a number that
needs more is a double there, as it was in the lake, and so is the text of the double nearest to it.
"""

from __future__ import annotations

import decimal
import json
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medallion.publish.columns import Column

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT = decimal.Context(prec=1500)  # more digits than the largest double has
_DIGITS = 38
_BATCH_ROWS = 131_072


def names_of(columns: Sequence[Column]) -> frozenset[str]:
    """The names, in lower case, of those columns that are kept as JSON."""
    return frozenset(column.name.lower() for column in columns if column.type == "json")


def from_files(paths: Sequence[Path], columns: Sequence[Column]) -> pa.RecordBatchReader:
    """Rows of Parquet files, those columns that are kept as JSON as their canonical texts."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    chosen = names_of(columns)
    files = ds.dataset([str(path) for path in paths], format="parquet")
    schema = pa.schema([pa.field(f.name, pa.string()) if f.name.lower() in chosen else f for f in files.schema])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in files.to_batches():
            arrays = [
                texts(each) if field.name.lower() in chosen else each
                for field, each in zip(files.schema, batch.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def write(paths: Sequence[Path], columns: Sequence[Column], target: Path) -> None:
    """Write the rows of Parquet files (at least one) into one file, as `from_files` gives them."""
    import pyarrow.parquet as pq

    with from_files(paths, columns) as reader, pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch, row_group_size=_BATCH_ROWS)


def from_table(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """The same table, those columns that are kept as JSON as their canonical texts."""
    chosen = names_of(columns)
    for number, name in enumerate(table.column_names):
        if name.lower() in chosen:
            table = table.set_column(number, name, texts(table.column(number)))
    return table


def texts(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Canonical JSON of nested values, or of JSON that a warehouse gives as text; null stays null."""
    import pyarrow as pa

    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    plain = (_parse(value) if is_text else _plain(value, values.type) for value in values.to_pylist())
    return pa.array([None if value is None else _text(value) for value in plain], pa.string())


class _Null:
    """JSON's own null, where it is a whole value: not the absence of one."""


def _parse(text: str | None) -> Any:
    if text is None:
        return None
    value = json.loads(text, parse_float=Decimal)
    return _Null() if value is None else value


def _plain(value: Any, type_: pa.DataType) -> Any:
    """A value of an Arrow type as JSON has it; numbers as they are."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_struct(type_):
        return {field.name: _plain(value[field.name], field.type) for field in type_}
    if pa.types.is_map(type_):
        return {_key(key, type_.key_type): _plain(each, type_.item_type) for key, each in value}
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return [_plain(each, type_.value_type) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value).replace("inf", "Infinity").replace("nan", "NaN")
        return Decimal(repr(value))
    return value if isinstance(value, bool | int | str | Decimal) else str(value)


def _key(value: Any, type_: pa.DataType) -> str:
    plain = _plain(value, type_)
    return plain if isinstance(plain, str) else _text(plain)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(key)}:{_text(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, Decimal):
        return "0" if value == 0 else _number(value)
    return "null" if isinstance(value, _Null) else json.dumps(value, ensure_ascii=False)


def _number(value: Decimal) -> str:
    text = format(value.normalize(_EXACT), "f")
    if sum(each.isdigit() for each in text) <= _DIGITS:
        return text
    return format(Decimal(repr(float(value))).normalize(_EXACT), "f")

"""Rows extracted from a database or a table, kept as Parquet with their types."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from medallion.contract import Contract
from medallion.errors import SchemaViolation
from medallion.lakehouse.history import Delivered
from medallion.sources.arrival import EXTRA, Arrival, arrived, refuse

_ARROW = {
    "string": pa.string(), "tinyint": pa.int32(), "smallint": pa.int32(), "int": pa.int32(), "bigint": pa.int64(),
    "float": pa.float32(), "double": pa.float64(), "boolean": pa.bool_(), "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"), "timestamp_ntz": pa.timestamp("us"), "binary": pa.binary(),
}  # fmt: skip


def parse(contract: Contract, delivered: Delivered, data: bytes) -> Arrival:
    """Read a Parquet file. Raises: InputError for what is no Parquet file, or has no row; SchemaViolation for one that
    lost a column, or has one whose values do not fit the contract's type."""
    try:
        rows = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise refuse(contract, delivered, f"is no Parquet file: {error}") from error
    wanted = [column.source for column in contract.columns]
    extra = tuple(name for name in rows.column_names if name not in wanted)
    if lost := [name for name in wanted if name not in rows.column_names]:
        raise refuse(contract, delivered, f"lacks the columns {', '.join(map(repr, lost))}", SchemaViolation)
    if rows.num_rows == 0:
        raise refuse(contract, delivered, "has no row")
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for column in contract.columns:
        found = rows[column.source]
        try:
            columns[column.name] = found.cast(arrow_type(column.type) or found.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            problem = f"column '{column.source}' is {found.type}, not {column.type}: {error}"
            raise refuse(contract, delivered, problem, SchemaViolation) from error
    values = zip(*(_text(rows[name]) for name in extra), strict=True)
    extras = [list(zip(extra, row, strict=True)) for row in values]
    columns["_source_row"] = pa.array(range(1, rows.num_rows + 1), pa.int64())
    columns["_extra"] = pa.array(extras, EXTRA) if extra else pa.nulls(rows.num_rows, EXTRA)
    return arrived(contract, delivered, pa.table(columns), extra, {})


def _text(column: pa.ChunkedArray) -> list[str | None]:
    try:
        return list(column.cast(pa.string()).to_pylist())
    except pa.ArrowNotImplementedError:  # lists and structs
        return [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]


def arrow_type(name: str) -> pa.DataType | None:
    """Spark SQL's name of a simple type as Arrow's; None for lists, maps and structs, which are kept as they come."""
    if name.startswith("decimal("):
        precision, scale = name.removeprefix("decimal(").rstrip(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return _ARROW.get(name)


def to_bytes(rows: pa.Table) -> bytes:
    """Rows as a Parquet file (zstd); the same rows in the same order give the same bytes."""
    into = io.BytesIO()
    pq.write_table(rows.combine_chunks(), into, compression="zstd", store_schema=False)
    return into.getvalue()

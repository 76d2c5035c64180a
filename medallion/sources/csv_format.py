"""CSV (RFC 4180, UTF-8, with a header), every column as text."""

from __future__ import annotations

import csv

import pyarrow as pa
import pyarrow.csv as pc

from medallion.contract import Contract
from medallion.errors import SchemaViolation
from medallion.lakehouse.history import Delivered
from medallion.sources.arrival import EXTRA, Arrival, arrived, refuse

_END = "\x04 end of the file \x04"


def parse(contract: Contract, delivered: Delivered, data: bytes) -> Arrival:
    """Read a CSV file.

    Raises: SchemaViolation for a header that lost, doubled or renamed a column; InputError for an empty file, bytes
        that are not UTF-8 (with the line), or a quote that is never closed.
    """
    if not data.strip():
        raise refuse(contract, delivered, "the file is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.start + len(data) - len(error.object)  # a byte order mark is cut off before
        line = data.count(b"\n", 0, byte) + 1
        raise refuse(contract, delivered, f"line {line} is not UTF-8 (byte {byte}: 0x{data[byte]:02x})") from error
    try:
        header = next(csv.reader(text.splitlines()[:1], strict=True))
    except (csv.Error, StopIteration) as error:
        raise refuse(contract, delivered, f"line 1 is no header: {error}", SchemaViolation) from error
    wanted = [column.source for column in contract.columns]
    lost = [name for name in wanted if name not in header]
    extra = [name for name in header if name not in wanted]
    if lost:
        also = f"; it has {', '.join(map(repr, extra))} instead" if extra else ""
        raise refuse(contract, delivered, f"the header lacks {', '.join(map(repr, lost))}{also}", SchemaViolation)
    if doubled := sorted({name for name in header if header.count(name) > 1}):
        raise refuse(contract, delivered, f"the header has {', '.join(map(repr, doubled))} twice", SchemaViolation)
    malformed: dict[int, str] = {}

    def keep(row: pc.InvalidRow) -> str:
        malformed[(row.number or 0) - 1] = row.text  # its number counts the header as 1
        return "skip"

    ended = f"{text}\n{','.join([_END] * len(header))}\n".encode()
    try:
        rows = pc.read_csv(
            pa.py_buffer(ended),
            read_options=pc.ReadOptions(use_threads=False, block_size=max(1 << 20, len(ended) + 1)),
            parse_options=pc.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        raise refuse(contract, delivered, f"cannot be read as CSV: {error}") from error
    if rows.num_rows == 0 or rows[0][-1].as_py() != _END:  # the end was swallowed as part of a value
        raise refuse(contract, delivered, f"data row {rows.num_rows + len(malformed)} opens a quote that is never closed")
    rows = rows.slice(0, rows.num_rows - 1)
    if rows.num_rows + len(malformed) == 0:
        raise refuse(contract, delivered, "the file has a header and no row")
    positions = [n for n in range(1, rows.num_rows + len(malformed) + 1) if n not in malformed]
    extras = [list(zip(extra, values, strict=True)) for values in zip(*(rows[name].to_pylist() for name in extra), strict=True)]
    good = pa.table(
        {column.name: rows[column.source].combine_chunks().cast(pa.string()) for column in contract.columns}
        | {
            "_source_row": pa.array(positions, pa.int64()),
            "_extra": pa.array(extras, EXTRA) if extra else pa.nulls(rows.num_rows, EXTRA),
        }
    )
    return arrived(contract, delivered, good, tuple(extra), malformed)

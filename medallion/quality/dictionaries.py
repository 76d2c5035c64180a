"""The distinct values of a column, from the dictionaries of its Parquet files.

A column of few values is written as a dictionary and references to it. Where every page of a file is
(Iceberg's Spark writer makes pages of version 1, in which PLAIN stands for a page that is not), the
dictionary is all that the column says, and a rule on that column alone is decided by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile

if TYPE_CHECKING:
    from pyarrow.parquet import ColumnChunkMetaData, FileMetaData

FEW = 10_000
"""More distinct values than that are not looked at one by one."""
_ENCODINGS = {"PLAIN_DICTIONARY", "RLE", "BIT_PACKED"}
_BUFFER = 1 << 16
_AT_ONCE = 8
"""So many files are read at the same time: it is waiting for the store, mostly."""


def distinct(io: FileIO, files: Iterable[DataFile], columns: Collection[str]) -> dict[str, pa.Array]:
    """The distinct values of columns in some files, without null; columns of which this does not tell are left out.

    A superset: a dictionary may hold what no row refers to. Raises: OSError if a file cannot be read.
    """
    places = [file.file_path for file in files]
    with ThreadPoolExecutor(min(_AT_ONCE, len(places) or 1)) as pool:
        footers = list(pool.map(lambda path: _footer(io, path), places))
        left = {name for name in columns if all(encoded(footer, name) is not None for footer in footers)}
        found: dict[str, pa.Array] = {}
        for first in range(0, len(places), _AT_ONCE) if left else ():
            some = slice(first, first + _AT_ONCE)
            look = partial(_of_file, io, sorted(left))
            for values in pool.map(look, places[some], footers[some]):
                for name, own in values.items():
                    known = [found[name]] if name in found else []
                    if known or own:
                        found[name] = pc.unique(pa.chunked_array([*known, *own]))
            left -= {name for name, values in found.items() if len(values) > FEW}
    return {name: values for name, values in found.items() if name in left}


def _footer(io: FileIO, path: str) -> FileMetaData:
    with io.new_input(path).open() as stream:
        return pq.read_metadata(stream)


def _of_file(io: FileIO, columns: Collection[str], path: str, metadata: FileMetaData) -> dict[str, list[pa.Array]]:
    """The distinct values of each column in each row group of a file."""
    with io.new_input(path).open() as stream:
        parquet = pq.ParquetFile(stream, metadata=metadata, read_dictionary=list(columns), buffer_size=_BUFFER)
        return {name: [_values(parquet, group, name) for group in encoded(metadata, name) or ()] for name in columns}


def encoded(metadata: FileMetaData, name: str) -> list[int] | None:
    """The row groups in which a column has values, if all of them are dictionary-encoded; else None."""
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == name]
        if len(chunks) != 1:
            return None
        if _all_null(chunks[0]):
            continue
        if not {"PLAIN_DICTIONARY"} <= set(chunks[0].encodings) <= _ENCODINGS:
            return None
        groups.append(number)
    return groups


def _all_null(chunk: ColumnChunkMetaData) -> bool:
    statistics = chunk.statistics
    return statistics is not None and statistics.has_null_count and statistics.null_count == chunk.num_values


def _values(parquet: pq.ParquetFile, group: int, name: str) -> pa.Array:
    """The values of one chunk: the dictionary that comes with its first row where pyarrow gives it (of texts)."""
    for batch in parquet.iter_batches(batch_size=1, row_groups=[group], columns=[name]):
        column = batch.column(0)
        if isinstance(column, pa.DictionaryArray) and len(column.dictionary):
            return column.dictionary
        break
    values = parquet.read_row_group(group, columns=[name]).column(0)
    return pc.unique(values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values).drop_null()

"""One number for what a table holds, whatever the order of its rows and columns.

Every row becomes one text, with each column cast to its type by the same engine for lake and
warehouse alike (text of doubles differs between engines); the checksum is the sum of the rows'
MD5, in two halves modulo 2^64, so that order does not matter and repeated rows count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medallion.publish import nested
from medallion.publish.columns import Column

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


PARQUET = "read_parquet($1, union_by_name => true)"
"""Files in a statement, which is planned once; relations built upon each other are planned each time."""
_SUMS = "count(*), coalesce(sum(md5_number_lower(row)), 0), coalesce(sum(md5_number_upper(row)), 0)"


@dataclass(frozen=True)
class Digest:
    """Number of rows, and 32 hexadecimal digits."""

    rows: int
    checksum: str

    def replaced(self, old: Digest, new: Digest) -> Digest:
        """That of a table of this digest after rows of the digest `old` were replaced by those of `new`."""
        halves = (
            (int(self.checksum[at], 16) - int(old.checksum[at], 16) + int(new.checksum[at], 16)) % 2**64
            for at in (slice(16), slice(16, 32))
        )
        return Digest(self.rows - old.rows + new.rows, "".join(f"{half:016x}" for half in halves))


def digest(
    source: pa.Table | Sequence[Path], columns: Sequence[Column], engine: duckdb.DuckDBPyConnection | None = None
) -> Digest:
    """Rows and checksum of an Arrow table or of Parquet files.

    Args:
        source: columns are found by name, whatever its case. An integer where `columns` says
            timestamp is microseconds since 1970-01-01, in UTC for an instant; a text where they
            say json is JSON.
        columns: the columns that count, with the types that they are compared as.
        engine: one that is open, for many tables; else one of its own.
    """
    if isinstance(source, Sequence) and not source:
        return Digest(0, "0" * 32)
    with _opened(engine) as opened:
        if isinstance(source, Sequence):
            relation = rows_of(opened, source, columns)
        else:
            relation = opened.from_arrow(nested.from_table(source, columns))
        found = {name.lower(): (name, str(type_)) for name, type_ in zip(relation.columns, relation.types, strict=True)}
        texts = [
            f"coalesce(length({text}) || ':' || {text}, '-')"
            for text in (_text(column, *found[column.name.lower()]) for column in sorted(columns, key=lambda c: c.name))
        ]
        row = f"concat({', '.join(texts)}) AS row"
        if isinstance(source, Sequence) and not nested.names_of(columns):
            told = f"SELECT {_SUMS} FROM (SELECT {row} FROM {PARQUET})"
            [(count, low, high)] = opened.execute(told, [[str(path) for path in source]]).fetchall()
        else:
            [(count, low, high)] = relation.project(row).aggregate(_SUMS).fetchall()
    return Digest(int(count), f"{int(high) % 2**64:016x}{int(low) % 2**64:016x}")


@contextmanager
def _opened(engine: duckdb.DuckDBPyConnection | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine that is left open if it is somebody else's: to open one takes longer than a small table."""
    if engine:
        yield engine
        return
    import duckdb

    with duckdb.connect() as own:
        yield own


def rows_of(engine: duckdb.DuckDBPyConnection, paths: Sequence[Path], columns: Sequence[Column]) -> duckdb.DuckDBPyRelation:
    """Rows of Parquet files (at least one); what is nested and kept as JSON as canonical texts of it."""
    if nested.names_of(columns):
        return engine.from_arrow(nested.from_files(paths, columns))
    return engine.read_parquet([str(path) for path in paths], union_by_name=True)


def _text(column: Column, name: str, found: str) -> str:
    """A DuckDB expression: the one text of a value of a column, which has this name and type there; null for null."""
    name = '"' + name.replace('"', '""') + '"'  # as it is there: the engine ignores case in ASCII only
    if column.type in ("timestamp", "timestamp_ntz"):
        counted = found.endswith("INT") or found.startswith("DECIMAL")
        micros = f"CAST({name} AS BIGINT)" if counted else f"epoch_us({name})"
        return f"CAST({micros} AS VARCHAR)"
    if column.type == "binary":
        return f"hex({name})"
    as_type = {"int": "BIGINT", "float": "DOUBLE", "string": "VARCHAR", "json": "VARCHAR"}.get(column.type, column.type.upper())
    return f"CAST(CAST({name} AS {as_type}) AS VARCHAR)"

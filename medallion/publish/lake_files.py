"""A table of the lake as Parquet files on disk: its own where they serve as they are.

They do if nothing is deleted from them row by row, and if each holds every column by its present
name, field id and type, and no other. Else the table is written once, from a scan, into one file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medallion.errors import MedallionError, ServiceUnavailable
from medallion.publish import nested
from medallion.publish.columns import Column
from medallion.settings import S3

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyiceberg.table import FileScanTask, StaticTable

    from medallion.lakehouse.store import Store

_DOWNLOADS = 8
_BATCH_ROWS = 131_072
_CHUNK_BYTES = 1_048_576


@dataclass(frozen=True)
class LakeFiles:
    """Parquet files that together are one table; `rows` as the lake's manifests count them."""

    paths: tuple[Path, ...]
    rows: int
    as_they_are: bool

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.paths)

    def with_texts(self, columns: Sequence[Column]) -> LakeFiles:
        """The same rows, what is nested as texts of JSON: one file instead of these, if there is something nested."""
        if not self.paths or not nested.names_of(columns):
            return self
        path = self.paths[0].with_stem(f"{self.paths[0].stem}_texts")
        nested.write(self.paths, columns, path)
        for each in self.paths:
            each.unlink()
        return LakeFiles((path,), self.rows, False)


def open_table(s3: S3, content: dict[str, Any]) -> StaticTable:
    """The table that a Nessie content points to.

    Raises: ServiceUnavailable if its metadata cannot be read; MedallionError if it is not the version
        that the content says.
    """
    from medallion.lakehouse.table import open_static

    location = content["metadataLocation"]
    try:
        table = open_static(s3, content)
    except (OSError, ValueError) as error:
        raise _unreadable(location, error) from error
    snapshot = table.metadata.current_snapshot_id
    if (-1 if snapshot is None else snapshot) != content["snapshotId"]:
        raise MedallionError(
            f"{location} is at snapshot {snapshot}, the catalog says {content['snapshotId']}",
            hint="the catalog was changed by something that is not an Iceberg writer; write the table again",
        )
    return table


def planned(table: StaticTable) -> list[FileScanTask]:
    """A table's present files, and their row-level deletes. Raises: ServiceUnavailable."""
    try:
        return list(table.scan().plan_files())
    except OSError as error:
        raise _unreadable(table.metadata_location, error) from error


def without_nulls(table: StaticTable, tasks: Iterable[FileScanTask]) -> frozenset[str]:
    """The columns in which no file of a table has a null, as the manifests count them; all, if there are no files."""
    proven = {field.field_id: field.name for field in table.schema().fields}
    for task in tasks:
        counts = task.file.null_value_counts or {}
        proven = {id_: name for id_, name in proven.items() if counts.get(id_) == 0}
    return frozenset(proven.values())


def fetch(s3: S3, table: StaticTable, tasks: Sequence[FileScanTask], folder: Path, name: str = "") -> LakeFiles:
    """Put the present rows of a table's files into a folder as Parquet.

    Args:
        tasks: the files that are meant, as `planned` gives them.
        folder: exists; afterwards the returned files are all in it whose names begin with `name`.

    Raises: ServiceUnavailable if the object store cannot be read.
    """
    try:
        rows = sum(task.file.record_count for task in tasks)
        if not any(task.delete_files for task in tasks):
            paths = _download(s3, tasks, folder, name)
            if all(_serves(path, table.schema()) for path in paths):
                return LakeFiles(tuple(paths), rows, True)
            for path in paths:
                path.unlink()
        return _write(table, tasks, folder / f"{name}00000.parquet")
    except OSError as error:
        raise _unreadable(table.metadata_location, error) from error


def _download(s3: S3, tasks: Sequence[FileScanTask], folder: Path, name: str) -> list[Path]:
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    store = _store(s3).client

    def one(numbered: tuple[int, FileScanTask]) -> Path:
        number, task = numbered
        place = urlsplit(task.file.file_path)
        path = folder / f"{name}{number:05d}.parquet"
        # one request; the client's own `fget_object` asks for the object's figures first
        with store.get_object(place.netloc, place.path.lstrip("/")) as answer, path.open("wb") as file:
            copyfileobj(answer, file, _CHUNK_BYTES)
        return path

    try:
        if len(tasks) <= 1:
            return [one(numbered) for numbered in enumerate(tasks)]
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            return list(pool.map(one, enumerate(tasks)))
    except (MinioException, HTTPError) as error:
        raise _unreadable("the table's data files", error) from error


@lru_cache(maxsize=8)
def _store(s3: S3) -> Store:
    """The one client that all downloads share: it keeps connections open."""
    from medallion.lakehouse.store import Store

    return Store(s3)


def _serves(path: Path, schema: Schema) -> bool:
    """Whether a file's columns are those of the schema by name, field id and type."""
    import pyarrow.parquet as pq
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    found: dict[str, Sequence[pa.Field]] = {}
    for field in pq.read_schema(path):
        found[field.name.lower()] = [*found.get(field.name.lower(), ()), field]
    if len(found) != len(schema.fields):
        return False  # another column, as the flag of a staged write
    for expected, field in zip(schema_to_pyarrow(schema), schema.fields, strict=True):
        match = found.get(field.name.lower(), ())
        if len(match) != 1 or match[0].name != field.name:
            return False
        if (match[0].metadata or {}).get(b"PARQUET:field_id") != str(field.field_id).encode():
            return False
        if str(match[0].type).removeprefix("large_") != str(expected.type).removeprefix("large_"):
            return False
    return True


def _write(table: StaticTable, tasks: Sequence[FileScanTask], path: Path) -> LakeFiles:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow

    rows = 0
    schema = schema_to_pyarrow(table.schema())
    batches = ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_record_batches(tasks)
    with (
        pa.RecordBatchReader.from_batches(schema, batches).cast(schema) as reader,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        for batch in reader:
            rows += batch.num_rows
            writer.write_batch(batch, row_group_size=_BATCH_ROWS)
    return LakeFiles((path,), rows, False)


def _unreadable(what: str, error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"the object store does not give {what}: {error}",
        hint="check the settings s3.endpoint, s3.access_key and s3.secret_key; `medallion doctor` says what is wrong",
    )

"""A write's rows on a run's branch, kept aside until they are judged.

Rows are written once, those that break a rule to files of their own: into a table on the branch that is
the dataset's own but for a flag that it is also partitioned by. The good files are then put into the
dataset by metadata: field ids and partition values are the same, and the dataset's history never had
a bad row. Where no rule has to be looked at row by row, rows go straight into the dataset.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntryStatus
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import ALWAYS_TRUE
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import BooleanType, NestedField

from medallion.contract import Column as Described
from medallion.contract import Contract, Layout
from medallion.errors import MedallionError, ServiceUnavailable
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.counted import Counted
from medallion.lakehouse.nessie import Content, Operation, OutcomeUnknown, commit_body
from medallion.lakehouse.replay import Changes, Write, replay
from medallion.lakehouse.steps import step
from medallion.lakehouse.table import create, iceberg_type, open_static, reaching
from medallion.settings import S3

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

BROKEN = "_broken"
"""The flag's column. Files of good rows have it too; the dataset's schema does not, so that nobody sees it."""
_RECENT = 10
"""For so many writes it is remembered which rules were broken."""
_LOOKED_AT = 4
"""Of an earlier write's files, so many tell what the next one is like."""


@dataclass(frozen=True)
class Files:
    """Data files of one write: those of `good` rows, and those of `broken` ones; `schema` and `io` read them."""

    good: tuple[DataFile, ...]
    broken: tuple[DataFile, ...]
    schema: Schema
    io: FileIO

    @property
    def rows(self) -> int:
        """How many rows they hold, as their commit counts them."""
        return sum(file.record_count for file in (*self.good, *self.broken))


@dataclass(frozen=True)
class Earlier:
    """What a dataset's last write was like: some of its `files`, and the rules `broken` by recent writes."""

    files: Files
    broken: frozenset[str]


class Staging:
    """One write to a dataset on a branch.

    Args:
        replaces: the date whose rows it replaces (in the contract's partition column); None: all rows.
        appends: whether it replaces nothing.
        notes: for the snapshot's summary.
    """

    def __init__(
        self, branch: Branch, contract: Contract, notes: dict[str, str], *, replaces: date | None = None, appends: bool = False
    ) -> None:
        self.branch, self.contract, self.notes = branch, contract, notes
        self.replaces, self.appends = replaces, appends
        self.base = branch.content(contract.dataset)
        self.table: str | None = None

    @property
    def _s3(self) -> S3:
        return self.branch.settings.s3

    def earlier(self) -> Earlier | None:
        """What the dataset's last write was like, from its manifests and its quarantine's; None: there was none."""
        if self.base["snapshotId"] in (-1, None):
            return None
        files = added(self._s3, self.base)
        return Earlier(replace(files, good=files.good[:_LOOKED_AT]), _broken_before(self.branch, self.contract, self.base))

    def write(self, frame: DataFrame, broken: Column | None) -> Files:
        """Write rows, those for which `broken` is true to files of their own. Without it, into the dataset.

        Returns: the files of this write.
        """
        columns = list(self.contract.schema())
        if broken is None:
            return self._into_dataset(frame)
        extra = {c.name: c.dataType.simpleString() for c in frame.schema.fields if c.name not in (*columns, BROKEN)}
        name = self._open(extra)
        rows = frame.select(*columns, *extra, broken.alias(BROKEN))
        rows.writeTo(f"{self.branch.catalog}.{name}").append()
        return added(self._s3, self.branch.content(name))

    def write_all(self, frame: DataFrame, good: Column) -> Files | None:
        """Write rows into the dataset, of which `good` is thought to be true for each.

        Returns: the files of this write; None if it cannot be said that no row was left out: then the dataset is as it
            was, for the rows may be read from it too, and they have to be written again.
        """
        counted = Counted(frame)
        files = self._into_dataset(counted.frame.filter(good))
        if counted.rows() == files.rows:
            return files
        self._commit([Operation("PUT", self.contract.dataset, self.base)], f"{self.contract.dataset}: to be written again")
        return None

    def _into_dataset(self, frame: DataFrame) -> Files:
        rows = frame.select(*self.contract.schema())
        if self.appends:
            self.branch.append(rows, self.contract.dataset, self.notes)
        else:
            self.branch.overwrite(rows, self.contract.dataset, self._where(), self.notes)
        return added(self._s3, self.branch.content(self.contract.dataset))

    def rows(self, *, broken: bool = False) -> DataFrame:
        """The rows that were written, good or broken, with all columns that they came with and, of good ones, `_file`."""
        from pyspark.sql import functions as f

        if self.table is None:
            files = added(self._s3, self.branch.content(self.contract.dataset))
            mine = f.col("_file").isin([file.file_path for file in files.good])
            return self.branch.read(self.contract.dataset).filter(mine & self._of_dates(files))
        return self.branch.read(self.table).filter(f.col(BROKEN) == f.lit(broken)).drop(BROKEN)

    def commit(self, good: Iterable[DataFile]) -> None:
        """Put files into the dataset in one commit, in place of those that the write replaces, and leave
        nothing else of it on the branch. Raises: ServiceUnavailable."""
        static = open_static(self._s3, self.base)
        fields, ids = len(static.spec().fields), static.metadata.last_column_id
        files = tuple(_of_dataset(file, fields, static.metadata.default_spec_id, ids) for file in good)
        gone = () if self.appends else tuple(replaced(self._s3, self.base, self.contract, self.replaces) or ())
        changes = Changes(files, gone, frozenset(), only_added=self.appends)
        content = replay(self._s3, self.base, [Write(self.replaces, self.notes, changes)])
        self._commit([Operation("PUT", self.contract.dataset, content), *self._dropping()], f"{self.contract.dataset}: judged")
        self.table = None

    def discard(self) -> None:
        """Remove what is kept aside."""
        if self.table:
            self._commit(self._dropping(), f"{self.contract.dataset}: not judged")
            self.table = None

    def _of_dates(self, files: Files) -> Column:
        """The partitions that files lie in: a row may be of another date than the write's, which a rule then finds."""
        from pyspark.sql import functions as f

        column, spec = self.contract.partition_column, open_static(self._s3, self.base).spec()
        place = next((i for i, field in enumerate(spec.fields) if field.name == column), None)
        dates = {file.partition[place] for file in files.good} if place is not None else {None}
        if None in dates:
            return f.lit(True)
        days = [each if isinstance(each, date) else date(1970, 1, 1) + timedelta(days=int(str(each))) for each in dates]
        return f.col(str(column)).isin(days)

    def _where(self) -> Column:
        from pyspark.sql import functions as f

        return f.lit(True) if self.replaces is None else f.col(str(self.contract.partition_column)) == f.lit(self.replaces)

    def _open(self, extra: dict[str, str]) -> str:
        """The table to keep rows in, made at the first call."""
        if self.table is None:
            name = f"{self.contract.dataset}__staging_{secrets.token_hex(4)}"
            self._commit([Operation("PUT", name, _create(self._s3, self.base, extra))], f"{self.contract.dataset}: to be judged")
            self.table = name
        return self.table

    def _dropping(self) -> list[Operation]:
        return [Operation("DELETE", self.table)] if self.table else []

    def _commit(self, operations: list[Operation], message: str) -> None:
        nessie = self.branch.nessie
        onto = nessie.reference(self.branch.name)
        try:
            with step("data.staged"):
                nessie.commit(onto, commit_body(operations, message, {}))
        except OutcomeUnknown as error:
            if nessie.reference(self.branch.name) == onto:  # nobody else writes there
                raise ServiceUnavailable(f"{self.contract.dataset}: {error}", hint="run it again") from error


@contextmanager
def beside(branch: Branch, contract: Contract, more: tuple[Described, ...] = ()) -> Iterator[Contract]:
    """A table of a dataset's columns, and of `more`, on the branch beside it, empty; gone when the context ends.

    Returns: the dataset's contract, as that of this table. Raises: ServiceUnavailable.
    """
    name = f"{contract.name}__incoming_{secrets.token_hex(4)}"
    own = replace(contract, name=name, columns=(*contract.columns, *more), layout=Layout())
    at = Staging(branch, contract, {})
    at._commit([Operation("PUT", own.dataset, create(branch.settings.s3, own))], f"{contract.dataset}: to be merged")
    at.table = own.dataset
    try:
        yield own
    except BaseException:
        with suppress(MedallionError):
            at.discard()
        raise
    at.discard()


def added(s3: S3, content: Content) -> Files:
    """The files that a table's last write added, with their figures; broken ones by the flag. Raises: ServiceUnavailable."""
    table = open_static(s3, content)
    schema, snapshot = table.schema(), table.metadata.current_snapshot()
    flagged = BROKEN in schema.column_names
    good: list[DataFile] = []
    broken: list[DataFile] = []
    with reaching(s3, table.location()):
        own = [m for m in snapshot.manifests(table.io) if m.added_snapshot_id == snapshot.snapshot_id] if snapshot else []
        for manifest in own:
            if manifest.content != ManifestContent.DATA:
                continue
            for entry in manifest.fetch_manifest_entry(table.io):
                if entry.status == ManifestEntryStatus.ADDED:
                    of_bad = flagged and entry.data_file.partition[len(table.spec().fields) - 1]
                    (broken if of_bad else good).append(entry.data_file)
    return Files(tuple(good), tuple(broken), schema, table.io)


def replaced(s3: S3, content: Content, contract: Contract, when: date | None) -> list[DataFile] | None:
    """The files that a write of a date (None: of all rows) replaces; None if one holds rows of others too."""
    if content["snapshotId"] in (-1, None):
        return []
    table = open_static(s3, content)
    row_filter = ALWAYS_TRUE if when is None else f"{contract.partition_column} = '{when}'"
    with reaching(s3, table.location()):
        tasks = list(table.scan(row_filter=row_filter).plan_files())
    if any(task.delete_files or task.residual != AlwaysTrue() for task in tasks):
        return None
    return [task.file for task in tasks]


def _create(s3: S3, base: Content, extra: dict[str, str]) -> Content:
    """The first metadata of a table like another, with `extra` columns and the flag, partitioned by it too;
    its data files go to where the other's are."""
    metadata = open_static(s3, base).metadata
    ids = iter(range(metadata.last_column_id + 1, metadata.last_column_id + 1_000))
    more = [NestedField(next(ids), name, iceberg_type(type_, ids), required=False) for name, type_ in extra.items()]
    flag = NestedField(next(ids), BROKEN, BooleanType(), required=False)
    schema = Schema(*metadata.schema().fields, *more, flag, schema_id=0)
    fields, last = metadata.spec().fields, metadata.last_partition_id or 999
    spec = PartitionSpec(*fields, PartitionField(flag.field_id, last + 1, IdentityTransform(), BROKEN), spec_id=0)
    location = f"{metadata.location}/staging-{uuid.uuid4()}"
    data = metadata.properties.get("write.data.path", f"{metadata.location}/data")
    own = {"write.data.path": data, "write.spark.fanout.enabled": "true"}
    new = metadata.model_copy(
        update={
            "table_uuid": uuid.uuid4(), "location": location, "schemas": [schema], "current_schema_id": 0,
            "last_column_id": flag.field_id, "partition_specs": [spec], "default_spec_id": 0, "last_partition_id": last + 1,
            "snapshots": [], "current_snapshot_id": None, "refs": {}, "snapshot_log": [], "metadata_log": [],
            "last_sequence_number": 0, "statistics": [], "partition_statistics": [], "properties": metadata.properties | own,
        }
    )  # fmt: skip
    folder = metadata.properties.get("write.metadata.path", f"{location}/metadata")
    path = f"{folder}/00000-{uuid.uuid4()}.metadata.json"
    table = open_static(s3, base)
    with reaching(s3, path):
        ToOutputFile.table_metadata(new, table.io.new_output(path))
    return {
        "type": "ICEBERG_TABLE", "metadataLocation": path, "snapshotId": -1, "schemaId": 0, "specId": 0,
        "sortOrderId": metadata.default_sort_order_id,
    }  # fmt: skip


def _of_dataset(file: DataFile, fields: int, spec_id: int, last_column_id: int) -> DataFile:
    """A file as the dataset's manifests describe it: without the flag's partition value and figures."""
    own = DataFile(*file._data)
    own[3] = Record(*[file.partition[i] for i in range(fields)])
    for position in range(6, 12):  # column sizes, value, null and NaN counts, bounds
        figures = file[position]
        own[position] = {key: value for key, value in figures.items() if key <= last_column_id} if figures else figures
    own.spec_id = spec_id
    return own


def _broken_before(branch: Branch, contract: Contract, base: Content) -> frozenset[str]:
    """The rules that quarantined rows of one of the dataset's recent writes broke."""
    import pyarrow.parquet as pq

    content, s3 = branch.content(contract.quarantine), branch.settings.s3
    if content["snapshotId"] in (-1, None):
        return frozenset()
    quarantine, table = open_static(s3, content), open_static(s3, base)
    # rows are put aside before their write is committed: so those of a write come after the write before it
    earlier = sorted(snapshot.timestamp_ms for snapshot in table.metadata.snapshots)[:-_RECENT]
    last = quarantine.metadata.current_snapshot()
    if last is None or (earlier and last.timestamp_ms < earlier[-1]):
        return frozenset()
    found: set[str] = set()
    with reaching(s3, quarantine.location()):
        for file in added(s3, content).good[:_LOOKED_AT]:
            with quarantine.io.new_input(file.file_path).open() as stream:
                batch = next(pq.ParquetFile(stream).iter_batches(batch_size=65_536, columns=["rules"]), None)
            if batch is not None:
                found.update(batch["rules"].flatten().unique().to_pylist())
    return frozenset(found)

"""A run's writes put onto a newer version of a table by metadata alone.

What a run wrote to a table are snapshots: files added, files removed, and in the summary which date
was written and from what. `replay` commits the same changes to another version of the table: its
metadata grows one snapshot for each of them, its data files are the very same, and none is read or
written. Whether that is right is for the caller to know (see `medallion.rebase`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import ValidationException
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestContent, ManifestFile
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import CommitTableResponse, StaticTable, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot
from pyiceberg.table.update import TableRequirement, TableUpdate, update_table_metadata
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType

from medallion.lakehouse.history import DATE_PROPERTY, STATE_OF, TAKES_BACK
from medallion.lakehouse.nessie import Content
from medallion.lakehouse.table import file_io, io_properties, open_static, reaching
from medallion.settings import S3

_NOTES = "medallion."
_OF_THE_CATALOG = "nessie."
"""Table properties that the catalog sets itself, at every commit."""


class NotReplayable(Exception):
    """A table was changed in a way that metadata alone cannot be put on top of; the message says how."""


@dataclass(frozen=True)
class Changes:
    """The files that came into a table and went between two of its versions, and the dates that they
    hold or that were written; a date of None stands for all rows. `only_added` is whether no row went:
    rows were appended, and files at most rewritten."""

    added: tuple[DataFile, ...]
    removed: tuple[DataFile, ...]
    dates: frozenset[date | None]
    only_added: bool


@dataclass(frozen=True)
class Write:
    """One snapshot that a run left in a table, with what it noted in the summary. `logical_date` is the
    date that was written, or whose files were rewritten; None where it was the whole table."""

    logical_date: date | None
    notes: dict[str, str]
    changes: Changes


def writes(s3: S3, base: Content, later: Content) -> list[Write]:
    """What runs wrote to a table between two of its versions, write by write, oldest first.

    Raises: NotReplayable if anything else was done to it: another schema, partitioning or property, a
        rollback, rows deleted in place, a write that no run made; ServiceUnavailable.
    """
    table = open_static(s3, later)
    with reaching(s3, table.location()):
        return [_write(table, before, after) for before, after in _since(open_static(s3, base), table)]


def changes(s3: S3, base: Content, later: Content) -> Changes:
    """What runs changed in a table between two of its versions, all in all. Raises: as `writes`."""
    table = open_static(s3, later)
    with reaching(s3, table.location()):
        since = _since(open_static(s3, base), table)
        if not since:
            return Changes((), (), frozenset(), only_added=True)
        net = _changes(table, since[0][0], since[-1][1])
    written = {_noted_date(snapshot) for _, snapshot in since if not _rewrites(snapshot)}
    appended = all(_operation(snapshot) in (Operation.APPEND, Operation.REPLACE) for _, snapshot in since)
    return replace(net, dates=net.dates | written, only_added=appended)


def replay(s3: S3, onto: Content, what: list[Write]) -> Content:
    """Commit writes to another version of their table: the same files, a snapshot for each write.

    Returns: the content to put into the catalog. Raises: NotReplayable if a file that a write removes
        is not there; ServiceUnavailable.
    """
    static = open_static(s3, onto)
    with reaching(s3, static.location()):
        catalog = MetadataOnly("replay", **io_properties(s3))
        table = Table(("replayed",), static.metadata, static.metadata_location, file_io(s3), catalog)
        try:
            with table.transaction() as transaction:
                for write in what:
                    update = transaction.update_snapshot(snapshot_properties=write.notes)
                    appends = write.changes.added and not write.changes.removed
                    with update.fast_append() if appends else update.overwrite() as producer:
                        for file in write.changes.removed:
                            producer.delete_data_file(file)
                        for file in write.changes.added:
                            producer.append_data_file(file)
        except ValidationException as error:
            raise NotReplayable(str(error)) from error
    return onto | {"metadataLocation": table.metadata_location, "snapshotId": table.metadata.current_snapshot_id}


def undone(s3: S3, before: Content, after: Content, now: Content) -> Write:
    """What takes back, on top of `now`, all that became of a table between two of its versions: its files go, those
    that it replaced come back. Nothing is written.

    Raises: NotReplayable if that cannot be told by files: another schema, partitioning or property, rows deleted in
        place, a history that does not lead from one to the other, files that were rewritten or removed meanwhile;
        ServiceUnavailable.
    """
    old, table, newest = open_static(s3, before), open_static(s3, after), open_static(s3, now)
    if differing := _differences(old.metadata, table.metadata):
        raise NotReplayable(f"its {' and '.join(differing)} changed")
    start, ids = old.metadata.current_snapshot_id, []
    by_id = {each.snapshot_id: each for each in table.metadata.snapshots}
    snapshot = table.metadata.current_snapshot()
    while snapshot is not None and snapshot.snapshot_id != start:
        ids.append(str(snapshot.snapshot_id))
        parent = snapshot.parent_snapshot_id
        snapshot = by_id.get(parent) if parent is not None else None
    if (snapshot.snapshot_id if snapshot else None) != start:
        raise NotReplayable("its history does not lead from one version to the other")
    with reaching(s3, table.location()):
        newer = table.metadata.current_snapshot()
        net = _changes(table, snapshot, newer) if newer else Changes((), (), frozenset(), only_added=True)
        last = newest.metadata.current_snapshot()
        manifests = last.manifests(newest.io) if last else []
        there = _live(newest.io, [m for m in manifests if m.content == ManifestContent.DATA])
    if any(file.file_path not in there for file in net.added):
        raise NotReplayable("its files were rewritten or replaced since")
    if net.removed:
        marked = [m for s in (snapshot, last) if s for m in s.manifests(newest.io) if m.content != ManifestContent.DATA]
        if marked:  # they would not hold for files that are added anew
            raise NotReplayable("rows of it were deleted in place")
        if {file.spec_id for file in net.removed} != {newest.metadata.default_spec_id}:
            raise NotReplayable("its partitioning changed since")
        if any(file.file_path in there for file in net.removed):
            raise NotReplayable("files that it replaced are there again")
    only = replace(net, added=net.removed, removed=net.added)
    return Write(None, {TAKES_BACK: ",".join(ids)}, only)


def shared_values(s3: S3, content: Content, column: str, mine: Changes, theirs: Changes, where_null: str) -> int:
    """How many of the rows that are null in the column `where_null`, in files that `mine` added, have a
    value of `column` (text) that a row in a file added by `theirs` has too. Reads these columns alone."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = open_static(s3, content)

    def read(file: DataFile, columns: list[str]) -> pa.Table:
        with table.io.new_input(file.file_path).open() as stream:
            return pq.read_table(stream, columns=columns)

    with reaching(s3, table.location()):
        known = pa.concat_arrays(
            [pa.array([], pa.string())]
            + [part.cast(pa.string()) for file in theirs.added for part in read(file, [column])[column].chunks]
        )
        shared = 0
        for file in mine.added:
            rows = read(file, [column, where_null])
            found = pc.and_(pc.is_in(rows[column].cast(pa.string()), known), pc.is_null(rows[where_null]))
            shared += pc.sum(found).as_py() or 0
    return shared


def _since(old: StaticTable, new: StaticTable) -> list[tuple[Snapshot | None, Snapshot]]:
    """(parent, snapshot) of every snapshot since the old version, oldest first."""
    if differing := _differences(old.metadata, new.metadata):
        raise NotReplayable(f"its {' and '.join(differing)} changed")
    start = old.metadata.current_snapshot_id
    found: list[tuple[Snapshot | None, Snapshot]] = []
    snapshot = new.metadata.current_snapshot()
    while snapshot is not None and snapshot.snapshot_id != start:
        parent = snapshot.parent_snapshot_id
        before = new.metadata.snapshot_by_id(parent) if parent is not None else None
        found.append((before, snapshot))
        snapshot = before
    if (snapshot.snapshot_id if snapshot else None) != start:
        raise NotReplayable("it was put back to an earlier state")
    if any(name in _notes(snapshot) for _, snapshot in found for name in (STATE_OF, TAKES_BACK)):
        raise NotReplayable("something in it was reverted or restored")
    if not all(DATE_PROPERTY in _notes(snapshot) or _rewrites(snapshot) for _, snapshot in found):
        raise NotReplayable("something that is no run wrote to it")
    return found[::-1]


def own_properties(metadata: TableMetadata) -> dict[str, str]:
    """A table's properties but those that the catalog sets itself."""
    return {key: value for key, value in metadata.properties.items() if not key.startswith(_OF_THE_CATALOG)}


def _differences(old: TableMetadata, new: TableMetadata) -> list[str]:
    def own(metadata: TableMetadata) -> dict[str, Any]:
        return {
            "identity": (metadata.table_uuid, metadata.location, metadata.format_version),
            "schema": (metadata.current_schema_id, metadata.schema()),
            "partitioning": (metadata.default_spec_id, metadata.spec()),
            "sort order": metadata.default_sort_order_id,
            "properties": own_properties(metadata),
        }

    before, after = own(old), own(new)
    return [name for name in before if before[name] != after[name]]


def _notes(snapshot: Snapshot) -> dict[str, str]:
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    return {key: value for key, value in summary.items() if key.startswith(_NOTES)}


def _operation(snapshot: Snapshot) -> Operation | None:
    return snapshot.summary.operation if snapshot.summary else None


def _rewrites(snapshot: Snapshot) -> bool:
    """Whether a snapshot only rewrote files: the rows are the same."""
    return _operation(snapshot) == Operation.REPLACE


def _noted_date(snapshot: Snapshot) -> date | None:
    text = _notes(snapshot)[DATE_PROPERTY]
    return date.fromisoformat(text) if text else None


def _write(table: StaticTable, before: Snapshot | None, after: Snapshot) -> Write:
    changed = _changes(table, before, after)
    if not _rewrites(after):
        return Write(_noted_date(after), _notes(after), changed)
    if len(changed.dates) != 1:
        raise NotReplayable("files of several dates were rewritten at once")
    (when,) = changed.dates
    return Write(when, {DATE_PROPERTY: when.isoformat() if when else ""}, changed)


def _changes(table: StaticTable, before: Snapshot | None, after: Snapshot) -> Changes:
    """What differs between two snapshots; manifests that both have hold nothing that differs."""
    old = {m.manifest_path: m for m in (before.manifests(table.io) if before else ())}
    new = {m.manifest_path: m for m in after.manifests(table.io)}
    gone = _live(table.io, [m for path, m in old.items() if path not in new])
    came = _live(table.io, [m for path, m in new.items() if path not in old])
    added = tuple(file for path, file in came.items() if path not in gone)
    removed = tuple(file for path, file in gone.items() if path not in came)
    dates = frozenset(_date_of(table, file) for file in (*added, *removed))
    return Changes(added, removed, dates, only_added=_operation(after) in (Operation.APPEND, Operation.REPLACE))


def _live(io: FileIO, manifests: list[ManifestFile]) -> dict[str, DataFile]:
    if any(manifest.content != ManifestContent.DATA for manifest in manifests):
        raise NotReplayable("rows of it were deleted in place")
    return {entry.data_file.file_path: entry.data_file for m in manifests for entry in m.fetch_manifest_entry(io)}


def _date_of(table: StaticTable, file: DataFile) -> date | None:
    """The date that a file's rows belong to; None where the table is not partitioned by one date."""
    spec, schema = table.specs()[file.spec_id], table.schema()
    by = [
        i
        for i, field in enumerate(spec.fields)
        if isinstance(field.transform, IdentityTransform) and isinstance(schema.find_type(field.source_id), DateType)
    ]
    value = file.partition[by[0]] if len(by) == 1 else None
    if value is None or isinstance(value, date):
        return value
    return date(1970, 1, 1) + timedelta(days=int(value))


class MetadataOnly(NoopCatalog):
    """Writes a new version's metadata file, and leaves the pointer to it to Nessie."""

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        for requirement in requirements:
            requirement.validate(table.metadata)
        metadata = update_table_metadata(table.metadata, updates, metadata_location=table.metadata_location)
        numbered = re.match(r"(\d+)-", table.metadata_location.rpartition("/")[2])
        version = int(numbered[1]) + 1 if numbered else 0  # not every writer numbers them
        location = table.location_provider().new_table_metadata_file_location(version)
        ToOutputFile.table_metadata(metadata, table.io.new_output(location))
        return CommitTableResponse.model_validate({"metadata": metadata, "metadata-location": location})

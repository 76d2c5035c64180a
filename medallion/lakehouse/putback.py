"""A table's earlier state put on top of what it is now, by metadata alone.

The table gets one more snapshot, whose manifests are those of the earlier one: the same rows from the same files, and
nothing is read or written of them. Schema, partitioning, sort order and properties go back with it. The metadata file
is a new one, never the old pointer again, so that a request of a run that is still on its way meets a key that moved.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import TypeAdapter
from pyiceberg.io import FileIO
from pyiceberg.manifest import write_manifest_list
from pyiceberg.table import StaticTable, Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataV2
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import TableUpdate

from medallion.errors import UsageError
from medallion.lakehouse.history import STATE_OF
from medallion.lakehouse.nessie import Content
from medallion.lakehouse.replay import MetadataOnly, own_properties
from medallion.lakehouse.table import file_io, io_properties, open_static, reaching
from medallion.settings import S3

_TOTALS = (
    "total-records", "total-data-files", "total-files-size", "total-delete-files", "total-position-deletes",
    "total-equality-deletes",
)  # fmt: skip
_UPDATES: TypeAdapter[tuple[TableUpdate, ...]] = TypeAdapter(tuple[TableUpdate, ...])
_AT_A_TIME = 16


def same_state(s3: S3, one: Content | None, other: Content | None) -> bool:
    """Whether two versions of a table are the same to its readers and writers: the same rows from the same files, with the
    same schema, partitioning and sort order. Raises: ServiceUnavailable."""
    if one is None or other is None or one["metadataLocation"] == other["metadataLocation"]:
        return one == other or (one is not None and other is not None)
    mine, yours = (open_static(s3, content).metadata for content in (one, other))
    return _identity(mine) == _identity(yours)


def _identity(metadata: TableMetadata) -> tuple[object, ...]:
    """What tells one state of a table from another; a state that was put back is the one that it was put back from."""
    snapshot = metadata.current_snapshot()
    state = str(snapshot.snapshot_id) if snapshot else ""
    while snapshot and snapshot.summary and (of := snapshot.summary.additional_properties.get(STATE_OF)) is not None:
        state = of
        snapshot = metadata.snapshot_by_id(int(of)) if of else None
    ids = metadata.current_schema_id, metadata.default_spec_id, metadata.default_sort_order_id
    return metadata.table_uuid, state, *ids


def put_back(s3: S3, now: Content | None, then: Content | None) -> Content:
    """Make a new version of a table, whose rows, schema and layout are those of `then`.

    Args:
        now: the version that it comes on top of; None where the table is gone.
        then: None where there was no such table: then it has no rows, and keeps its schema.
    Returns: the content to put into the catalog.
    Raises: UsageError if the table has a format that we do not write; ServiceUnavailable.
    """
    onto = now or then
    assert onto is not None, "a table that there neither is nor was"
    table = open_static(s3, onto)
    if then is not None and not _knows(table.metadata, (back := open_static(s3, then)).metadata):
        onto = then | ({"id": now["id"]} if now else {})  # it was dropped and made anew meanwhile, or has forgotten
        table = back
    metadata = table.metadata
    if not isinstance(metadata, TableMetadataV2):
        raise UsageError(
            f"{metadata.location}: tables of Iceberg's format {metadata.format_version} cannot be put back",
            hint="put its rows back with Spark, in a run of your own",
        )
    with reaching(s3, onto["metadataLocation"]):
        changes = _changes(table, metadata, open_static(s3, then) if then else None)
        catalog = MetadataOnly("putback", **io_properties(s3))
        made = Table(("putback",), metadata, table.metadata_location, file_io(s3), catalog)
        answer = catalog.commit_table(made, (), changes)
    # a key that is not there gets an id of its own from the catalog
    return {key: value for key, value in onto.items() if now or key != "id"} | {
        "metadataLocation": answer.metadata_location, "snapshotId": answer.metadata.current_snapshot_id,
        "schemaId": answer.metadata.current_schema_id, "specId": answer.metadata.default_spec_id,
        "sortOrderId": answer.metadata.default_sort_order_id,
    }  # fmt: skip


def _knows(metadata: TableMetadata, then: TableMetadata) -> bool:
    """Whether a version of a table has the schema, the partitioning and the sort order of another one."""
    return (
        metadata.table_uuid == then.table_uuid
        and metadata.schema_by_id(then.current_schema_id) is not None
        and any(spec.spec_id == then.default_spec_id for spec in metadata.partition_specs)
        and metadata.sort_order_by_id(then.default_sort_order_id) is not None
    )


def _changes(table: StaticTable, metadata: TableMetadataV2, then: StaticTable | None) -> tuple[TableUpdate, ...]:
    """The updates that put a state on top, as Iceberg's REST protocol names them; writes the list of its manifests."""
    state = then.metadata.current_snapshot() if then else None
    number, parent, snapshot_id = metadata.last_sequence_number + 1, metadata.current_snapshot_id, metadata.new_snapshot_id()
    place = table.location_provider().new_metadata_location(f"snap-{snapshot_id}-0-{uuid.uuid4()}.avro")
    with write_manifest_list(2, table.io.new_output(place), snapshot_id, parent, number, "deflate") as writer:
        writer.add_manifests(state.manifests(table.io) if state else [])
    updates: list[dict[str, Any]] = []
    if then:
        old, mine, yours = then.metadata, own_properties(metadata), own_properties(then.metadata)
        updates += [
            {"action": "set-current-schema", "schema-id": old.current_schema_id},
            {"action": "set-default-spec", "spec-id": old.default_spec_id},
            {"action": "set-default-sort-order", "sort-order-id": old.default_sort_order_id},
            {"action": "remove-properties", "removals": sorted(mine.keys() - yours.keys())},
            {"action": "set-properties", "updates": yours},
        ]
    of_then = state.summary.additional_properties if state and state.summary else {}
    snapshot = {
        "snapshot-id": snapshot_id,
        "parent-snapshot-id": parent,
        "sequence-number": number,
        "timestamp-ms": max(int(time.time() * 1000), metadata.last_updated_ms),
        "manifest-list": place,
        "schema-id": (then.metadata if then else metadata).current_schema_id,
        "summary": {"operation": "overwrite", STATE_OF: str(state.snapshot_id) if state else ""}
        | {name: of_then.get(name, "0") for name in _TOTALS},
    }
    updates += [
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", "ref-name": MAIN_BRANCH, "type": "branch", "snapshot-id": snapshot_id},
    ]
    return _UPDATES.validate_python(updates)


def missing_files(s3: S3, contents: Iterable[Content]) -> list[str]:
    """Which files that these versions need are not there any more: their metadata, their lists of manifests, their
    manifests. The data files that the manifests name are not asked for. Raises: ServiceUnavailable."""
    io = file_io(s3)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = pool.map(lambda content: _missing(s3, io, content), contents)
    return sorted(path for each in found for path in each)


def _missing(s3: S3, io: FileIO, content: Content) -> list[str]:
    place = content["metadataLocation"]
    with reaching(s3, place):
        if not io.new_input(place).exists():
            return [place]
        snapshot = open_static(s3, content).metadata.current_snapshot()
        if snapshot is None:
            return []
        if not io.new_input(snapshot.manifest_list).exists():
            return [snapshot.manifest_list]
        return [m.manifest_path for m in snapshot.manifests(io) if not io.new_input(m.manifest_path).exists()]

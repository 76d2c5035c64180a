"""What a table's own metadata tells, without reading a row and without a JVM.

Every file of a bronze table comes from one delivery, and its manifest keeps the bounds of
`_delivery`, `_source_uri` and `_source_sha256` in full: so the deliveries are known from manifests.
Every write of silver and gold leaves in its snapshot's summary which date it made and from what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.table import ALWAYS_TRUE, StaticTable
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from medallion.lakehouse.nessie import Content
from medallion.lakehouse.table import open_static, reaching
from medallion.settings import S3

STATE_OF = "medallion.state-of"
"""In a snapshot's summary: the id of the snapshot whose rows the table has again from here on; empty: it has none."""
TAKES_BACK = "medallion.takes-back"
"""In a snapshot's summary: the ids of the snapshots whose changes this one takes back, joined by commas."""
DATE_PROPERTY = "medallion.logical-date"
INPUTS_PROPERTY = "medallion.inputs"
CODE_PROPERTY = "medallion.code"
_DELIVERY_COLUMNS = ("_logical_date", "_delivery", "_source_uri", "_source_sha256")


@dataclass(frozen=True, order=True)
class Delivered:
    """A delivery that bronze holds; the order of these is the order in which they count."""

    logical_date: date
    delivery: str
    uri: str
    sha256: str
    rows: int = 0

    @property
    def name(self) -> str:
        return self.uri.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True)
class Made:
    """How a table's rows of one date (None: all rows) were made: hashes of inputs and of code."""

    inputs: str
    code: str


def deliveries(s3: S3, content: Content, *, logical_date: date | None = None) -> list[Delivered]:
    """The deliveries in a bronze table, oldest first; of one logical date only, if given.

    Raises: ServiceUnavailable.
    """
    if content["snapshotId"] in (-1, None):
        return []
    table = open_static(s3, content)
    row_filter = f"_logical_date = '{logical_date}'" if logical_date else ALWAYS_TRUE
    found: dict[str, Delivered] = {}
    with reaching(s3, table.location()):
        for task in table.scan(row_filter=row_filter).plan_files():
            for one in _of_file(table, task.file):
                old = found.get(one.delivery)
                found[one.delivery] = replace(one, rows=one.rows + (old.rows if old else 0))
    return sorted(found.values())


def _of_file(table: StaticTable, file: DataFile) -> list[Delivered]:
    schema = table.schema()
    values = []
    for name in _DELIVERY_COLUMNS:
        field = schema.find_field(name)
        low, high = (file.lower_bounds or {}).get(field.field_id), (file.upper_bounds or {}).get(field.field_id)
        if low is None or low != high:  # several deliveries in one file, as compaction makes them
            return _of_rows(table, file)
        values.append(from_bytes(field.field_type, low))  # type: ignore[arg-type]  # texts and a date, so primitive
    logical, delivery, uri, sha256 = values
    return [Delivered(_date(logical), str(delivery), str(uri), str(sha256), file.record_count)]


def _of_rows(table: StaticTable, file: DataFile) -> list[Delivered]:
    import pyarrow.parquet as pq

    with table.io.new_input(file.file_path).open() as stream:
        rows = pq.read_table(stream, columns=list(_DELIVERY_COLUMNS))
    counted = rows.group_by(list(_DELIVERY_COLUMNS)).aggregate([([], "count_all")]).to_pylist()
    return [
        Delivered(row["_logical_date"], row["_delivery"], row["_source_uri"], row["_source_sha256"], row["count_all"])
        for row in counted
    ]


def _date(value: object) -> date:
    return value if isinstance(value, date) else date(1970, 1, 1) + timedelta(days=int(str(value)))


def made(s3: S3, content: Content) -> dict[date | None, Made]:
    """How each date of a silver or gold table was made last, as far as its snapshots remember; the last one made is last."""
    if content["snapshotId"] in (-1, None):
        return {}
    found: dict[date | None, Made] = {}
    for snapshot in reversed(standing(open_static(s3, content).metadata)):
        summary = snapshot.summary
        if summary is None or summary.get(INPUTS_PROPERTY) is None:
            continue
        text = summary.get(DATE_PROPERTY) or ""
        key = date.fromisoformat(text) if text else None
        found.pop(key, None)
        found[key] = Made(str(summary.get(INPUTS_PROPERTY)), str(summary.get(CODE_PROPERTY)))
    return found


def standing(metadata: TableMetadata) -> list[Snapshot]:
    """The snapshots whose changes the table's rows show, newest first: not those that were taken back, or that lie
    between a state and its return (see STATE_OF and TAKES_BACK), nor those beside the line of its versions."""
    found: list[Snapshot] = []
    gone: set[str] = set()
    by_id = {each.snapshot_id: each for each in metadata.snapshots}  # pyiceberg would look through all for each
    snapshot = metadata.current_snapshot()
    while snapshot is not None:
        before = snapshot.parent_snapshot_id
        if str(snapshot.snapshot_id) not in gone:
            notes = snapshot.summary.additional_properties if snapshot.summary else {}
            gone.update(notes.get(TAKES_BACK, "").split(","))
            if (state := notes.get(STATE_OF)) is not None:
                before = int(state) if state else None
            else:
                found.append(snapshot)
        snapshot = by_id.get(before) if before is not None else None
    return found


def last_code(s3: S3, content: Content) -> str | None:
    """The code that made what a silver or gold table got last; None if it never got anything."""
    if content["snapshotId"] in (-1, None):
        return None
    snapshots = standing(open_static(s3, content).metadata)
    codes = (s.summary.get(CODE_PROPERTY) for s in snapshots if s.summary is not None)
    return next((str(code) for code in codes if code is not None), None)


def added_records(s3: S3, content: Content) -> int:
    """`added-records` of the current snapshot: how many rows the last write really wrote."""
    return _counted(s3, content, "added-records")


def total_records(s3: S3, content: Content) -> int:
    """`total-records` of the current snapshot: how many rows the table holds."""
    return _counted(s3, content, "total-records")


def deleted_in_place(s3: S3, content: Content) -> int:
    """`total-position-deletes` of the current snapshot: how many rows of its files a table no longer holds."""
    return _counted(s3, content, "total-position-deletes")


def _counted(s3: S3, content: Content, figure: str) -> int:
    if content["snapshotId"] in (-1, None):
        return 0
    snapshot = open_static(s3, content).metadata.current_snapshot()
    if snapshot is None or snapshot.summary is None:
        return 0
    return int(snapshot.summary.get(figure) or 0)

"""Which partitions of a table changed between two of its versions, from Iceberg's metadata: no row is read.

A partition changed if it has other files, or files with other row-level deletes. What is deleted of it in
the warehouse is told by a condition on its columns, which is exact for the transforms `identity` (but of
floats and bytes), `year`, `month`, `day`, `hour`, and `truncate` of whole numbers and decimals. Fields
whose values the warehouse cannot tell (`bucket`) are left out: partitions that differ in these alone
count as one. Where nothing is left, or the two versions have not the same columns and partitioning, or the
older one cannot be read any more, there is no answer, and the table is replaced as a whole.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from medallion.errors import MedallionError
from medallion.publish import lake_files
from medallion.publish.columns import Column
from medallion.publish.ledger import TableState
from medallion.settings import S3

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask, StaticTable

    from medallion.lakehouse.nessie import Content

AT_MOST = 500
"""More partitions than these are not named one by one: the table is replaced as a whole."""
_EPOCH = date(1970, 1, 1)
_ALIKE = ("boolean", "int", "bigint", "date", "timestamp", "timestamp_ntz", "string")
"""Types whose values the warehouse compares as the lake does."""


@dataclass(frozen=True)
class Within:
    """A condition on a column: null if `low` is None, equal to `low` if `high` is, else from `low` to before `high`."""

    column: Column
    low: Any
    high: Any = None


Part = tuple[Within, ...]
"""The rows of a partition: all these conditions hold."""


@dataclass(frozen=True)
class Change:
    """What became of a table since a version of it: the files of the `parts` that changed, now and then."""

    parts: tuple[Part, ...]
    now: tuple[FileScanTask, ...]
    before: tuple[FileScanTask, ...]
    old: StaticTable


def condition(parts: Sequence[Part], name: Callable[[str], str], literal: Callable[[Column, str], str]) -> str:
    """What holds for the rows of these partitions, in SQL.

    Args:
        name: how a column's name is quoted; `literal`: how a value of a column is written, from its text.
    """

    def told(within: Within) -> str:
        place = name(within.column.name)
        if within.low is None:
            return f"{place} IS NULL"
        low = literal(within.column, _text(within.low))
        if within.high is None:
            return f"{place} = {low}"
        return f"{place} >= {low} AND {place} < {literal(within.column, _text(within.high))}"

    return "(" + " OR ".join("(" + " AND ".join(told(within) for within in part) + ")" for part in parts) + ")"


def since(
    s3: S3, base: TableState, content: Content, table: StaticTable, now: Sequence[FileScanTask], columns: Sequence[Column]
) -> Change | None:
    """What changed of a table since the version that the warehouse shows; None if that cannot be told by partitions.

    Args:
        base: what the warehouse shows.
        content, table, now, columns: the version that it is to show, and its files.
    """
    if (base.content_id, base.schema_id) != (content["id"], content["schemaId"]):
        return None
    try:
        old = lake_files.open_table(s3, {"metadataLocation": base.metadata_location, "snapshotId": base.snapshot_id})
        return _between(old, table, now, columns)
    except (MedallionError, ValueError, OverflowError):  # too old, or of another kind
        return None


def _between(old: StaticTable, new: StaticTable, now: Sequence[FileScanTask], columns: Sequence[Column]) -> Change | None:
    spec = new.spec()
    if old.spec() != spec or old.metadata.table_uuid != new.metadata.table_uuid:
        return None
    types = {column.name: column for column in columns}
    tellers: list[tuple[int, Callable[[Any], Within]]] = []
    for position, field in enumerate(spec.fields):
        column = types.get(new.schema().find_column_name(field.source_id) or "")
        if column and (teller := _teller(str(field.transform), column)):
            tellers.append((position, teller))
    if not tellers:
        return None
    before = lake_files.planned(old)
    if any(task.file.spec_id != spec.spec_id for task in (*before, *now)):
        return None  # a file from before the partitioning was changed
    was, is_ = _by_part(before, tellers), _by_part(now, tellers)
    changed = [part for part in {**was, **is_} if _files(was[part]) != _files(is_[part])]
    if len(changed) > AT_MOST:
        return None
    changed.sort(key=repr)
    return Change(
        tuple(changed),
        tuple(task for part in changed for task in is_[part]),
        tuple(task for part in changed for task in was[part]),
        old,
    )


def _by_part(
    tasks: Iterable[FileScanTask], tellers: Sequence[tuple[int, Callable[[Any], Within]]]
) -> defaultdict[Part, list[FileScanTask]]:
    found: defaultdict[Part, list[FileScanTask]] = defaultdict(list)
    for task in tasks:
        found[tuple(teller(task.file.partition[position]) for position, teller in tellers)].append(task)
    return found


def _files(tasks: Iterable[FileScanTask]) -> set[tuple[str, frozenset[str]]]:
    return {(task.file.file_path, frozenset(deletes.file_path for deletes in task.delete_files)) for task in tasks}


def _teller(transform: str, column: Column) -> Callable[[Any], Within] | None:
    """From a partition's value to the condition on the column; None if there is no exact one."""
    decimal = column.type.startswith("decimal")
    if transform == "identity" and (decimal or column.type in _ALIKE):
        return lambda value: Within(column, _value(column, value))
    if transform in _PERIODS and column.type in ("date", "timestamp", "timestamp_ntz"):
        bounds = _PERIODS[transform]
        return lambda value: Within(column, *([_moment(column, at) for at in bounds(value)] if value is not None else [None]))
    if (width := re.fullmatch(r"truncate\[(\d+)\]", transform)) and (decimal or column.type in ("int", "bigint")):
        scale = int(column.type.rstrip(")").partition(",")[2]) if decimal else 0
        step = Decimal(int(width[1])).scaleb(-scale) if decimal else int(width[1])
        return lambda value: Within(column, value, None if value is None else value + step)
    return None


def _year(value: int) -> tuple[datetime, ...]:
    return tuple(datetime(1970 + year, 1, 1) for year in (value, value + 1))


def _month(value: int) -> tuple[datetime, ...]:
    return tuple(datetime(1970 + month // 12, month % 12 + 1, 1) for month in (value, value + 1))


def _day(value: int | date) -> tuple[datetime, ...]:
    days = (value - _EPOCH).days if isinstance(value, date) else value
    return tuple(datetime(1970, 1, 1) + timedelta(days=day) for day in (days, days + 1))


def _hour(value: int) -> tuple[datetime, ...]:
    return tuple(datetime(1970, 1, 1) + timedelta(hours=hour) for hour in (value, value + 1))


_PERIODS: dict[str, Callable[[Any], tuple[datetime, ...]]] = {"year": _year, "month": _month, "day": _day, "hour": _hour}


def _value(column: Column, value: Any) -> Any:
    """A partition's value as Python has it: Iceberg counts days and microseconds."""
    if isinstance(value, int) and column.type == "date":
        return _EPOCH + timedelta(days=value)
    if isinstance(value, int) and column.type.startswith("timestamp"):
        return _moment(column, datetime(1970, 1, 1) + timedelta(microseconds=value))
    return value


def _moment(column: Column, at: datetime) -> date:
    if column.type == "date":
        return at.date()
    return at.replace(tzinfo=UTC) if column.type == "timestamp" else at


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return format(value, "f") if isinstance(value, Decimal) else str(value)

"""Of a table that is published by partitions, those that changed are replaced, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.expressions import And, EqualTo, In, IsNull
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent, ManifestWriterV2
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, DayTransform, MonthTransform, Transform, TruncateTransform, YearTransform
from pyiceberg.types import IcebergType, StringType

from medallion.contract import Contract, Layout, PartitionBy
from medallion.publish.publication import Publication, publish
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, Write, gold
from tests.warehouse import BOTH, agreed, database, rows, select

pytest_plugins = ["tests.warehouse"]
pytestmark = BOTH

DAY = date(2013, 1, 1)
COLUMNS = {"day": "date", "id": "bigint", "name": "string"}


def by(name: str, columns: Mapping[str, str], domain: str, *partitions: PartitionBy, **more: Any) -> Contract:
    return gold(name, columns, domain=domain, layout=Layout(partitions), publication="partitions", **more)


def by_day(domain: str) -> Contract:
    return by("daily", COLUMNS, domain, PartitionBy("day"))


def row(day: int, number: int, name: str = "a") -> dict[str, Any]:
    return {"day": DAY + timedelta(days=day), "id": number, "name": name}


def arrow(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema_to_pyarrow(table.schema(), include_field_ids=False))


def replaced(day: int, *rows: dict[str, Any]) -> Write:
    """A day's rows instead of those that there were."""
    return lambda table: table.overwrite(arrow(table, list(rows)), EqualTo("day", DAY + timedelta(days=day)))


@pytest.fixture(autouse=True)
def partitioned(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyiceberg's own transforms, value by value: over whole arrays it leaves them to a package in Rust."""

    def over_arrays(self: Transform[Any, Any], source: IcebergType) -> Any:
        def transform(array: pa.Array) -> pa.Array:
            counted = pa.int64() if pa.types.is_timestamp(array.type) else pa.int32()
            plain = array.cast(counted) if pa.types.is_temporal(array.type) else array
            kind = pa.int32() if isinstance(self, DayTransform) else schema_to_pyarrow(self.result_type(source))
            values = [self.transform(source)(value.as_py()) for chunk in plain.chunks for value in chunk]
            return pa.array(values, kind)

        return transform

    for one in (YearTransform, MonthTransform, DayTransform, TruncateTransform, BucketTransform):
        monkeypatch.setattr(one, "pyarrow_transform", over_arrays)


class Steps:
    """Keeps which steps a publication did, and with what."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []

    def step(self, run_id: str, name: str, **detail: Any) -> Any:
        self.done.append((name.removeprefix("publish."), detail))
        return nullcontext()

    def copied(self) -> list[int]:
        return [detail["rows"] for name, detail in self.done if name == "copy"]


def shown(settings: Settings, contract: Contract) -> tuple[Publication, list[int]]:
    """Publish. Returns: what came of it, and how many rows were brought for each table."""
    steps = Steps()
    done = publish(settings, Contracts(contract), journal=steps)
    return done, steps.copied()


def test_a_new_a_corrected_and_a_vanished_partition(settings: Settings, lake: LakeTables, domain: str) -> None:
    daily = by_day(domain)
    lake.commit({daily: [row(0, 1), row(0, 2), row(1, 3), row(2, 4), {"day": None, "id": 9, "name": "of no day"}]})
    _, copied = shown(settings, daily)
    assert copied == [5], "at first all of it"
    # what only a replaced row loses: a mark set by hand, past the publisher
    mark = f"UPDATE {database(settings)}.{domain}.daily SET name = 'kept' WHERE id IN (3, 9)"
    select(settings, mark)

    lake.commit({daily: lambda table: table.append(arrow(table, [row(3, 5)]))})
    done, copied = shown(settings, daily)
    assert (done.changed, copied, done.tables[daily.dataset].rows) == ((daily.dataset,), [1], 6)
    lake.commit({daily: replaced(0, row(0, 2, "corrected"))})
    assert shown(settings, daily)[1] == [1]
    lake.commit({daily: lambda table: table.delete(EqualTo("day", DAY + timedelta(days=2)))})
    done, copied = shown(settings, daily)
    assert (copied, done.staged_bytes, done.tables[daily.dataset].rows) == ([0], 0, 4)

    there = sorted((id_, name) for _, id_, name in rows(settings, daily))
    assert there == [(2, "corrected"), (3, "kept"), (5, "a"), (9, "kept")]
    assert not agreed(settings, Contracts(daily)), "reconcile finds what was set by hand"
    select(settings, f"UPDATE {database(settings)}.{domain}.daily SET name = 'a' WHERE id = 3")
    lake.commit({daily: lambda table: table.overwrite(arrow(table, [{"day": None, "id": 8, "name": ""}]), IsNull("day"))})
    done, copied = shown(settings, daily)
    assert copied == [1], "the partition of no day"
    assert agreed(settings, Contracts(daily))
    ((state),) = done.tables.values()
    whole = gold("daily", COLUMNS, domain=domain, layout=daily.layout)
    again = publish(settings, Contracts(whole), at=lake.commit({daily: lambda table: touch(table)}))
    assert again.tables[daily.dataset].checksum == state.checksum, "that of parts is that of the whole"


def touch(table: Table) -> None:
    """A new version with the same rows in other files."""
    table.overwrite(table.scan().to_arrow())


FIRST, SECOND = datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(1970, 1, 1, tzinfo=UTC)
KINDS: dict[str, tuple[str, PartitionBy, Any, Any]] = {
    # a column's type, how the table is partitioned by it, and values of two partitions, as near as can be
    "flag": ("boolean", PartitionBy("flag"), True, False),
    "whole": ("int", PartitionBy("whole"), -1, 1),
    "words": ("string", PartitionBy("words"), 'it\'s \\ "Zürich"; --', 'it\'s \\ "zürich"; --'),
    "money": ("decimal(10,2)", PartitionBy("money"), Decimal("-0.05"), Decimal("0.05")),
    "instant": ("timestamp", PartitionBy("instant"), FIRST, SECOND),
    "tens": ("bigint", PartitionBy("tens", "truncate", 10), -1, 0),
    "cents": ("decimal(10,2)", PartitionBy("cents", "truncate", 50), Decimal("0.49"), Decimal("0.50")),
    "top": ("decimal(3,0)", PartitionBy("top", "truncate", 100), Decimal(950), Decimal(899)),
    "month": ("date", PartitionBy("month", "month"), date(1969, 12, 31), date(1970, 1, 1)),
    "year": ("timestamp_ntz", PartitionBy("year", "year"), datetime(1969, 12, 31, 23, 59, 59), datetime(1970, 1, 1)),
    "day": ("timestamp", PartitionBy("day", "day"), FIRST, SECOND),
}


def test_every_kind_of_partition_is_told_from_the_next(settings: Settings, lake: LakeTables, domain: str) -> None:
    """Each row differs from the first in one column, by the next partition's value or null."""
    types = {"id": "bigint"} | {name: type_ for name, (type_, *_) in KINDS.items()}
    every = by("every", types, domain, *(field for _, field, *_ in KINDS.values()))
    first = {name: value for name, (_, _, value, _) in KINDS.items()}
    nulls = [first | {"id": 200 + n, name: None} for n, name in enumerate(KINDS)]
    near = [first | {"id": 100 + n, name: value} for n, (name, (*_, value)) in enumerate(KINDS.items())]
    lake.commit({every: [first | {"id": 0}, *near, *nulls]})
    shown(settings, every)

    def change(table: Table) -> None:
        table.delete(In("id", [0, *(row["id"] for row in nulls)]))
        table.append(arrow(table, [first | {"id": 1}, *(row | {"id": row["id"] + 100} for row in nulls)]))

    lake.commit({every: change})
    done, copied = shown(settings, every)
    assert copied == [1 + len(nulls)]
    assert done.tables[every.dataset].rows == 1 + len(near) + len(nulls)
    assert agreed(settings, Contracts(every))


def test_what_a_condition_cannot_tell_is_replaced_with_its_neighbours(settings: Settings, lake: LakeTables, domain: str) -> None:
    """By day and bucket: the day. By bucket, or ratio, alone: the table."""
    mixed = by("mixed", COLUMNS, domain, PartitionBy("day"), PartitionBy("id", "bucket", 8))
    bucket = by("bucket", COLUMNS, domain, PartitionBy("id", "bucket", 8))
    ratio = by("ratio", {"ratio": "double", "id": "bigint"}, domain, PartitionBy("ratio"))
    contracts = Contracts(mixed, bucket, ratio)
    data = [row(day, number) for day in range(3) for number in range(4)]
    ratios = [{"ratio": value, "id": 1} for value in (0.5, 1.5, -0.0)]
    lake.commit({mixed: data, bucket: data, ratio: ratios})
    publish(settings, contracts)
    one = And(EqualTo("day", DAY), EqualTo("id", 2))

    def change(table: Table) -> None:
        table.overwrite(arrow(table, [row(0, 2, "b"), row(0, 2, "c")]), one)

    lake.commit({mixed: change, bucket: change, ratio: lambda table: table.append(arrow(table, [{"ratio": 2.5, "id": 2}]))})
    steps = Steps()
    publish(settings, contracts, journal=steps)
    assert steps.copied() == [13, 5, 4]
    assert agreed(settings, contracts)


def test_other_columns_other_partitions_and_a_rewind_replace_the_table(settings: Settings, lake: LakeTables, domain: str) -> None:
    daily = by_day(domain)
    first = lake.commit({daily: [row(0, 1), row(1, 2), row(2, 3)]})
    shown(settings, daily)

    def add_column(table: Table) -> None:
        with table.update_schema() as update:
            update.add_column("more", StringType())
        table.append(arrow(table, [row(3, 4) | {"more": "x"}]))

    lake.commit({daily: add_column})
    assert shown(settings, daily)[1] == [4]
    lake.commit({daily: lambda table: table.append(arrow(table, [row(4, 5)]))})
    assert shown(settings, daily)[1] == [1]

    def other_partitions(table: Table) -> None:
        with table.update_spec() as update:
            update.add_field("id", "bucket[4]")
        table.append(arrow(table, [row(5, 6)]))

    lake.commit({daily: other_partitions})
    assert shown(settings, daily)[1] == [6]
    lake.commit({daily: lambda table: table.append(arrow(table, [row(6, 7)]))})
    assert shown(settings, daily)[1] == [7], "some files still lie as before"
    assert agreed(settings, Contracts(daily))

    older = by("older", COLUMNS, domain, PartitionBy("day"))
    back = lake.commit({older: [row(0, 1), row(1, 2)]})
    publish(settings, Contracts(daily, older))
    lake.commit({older: lambda table: table.append(arrow(table, [row(2, 3)]))})
    publish(settings, Contracts(daily, older))
    steps = Steps()
    publish(settings, Contracts(daily, older), at=back, allow_rewind=True, journal=steps)
    assert steps.copied() == [7, 2], "a rewind replaces every table"
    assert first != back


def test_a_version_that_cannot_be_read_any_more_replaces_the_table(settings: Settings, lake: LakeTables, domain: str) -> None:
    """The head's metadata, or its data files, have been removed."""
    from minio import Minio

    s3 = settings.s3
    client = Minio(
        str(s3.endpoint).removeprefix("http://"),
        access_key=s3.access_key,
        secret_key=s3.secret_key.get_secret_value(),
        secure=False,
    )
    for lost in ("metadata", "data"):
        daily = by(f"daily_{lost}", COLUMNS, domain, PartitionBy("day"))
        lake.commit({daily: [row(0, 1), row(1, 2)]})
        publish(settings, Contracts(daily))
        content = lake.nessie.tables(lake.nessie.reference("main"))[daily.dataset]
        if lost == "metadata":
            gone = [content["metadataLocation"]]
        else:
            from medallion.lakehouse.table import open_static

            gone = [task.file.file_path for task in open_static(s3, content).scan().plan_files()]
        lake.commit({daily: lambda table: table.overwrite(arrow(table, [row(0, 7), row(2, 8)]))})
        lines: list[str] = []
        for path in gone:
            bucket, _, name = path.removeprefix("s3://").partition("/")
            client.remove_object(bucket_name=bucket, object_name=name)
        if lost == "metadata":
            from medallion.lakehouse import table as lake_table

            lake_table._static.cache_clear()
        publish(settings, Contracts(daily), report=lines.append)
        assert not any("partitions" in line for line in lines), lost
        assert agreed(settings, Contracts(daily))


def test_rows_added_by_hand_let_the_table_be_replaced(settings: Settings, lake: LakeTables, domain: str) -> None:
    """The number of rows after the exchange is not the lake's, so the next attempt replaces all of it."""
    daily = by_day(domain)
    lake.commit({daily: [row(0, 1), row(1, 2)]})
    shown(settings, daily)
    select(settings, f"INSERT INTO {database(settings)}.{domain}.daily (id, name) VALUES (77, 'by hand')")
    lake.commit({daily: lambda table: table.append(arrow(table, [row(2, 3)]))})
    done, copied = shown(settings, daily)
    assert (done.outcome, copied) == ("published", [1, 3])
    assert agreed(settings, Contracts(daily))


def test_whoever_is_overtaken_takes_the_partitions_since_the_other(settings: Settings, lake: LakeTables, domain: str) -> None:
    daily = by_day(domain)
    lake.commit({daily: [row(0, 1), row(1, 2), row(2, 3)]})
    shown(settings, daily)
    second = lake.commit({daily: replaced(1, row(1, 2, "second"))})
    third = lake.commit({daily: replaced(2, row(2, 3, "third"))})

    class Overtaken(Steps):
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            if name == "publish.begin" and name.removeprefix("publish.") not in [each for each, _ in self.done]:
                assert publish(settings, Contracts(daily), at=second).sequence == 2
            return super().step(run_id, name, **detail)

    steps = Overtaken()
    done = publish(settings, Contracts(daily), journal=steps)
    assert (done.hash, done.sequence, steps.copied()) == (third, 3, [2, 1])
    assert agreed(settings, Contracts(daily))


def test_other_metadata_alone_moves_no_row(settings: Settings, lake: LakeTables, domain: str) -> None:
    daily = by_day(domain)
    lake.commit({daily: [row(0, 1)]})
    shown(settings, daily)

    def same_again(table: Table) -> None:
        before = table.metadata.current_snapshot_id
        table.append(arrow(table, [row(1, 2)]))
        table.delete(EqualTo("day", DAY + timedelta(days=1)))
        assert table.metadata.current_snapshot_id != before

    lake.commit({daily: same_again})
    steps = Steps()
    done = publish(settings, Contracts(daily), journal=steps)
    assert (done.outcome, done.changed) == ("published", (daily.dataset,))
    assert "delete" not in [name for name, _ in steps.done]
    assert agreed(settings, Contracts(daily))


def test_row_level_deletes_are_changes(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same data files, and beside one of them a file that says which of its rows are gone."""
    daily = by_day(domain)
    lake.commit({daily: [row(0, 1), row(0, 2), row(1, 3)]})
    shown(settings, daily)
    monkeypatch.setattr(ManifestWriterV2, "content", lambda self: ManifestContent.DELETES)  # pyiceberg itself writes none
    lake.commit({daily: mark_deleted})
    done, copied = shown(settings, daily)
    assert copied == [1]
    assert done.reencoded_bytes == done.staged_bytes > 0, "such files do not serve as they are"
    assert [id_ for _, id_, _ in rows(settings, daily)] == [2, 3]
    assert agreed(settings, Contracts(daily))


def mark_deleted(table: Table) -> None:
    """Delete the first row of the first day's file by a file of positions."""
    (file,) = (task.file for task in table.scan(EqualTo("day", DAY)).plan_files())
    path = f"{table.location()}/data/deletes.parquet"
    fields = [("file_path", pa.string(), b"2147483546"), ("pos", pa.int64(), b"2147483545")]
    schema = pa.schema([pa.field(name, type_, metadata={b"PARQUET:field_id": id_}) for name, type_, id_ in fields])
    with table.io.new_output(path).create() as out:
        pq.write_table(pa.table({"file_path": [file.file_path], "pos": [0]}, schema), out)
    figures = ("column_sizes", "value_counts", "null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds")
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=file.partition,
        record_count=1,
        file_size_in_bytes=len(table.io.new_input(path)),
        **{figure: {} for figure in figures},
    )
    deletes.spec_id = file.spec_id
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(deletes)

"""Writes put onto another version of their table: what comes out, and what cannot be done by metadata."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.expressions import EqualTo
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from medallion.contract import Layout, Materialisation, PartitionBy
from medallion.lakehouse.history import DATE_PROPERTY, INPUTS_PROPERTY
from medallion.lakehouse.nessie import Content
from medallion.lakehouse.putback import put_back, same_state
from medallion.lakehouse.replay import NotReplayable, changes, replay, undone, writes
from medallion.lakehouse.table import create, open_static
from medallion.settings import Settings
from tests.lake_tables import gold, write

D1, D2, D3 = (date(2024, 7, day) for day in (1, 2, 3))
Step = Callable[[Table], Any]


def _notes(day: date) -> dict[str, str]:
    return {DATE_PROPERTY: str(day), INPUTS_PROPERTY: f"inputs of {day}"}


def _rows(table: Table, day: date, **values: int) -> pa.Table:
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    return pa.Table.from_pylist([{"day": day, "kind": kind, "value": value} for kind, value in values.items()], schema=schema)


def put(day: date, *, noted: bool = True, **values: int) -> Step:
    """Replace a day's rows, as a run does."""
    return lambda table: table.overwrite(
        _rows(table, day, **values), overwrite_filter=EqualTo("day", day), snapshot_properties=_notes(day) if noted else {}
    )


@pytest.fixture
def base(stack: Settings) -> Content:
    """A table partitioned by day and kind, with rows of two days."""
    contract = gold(
        "days",
        {"day": "date", "kind": "string", "value": "bigint"},
        domain=f"d{uuid.uuid4().hex[:8]}",
        materialisation=Materialisation("date", "day"),
        layout=Layout(partitioned_by=(PartitionBy("kind"),)),
    )
    content = create(stack.s3, contract) | {"id": "of the table"}
    return after(stack, content, put(D1, a=1, b=2), put(D2, a=10))


def after(settings: Settings, content: Content, *steps: Step) -> Content:
    for step in steps:
        content = write(settings.s3, content, step)
    return content


def rows(settings: Settings, content: Content) -> list[tuple[Any, ...]]:
    found = open_static(settings.s3, content).scan().to_arrow().to_pylist()
    return sorted(tuple(row.values()) for row in found)


def files(settings: Settings, content: Content) -> set[str]:
    return {task.file.file_path for task in open_static(settings.s3, content).scan().plan_files()}


def test_writes_of_different_days_end_as_one_after_the_other(stack: Settings, base: Content) -> None:
    mine = after(stack, base, put(D1, a=7), put(D3, b=300))
    theirs = after(stack, base, put(D2, a=20, b=21))
    wrote = writes(stack.s3, base, mine)
    assert [write.logical_date for write in wrote] == [D1, D1, D3], "pyiceberg removes and adds in two snapshots"
    assert changes(stack.s3, base, theirs).dates == {D2}

    joined = replay(stack.s3, theirs, wrote)

    assert rows(stack, joined) == [(D1, "a", 7), (D2, "a", 20), (D2, "b", 21), (D3, "b", 300)]
    assert files(stack, joined) <= files(stack, mine) | files(stack, theirs)
    assert changes(stack.s3, base, joined).dates == {D1, D2, D3}
    assert joined | mine == mine, "the same keys"
    assert (joined["id"], joined["schemaId"], joined["specId"]) == ("of the table", mine["schemaId"], mine["specId"])
    metadata = open_static(stack.s3, joined).metadata
    line = sorted(metadata.snapshots, key=lambda s: s.sequence_number or 0)
    assert [s.parent_snapshot_id for s in line] == [None, *(s.snapshot_id for s in line[:-1])]
    assert line[-1].summary is not None
    assert {k: line[-1].summary[k] for k in _notes(D3)} == _notes(D3)
    assert line[-1].summary["total-records"] == "4"


def test_only_some_writes_can_be_put_on_top(stack: Settings, base: Content) -> None:
    mine = after(stack, base, put(D1, a=7), put(D3, b=300))
    theirs = after(stack, base, put(D1, a=8))

    joined = replay(stack.s3, theirs, [w for w in writes(stack.s3, base, mine) if w.logical_date == D3])

    assert rows(stack, joined) == [(D1, "a", 8), (D2, "a", 10), (D3, "b", 300)]


def test_a_file_that_is_no_longer_there_cannot_be_replaced(stack: Settings, base: Content) -> None:
    mine, theirs = after(stack, base, put(D1, a=7)), after(stack, base, put(D1, a=8))
    with pytest.raises(NotReplayable, match="Missing required files to delete"):
        replay(stack.s3, theirs, writes(stack.s3, base, mine))


def _property(table: Table) -> None:
    with table.transaction() as transaction:
        transaction.set_properties({"write.target-file-size-bytes": "1048576"})


def _column(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column("note", table.schema().find_type("kind"))


def _partitioning(table: Table) -> None:
    with table.update_spec() as update:
        update.remove_field("kind")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (_property, "its properties changed"),
        (_column, "its schema changed"),
        (_partitioning, "its partitioning changed"),
        (put(D3, noted=False, a=1), "something that is no run wrote to it"),
    ],
)
def test_what_else_was_done_to_a_table_is_told(stack: Settings, base: Content, step: Step, why: str) -> None:
    with pytest.raises(NotReplayable, match=why):
        changes(stack.s3, base, after(stack, base, step, put(D3, a=1)))


def test_a_table_that_was_put_back_is_told(stack: Settings, base: Content) -> None:
    with pytest.raises(NotReplayable, match="put back to an earlier state"):
        changes(stack.s3, after(stack, base, put(D3, a=1)), base)


def test_a_revert_or_a_restore_in_a_table_is_told(stack: Settings, base: Content) -> None:
    """A run that wrote meanwhile is run again as a whole then."""
    later = after(stack, base, put(D3, a=1))
    for changed in (put_back(stack.s3, later, base), replay(stack.s3, later, [undone(stack.s3, base, later, later)])):
        assert rows(stack, changed) == rows(stack, base)
        with pytest.raises(NotReplayable, match="something in it was reverted or restored"):
            changes(stack.s3, later, changed)


def test_what_cannot_be_taken_back_by_files_is_told(stack: Settings, base: Content) -> None:
    mine = after(stack, base, put(D1, a=7))
    with pytest.raises(NotReplayable, match="its files were rewritten or replaced since"):
        undone(stack.s3, base, mine, after(stack, mine, put(D1, a=8)))
    with pytest.raises(NotReplayable, match="its partitioning changed since"):
        undone(stack.s3, base, mine, after(stack, mine, _partitioning))
    with pytest.raises(NotReplayable, match="its schema changed"):
        undone(stack.s3, base, after(stack, base, _column, put(D3, a=1)), after(stack, base, _column, put(D3, a=1)))
    with pytest.raises(NotReplayable, match="its history does not lead from one version to the other"):
        undone(stack.s3, mine, base, base)
    with pytest.raises(NotReplayable, match="files that it replaced are there again"):
        undone(stack.s3, base, mine, after(stack, mine, _twice(stack, base)))


def _twice(settings: Settings, content: Content) -> Step:
    """Take a table's files into it once more, as somebody may by hand."""
    paths = sorted(files(settings, content))
    return lambda table: table.add_files(paths, check_duplicate_files=False)


def test_the_same_state_is_known_by_what_it_was_put_back_from(stack: Settings, base: Content) -> None:
    later = after(stack, base, put(D3, a=1))
    back = put_back(stack.s3, later, base)
    assert back["metadataLocation"] not in (base["metadataLocation"], later["metadataLocation"])
    assert same_state(stack.s3, back, base)
    assert same_state(stack.s3, put_back(stack.s3, back, back), base)
    assert not same_state(stack.s3, back, later)
    assert not same_state(stack.s3, back, None)
    assert not same_state(stack.s3, back, put_back(stack.s3, back, None))
    assert rows(stack, put_back(stack.s3, back, None)) == []

"""The tables of `ops`: what a snapshot's summary means, what differs, and what a ledger's entry says of marts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pyiceberg.table.snapshots import Operation, Snapshot, Summary

from medallion.lakehouse.history import STATE_OF
from medallion.ops.ledgers import _row
from medallion.ops.main_log import _state
from medallion.ops.rebuild import Rebuilt
from medallion.ops.tables import PROJECTION
from medallion.ops.writing import TABLES
from medallion.publish.ledger import Entry, MartState, TableState


def snapshot(**summary: str) -> Snapshot:
    told = {name.replace("_", "-"): value for name, value in summary.items()}
    return Snapshot(
        snapshot_id=2, parent_snapshot_id=1, timestamp_ms=0, manifest_list="s3://x/y.avro",
        summary=Summary(Operation.OVERWRITE, **told),
    )  # fmt: skip


def test_rows_that_a_merge_marked_as_deleted_are_not_there() -> None:
    """As Spark's MERGE leaves them in a table that is upserted: 3 of 10 rows replaced, their old ones marked in place."""
    found = _state(snapshot(
        total_records="13", total_position_deletes="3", total_data_files="2", total_files_size="900",
        added_records="3", added_position_deletes="3", added_files_size="100",
    ))  # fmt: skip
    assert (found.rows, found.added_rows, found.deleted_rows, found.files, found.added_bytes) == (10, 3, 3, 2, 100)
    # compacted afterwards: 13 rows in the files that go, 3 of them marked, 10 in the new one
    found = _state(snapshot(total_records="10", added_records="10", deleted_records="13", removed_position_deletes="3"))
    assert (found.rows, found.added_rows, found.deleted_rows) == (10, 10, 10)


def test_a_state_that_was_put_back_is_told_apart() -> None:
    summary = Summary(Operation.OVERWRITE, **{STATE_OF: "1", "total-records": "5"})
    found = _state(snapshot().model_copy(update={"summary": summary}))
    assert (found.put_back, found.rows, found.added_rows) == (True, 5, 0)
    assert _state(snapshot().model_copy(update={"summary": None})).rows == 0


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "c": 4}, "a 1: b was 2, is 5; c was 3, is 4 (and 6 more rows)"),
        ({"a": 1, "b": 2}, None, "a 1: was there, and comes from no source (and 6 more rows)"),
        (None, {"a": 1, "b": 2}, "a 1: was lacking (and 6 more rows)"),
    ],
)
def test_what_differs_is_said_by_its_key(before: Any, now: Any, told: str) -> None:
    assert Rebuilt("ops.x", ("a",), 9, 9, 7, before, now).text == f"ops.x: {told}"
    assert Rebuilt("ops.x", ("a",), 9, 9, 0).text == ""


def test_a_publication_of_marts_has_their_rows_beside_those_of_gold() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    table = TableState("id", 1, 0, "s3://x", 5, "sum", "hash")
    marts = {"customer_value": MartState(7, "sum", "hash", {})}
    entry = Entry(3, "p", "hash", ("run",), when, {"gold.a.b": table}, ("gold.marts.customer_value",), 10, 4, marts)
    assert _row("postgres", entry) == (
        "postgres", 3, "p", "hash", when, ["run"], ["gold.marts.customer_value"],
        {"gold.a.b": 5, "gold.marts.customer_value": 7}, 10, 4,
    )  # fmt: skip


def test_every_table_of_the_projection_is_known() -> None:
    assert len(TABLES) == PROJECTION.count("CREATE TABLE") == len(set(TABLES))

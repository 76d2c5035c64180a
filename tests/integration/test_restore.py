"""Everything as it was at a commit or a time, put on top of main."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from pyiceberg.table import Table
from pyiceberg.types import LongType

from medallion.errors import UsageError
from medallion.lakehouse.history import made
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, NO_ANCESTOR, Reference
from medallion.lakehouse.standing import RESTORES_PROPERTY, standing
from medallion.lakehouse.store import Store
from medallion.lakehouse.table import open_static
from medallion.recovery import mark_published
from medallion.settings import Settings
from medallion.undo.carrying_out import Undone
from medallion.undo.restore import dry_run, find, parse_time, restore
from medallion.undo.revert import revert
from tests.days import Days
from tests.lake_tables import LakeTables, gold

D1, D2, D3 = (date(2024, 7, day) for day in (1, 2, 3))


@pytest.fixture
def days(stack: Settings) -> Iterator[Days]:
    with Days(stack) as days:
        yield days


def restored(days: Days, to: str) -> Undone:
    return restore(days.lake, to, lambda line: None)


def test_main_is_what_it_was_then_and_goes_on_from_there(days: Days) -> None:
    first = days.run(D1, 10, total=True)
    then, at = days.everything(), days.main()
    sandbox = days.lake.nessie.create_branch(f"dev-sandbox/{days.domain}", at)
    second = days.run(D1, 11, total=True)
    third = days.run(D2, 20, total=True)
    before = days.main()
    told = dry_run(days.lake, at.hash[:12])
    assert days.main() == before

    done = restored(days, at.hash)

    assert days.everything() == then
    assert days.lake.nessie.reference(sandbox.name) == sandbox
    days.lake.nessie.delete_branch(sandbox.name)
    assert (told.tables, told.reverted) == (done.tables, done.reverted)
    assert done.reverted == [third, second]
    (commit,) = days.lake.nessie.log(days.main(), until=before.hash)
    assert (commit.hash, commit.parent) == (done.merged_hash, before.hash)
    assert commit.properties[RESTORES_PROPERTY] == at.hash
    assert [days.row(run)["state"] for run in (first, second, third)] == ["merged", "reverted", "reverted"]
    assert days.row(third)["reverted_by"] == done.run_id
    assert {day: one.inputs for day, one in made(days.settings.s3, days.content(days.silver)).items()} == {D1: f"{D1} 10"}
    again = days.run(D2, 20, total=True)
    assert days.everything() == {"bronze": [(D1, "10"), (D2, "20")], "silver": [(D1, 10), (D2, 20)], "gold": [(30,)]}
    assert days.row(again)["state"] == "merged"
    assert restored(days, days.main().hash).state == "unchanged", "it is so already"


def test_a_table_that_was_not_there_then_is_empty_and_one_that_went_is_back(days: Days) -> None:
    lake = LakeTables(days.settings)
    gone, late = (gold(name, {"value": "bigint"}, domain=days.domain) for name in ("gone", "late"))
    at = lake.commit({gone: [{"value": 1}]})
    lake.drop(gone)
    lake.commit({late: [{"value": 2}]})

    done = restored(days, at)

    assert lake.read(gone).to_pylist() == [{"value": 1}]
    assert (lake.read(late).num_rows, lake.read(late).column_names) == (0, ["value"])
    assert {change.table: change.way for change in done.tables} == {gone.dataset: "state", late.dataset: "empty"}
    lake.commit({late: [{"value": 3}], gone: [{"value": 4}]})
    assert [lake.read(table).to_pylist() for table in (late, gone)] == [[{"value": 3}], [{"value": 4}]]
    lake.close()


def test_a_table_that_was_dropped_and_made_anew_is_what_it_was(days: Days) -> None:
    lake = LakeTables(days.settings)
    anew = gold("anew", {"value": "bigint"}, domain=days.domain)
    at = lake.commit({anew: [{"value": 1}]})
    lake.drop(anew)
    lake.commit({gold("anew", {"other": "string"}, domain=days.domain): [{"other": "x"}]})
    restored(days, at)
    assert lake.read(anew).to_pylist() == [{"value": 1}]
    lake.close()


def test_a_schema_goes_back_and_forth(days: Days) -> None:
    lake = LakeTables(days.settings)
    table = gold("evolves", {"value": "bigint"}, domain=days.domain)
    narrow = lake.commit({table: [{"value": 1}]})

    def widen(into: Table) -> None:
        with into.update_schema() as update:
            update.add_column("more", LongType())

    lake.commit({table: widen})
    wide = lake.commit({table: [{"value": 2, "more": 3}]})
    restored(days, narrow)
    assert lake.read(table).to_pylist() == [{"value": 1}]
    restored(days, wide)
    assert lake.read(table).to_pylist() == [{"value": 2, "more": 3}]
    lake.close()


def test_a_restore_can_be_taken_back(days: Days) -> None:
    first = days.run(D1, 10)
    at = days.main()
    second = days.run(D2, 20)
    gone = revert(days.lake, first, lambda line: None)
    before = days.everything()
    done = restored(days, at.hash)
    assert days.everything()["silver"] == [(D1, 10)]
    assert (done.reverted, done.returned) == ([gone.run_id, second], [first])
    assert [days.row(run)["state"] for run in (first, second)] == ["merged", "reverted"]
    assert done.run_id

    back = revert(days.lake, done.run_id, lambda line: None)

    assert days.everything() == before
    assert [days.row(run)["state"] for run in (first, second, done.run_id)] == ["reverted", "merged", "reverted"]
    assert (back.reverted, back.returned) == ([done.run_id, first], [gone.run_id, second])
    third = days.run(D3, 30)
    revert(days.lake, second, lambda line: None)
    assert days.everything()["silver"] == [(D3, 30)]
    assert days.row(third)["state"] == "merged"


def test_only_what_the_shown_commit_holds_is_noted_as_published(days: Days) -> None:
    first = days.run(D1, 10)
    gone = revert(days.lake, first, lambda line: None)
    shown = days.main().hash
    assert gone.run_id
    revert(days.lake, gone.run_id, lambda line: None)
    assert days.row(first)["state"] == "merged", "it is on main again"

    assert first not in mark_published(days.lake.nessie, days.lake.journal, shown)
    assert days.row(first)["state"] == "merged", "the warehouse shows main without it"
    ids = [commit.properties.get(RUN_PROPERTY) for commit in standing(days.lake.nessie.log(Reference(MAIN, shown)))]
    assert (first in ids, gone.run_id in ids) == (False, True)
    assert first in mark_published(days.lake.nessie, days.lake.journal, days.main().hash)
    assert days.row(first)["state"] == "published"


def test_a_time_stands_for_the_newest_commit_before_it(days: Days) -> None:
    days.run(D1, 10)
    at = next(iter(days.lake.nessie.log(days.main())))
    time.sleep(0.01)
    days.run(D2, 20)
    assert find(days.lake.nessie, at.time.isoformat()).hash == at.hash
    assert find(days.lake.nessie, at.time.astimezone(timezone(timedelta(hours=5))).isoformat()).hash == at.hash
    assert find(days.lake.nessie, at.time.replace(tzinfo=None).isoformat()).hash == at.hash, "without an offset it is UTC"
    assert find(days.lake.nessie, (at.time - timedelta(microseconds=1)).isoformat()).hash == at.parent
    restored(days, at.time.isoformat(sep=" "))
    assert days.everything()["silver"] == [(D1, 10)]


def test_what_is_neither_a_commit_nor_a_time_that_was_is_refused(days: Days) -> None:
    before, newest = days.main(), days.lake.journal.runs(1)[0]["run_id"]
    oldest = list(days.lake.nessie.log(before))[-1].time
    early = (oldest - timedelta(seconds=1)).isoformat()
    for to, why in (
        ("yesterday", "'yesterday' is neither a commit of main nor a time"),
        ("2024-07-01", "neither a commit of main nor a time"),
        ("2024-07-01T25:00", "neither a commit of main nor a time"),
        ("2e1cfa8", "neither a commit of main nor a time"),
        (NO_ANCESTOR, f"main has no commit '{NO_ANCESTOR}'"),
        ((datetime.now(UTC) + timedelta(hours=1)).isoformat(), "is still to come"),
        (early, "there was nothing on main at .*: main begins at"),
    ):
        with pytest.raises(UsageError, match=why):
            restored(days, to)
        with pytest.raises(UsageError, match=why):
            dry_run(days.lake, to)
    assert (days.main(), days.lake.journal.runs(1)[0]["run_id"]) == (before, newest)
    assert parse_time("2024-07-01T10:00+02:00") == datetime(2024, 7, 1, 8, tzinfo=UTC)


def test_files_that_are_needed_and_gone_are_told(days: Days) -> None:
    days.run(D1, 10)
    at = days.main()
    days.run(D2, 20)
    content = days.lake.nessie.tables(at)[days.bronze.dataset]
    table = open_static(days.settings.s3, content)
    snapshot = table.metadata.current_snapshot()
    assert snapshot is not None
    store = Store(days.settings.s3)
    before = days.main()
    for lost in (snapshot.manifests(table.io)[0].manifest_path, snapshot.manifest_list, content["metadataLocation"]):
        bucket, _, key = lost.removeprefix("s3://").partition("/")
        store.client.remove_object(bucket, key)
        with pytest.raises(UsageError, match=f"1 files that it needs are not there any more: {lost}"):
            restored(days, at.hash)
    assert days.main() == before

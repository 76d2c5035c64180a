"""A run taken off main: by its files, to what was before, or not at all, saying what must go first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest
from pyiceberg.types import LongType

from medallion.errors import UsageError
from medallion.lakehouse import steps
from medallion.lakehouse.history import made
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.run import fail, open_run
from medallion.lakehouse.standing import REVERTS_PROPERTY
from medallion.lakehouse.store import Store
from medallion.lakehouse.table import open_static
from medallion.recovery import resume
from medallion.settings import Settings
from medallion.sources.inbox import discover
from medallion.undo.carrying_out import Undone
from medallion.undo.revert import dry_run, revert
from tests.days import Days
from tests.lake_tables import write

D1, D2, D3 = (date(2024, 7, day) for day in (1, 2, 3))


@pytest.fixture
def days(stack: Settings) -> Iterator[Days]:
    with Days(stack) as days:
        yield days


def taken_back(days: Days, run_id: str, **options: Any) -> Undone:
    return revert(days.lake, run_id, lambda line: None, **options)


def test_what_a_run_only_appended_goes_by_its_files_though_others_appended_since(days: Days) -> None:
    first, second = days.run(D1, 10), days.run(D2, 20)
    files = [task.file.file_path for task in open_static(days.settings.s3, days.content(days.silver)).scan().plan_files()]
    before = days.main()

    done = taken_back(days, first)

    assert days.everything() == {"bronze": [(D2, "20")], "silver": [(D2, 20)], "gold": []}
    assert {change.table: change.way for change in done.tables} == dict.fromkeys(
        (days.bronze.dataset, days.silver.dataset), "files"
    )
    (left,) = open_static(days.settings.s3, days.content(days.silver)).scan().plan_files()
    assert left.file.file_path in files, "no data file was written"
    (commit,) = days.lake.nessie.log(days.main(), until=before.hash)
    assert commit.hash == done.merged_hash
    assert (commit.properties[RUN_PROPERTY], commit.properties[REVERTS_PROPERTY]) == (done.run_id, first)
    assert (days.row(first)["state"], days.row(first)["reverted_by"]) == ("reverted", done.run_id)
    assert (days.row(second)["state"], days.row(second)["reverted_by"]) == ("merged", None)
    assert done.run_id
    assert days.row(done.run_id)["state"] == "merged"
    assert made(days.settings.s3, days.content(days.silver)).keys() == {D2}, "the plan knows that the first day is not made"
    assert days.lake.nessie.references(f"run/{done.run_id}") == []


def test_what_a_run_replaced_goes_back_to_what_it_was(days: Days) -> None:
    days.run(D1, 10, total=True)
    corrected = days.run(D1, 11, total=True)
    assert days.everything() == {"bronze": [(D1, "10"), (D1, "11")], "silver": [(D1, 11)], "gold": [(11,)]}

    done = taken_back(days, corrected)

    assert days.everything() == {"bronze": [(D1, "10")], "silver": [(D1, 10)], "gold": [(10,)]}
    assert {change.way for change in done.tables} == {"state"}
    assert made(days.settings.s3, days.content(days.silver))[D1].inputs == f"{D1} 10"


def test_what_a_run_replaced_of_its_date_goes_back_beside_later_dates(days: Days) -> None:
    days.run(D1, 10)
    corrected = days.run(D1, 11)
    days.run(D2, 20)

    done = taken_back(days, corrected)

    assert days.everything() == {"bronze": [(D1, "10"), (D2, "20")], "silver": [(D1, 10), (D2, 20)], "gold": []}
    assert {change.way for change in done.tables} == {"files"}
    of = made(days.settings.s3, days.content(days.silver))
    assert {day: one.inputs for day, one in of.items()} == {D1: f"{D1} 10", D2: f"{D2} 20"}


def test_what_others_read_cannot_go_before_them(days: Days) -> None:
    first = days.run(D1, 10)
    second = days.run(D2, 20, total=True)
    third = days.run(D3, 30, total=True)
    before = days.main()

    with pytest.raises(UsageError, match="2 later runs read or replaced what it wrote") as refused:
        taken_back(days, first)
    named = [line.strip() for line in refused.value.message.splitlines() if "medallion revert" in line]
    assert named == [f"medallion revert {third}", f"medallion revert {second}"], "newest first"
    assert "--replay" in str(refused.value.hint)
    with pytest.raises(UsageError, match="2 later runs"):
        dry_run(days.lake, first)
    assert days.main() == before
    assert days.lake.journal.runs(1)[0]["run_id"] == third, "no run was begun"

    for run_id in (third, second, first):  # as it was told
        taken_back(days, run_id)
    assert days.everything() == {"bronze": [], "silver": [], "gold": []}
    assert made(days.settings.s3, days.content(days.gold)) == {}


def test_what_a_later_run_replaced_cannot_go_before_it(days: Days) -> None:
    days.run(D1, 10)
    second, third = days.run(D1, 11), days.run(D1, 12)
    with pytest.raises(UsageError, match=rf"1 later run read or replaced[\s\S]*medallion revert {third}"):
        taken_back(days, second)


def test_a_column_that_a_run_brought_goes_with_it_if_nobody_wrote_since(days: Days) -> None:
    days.run(D1, 10)
    first_schema = days.content(days.silver)["schemaId"]

    def run(day: date, value: int, *, evolve: bool = False) -> str:
        run = open_run(days.lake.nessie, days.lake.journal, "pipeline", day)
        if evolve:
            run.base = dict(run.base)
            with_column = write(days.settings.s3, run.base[days.silver.dataset], _with_a_column)
            run.base[days.silver.dataset] = with_column
        return days.finish(run, days.written(run, day, value))

    evolved = run(D2, 20, evolve=True)
    later = run(D3, 30)
    with pytest.raises(UsageError, match=rf"counts: its schema changed\)[\s\S]*medallion revert {later}"):
        taken_back(days, evolved)
    taken_back(days, later)
    taken_back(days, evolved)

    assert days.rows(days.silver) == [(D1, 10)]
    table = open_static(days.settings.s3, days.content(days.silver))
    assert (table.schema().schema_id, "note" in table.schema().column_names) == (first_schema, False)
    days_after = run(D3, 30, evolve=True)
    table = open_static(days.settings.s3, days.content(days.silver))
    assert table.schema().find_field("note").field_id == table.metadata.last_column_id, "never the number of the column that went"
    assert days.row(days_after)["state"] == "merged"


def _with_a_column(table: Any) -> None:
    with table.update_schema() as update:
        update.add_column("note", LongType())


def test_a_revert_can_be_reverted(days: Days) -> None:
    first = days.run(D1, 10)
    days.run(D2, 20)
    gone = taken_back(days, first)
    days.run(D3, 30)
    assert gone.run_id

    back = taken_back(days, gone.run_id)

    assert days.everything()["silver"] == [(D1, 10), (D2, 20), (D3, 30)]
    assert days.deliveries() == [D1, D2, D3]
    assert made(days.settings.s3, days.content(days.silver)).keys() == {D1, D2, D3}
    assert (back.reverted, back.returned) == ([gone.run_id], [first])
    assert (days.row(first)["state"], days.row(first)["reverted_by"]) == ("merged", None)
    assert (days.row(gone.run_id)["state"], days.row(gone.run_id)["reverted_by"]) == ("reverted", back.run_id)
    again = taken_back(days, first)
    assert days.everything()["silver"] == [(D2, 20), (D3, 30)]
    assert days.row(first)["reverted_by"] == again.run_id


def test_a_delivery_that_was_taken_back_is_new_to_the_next_run(days: Days) -> None:
    folder = days.bronze.delivery.folder(D1) if days.bronze.delivery else ""
    store = Store(days.settings.s3)
    store.put(f"s3://{days.bronze.bucket}/{folder}counts.csv", b"value\n10\n", "text/csv")

    def new() -> list[Any]:
        held = [one for one in days.deliveries_held() if one.logical_date == D1]
        return [arrival.delivered for arrival in discover(store, days.bronze, D1, held).new]

    (delivered,) = new()
    first = days.run(D1, 10, delivered=delivered)
    assert new() == []
    taken_back(days, first)
    assert new() == [delivered]
    days.run(D1, 10, delivered=delivered)
    assert days.everything() == {"bronze": [(D1, "10")], "silver": [(D1, 10)], "gold": []}


def test_what_is_not_on_main_cannot_be_taken_back(days: Days) -> None:
    first = days.run(D1, 10)
    failed = open_run(days.lake.nessie, days.lake.journal, "pipeline", D2)
    with pytest.raises(UsageError, match="is open: it is not at an end"):
        taken_back(days, failed.id)
    fail(days.lake.journal, failed, "an error")
    gone = taken_back(days, first)
    before = days.main()
    for run_id, why in (
        ("2024-07-01-nobody", "there is no run '2024-07-01-nobody'"),
        (failed.id, "is failed: nothing of it is on main"),
        (first, f"is reverted already, by {gone.run_id}"),
        (next(row["run_id"] for row in days.lake.journal.runs() if row["kind"] == "init"), "only created tables"),
    ):
        with pytest.raises(UsageError, match=why):
            taken_back(days, run_id)
        with pytest.raises(UsageError, match=why):
            dry_run(days.lake, run_id)
    assert days.main() == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(days: Days) -> None:
    days.run(D1, 10)
    second = days.run(D2, 20, total=True)
    before, newest = days.main(), days.lake.journal.runs(1)[0]["run_id"]

    told = dry_run(days.lake, second)

    assert (days.main(), days.lake.journal.runs(1)[0]["run_id"]) == (before, newest)
    done = taken_back(days, second)
    assert told.tables == done.tables
    assert (told.run_id, told.reverted) == (None, [second])


def test_files_that_are_needed_and_gone_are_told(days: Days) -> None:
    days.run(D1, 10)
    corrected = days.run(D1, 11)
    content = days.lake.nessie.tables(days.lake.nessie.reference("main"))[days.silver.dataset]
    metadata = open_static(days.settings.s3, content).metadata
    first = next(s for s in metadata.snapshots if s.parent_snapshot_id is None)
    manifest = first.manifests(open_static(days.settings.s3, content).io)[0].manifest_path
    bucket, _, key = manifest.removeprefix("s3://").partition("/")
    Store(days.settings.s3).client.remove_object(bucket, key)
    before = days.main()
    with pytest.raises(UsageError, match="cannot be put back: 1 files that it needs are not there any more"):
        taken_back(days, corrected)
    assert days.main() == before


def test_whoever_merges_meanwhile_makes_it_look_again(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that only reads what is about to go is merged between the look and the commit: it must not be left behind."""
    first = days.run(D1, 10)
    days.run(D2, 20)
    late: list[str] = []

    @contextmanager
    def meanwhile(name: str) -> Iterator[None]:
        if name == "merge.commit" and not late:
            late.append("")
            late[0] = days.run_of_gold(D2)
        yield

    monkeypatch.setattr(steps, "around", meanwhile)
    with pytest.raises(UsageError, match=r"1 later run read or replaced") as refused:
        taken_back(days, first)
    assert late[0] in refused.value.message
    assert days.everything() == {"bronze": [(D1, "10"), (D2, "20")], "silver": [(D1, 10), (D2, 20)], "gold": [(30,)]}
    states = {row["kind"]: row["state"] for row in days.lake.journal.runs(3)}
    assert states["revert"] in ("failed", "conflicted")


class Killed(BaseException):
    """As SIGKILL: nothing catches it, and nobody is told."""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_revert_that_was_killed_at_its_commit_is_finished_by_resume(
    stack: Settings, days: Days, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    first = days.run(D1, 10)

    @contextmanager
    def killed(name: str) -> Iterator[None]:
        if name == "merge.commit" and moment == "before":
            raise Killed
        yield
        if name == "merge.commit":
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(steps, "around", killed)
        with pytest.raises(Killed):
            taken_back(days, first)
    newest = days.lake.journal.runs(1)[0]
    assert (newest["kind"], newest["state"], days.row(first)["state"]) == ("revert", "merging", "merged")

    (found,) = resume(days.lake.nessie, days.lake.journal, newest["run_id"])

    assert found.after == "merged"
    assert (days.row(first)["state"], days.row(first)["reverted_by"]) == ("reverted", newest["run_id"])
    assert days.everything() == {"bronze": [], "silver": [], "gold": []}

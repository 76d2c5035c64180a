"""One version of gold becomes visible in the warehouse once, or not at all."""

from __future__ import annotations

from contextlib import nullcontext
from decimal import Decimal
from typing import Any

import pytest
from pyiceberg.types import DecimalType, DoubleType, LongType, StringType

from medallion.errors import UsageError
from medallion.lakehouse.nessie import MAIN
from medallion.publish.publication import history, publish
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.warehouse import BOTH, agreed, columns, database, rows, select, staging, tables_of_the_ledger

pytest_plugins = ["tests.warehouse"]
pytestmark = [BOTH, pytest.mark.acceptance]

COLUMNS = {"id": "bigint", "name": "string"}


def test_twice_is_once_and_only_changed_tables_are_written(settings: Settings, lake: LakeTables, domain: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    hidden = gold("hidden", COLUMNS, domain=domain, published=False)
    contracts = Contracts(one, two, hidden)
    first = lake.commit({one: [{"id": 1, "name": "a"}], two: [{"id": 1, "name": "a"}], hidden: []})
    assert publish(settings, contracts).changed == (one.dataset, two.dataset)

    again = publish(settings, contracts)
    assert (again.outcome, again.sequence, again.changed) == ("already", 1, ())
    assert "already published" in again.message

    lake.commit({hidden: [{"id": 9, "name": "z"}]})
    unchanged = publish(settings, contracts)
    assert (unchanged.outcome, unchanged.sequence, unchanged.shown) == ("unchanged", 1, first)

    third = lake.commit({two: [{"id": 2, "name": "b"}]}, run="run-b")
    changed = publish(settings, contracts)
    assert (changed.outcome, changed.changed, changed.runs[-1]) == ("published", (two.dataset,), "run-b")
    assert {d: state.hash for d, state in changed.tables.items()} == {one.dataset: first, two.dataset: third}
    assert [(entry.sequence, entry.hash) for entry in history(settings)] == [(2, third), (1, first)]
    assert rows(settings, two) == [(2, "b")]
    assert agreed(settings, Contracts(one, two))


def test_a_correction_that_removes_rows_removes_them(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 2, "name": "b"}]})
    publish(settings, Contracts(one))
    assert rows(settings, one) == [(1, "a"), (2, "b"), (2, "b")]
    lake.commit({one: [{"id": 2, "name": "b"}]})
    publish(settings, Contracts(one))
    assert rows(settings, one) == [(2, "b")]


def test_an_older_commit_never_replaces_a_newer_one(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    old = lake.commit({one: [{"id": 1, "name": "old"}]})
    new = lake.commit({one: [{"id": 2, "name": "new"}]})
    done = publish(settings, Contracts(one), at=old[:12])
    assert (done.outcome, done.hash) == ("published", old)
    publish(settings, Contracts(one), at=new)
    older = publish(settings, Contracts(one), at=old)
    assert (older.outcome, older.shown, older.sequence) == ("older", new, 2)
    assert "older" in older.message
    assert "--allow-rewind" in older.message
    assert rows(settings, one) == [(2, "new")]


def test_an_older_commit_is_published_on_purpose_with_everything_replaced(
    settings: Settings, lake: LakeTables, domain: str
) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    contracts = Contracts(one, two)
    old = lake.commit({one: [{"id": 1, "name": "old"}], two: [{"id": 7, "name": "same"}]})
    new = lake.commit({one: [{"id": 2, "name": "new"}]}, run="run-new")
    publish(settings, contracts)
    done = publish(settings, contracts, at=old, allow_rewind=True)
    assert (done.outcome, done.sequence, done.shown) == ("published", 2, old)
    assert done.changed == (one.dataset, two.dataset)  # also the one that is the same in both
    assert done.runs == ()
    assert rows(settings, one) == [(1, "old")]
    assert agreed(settings, contracts)
    assert publish(settings, contracts, at=old, allow_rewind=True).outcome == "already"

    ahead = publish(settings, contracts, allow_rewind=True)  # forwards it is an ordinary publication
    assert (ahead.sequence, ahead.shown, ahead.changed, ahead.runs) == (3, new, (one.dataset,), ("run-new",))
    assert [entry.hash for entry in history(settings)] == [new, old, new]


def test_what_is_not_on_main_is_refused(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1, "name": "a"}]})
    branch = f"run/{domain}"
    lake.nessie.create_branch(branch, lake.nessie.reference(MAIN))
    unmerged = lake.commit({one: [{"id": 2, "name": "b"}]}, branch=branch)
    for wrong in (unmerged, "0" * 64, "abc"):
        with pytest.raises(UsageError) as refused:
            publish(settings, Contracts(one), at=wrong)
        assert refused.value.exit_code == 2
    assert history(settings) == []

    publish(settings, Contracts(one))
    head = f"{database(settings)}.medallion.publication_head"
    select(settings, f"UPDATE {head} SET main_hash = '{'f' * 64}'")
    lake.commit({one: [{"id": 3, "name": "c"}]})
    with pytest.raises(UsageError, match="no longer contains") as lost:
        publish(settings, Contracts(one))
    assert "--allow-rewind" in str(lost.value.hint)
    assert rows(settings, one) == [(1, "a")]

    done = publish(settings, Contracts(one), allow_rewind=True)
    assert (done.outcome, done.sequence, done.changed) == ("published", 2, (one.dataset,))
    assert rows(settings, one) == [(3, "c")]


def test_a_new_column_is_added_and_old_rows_are_kept_right(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1, "name": "a"}]})
    publish(settings, Contracts(one))

    def widen(table: Any) -> None:
        with table.update_schema() as update:
            update.add_column("more", StringType())

    lake.commit({one: widen})
    done = publish(settings, Contracts(one))
    assert rows(settings, one) == [(1, "a", None)]
    assert done.reencoded_bytes > 0  # the data file lacks the column, so it does not serve as it is
    assert agreed(settings, Contracts(one))


def test_a_renamed_column_keeps_its_values(settings: Settings, lake: LakeTables, domain: str) -> None:
    """The data file has the old name, or even a dropped column's name: only field ids tell."""
    one = gold("one", {"id": "bigint", "name": "string", "other": "string"}, domain=domain)

    def shuffle(table: Any) -> None:
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("other")
        with table.update_schema() as update:
            update.rename_column("name", "other")

    lake.commit({one: [{"id": 1, "name": "kept", "other": "dropped"}]})
    lake.commit({one: shuffle})
    publish(settings, Contracts(one))
    assert rows(settings, one) == [(1, "kept")]
    assert agreed(settings, Contracts(one))


def test_a_type_that_widens_is_widened(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", {"whole": "int", "share": "float", "worth": "decimal(6,2)"}, domain=domain)
    old = lake.commit({one: [{"whole": 1, "share": 0.5, "worth": Decimal("1.25")}]})
    publish(settings, Contracts(one))

    def widen(*columns: tuple[str, Any]) -> Any:
        def change(table: Any) -> None:
            with table.update_schema() as update:
                for name, wider in columns:
                    update.update_column(name, wider)

        return change

    lake.commit({one: widen(("whole", LongType()), ("share", DoubleType()))})  # its file has the old types
    assert publish(settings, Contracts(one)).outcome == "published"
    assert rows(settings, one) == [(1, 0.5, Decimal("1.25"))]
    lake.commit({one: [{"whole": 3_000_000_000, "share": 0.1, "worth": Decimal("1.25")}]})
    publish(settings, Contracts(one))
    assert rows(settings, one) == [(3_000_000_000, 0.1, Decimal("1.25"))]
    lake.commit({one: widen(("worth", DecimalType(8, 2)))})
    lake.commit({one: [{"whole": 1, "share": 0.1, "worth": Decimal("123456.25")}]})
    publish(settings, Contracts(one))
    assert rows(settings, one) == [(1, 0.1, Decimal("123456.25"))]
    assert agreed(settings, Contracts(one))
    publish(settings, Contracts(one), at=old, allow_rewind=True)  # fits into what is wider by now
    assert rows(settings, one) == [(1, 0.5, Decimal("1.25"))]
    assert agreed(settings, Contracts(one))


@pytest.mark.parametrize("change", ["drop", "retype"])
def test_a_change_that_breaks_consumers_is_refused(settings: Settings, lake: LakeTables, domain: str, change: str) -> None:
    aaa = gold("aaa", COLUMNS, domain=domain)
    one = gold("one", {"id": "bigint", "name": "string", "amount": "decimal(8,2)"}, domain=domain)
    lake.commit({aaa: [], one: [{"id": 1, "name": "a", "amount": Decimal("1.25")}]})
    publish(settings, Contracts(aaa, one))
    before = history(settings)

    def breaking(table: Any) -> None:
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("amount")
            if change == "retype":
                update.add_column("Amount", StringType())

    def widen(table: Any) -> None:
        with table.update_schema() as update:
            update.add_column("more", StringType())

    lake.commit({aaa: widen, one: breaking})
    with pytest.raises(UsageError) as refused:
        publish(settings, Contracts(aaa, one))
    assert one.dataset in refused.value.message
    assert "'amount'" in refused.value.message
    assert f"--allow-breaking {one.dataset}.amount" in str(refused.value.hint)
    assert "new dataset" in str(refused.value.hint)
    assert history(settings) == before
    assert rows(settings, one) == [(1, "a", Decimal("1.25"))]
    assert columns(settings, aaa) == ["id", "name"]  # not even the other table's new column

    with pytest.raises(UsageError, match="'amount' is no column of a published dataset"):
        publish(settings, Contracts(aaa, one), allow_breaking=["amount"])
    publish(settings, Contracts(aaa, one), allow_breaking=[f"{one.dataset}.amount"])
    assert rows(settings, one) == [(1, "a") if change == "drop" else (1, "a", None)]
    assert agreed(settings, Contracts(aaa, one))


def test_a_table_that_main_has_lost_is_refused(settings: Settings, lake: LakeTables, domain: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    lake.commit({one: [], two: []})
    publish(settings, Contracts(one, two))
    lake.drop(two)
    with pytest.raises(UsageError, match=two.dataset):
        publish(settings, Contracts(one, two))
    assert publish(settings, Contracts(one)).outcome == "unchanged"


def test_every_effect_is_a_step_and_nothing_is_left(settings: Settings, lake: LakeTables, domain: str) -> None:
    steps: list[tuple[str, str]] = []

    class Recorder:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            steps.append((run_id, name))
            return nullcontext()

    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1, "name": "a"}]})
    select(settings, f"CREATE SCHEMA {staging(settings)}")
    select(settings, f"CREATE TABLE {database(settings)}.{staging(settings)}.staged_20200102t030405_dead_0 (a INT)")
    publish(settings, Contracts(one), journal=Recorder(), run="run-1")
    names = ["whole", "prepare", "create", "stage", "copy", "begin", "head", "delete", "insert", "ledger", "commit", "cleanup"]
    assert steps == [("run-1", f"publish.{name}") for name in names]
    if settings.warehouse == "snowflake":
        assert select(settings, f"SHOW STAGES IN SCHEMA {database(settings)}.{staging(settings)}") == []
    assert tables_of_the_ledger(settings) == {"publication_head", "publications"}


def test_many_tables_are_brought_and_exchanged_together(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, Any]] = []

    class Recorder:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            steps.append((name.removeprefix("publish."), detail.get("datasets", detail.get("dataset"))))
            return nullcontext()

    tables = [gold(f"t{number}", COLUMNS, domain=domain) for number in range(12)]
    names = [each.dataset for each in sorted(tables, key=lambda each: each.dataset)]
    lake.commit({table: [{"id": number, "name": "a"}] * number for number, table in enumerate(tables)})
    publish(settings, Contracts(*tables), journal=Recorder())
    of_many = [(name, what) for name, what in steps if name in ("stage", "copy", "delete", "insert")]
    assert of_many == [("stage", names), *(("copy", name) for name in names), ("delete", names), ("insert", names)]
    assert [len(rows(settings, table)) for table in tables] == list(range(12))

    monkeypatch.setattr("medallion.publish.staging.TOGETHER_BYTES", 1)  # a disk with little room
    steps.clear()
    lake.commit({table: [{"id": number, "name": "b"}] for number, table in enumerate(tables[:3])})
    publish(settings, Contracts(*tables), journal=Recorder())
    assert [what for name, what in steps if name == "stage"] == [[name] for name in names if name.endswith((".t0", ".t1", ".t2"))]
    assert [rows(settings, table) for table in tables[:4]] == [*([(number, "b")] for number in range(3)), [(3, "a")] * 3]


def test_of_many_tables_the_one_that_is_refused_is_named(settings: Settings, lake: LakeTables, domain: str) -> None:
    """Somebody else has made a column NOT NULL, and the lake has a null in it."""
    tables = [gold(name, COLUMNS, domain=domain) for name in ("first", "second", "third")]
    contracts = Contracts(*tables)
    lake.commit({table: [{"id": 1, "name": "a"}] for table in tables})
    publish(settings, contracts)
    select(settings, f"ALTER TABLE {database(settings)}.{domain}.second ALTER COLUMN name SET NOT NULL")
    lake.commit({table: [{"id": 2, "name": None}] for table in tables})
    with pytest.raises(UsageError, match=r"null value in column|NULL result in a non-nullable") as refused:
        publish(settings, contracts)
    assert refused.value.dataset == tables[1].dataset
    assert "not of our making" in str(refused.value.hint)
    assert [rows(settings, table) for table in tables] == [[(1, "a")]] * 3
    assert len(history(settings)) == 1
    select(settings, f"ALTER TABLE {database(settings)}.{domain}.second ALTER COLUMN name DROP NOT NULL")
    assert publish(settings, contracts).outcome == "published"
    assert agreed(settings, contracts)

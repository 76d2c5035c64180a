"""The warehouse follows what was taken back, as a step forward: no rewind, and only the partitions that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import pytest
from pyiceberg.table import Table
from pyiceberg.types import LongType

from medallion import pipeline, story
from medallion.commands import undo as commands
from medallion.errors import UsageError
from medallion.job import publish_gold
from medallion.lake import Lake
from medallion.lakehouse.nessie import Content
from medallion.lakehouse.run import open_run
from medallion.publish.publication import history
from medallion.publish.reconcile import reconcile
from medallion.settings import Settings
from medallion.undo.restore import restore
from medallion.undo.revert import revert
from tests.days import Days
from tests.lake_tables import write
from tests.warehouse import POSTGRES, rows, select

pytest_plugins = ["tests.warehouse"]
pytestmark = POSTGRES
D1, D2, D3 = (date(2024, 7, day) for day in (1, 2, 3))


@pytest.fixture
def days(settings: Settings) -> Iterator[Days]:
    with Days(settings) as days:
        yield days


def shown(days: Days) -> tuple[list[tuple[date, int]], list[tuple[int]]]:
    """What the warehouse holds of both tables, after it was seen to agree with the lake."""
    assert all(each.agreed and not each.main_moved for each in reconcile(days.settings, days.lake.domains))
    return rows(days.settings, days.daily), rows(days.settings, days.gold)


def publish(days: Days) -> tuple[str, list[str]]:
    done = publish_gold(days.lake, lambda line: None)
    return done["outcome"], [dataset.rpartition(".")[2] for dataset in done["changed"]]


def test_the_warehouse_follows_a_revert_and_what_is_run_after_it(days: Days) -> None:
    days.run(D1, 10, daily=True)
    second = days.run(D2, 20, daily=True)
    third = days.run(D3, 30, daily=True)
    publish(days)
    assert shown(days) == ([(D1, 10), (D2, 20), (D3, 30)], [])
    stayed = select(days.settings, f"SELECT ctid, xmin FROM {days.domain}.daily WHERE day <> DATE '{D2}' ORDER BY day")

    done = revert(days.lake, second, lambda line: None)

    assert publish(days) == ("published", ["daily"])
    assert shown(days) == ([(D1, 10), (D3, 30)], [])
    assert select(days.settings, f"SELECT ctid, xmin FROM {days.domain}.daily ORDER BY day") == stayed, (
        "the others stand as they stood"
    )
    entry = history(days.settings)[0]
    assert (entry.hash, entry.runs) == (done.merged_hash, (done.run_id,))
    assert [days.row(run)["state"] for run in (second, third, str(done.run_id))] == ["reverted", "published", "published"]
    days.run(D2, 21, daily=True)
    publish(days)
    assert shown(days) == ([(D1, 10), (D2, 21), (D3, 30)], [])


def test_the_warehouse_follows_a_restore_also_where_it_never_showed_what_went(days: Days) -> None:
    days.run(D1, 10, total=True, daily=True)
    then = days.main().hash
    publish(days)
    first = shown(days)
    days.run(D1, 11, total=True, daily=True)
    restore(days.lake, then, lambda line: None)
    sequence = history(days.settings)[0].sequence

    assert publish(days) == ("published", ["daily", "total"])
    assert shown(days) == first == ([(D1, 10)], [(10,)])

    days.run(D1, 12, total=True, daily=True)
    days.run(D2, 20, total=True, daily=True)
    publish(days)
    assert shown(days) == ([(D1, 12), (D2, 20)], [(32,)])
    restore(days.lake, then, lambda line: None)
    publish(days)
    assert shown(days) == first
    assert [entry.sequence for entry in history(days.settings)[:3]] == [sequence + 3, sequence + 2, sequence + 1]
    log = days.lake.nessie.log(days.main())
    made = next(commit for commit in log if commit.properties.get("medallion.kind") == "init")
    restore(days.lake, made.hash, lambda line: None)
    publish(days)
    assert shown(days) == ([], [])


def test_a_column_that_went_is_asked_for_before_the_warehouse_loses_it(days: Days) -> None:
    days.run(D1, 10, daily=True)
    then = days.main().hash

    def evolved(content: Content) -> Content:
        def add(table: Table) -> None:
            with table.update_schema() as update:
                update.add_column("more", LongType())

        return write(days.settings.s3, content, add)

    run = open_run(days.lake.nessie, days.lake.journal, "pipeline", D2)
    tables = days.written(run, D2, 20, daily=True)
    days.finish(run, tables | {days.daily.dataset: evolved(tables[days.daily.dataset])})
    publish(days)
    assert shown(days)[0] == [(D1, 10, None), (D2, 20, None)]
    restore(days.lake, then, lambda line: None)
    with pytest.raises(UsageError, match=r"more") as refused:
        publish(days)
    assert "--allow-breaking" in str(refused.value.hint)
    done = publish_gold(days.lake, lambda line: None, allow_breaking=[f"{days.daily.dataset}.more"])
    assert (done["outcome"], shown(days)[0]) == ("published", [(D1, 10)])


def test_the_commands_publish_and_tell_what_they_did(
    days: Days, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "load", lambda: days.settings)
    monkeypatch.setattr(pipeline, "Lake", lambda settings: Lake(settings, days.lake.domains))
    first = days.run(D1, 10, daily=True)
    then = days.main().hash
    second = days.run(D2, 20, daily=True)
    publish(days)

    commands.revert(first, dry_run=True, as_json=True)
    told = json.loads(capfd.readouterr().out)
    assert (told["run_id"], told["reverted"], told["publication"]) == (None, [first], None)
    assert [(one["table"], one["way"], one["rows_before"], one["rows_after"]) for one in told["tables"]] == [
        (contract.dataset, "files", 2, 1) for contract in (days.bronze, days.daily, days.silver)
    ]
    assert shown(days) == ([(D1, 10), (D2, 20)], [])

    commands.revert(first)
    out = capfd.readouterr().out
    assert f"taken back: {first}" in out
    assert "merged, main is at" in out
    assert shown(days) == ([(D2, 20)], [])
    row = next(row for row in story.runs(days.lake.journal) if row["run"] == first)
    assert (row["state"], str(row["reverted_by"]).startswith("revert-")) == ("reverted", True)
    told = story.show(days.lake.journal, days.lake.store, row["reverted_by"])
    assert (told["kind"], told["options"]["reverts"]) == ("revert", [first])

    commands.restore(then[:12], as_json=True)
    told = json.loads(capfd.readouterr().out)
    assert (told["state"], told["returned"], second in told["reverted"]) == ("merged", [first], True)
    assert told["publication"]["outcome"] == "published"
    assert shown(days) == ([(D1, 10)], [])
    commands.restore(then[:12], publish=False)
    assert "unchanged" in capfd.readouterr().out

"""A table that is upserted holds what it would hold if it were made whole of all deliveries that count.

Every run makes both: `latest` by upsert, and `in_all`, the oracle, whole, with `latestBy`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medallion import pipeline
from medallion.contract import LAYERS, Layer
from medallion.errors import MedallionError
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.history import deleted_in_place
from medallion.lakehouse.nessie import MAIN, Content
from medallion.lakehouse.table import open_static
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from medallion.undo.restore import restore
from medallion.undo.revert import revert
from tests.toy_domains import changes, deliver

pytest_plugins = ["tests.quick_sessions"]

D1, D2, D3 = date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)
DAYS = {
    D1: ["1,Aachen,10", "2,Bern,30", "3,Chur,5", "5,Eger,"],
    D2: ["1,Berlin,20", "2,Basel,20", "3,nowhere,25", "6,Faro,7", "5,Elba,"],
    D3: ["1,Cadiz,20", "4,Dover,1", "4,Derby,2", "4,Derby,2", "6,nowhere,1"],
}
"""Of 1 the last two are of one instant, and 5 is of none: there the last one delivered counts. Of 2 the first day is the
latest; the latest of 3 is bad; 4 comes three times in one file; 6 is bad, but older than what is there."""
IN_THE_END = {2: "Bern", 4: "Derby", 6: "Faro"}


class Customers:
    """One domain of its own, what is delivered to it and which days are run."""

    def __init__(self, settings: Settings, folder: Path, key: str = "int", **layout: int) -> None:
        self.name = f"u{uuid.uuid4().hex[:10]}"
        self.toys = changes(folder, self.name, layout, key)
        self.lake = Lake(settings, self.toys.load(settings))
        self.latest = f"silver.{self.name}.latest"

    def deliver(self, day: date, lines: list[str] | None = None) -> None:
        deliver(self.lake.settings, self.name, "changes", day, ["id,city,at", *(lines or DAYS[day])])

    def run(self, day: date, layers: tuple[Layer, ...] = ("bronze", "silver")) -> Outcome:
        """Run a day; the table is then as the oracle's."""
        outcome = execute(self.lake, Request(day, layers, domain=self.name), report=lambda line: None)
        assert self.rows("silver.{}.latest") == self.rows("silver.{}.in_all")
        return outcome

    def wrote(self, outcome: Outcome) -> list[tuple[Any, ...]]:
        """Of each write to the table: date, rows in, out, quarantined, dropped, what changed in the table."""
        return [
            (w["logical_date"], w["rows_in"], w["rows_out"], w["quarantined"], w["dropped"], w["upserted"])
            for w in outcome.writes
            if w["dataset"] == self.latest
        ]

    def content(self, table: str) -> Content:
        return self.lake.nessie.tables(self.lake.nessie.reference(MAIN))[table]

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """A table's rows on main, as any reader without a JVM sees them."""
        content = self.content(table.format(self.name))
        found = open_static(self.lake.settings.s3, content).scan().to_arrow().to_pylist()
        return sorted(tuple(row.values()) for row in found)

    def cities(self) -> dict[int, str]:
        return {row[0]: row[1] for row in self.rows("silver.{}.latest")}

    def aside(self) -> list[tuple[date, int]]:
        rows = open_static(self.lake.settings.s3, self.content(f"{self.latest}__quarantine")).scan().to_arrow().to_pylist()
        return sorted((row["_logical_date"], row["_source_row"]) for row in rows)


@pytest.fixture
def customers(quick_settings: Settings, tmp_path: Path) -> Iterator[Customers]:
    customers = Customers(quick_settings, tmp_path)
    with customers.lake:
        yield customers


def test_days_late_twice_and_corrected(customers: Customers) -> None:
    """The same table as the oracle after each run; the story says by reason what became of each row."""
    for day, cities, expected in (
        (D2, {1: "Berlin", 2: "Basel", 5: "Elba", 6: "Faro"},
         (D2, 5, 4, 1, {"older": 0}, {"way": "keys made again", "inserted": 4, "updated": 0, "withdrawn": 0, "restored": 0})),
        (D1, {1: "Berlin", 2: "Bern", 5: "Eger", 6: "Faro"},
         (D1, 4, 2, 0, {"older": 2}, {"way": "keys made again", "inserted": 0, "updated": 2, "withdrawn": 0, "restored": 0})),
        (D3, IN_THE_END | {1: "Cadiz", 5: "Eger"},
         (D3, 5, 2, 1, {"older": 2}, {"way": "keys made again", "inserted": 1, "updated": 1, "withdrawn": 0, "restored": 0})),
    ):  # fmt: skip
        customers.deliver(day)
        assert customers.wrote(customers.run(day)) == [expected]
        assert customers.cities() == cities
    assert customers.aside() == [(D2, 3), (D3, 5)], "what is bad of a date, whether other dates are later or not"
    before = customers.content(customers.latest)
    assert customers.run(D2).state == "unchanged"
    assert customers.content(customers.latest) == before
    assert deleted_in_place(customers.lake.settings.s3, before) == 3, "marked beside the files, not written anew"

    customers.deliver(D1, ["1,Aachen,10", "3,Chur,5", "5,Eger,"])
    (told,) = customers.wrote(customers.run(D1))
    assert told[-1] == {"way": "keys made again", "inserted": 0, "updated": 2, "withdrawn": 0, "restored": 1}
    assert customers.cities() == IN_THE_END | {1: "Cadiz", 2: "Basel", 5: "Eger"}, (
        "the winner was withdrawn, and the one it had replaced is back"
    )

    customers.deliver(D2, ["1,nowhere,99", "2,Basel,20"])
    (told,) = customers.wrote(customers.run(D2))
    assert told[-1] == {"way": "keys made again", "inserted": 1, "updated": 1, "withdrawn": 2, "restored": 1}
    assert customers.cities() == {2: "Basel", 3: "Chur", 4: "Derby", 5: "Eger"}, "no older row takes the place of a bad one"
    assert customers.aside() == [(D2, 1), (D3, 5)]


def test_days_in_order_judged_as_many_rows_are(quick_settings: Settings, tmp_path: Path) -> None:
    """As in the order of the test above, but for rows of one instant. A new day's bad row takes away an older good one."""
    spark = quick_settings.spark.model_copy(update={"small_rows": 0})
    customers = Customers(quick_settings.model_copy(update={"spark": spark}), tmp_path)
    with customers.lake:
        for day in DAYS:
            customers.deliver(day)
            told = customers.wrote(customers.run(day))
            if day == D2:
                assert told[0][-1] == {"way": "keys made again", "inserted": 1, "updated": 2, "withdrawn": 1, "restored": 0}
        assert customers.cities() == IN_THE_END | {1: "Cadiz", 5: "Elba"}
        assert customers.aside() == [(D2, 3), (D3, 5)]


def test_clean_days_are_merged_and_meet(customers: Customers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another day's run lands in between: the first is run again, and no key has two rows."""
    customers.deliver(D1, ["1,Aachen,10", "2,Bern,30", "9,nowhere,1"])
    assert customers.wrote(customers.run(D1))[0][:5] == (D1, 3, 2, 1, {"older": 0})
    customers.deliver(D2, ["1,Berlin,20", "2,Basel,20", "3,Chur,20"])
    customers.deliver(D3, ["1,Cadiz,15", "3,Celle,25", "3,Como,24"])
    merge, others = pipeline.merge, [D3]

    def later(*arguments: Any) -> str | None:
        while others:
            with Lake(customers.lake.settings, customers.lake.domains) as lake:
                execute(lake, Request(others.pop(), domain=customers.name), report=lambda line: None)
        return merge(*arguments)

    monkeypatch.setattr(pipeline, "merge", later)

    outcome = customers.run(D2, LAYERS)

    assert (outcome.state, outcome.attempts, outcome.rebased) == ("merged", 2, 0)
    conflicted = [run for run in customers.lake.journal.runs(limit=3) if run["state"] == "conflicted"]
    assert "is upserted" in str(conflicted[0])
    # in quarantine lies a row of another key
    assert customers.wrote(outcome) == [(D2, 3, 1, 0, {"older": 2}, {"way": "merged", "inserted": 0, "updated": 1})]
    assert customers.cities() == {1: "Berlin", 2: "Bern", 3: "Celle"}

    assert customers.rows("gold.{}.cities") == [("Berlin", 1), ("Bern", 1), ("Celle", 1)]

    customers.deliver(D1, ["7,Genoa,1"])
    assert customers.run(D1, LAYERS).state == "merged"
    assert customers.cities() == {1: "Berlin", 2: "Basel", 3: "Celle", 7: "Genoa"}
    assert customers.rows("gold.{}.cities") == [("Basel", 1), ("Berlin", 1), ("Celle", 1), ("Genoa", 1)]


def test_marks_of_deleted_rows_are_compacted_and_changed_code_makes_it_again(quick_settings: Settings, tmp_path: Path) -> None:
    customers = Customers(quick_settings, tmp_path, compactAbove=2)
    with customers.lake:
        customers.deliver(D1, ["1,Aachen,10", "2,Bern,30"])
        assert [w["files_compacted"] for w in customers.run(D1).writes if w["dataset"] == customers.latest] == [0]
        customers.deliver(D2, ["1,Berlin,20", "3,Chur,20"])
        written = [w["files_compacted"] for w in customers.run(D2).writes if w["dataset"] == customers.latest]
        table = open_static(quick_settings.s3, customers.content(customers.latest))
        (left,) = table.scan().plan_files()
        assert (written, left.file.record_count, left.delete_files) == ([2], 3, set()), "of two files one had a mark"

    path = tmp_path / customers.name / "silver.py"
    path.write_text(path.read_text("utf-8").replace('"city", ', 'F.upper("city").alias("city"), '), "utf-8")
    customers.lake = Lake(quick_settings, customers.toys.load(quick_settings))
    with customers.lake:
        told = customers.wrote(customers.run(D2))
        assert customers.cities() == {1: "BERLIN", 2: "BERN", 3: "CHUR"}
    assert [(one[0], one[2], one[-1]["way"]) for one in told] == [(D1, 1, "made anew"), (D2, 2, "keys made again")]


def test_figures_that_do_not_fit_together_fail_the_run(customers: Customers, monkeypatch: pytest.MonkeyPatch) -> None:
    customers.deliver(D1, ["1,Aachen,10"])
    customers.run(D1)
    before = customers.content(customers.latest)
    customers.deliver(D1, ["1,Berlin,11"])
    merge = Branch.merge
    with monkeypatch.context() as miscounted:
        miscounted.setattr(Branch, "merge", lambda *arguments: (merge(*arguments)[0] + 1, 1))
        with pytest.raises(MedallionError, match="2 rows were added and 1 went, which is not what was worked out"):
            customers.run(D1)
    assert customers.content(customers.latest) == before


def test_a_transform_that_makes_more_of_a_date_beside_others_is_refused(quick_settings: Settings, tmp_path: Path) -> None:
    customers = Customers(quick_settings, tmp_path)
    path = tmp_path / customers.name / "silver.py"
    counted = 'bronze_changes.crossJoin(bronze_changes.agg(F.count("*").alias("_n")))'
    of_many = f"""{counted}.withColumn("city", F.expr("if(_n > 2, city, 'nowhere')")).select("""
    path.write_text(path.read_text("utf-8").replace("bronze_changes.select(", of_many, 1), "utf-8")
    customers.lake = Lake(quick_settings, customers.toys.load(quick_settings))
    with customers.lake:
        customers.deliver(D1, ["1,Aachen,10", "2,Bern,30", "3,Chur,5"])
        customers.run(D1)
        before = customers.content(customers.latest)
        customers.deliver(D2, ["4,Berlin,20"])  # bad alone, and good beside the first day's
        with pytest.raises(MedallionError, match="0 rows are good, and 1 of them are the latest") as refused:
            execute(customers.lake, Request(D2, domain=customers.name), report=lambda line: None)
        assert "does the transform make of a row the same whatever" in (refused.value.hint or "")
        assert customers.content(customers.latest) == before


def test_a_merged_date_is_taken_back_with_the_rows_it_replaced_and_merges_again(customers: Customers) -> None:
    def quiet(line: str) -> None: ...

    def held() -> tuple[dict[int, str], list[tuple[date, int]]]:
        return customers.cities(), customers.aside()

    customers.deliver(D1)
    customers.run(D1)
    empty = next(iter(customers.lake.nessie.log(customers.lake.nessie.reference(MAIN)))).parent
    customers.deliver(D2)
    before = held()
    second = customers.run(D2)
    after = held()
    assert deleted_in_place(customers.lake.settings.s3, customers.content(customers.latest)) > 0

    revert(customers.lake, second.run_id, quiet)
    assert held() == before
    customers.run(D2)
    assert held() == after
    restore(customers.lake, empty, quiet)
    assert held() == ({}, [])
    customers.run(D1)
    assert held() == before


def test_a_key_that_is_not_a_number_is_one_key(quick_settings: Settings, tmp_path: Path) -> None:
    """NaN equals NaN, in the merge as where the table is made whole; -0.0 is 0.0."""
    customers = Customers(quick_settings, tmp_path, key="double")
    customers.deliver(D1, ["NaN,Aachen,1", "-0.0,Bern,1", "1.5,Chur,1"])
    customers.deliver(D2, ["NaN,Basel,2", "0.0,Berlin,2"])

    def upserted(*days: date) -> list[str]:
        for day in days:
            execute(customers.lake, Request(day, ("bronze", "silver"), domain=customers.name), report=lambda line: None)
        latest, in_all = (
            sorted(str((row[0] + 0.0, row[1])) for row in customers.rows(f"silver.{{}}.{name}")) for name in ("latest", "in_all")
        )
        assert latest == in_all
        return latest

    assert upserted(D1, D2) == ["(0.0, 'Berlin')", "(1.5, 'Chur')", "(nan, 'Basel')"]
    customers.deliver(D2, ["0.0,Berlin,2"])
    assert upserted(D2) == ["(0.0, 'Berlin')", "(1.5, 'Chur')", "(nan, 'Aachen')"]

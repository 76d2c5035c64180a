"""Days may come late, twice, corrected or out of order: the tables are those of the days in order."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medallion import pipeline
from medallion.contract import Rule
from medallion.errors import GateRefused, InputError, UsageError
from medallion.lakehouse.nessie import MAIN
from medallion.lakehouse.table import open_static
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from medallion.undo.revert import revert
from tests.days import Days
from tests.toy_domains import deliver, readings

pytest_plugins = ["tests.quick_sessions"]

D1, D2, D3 = date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)
DAYS: dict[date, list[str]] = {
    D1: ["a,1", "b,2"],
    D2: ["a,10", "a,11", "b,20", "c,-5", "c,30", "d,-6"],
    D3: ["a,100", "c,-7", "c,300"],
}
SITES = ["a,Aachen", "b,Bern"]
CORRECTED_D2 = ["a,10", "b,21"]
"""Without some rows of a, c and d, and with nothing for quarantine any more."""
CHANGED_SITES = ["a,Aarau", "c,Chur"]
TABLES = ("silver.{}.sites", "silver.{}.readings", "gold.{}.daily", "gold.{}.trailing", "gold.{}.total")
OF_THE_RUN = {"_run_id", "_delivery", "_quarantined_at"}
Rows = dict[str, list[str]]


class Diary:
    """One domain of its own, what is delivered to it and which days are run."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.name = f"r{uuid.uuid4().hex[:10]}"
        self.lake = Lake(settings, readings(folder, self.name).load(settings))

    def readings(self, day: date, lines: list[str] | None = None) -> None:
        deliver(self.lake.settings, self.name, "readings", day, ["site,value", *(lines or DAYS[day])])

    def sites(self, day: date, lines: list[str]) -> None:
        deliver(self.lake.settings, self.name, "sites", day, ["site,name", *lines])

    def run(self, day: date) -> Outcome:
        return execute(self.lake, Request(day, domain=self.name), report=lambda line: None)

    def main(self) -> str:
        return self.lake.nessie.reference(MAIN).hash

    def tables(self) -> Rows:
        """Silver, gold and their quarantines on main: rows without what differs from run to run, sorted."""
        contents = self.lake.nessie.tables(self.lake.nessie.reference(MAIN))
        found = {}
        for pattern in (p + q for p in TABLES for q in ("", "__quarantine")):
            rows = open_static(self.lake.settings.s3, contents[pattern.format(self.name)]).scan().to_arrow().to_pylist()
            found[pattern] = sorted(json.dumps(_plain(row), sort_keys=True, default=str) for row in rows)
        return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in row.items() if name not in OF_THE_RUN}
    return row | {"record": _plain(json.loads(row["record"]))} if "record" in row else row


@pytest.fixture
def diary(quick_settings: Settings, tmp_path: Path) -> Iterator[Diary]:
    diary = Diary(quick_settings, tmp_path)
    with diary.lake:
        yield diary


@dataclass
class Kept:
    """A diary of which every day came once, in order: what its runs came to, and its tables after them."""

    diary: Diary
    outcomes: list[Outcome]
    tables: Rows


@pytest.fixture(scope="module")
def kept(quick_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    diary = Diary(quick_settings, tmp_path_factory.mktemp("in_order"))
    with diary.lake:
        diary.sites(D1, SITES)
        outcomes = []
        for day in (D1, D2, D3):
            diary.readings(day)
            outcomes.append(diary.run(day))
        assert [outcome.state for outcome in outcomes] == ["merged"] * 3
        yield Kept(diary, outcomes, diary.tables())


@pytest.fixture(scope="module")
def in_order(kept: Kept) -> Rows:
    """The tables when every day came once, in order."""
    return kept.tables


def test_a_run_names_what_it_only_looked_at_too(kept: Kept) -> None:
    """That reference data need not be made again was read from it: the merge must see it move."""
    diary, outcome = kept.diary, kept.outcomes[1]
    assert {write["dataset"] for write in outcome.writes}.isdisjoint({f"silver.{diary.name}.sites"})
    reads = set(diary.lake.journal.run(outcome.run_id)["story"]["reads"])
    assert reads == set(diary.lake.domains.contracts)


@pytest.fixture(scope="module")
def corrected_in_order(quick_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The tables when only the right files ever came, in order: the second day's, and new sites on the third."""
    diary = Diary(quick_settings, tmp_path_factory.mktemp("corrected_in_order"))
    with diary.lake:
        diary.sites(D1, SITES)
        for day in (D1, D2, D3):
            diary.readings(day, CORRECTED_D2 if day == D2 else None)
            if day == D3:
                diary.sites(D3, CHANGED_SITES)
            diary.run(day)
        return diary.tables()


def test_the_days_in_order_are_as_worked_out_by_hand(in_order: Rows, corrected_in_order: Rows) -> None:
    def of(tables: Rows, name: str, *columns: str) -> list[tuple[Any, ...]]:
        rows = [json.loads(row) for row in tables[name]]
        return sorted(tuple(row[c] for c in columns) for row in rows)

    assert of(in_order, "gold.{}.trailing", "day", "days", "total") == [
        (str(D1), 1, 3), (str(D2), 2, 74), (str(D3), 3, 474),
    ]  # fmt: skip
    assert [len(in_order[f"{t}__quarantine"]) for t in TABLES] == [0, 3, 0, 0, 1]
    assert of(corrected_in_order, "gold.{}.trailing", "day", "days", "total") == [
        (str(D1), 1, 3), (str(D2), 2, 34), (str(D3), 3, 434),
    ]  # fmt: skip
    names = {name for (name,) in of(corrected_in_order, "silver.{}.sites", "name")}
    assert names == {"Aarau", "Chur"}, "every day is seen with the newest reference"
    assert [len(corrected_in_order[f"{t}__quarantine"]) for t in TABLES] == [0, 1, 0, 0, 1]


def test_days_out_of_order_and_twice(diary: Diary, in_order: Rows) -> None:
    diary.sites(D1, SITES)
    for day in (D3, D1, D2):
        diary.readings(day)
        assert diary.run(day).state == "merged"
    before = diary.main()

    again = [diary.run(day) for day in (D1, D2, D3)]

    assert [outcome.state for outcome in again] == ["unchanged"] * 3
    assert [outcome.writes for outcome in again] == [[]] * 3
    for day in (D2, D1):
        diary.readings(day)
        same_bytes = diary.run(day)
        assert same_bytes.state == "unchanged"
        assert [note for note in same_bytes.notes if "the same bytes again" in note]
    assert diary.main() == before
    assert diary.tables() == in_order


def test_days_that_meet(diary: Diary, in_order: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days land while another is about to: what it wrote stays; what depends on theirs is made again."""
    diary.sites(D1, SITES)
    for day in (D1, D2, D3):
        diary.readings(day)
    merge, others = pipeline.merge, [D3, D1]

    def later(*arguments: Any) -> str | None:
        while others:
            with Lake(diary.lake.settings, diary.lake.domains) as lake:
                execute(lake, Request(others.pop(), domain=diary.name), report=lambda line: None)
        return merge(*arguments)

    monkeypatch.setattr(pipeline, "merge", later)

    outcome = diary.run(D2)

    assert (outcome.state, outcome.attempts, outcome.rebased) == ("merged", 2, 1)
    made = [step["name"].removeprefix("write.") for step in diary.lake.journal.steps(outcome.run_id)]
    kept = {f"bronze.{diary.name}.readings", f"silver.{diary.name}.readings", f"gold.{diary.name}.daily"}
    assert {name: made.count(name) for name in kept} == dict.fromkeys(kept, 1), "made once, and joined"
    dates = [w["logical_date"] for w in outcome.writes if w["dataset"] == f"gold.{diary.name}.trailing"]
    assert dates == [D2, D3], "both windows see days that they had not seen"
    brought = [one["dataset"] for one in diary.lake.journal.run(outcome.run_id)["story"]["deliveries"]]
    assert brought == [f"bronze.{diary.name}.readings"], "the reference is known by now"
    assert diary.tables() == in_order
    before = diary.main()
    assert [diary.run(day).state for day in (D1, D2, D3)] == ["unchanged"] * 3
    assert diary.main() == before


def test_a_correction_that_removes_rows_and_a_reference_that_changes_after_newer_days(
    kept: Kept, corrected_in_order: Rows
) -> None:
    diary = kept.diary
    diary.readings(D2, CORRECTED_D2)

    corrected = diary.run(D2)

    assert corrected.state == "merged"
    assert [note for note in corrected.notes if "a correction of readings.csv" in note]
    made = {(w["dataset"], w["logical_date"]) for w in corrected.writes}
    assert (f"gold.{diary.name}.trailing", D3) in made, "the window of a newer day reaches back to it"
    assert not {(f"silver.{diary.name}.readings", D1), (f"silver.{diary.name}.readings", D3)} & made
    diary.sites(D3, CHANGED_SITES)
    assert diary.run(D3).state == "merged"
    assert diary.tables() == corrected_in_order
    before = diary.main()
    assert [diary.run(day).state for day in (D3, D1, D2)] == ["unchanged"] * 3
    assert diary.main() == before


def test_everything_late_and_wrong_first(diary: Diary, corrected_in_order: Rows) -> None:
    """The second day first and wrong, without the reference of an earlier day, which comes late."""
    diary.readings(D2)
    before = diary.main()
    with pytest.raises(InputError, match=r"sites: no delivery for 2024-02-29"):
        diary.run(D2)
    assert diary.main() == before or diary.tables()["gold.{}.total"] == []
    diary.sites(D1, CHANGED_SITES)  # wrong as well
    diary.run(D2)
    diary.readings(D3)
    diary.sites(D3, CHANGED_SITES)
    diary.run(D3)
    diary.readings(D2, CORRECTED_D2)
    diary.run(D2)
    diary.sites(D1, SITES)
    diary.readings(D1)
    diary.run(D1)

    assert diary.tables() == corrected_in_order


def test_a_wrong_day_is_taken_back_with_the_days_that_read_it_and_these_run_again(diary: Diary, in_order: Rows) -> None:
    def quiet(line: str) -> None: ...

    diary.sites(D1, SITES)
    diary.readings(D1)
    first = diary.run(D1)
    diary.readings(D2, ["a,998", "b,999"])
    wrong = diary.run(D2)
    diary.readings(D3)
    later = diary.run(D3)
    before = diary.main()
    with pytest.raises(UsageError, match=rf"1 later run read or replaced[\s\S]*medallion revert {later.run_id}"):
        revert(diary.lake, wrong.run_id, quiet)

    done = revert(diary.lake, wrong.run_id, quiet, again=True)

    (commit,) = diary.lake.nessie.log(diary.lake.nessie.reference(MAIN), until=before)
    assert (commit.hash, done.again) == (done.merged_hash, [str(D3)])
    assert done.reverted == [later.run_id, wrong.run_id]
    states = {run: diary.lake.journal.run(run)["state"] for run in (first.run_id, wrong.run_id, later.run_id)}
    assert states == {first.run_id: "merged", wrong.run_id: "reverted", later.run_id: "reverted"}
    silver = diary.tables()["silver.{}.readings"]
    assert {json.loads(row)["day"] for row in silver} == {str(D1), str(D3)}
    (told,) = [change for change in done.tables if change.table.startswith("silver.") and change.table.endswith(".readings")]
    assert told.rows_after == len(silver), "with the rows of the day that was run again"
    diary.readings(D2)
    diary.run(D2)
    assert diary.tables() == in_order


def test_what_is_left_of_a_table_is_judged_by_the_rules_on_all_its_rows(quick_settings: Settings) -> None:
    two = Rule("two_rows", "error", 0, "at least two rows", rows=(2, float("inf")), scope="table")
    with Days(quick_settings, two) as days:
        first, before = days.run(D1, 10), days.run(D2, 20)
        main = days.main()
        with pytest.raises(GateRefused, match="two_rows"):
            revert(days.lake, first, lambda line: None)
        assert (days.main(), days.row(first)["state"], days.row(before)["state"]) == (main, "merged", "merged")
        days.run(D3, 30)
        done = revert(days.lake, first, lambda line: None)
        assert days.rows(days.silver) == [(D2, 20), (D3, 30)]
        verdicts = days.row(str(done.run_id))["story"]["writes"]
        (told,) = [verdict for write in verdicts for verdict in write["verdicts"]]
        assert (told["rule"], told["passed"]) == ("two_rows", True)

"""An upserted table with a key of two columns and rules of all kinds, made otherwise before: as if it were made whole."""

from __future__ import annotations

import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medallion.errors import GateRefused
from medallion.lakehouse.nessie import MAIN
from medallion.lakehouse.table import open_static
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from tests.toy_domains import deliver, stays

pytest_plugins = ["tests.quick_sessions"]

D1, D2, D3 = date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)
DAYS = {
    D1: ["A,1,Aachen,north,10", "A,2,Bern,south,30", "B,1,Chur,south,5", "A,1,Aachen,north,10"],
    D2: ["A,1,Berlin,north,20", "B,1,Cham,west,7", "B,1,Celle,south,6"],
    D3: ["A,2,Basel,south,late", "A,,Dover,north,1", ",3,Derby,north,99",
         "B,2,Eger,north,1", "B,2,Elba,north,2", "B,2,Eger,north,1", "A,3,Faro,north,1"],
}  # fmt: skip
"""Of A 1 one comes twice, and then a later one; the latest of B 1 is in a region that there is not; the latest of A 2 does not
parse, and two lack a part of their key: these stand in nobody's way."""
UPSERT: dict[str, Any] = {"kind": "upsert", "latestBy": "at"}


class Stays:
    def __init__(self, settings: Settings, folder: Path, kind: dict[str, Any]) -> None:
        self.name, self.folder = f"u{uuid.uuid4().hex[:10]}", folder
        deliver(settings, self.name, "regions", D1, ["region", "north", "south"])
        for day, lines in DAYS.items():
            deliver(settings, self.name, "stays", day, ["house,number,city,region,at", *lines])
        self.settings = settings
        self.make(kind, {"latestBy": "at", "exact": True})

    def make(self, kind: dict[str, Any], deduplicate: dict[str, Any]) -> None:
        """Have the contract say how the table is made."""
        self.domains = stays(self.folder, self.name, kind, deduplicate).load(self.settings)

    def run(self, day: date) -> Outcome:
        with Lake(self.settings, self.domains) as lake:
            return execute(lake, Request(day, ("bronze", "silver"), domain=self.name), report=lambda line: None)

    def wrote(self, outcome: Outcome) -> list[tuple[Any, ...]]:
        names = "logical_date", "rows_in", "rows_out", "quarantined", "dropped", "upserted"
        return [tuple(w[n] for n in names) for w in outcome.writes if w["dataset"] == f"silver.{self.name}.latest"]

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        with Lake(self.settings, self.domains) as lake:
            content = lake.nessie.tables(lake.nessie.reference(MAIN))[f"silver.{self.name}.{name}"]
            found = open_static(self.settings.s3, content).scan().to_arrow().to_pylist()
        return sorted(tuple(row.values()) for row in found)

    def latest(self) -> list[str]:
        """The rows, which are the oracle's."""
        rows = self.rows("latest")
        assert rows == self.rows("in_all")
        return [f"{row[0]}{row[1]} {row[2]}" for row in rows]

    def aside(self) -> list[tuple[date, int, list[str]]]:
        with Lake(self.settings, self.domains) as lake:
            content = lake.nessie.tables(lake.nessie.reference(MAIN))[f"silver.{self.name}.latest__quarantine"]
            found = open_static(self.settings.s3, content).scan().to_arrow().to_pylist()
        return sorted((row["_logical_date"], row["_source_row"], row["rules"]) for row in found)


def test_a_key_of_two_columns_and_rules_of_all_kinds(quick_settings: Settings, tmp_path: Path) -> None:
    table = Stays(quick_settings, tmp_path, {"kind": "full"})
    table.run(D1)
    table.run(D2)
    assert table.latest() == ["A1 Berlin", "A2 Bern"]

    table.make(UPSERT, {"exact": True})
    told = table.wrote(table.run(D3))

    assert table.latest() == ["A1 Berlin", "A2 Bern", "A3 Faro", "B2 Elba"], "made whole before: all its dates are made"
    assert [(one[0], *one[1:5], one[5]["way"]) for one in told] == [
        (D1, 4, 3, 0, {"exact_copy": 1, "older": 0}, "made anew"),
        (D2, 3, 1, 1, {"exact_copy": 0, "older": 1}, "keys made again"),
        (D3, 7, 2, 3, {"exact_copy": 1, "older": 1}, "merged"),
    ]
    bad = [(D2, 2, ["region_reference"]), (D3, 1, ["parses"]), (D3, 2, ["number_required"]), (D3, 3, ["house_required"])]
    assert table.aside() == bad

    deliver(quick_settings, table.name, "regions", D1, ["region", "north", "south", "west"])
    told = table.wrote(table.run(D1))
    assert [one[0] for one in told] == [D1, D2, D3], "a region came: who points into them is judged again"
    assert table.latest() == ["A1 Berlin", "A2 Bern", "A3 Faro", "B1 Cham", "B2 Elba"]
    assert table.aside() == bad[1:]

    deliver(quick_settings, table.name, "stays", D3, ["house,number,city,region,at", "C,1,Bern,south,1"])
    before = table.rows("latest")
    with pytest.raises(GateRefused, match=r"\.latest 2024-03-01: no_room_twice — 1 of 4 rows"):
        table.run(D3)
    assert table.rows("latest") == before


def test_a_table_that_was_made_by_date_before(quick_settings: Settings, tmp_path: Path) -> None:
    table = Stays(quick_settings, tmp_path, {"kind": "date"})
    table.run(D1)
    table.run(D2)
    assert len(table.rows("latest")) == 5 - 1, "each date has its own latest"
    table.make(UPSERT, {"exact": True})
    told = table.wrote(table.run(D2))
    assert [(one[0], one[5]["way"]) for one in told] == [(D1, "made anew"), (D2, "keys made again")]
    assert table.latest() == ["A1 Berlin", "A2 Bern"]

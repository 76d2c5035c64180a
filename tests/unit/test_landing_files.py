"""The demo's deliveries: which bytes they are. `tests/integration/test_landing.py` puts them."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from datetime import date

import pytest

from medallion import landing, records
from medallion.errors import InputError, UsageError
from medallion.settings import Settings

FLIGHTS = landing.FILES[0]
DAY_1, DAY_4 = date(2013, 1, 1), date(2013, 1, 4)


def parsed(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(data.decode("utf-8").splitlines(), strict=True))


@pytest.mark.parametrize(("day", "rows"), [(DAY_1, 842), (date(2013, 1, 2), 943), (date(2013, 1, 3), 914), (DAY_4, 915)])
def test_a_day_has_its_flights_and_no_other(day: date, rows: int) -> None:
    found = parsed(landing.content(FLIGHTS, day))
    assert len(found) == rows
    assert {(r["year"], r["month"], r["day"]) for r in found} == {(str(day.year), str(day.month), str(day.day))}


def test_lines_are_the_package_s_byte_for_byte_in_its_order() -> None:
    with zipfile.ZipFile(records.folder(records.FLIGHTS) / "data" / "flights.csv.zip") as archive:
        whole = archive.read("flights.csv")
    for day in (DAY_1, date(2013, 11, 3), date(2013, 12, 31)):
        header, _, lines = landing.content(FLIGHTS, day).partition(b"\n")
        assert whole.startswith(header + b"\n")
        assert lines in whole


def test_spoiling_damages_three_of_ten_flights_always_the_same_ones() -> None:
    true, spoiled = landing.content(FLIGHTS, DAY_4), landing.content(FLIGHTS, DAY_4, spoiled=True)
    assert spoiled == landing.content(FLIGHTS, DAY_4, spoiled=True)
    assert spoiled.partition(b"\n")[0] == true.partition(b"\n")[0]
    lines = Counter(true.splitlines())
    damaged = Counter(spoiled.splitlines()) - lines
    assert 0.25 <= sum(damaged.values()) / sum(lines.values()) <= 0.3
    rows = parsed(spoiled)
    for bad in (
        sum(row["air_time"].startswith("-") for row in rows),
        sum(row["dep_time"] == "abc" for row in rows),
        sum(row["origin"] == "XXX" for row in rows),
        sum(row["distance"].isdigit() and int(row["distance"]) > 5000 for row in rows),
        sum(row["tailnum"] == "N9999Z" for row in rows),
    ):
        assert bad > 0.01 * len(rows)


@pytest.mark.parametrize("day", [date(2012, 12, 31), date(2014, 1, 1)])
def test_another_year_is_refused(day: date) -> None:
    with pytest.raises(InputError, match="2013-01-01 to 2013-12-31") as refused:
        landing.land(Settings(), day)
    assert refused.value.exit_code == 6


def test_an_unknown_dataset_is_refused() -> None:
    with pytest.raises(UsageError, match="'weather'"):
        landing.land(Settings(), DAY_1, only="weather")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"medallion\[demo\]"):
        landing.content(FLIGHTS, DAY_1)

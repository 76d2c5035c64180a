"""The demo's deliveries: which bytes, and when they are put."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from medallion import landing, records
from medallion.errors import InputError, UsageError
from medallion.lakehouse.store import Object
from medallion.settings import Settings

FLIGHTS, AIRPORTS, AIRLINES = landing.FILES
DAY_1, DAY_4 = date(2013, 1, 1), date(2013, 1, 4)


class Shelf:
    """Stands in for the object store; integration tests land in the real one."""

    def __init__(self, *_: object) -> None:
        self.versions_: list[tuple[str, bytes]] = []

    def versions(self, bucket: str, prefix: str) -> list[Object]:
        newest = {uri: number for number, (uri, _) in enumerate(self.versions_)}
        start = datetime(2026, 1, 1, tzinfo=UTC)
        return [
            Object(f"{uri}?versionId={number}", start + timedelta(seconds=number), len(data), newest[uri] == number)
            for number, (uri, data) in enumerate(self.versions_)
            if uri.startswith(f"s3://{bucket}/{prefix}")
        ]

    def get(self, uri: str) -> bytes:
        return self.versions_[int(uri.partition("?versionId=")[2])][1]

    def put(self, uri: str, data: bytes, content_type: str) -> str:
        self.versions_.append((uri, data))
        return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf()
    monkeypatch.setattr(landing, "Store", lambda _: shelf)
    return shelf


def land(day: date, **how: object) -> list[tuple[str, str]]:
    return [(file.dataset, file.state) for file in landing.land(Settings(), day, **how)]


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


def test_files_lie_where_the_contracts_say(shelf: Shelf) -> None:
    assert [file.uri for file in landing.land(Settings(), DAY_1)] == [
        "s3://bronze-raw-data/domain=operations/flights/year=2013/month=01/day=01/flights.csv",
        "s3://bronze-batch/domain=operations/airports/year=2013/month=01/day=01/airports.csv",
        "s3://bronze-batch/domain=operations/airlines/year=2013/month=01/day=01/airlines.csv",
    ]


def test_what_is_reported_is_what_was_put(shelf: Shelf) -> None:
    for file in landing.land(Settings(), DAY_1):
        data = dict(shelf.versions_)[file.uri]
        assert (file.bytes, file.sha256, file.rows) == (len(data), hashlib.sha256(data).hexdigest(), len(parsed(data)))


def test_the_same_bytes_are_not_put_again(shelf: Shelf) -> None:
    assert land(DAY_1) == [(FLIGHTS, "landed"), (AIRPORTS, "landed"), (AIRLINES, "landed")]
    assert land(DAY_1) == [(FLIGHTS, "already there"), (AIRPORTS, "already there"), (AIRLINES, "already there")]
    assert len(shelf.versions_) == 3


def test_reference_data_comes_again_only_when_it_changed(shelf: Shelf) -> None:
    land(DAY_1)
    assert land(DAY_4) == [(FLIGHTS, "landed"), (AIRPORTS, "already there"), (AIRLINES, "already there")]
    where = "s3://bronze-batch/domain=operations/airlines/year=2013/month=01/day=03/airlines.csv"
    shelf.put(where, b"carrier,name\nZZ,Changed\n", "text/csv")
    assert land(date(2013, 1, 2), only="airlines") == [(AIRLINES, "already there")]  # it changed later
    assert land(DAY_4, only="airlines") == [(AIRLINES, "landed")]


def test_whoever_starts_in_the_middle_gets_reference_data_too(shelf: Shelf) -> None:
    assert land(DAY_4) == [(FLIGHTS, "landed"), (AIRPORTS, "landed"), (AIRLINES, "landed")]


def test_the_true_day_corrects_the_spoiled_one(shelf: Shelf) -> None:
    assert land(DAY_4, only=FLIGHTS, spoiled=True) == [(FLIGHTS, "landed")]
    assert land(DAY_4, only=FLIGHTS, spoiled=True) == [(FLIGHTS, "already there")]
    assert land(DAY_4, only="flights") == [(FLIGHTS, "corrected")]
    assert len({uri for uri, _ in shelf.versions_}) == 1


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
def test_another_year_is_refused(shelf: Shelf, day: date) -> None:
    with pytest.raises(InputError, match="2013-01-01 to 2013-12-31") as refused:
        land(day)
    assert refused.value.exit_code == 6
    assert shelf.versions_ == []


def test_an_unknown_dataset_is_refused(shelf: Shelf) -> None:
    with pytest.raises(UsageError, match="'weather'"):
        land(DAY_1, only="weather")


def test_without_the_package_it_says_what_to_install(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"medallion\[demo\]"):
        landing.content(FLIGHTS, DAY_1)

"""Files as sources deliver them: found by date and version, parsed row by row, refused with the line."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest

from medallion.errors import InputError
from medallion.lakehouse.history import Delivered
from medallion.lakehouse.store import Object
from medallion.sources.arrival import Arrival
from medallion.sources.csv_format import parse
from medallion.sources.inbox import Found, discover
from tests.unit.operations_rows import CONTRACTS

AIRLINES = CONTRACTS["bronze.operations.airlines"]  # carrier, name; expected initially
FLIGHTS = CONTRACTS["bronze.operations.flights"]  # expected daily
DAY = date(2013, 1, 5)
URI = "s3://bronze-batch/airlines.csv"


def parsed(data: bytes | str) -> Arrival:
    data = data.encode() if isinstance(data, str) else data
    return parse(AIRLINES, Delivered(DAY, "d1", URI, "sha"), data)


def rows(arrival: Arrival) -> list[tuple]:
    """(carrier, name, number, extra, malformed) of each row."""
    return [tuple(row.values()) for row in arrival.rows.to_pylist()]


# ── one file ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the file is empty"),
        (b" \n\r\n ", "the file is empty"),
        (b"carrier,name\n", "a header and no row"),
        (b"carrier,name", "a header and no row"),
        (b"carrier\nUA\n", "the header lacks 'name'$"),
        (b"carrier,title\nUA,United\n", "the header lacks 'name'; it has 'title' instead"),
        (b"UA,United\nAA,American\n", "the header lacks 'carrier', 'name'; it has 'UA', 'United' instead"),
        (b"carrier;name\nUA;United\n", "the header lacks 'carrier', 'name'; it has 'carrier;name' instead"),
        (b"Carrier,Name\nUA,United\n", "the header lacks 'carrier', 'name'; it has 'Carrier', 'Name' instead"),
        (b"carrier,name,name\nUA,United,x\n", "the header has 'name' twice"),
        (b"carrier,name\nUA,United\nAA,Am\xe9rica\n", r"line 3 is not UTF-8 \(byte 28: 0xe9\)"),
        (b"\xef\xbb\xbfcarrier,name\nUA,United\nAA,Am\xe9rica\n", r"line 3 is not UTF-8 \(byte 31: 0xe9\)"),
        ("carrier,name\nUA,United\n".encode("utf-16"), r"line 1 is not UTF-8 \(byte 0: 0xff\)"),
        (b'carrier,name\nUA,United\nAA,"American\nDL,Delta\nB6,JetBlue\n', "data row 2 opens a quote that is never closed"),
        (b'carrier,name\nUA,United\n"AA,American\nDL,Delta\n', "data row 2 opens a quote that is never closed"),
        (b'carrier,name\nUA,United\nAA,"American', "data row 2 opens a quote that is never closed"),
        (b'"carrier,name\nUA,United\n', "line 1 is no header"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_place(data: bytes, told: str) -> None:
    with pytest.raises(InputError) as refused:
        parsed(data)
    assert refused.value.exit_code == 6
    assert refused.value.message.startswith(f"{AIRLINES.dataset}: {URI}: ")
    assert re.search(told, refused.value.message)
    assert "new bytes for the same day are a correction" in (refused.value.hint or "")


def test_every_value_stays_text_as_it_came() -> None:
    found = rows(parsed('name,carrier\n"Am""er,\nican",007\n NA ,""\nnull,1e3\nZürich 🛫,\n'))
    assert [row[:3] for row in found] == [
        ("007", 'Am"er,\nican', 1),
        ("", " NA ", 2),
        ("1e3", "null", 3),
        ("", "Zürich 🛫", 4),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_in_any_way_and_the_last_need_not(end: str, last: bool) -> None:
    text = end.join(["carrier,name", "UA,United", "AA,American"]) + (end if last else "")
    assert [row[:3] for row in rows(parsed(text))] == [("UA", "United", 1), ("AA", "American", 2)]


def test_a_byte_order_mark_belongs_to_no_column() -> None:
    assert rows(parsed(b"\xef\xbb\xbfcarrier,name\nUA,United\n"))[0][:2] == ("UA", "United")


def test_a_line_that_does_not_fit_is_kept_as_text_in_its_place() -> None:
    found = parsed("carrier,name\nUA,United\n\nAA,American,Inc\nDL\nB6,JetBlue\n")
    assert (found.malformed, found.delivered.rows) == (2, 4)
    assert rows(found) == [
        ("UA", "United", 1, None, None),
        ("", "", 2, None, "AA,American,Inc"),
        ("", "", 3, None, "DL"),
        ("B6", "JetBlue", 4, None, None),
    ]


def test_a_file_of_nothing_but_broken_lines_is_read() -> None:
    assert [row[2:] for row in rows(parsed("carrier,name\nUA\nAA,American,Inc\n"))] == [
        (1, None, "UA"),
        (2, None, "AA,American,Inc"),
    ]


def test_a_column_that_nobody_knows_is_kept_and_named() -> None:
    found = parsed("alliance,carrier,name,hub\nStar,UA,United,ORD\n,AA,American,\nx,DL\n")
    assert found.extra_columns == ("alliance", "hub")
    assert [row[3] for row in rows(found)] == [
        [("alliance", "Star"), ("hub", "ORD")],
        [("alliance", ""), ("hub", "")],
        None,
    ]


# ── what lies in a bucket ─────────────────────────────────────────────────────────────────────────
class Shelf:
    """A versioned bucket in memory: `put` lays one version more, a minute later."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.listed: list[Object] = []

    def put(self, data: bytes, day: date = DAY, name: str = "airlines.csv", dataset: str = "airlines") -> str:
        bucket = "bronze-raw-data" if dataset == "flights" else "bronze-batch"
        key = f"domain=operations/{dataset}/year={day:%Y}/month={day:%m}/day={day:%d}/{name}"
        uri = f"s3://{bucket}/{key}?versionId={len(self.listed)}"
        modified = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=len(self.listed))
        self.listed.append(Object(uri, modified, len(data), True))
        self.objects[uri] = data
        return uri

    def versions(self, bucket: str, prefix: str) -> list[Object]:
        return [item for item in self.listed if item.uri.startswith(f"s3://{bucket}/{prefix}")]

    def get(self, uri: str) -> bytes:
        return self.objects[uri]


UNITED, DELTA = b"carrier,name\nUA,United\n", b"carrier,name\nDL,Delta\n"


def look(shelf: Shelf, held: list[Delivered] | None = None, on: date = DAY) -> Found:
    return discover(shelf, AIRLINES, on, held or [])


def held(found: Found) -> list[Delivered]:
    return [arrival.delivered for arrival in found.new]


def test_a_delivery_is_known_by_date_name_and_bytes() -> None:
    shelf = Shelf()
    uri = shelf.put(UNITED)
    first = look(shelf)
    assert [(d.uri, d.logical_date, d.rows) for d in held(first)] == [(uri, DAY, 1)]
    again = look(shelf, held(first))
    assert (again.new, again.known, again.notes) == ([], [uri], [])


def test_the_same_bytes_again_are_reported_and_skipped() -> None:
    shelf = Shelf()
    shelf.put(UNITED)
    first = held(look(shelf))
    second = shelf.put(UNITED)
    found = look(shelf, first)
    assert found.new == []
    assert len(found.notes) == 1
    assert f"{second}: the same bytes again" in found.notes[0]


def test_new_bytes_are_a_correction_and_the_newest_counts() -> None:
    shelf = Shelf()
    shelf.put(UNITED)
    first = held(look(shelf))
    uri = shelf.put(DELTA)
    found = look(shelf, first)
    assert [d.uri for d in held(found)] == [uri]
    assert max([*first, *held(found)]).uri == uri
    assert any("a correction of airlines.csv for 2013-01-05" in note for note in found.notes)
    back = shelf.put(UNITED)  # what was corrected wrongly may be corrected back
    assert [d.uri for d in held(look(shelf, [*first, *held(found)]))] == [back]


def test_bytes_that_were_skipped_stay_skipped_after_a_correction() -> None:
    shelf = Shelf()
    for data in (UNITED, UNITED, DELTA):
        shelf.put(data)
    known = held(look(shelf))
    assert len(known) == 2
    assert look(shelf, known).new == [], "running again changes nothing"


def test_an_unreadable_delivery_that_was_replaced_is_passed_over() -> None:
    shelf = Shelf()
    broken = shelf.put(b"carrier,name\n")
    good = shelf.put(UNITED)
    found = look(shelf)
    assert [d.uri for d in held(found)] == [good]
    assert any(broken in note and "a later delivery replaces it" in note for note in found.notes)
    shelf.put(b"")
    with pytest.raises(InputError, match="the file is empty"):
        look(shelf, held(found))


def test_an_extra_column_is_reported() -> None:
    shelf = Shelf()
    shelf.put(b"carrier,name,hub\nUA,United,ORD\n")
    assert any("unknown columns hub kept in `_extra`" in note for note in look(shelf).notes)


def test_reference_data_of_an_earlier_day_will_do_but_not_of_a_later_one() -> None:
    shelf = Shelf()
    shelf.put(UNITED, DAY + timedelta(days=1))
    with pytest.raises(InputError, match=r"no delivery for 2013-01-05: .* nor in that of any earlier day") as refused:
        look(shelf)
    assert refused.value.exit_code == 6
    assert "medallion landing" in (refused.value.hint or "")
    shelf.put(UNITED, DAY - timedelta(days=30))
    assert [d.logical_date for d in held(look(shelf))] == [DAY - timedelta(days=30)]


def test_a_daily_delivery_must_be_of_its_day() -> None:
    shelf = Shelf()
    shelf.put(b"", DAY - timedelta(days=1), "flights.csv", "flights")
    with pytest.raises(InputError) as refused:
        discover(shelf, FLIGHTS, DAY, [])
    assert refused.value.exit_code == 6
    assert "bronze.operations.flights: no delivery for 2013-01-05" in refused.value.message
    assert "s3://bronze-raw-data/domain=operations/flights/year=2013/month=01/day=05/" in refused.value.message


def test_a_delivery_that_a_source_gave_is_asked_for_again_and_delivered_by_nobody() -> None:
    for contract in (CONTRACTS["bronze.operations.weather"], CONTRACTS["bronze.operations.planes"]):
        with pytest.raises(InputError, match=rf"{contract.dataset}: no delivery") as refused:
            discover(Shelf(), contract, DAY, [])
        hint = refused.value.hint or ""
        assert f"`medallion run --date {DAY} --dataset {contract.dataset} --refetch`" in hint
        assert "medallion deliver" not in hint


def test_what_lies_in_a_folder_of_no_date_is_no_delivery() -> None:
    shelf = Shelf()
    shelf.put(UNITED)
    key = shelf.listed[0].uri.replace("month=01/day=05", "month=13/day=45")
    shelf.listed = [Object(key, shelf.listed[0].modified, 1, True)]
    with pytest.raises(InputError, match="no delivery"):
        look(shelf)

"""Flights worked out a second time, one by one, in plain Python from the package's files.

It shares no code with the transforms, and no method: days are found by trying them, instants by the time zones' own
rules.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from tests.independent_reference import airports, data, lines

Row = dict[str, Any]
UNKNOWN = "~unknown"
_DAY = timedelta(days=1)


@cache
def source_lines() -> tuple[str, ...]:
    """The text of flights.csv, header first."""
    with zipfile.ZipFile(data() / "flights.csv.zip") as archive:
        return tuple(archive.read("flights.csv").decode().splitlines())


def source_bytes(day: date) -> bytes:
    """A day's file: the header and the day's lines, in the order of the whole."""
    header, *rest = source_lines()
    start = f"{day.year},{day.month},{day.day},"
    return "".join(f"{line}\n" for line in (header, *(line for line in rest if line.startswith(start)))).encode()


def source_flights(day: date) -> list[dict[str, str]]:
    """The lines of a day, in the order of the file."""
    return list(csv.DictReader(io.StringIO(source_bytes(day).decode())))


def flights(days: Iterable[date]) -> list[Row]:
    """silver.operations.flights without its lineage. No flight of the first days of January breaks a rule."""
    zones = {airport["airport_code"]: airport["time_zone"] for airport in airports()}
    return [_flight(line, zones) for day in days for line in source_flights(day)]


def fact_flight(days: Iterable[date]) -> list[Row]:
    """gold.operations.fact_flight."""
    airlines = {line["carrier"] for line in lines("airlines.csv")}
    places = {airport["airport_code"] for airport in airports()}
    planes = {line["tailnum"] for line in lines("planes.csv")}

    def key(code: str | None, members: set[str]) -> str:
        return code if code in members and code else UNKNOWN

    return [
        {
            "flight_date": row["flight_date"], "carrier": row["carrier"], "flight_number": row["flight_number"],
            "origin": row["origin"], "dest": row["dest"],
            "airline_key": key(row["carrier"], airlines), "origin_airport_key": key(row["origin"], places),
            "dest_airport_key": key(row["dest"], places), "aircraft_key": key(row["tail_number"], planes),
        }
        | {
            name: row[name]
            for name in (
                "tail_number", "status", "has_arrived", "sched_dep_local", "sched_dep_utc", "dep_utc", "sched_arr_utc", "arr_utc",
                "dep_delay_min", "arr_delay_min", "air_time_min", "distance_mi", "average_speed_mph",
            )
        }
        for row in flights(days)
    ]  # fmt: skip


def _flight(line: dict[str, str], zones: dict[str, str | None]) -> Row:
    number = {
        name: None if text == "NA" else int(text) for name, text in line.items() if text.lstrip("-").isdigit() or text == "NA"
    }
    day = date(int(line["year"]), int(line["month"]), int(line["day"]))
    here, there = ZoneInfo(str(zones[line["origin"]])), None
    if zone := zones.get(line["dest"]):
        there = ZoneInfo(zone)
    clock = there or here  # whose clock an arrival is shown on, as far as one knows
    late, late_there = number["dep_delay"], number["arr_delay"]

    scheduled = _shown(number["sched_dep_time"], day)[1]
    departed = _nearest(number["dep_time"], scheduled + timedelta(minutes=late or 0))
    scheduled_there = _first(number["sched_arr_time"], _on(clock, scheduled, here))
    if late_there is not None and scheduled_there is not None:
        arrived = _nearest(number["arr_time"], scheduled_there + timedelta(minutes=late_there))
    else:
        arrived = None if departed is None else _first(number["arr_time"], _on(clock, departed, here))
    due, due_there = _instant(scheduled, here), _instant(scheduled_there, there)
    ended = _later(due_there, late_there)
    minutes, miles = number["air_time"], number["distance"]
    return {
        "flight_date": day,
        "carrier": line["carrier"],
        "flight_number": number["flight"],
        "origin": line["origin"],
        "dest": line["dest"],
        "tail_number": None if line["tailnum"] == "NA" else line["tailnum"],
        "status": "cancelled" if line["dep_time"] == "NA" else "flown",
        "has_arrived": late_there is not None,
        "is_origin_known": line["origin"] in zones,
        "is_dest_known": line["dest"] in zones,
        "sched_dep_local": scheduled,
        "dep_local": departed,
        "sched_arr_local": scheduled_there,
        "arr_local": arrived,
        "sched_dep_utc": due,
        "dep_utc": _later(due, late),
        "sched_arr_utc": due_there,
        "arr_utc": _instant(arrived, there) if ended is None else ended,
        "dep_delay_min": late,
        "arr_delay_min": late_there,
        "air_time_min": minutes,
        "distance_mi": miles,
        "average_speed_mph": None if minutes is None or miles is None else miles * 60 / minutes,
        "source_hour_utc": datetime.fromisoformat(line["time_hour"]),
    }


def _shown(clock: int | None, day: date) -> list[datetime]:
    """When a clock shows hhmm: on the day before, on the day and on the three after. 2400 is the end of a day."""
    if clock is None:
        return []
    midnight = datetime(day.year, day.month, day.day)
    return [midnight + n * _DAY + timedelta(hours=clock // 100, minutes=clock % 100) for n in (-1, 0, 1, 2, 3)]


def _nearest(clock: int | None, to: datetime) -> datetime | None:
    return min(_shown(clock, to.date()), key=lambda shown: abs(shown - to), default=None)


def _first(clock: int | None, after: datetime) -> datetime | None:
    early = (after - _DAY).date()  # 2400 of the day before is the same moment as 0
    return min((shown for shown in _shown(clock, early) if shown >= after), default=None)


def _on(clock: ZoneInfo, local: datetime, zone: ZoneInfo) -> datetime:
    """What one clock shows when another shows `local`."""
    return local.replace(tzinfo=zone).astimezone(clock).replace(tzinfo=None)


def _instant(local: datetime | None, zone: ZoneInfo | None) -> datetime | None:
    return None if local is None or zone is None else local.replace(tzinfo=zone).astimezone(UTC)


def _later(instant: datetime | None, minutes: int | None) -> datetime | None:
    return None if instant is None or minutes is None else instant + timedelta(minutes=minutes)

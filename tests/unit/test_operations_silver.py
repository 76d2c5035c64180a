"""Silver of operations on rows written by hand: what a line of text becomes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion.contract import UNPARSED
from medallion.domains.operations import silver
from tests.unit.operations_rows import Row, frame

FLIGHTS = "bronze.operations.flights"


def on(month: int, day: int, hour: int, minute: int) -> datetime:
    return datetime(2013, month, day, hour, minute)


def utc(month: int, day: int, hour: int, minute: int) -> datetime:
    """The clock of UTC at an instant."""
    return on(month, day, hour, minute)


def scheduled(month: int, day: int, dep: str, arr: str, dest: str = "IAH") -> Row:
    """A flight that nobody knows more of yet than its schedule."""
    unknown = dict.fromkeys(("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "time_hour"), "NA")
    return unknown | {"month": str(month), "day": str(day), "sched_dep_time": dep, "sched_arr_time": arr, "dest": dest}


CASES: dict[str, tuple[Row, Row]] = {  # case -> (changes to the sound line, what silver must say)
    "as it comes": ({}, {
        "flight_date": date(2013, 1, 1), "carrier": "UA", "flight_number": 1545, "origin": "EWR", "dest": "IAH",
        "tail_number": "N14228", "status": "flown", "has_arrived": True, "is_origin_known": True, "is_dest_known": True,
        "sched_dep_local": on(1, 1, 5, 15), "dep_local": on(1, 1, 5, 17), "sched_dep_utc": utc(1, 1, 10, 15),
        "dep_utc": utc(1, 1, 10, 17), "sched_arr_local": on(1, 1, 8, 19), "arr_local": on(1, 1, 8, 30),
        "sched_arr_utc": utc(1, 1, 14, 19), "arr_utc": utc(1, 1, 14, 30), "dep_delay_min": 2, "arr_delay_min": 11,
        "air_time_min": 227, "distance_mi": 1400, "average_speed_mph": 1400 * 60 / 227,
        "source_hour_utc": utc(1, 1, 10, 0), "_delivery": "d1", "_logical_date": date(2013, 1, 1), UNPARSED: None,
    }),
    "left at 2400, midnight": (
        scheduled(1, 1, "2359", "450", "BQN") | {"dep_time": "2400", "dep_delay": "1"},
        {"dep_local": on(1, 2, 0, 0), "dep_utc": utc(1, 2, 5, 0), "flight_date": date(2013, 1, 1)},
    ),
    "scheduled for 2400": (scheduled(1, 1, "2400", "130"), {
        "sched_dep_local": on(1, 2, 0, 0), "sched_arr_local": on(1, 2, 1, 30), "flight_date": date(2013, 1, 1),
    }),
    "arrived at 2400, midnight": (
        {"sched_dep_time": "2000", "dep_time": "2000", "dep_delay": "0"}
        | {"sched_arr_time": "2330", "arr_time": "2400", "arr_delay": "30"},
        {"arr_local": on(1, 2, 0, 0), "arr_utc": utc(1, 2, 6, 0)},
    ),
    "left after midnight, late": (
        scheduled(1, 1, "2250", "30") | {"dep_time": "35", "dep_delay": "105"},
        {"dep_local": on(1, 2, 0, 35), "dep_utc": utc(1, 2, 5, 35), "sched_arr_local": on(1, 2, 0, 30)},
    ),
    "left a whole day late": (
        scheduled(1, 9, "900", "1530") | {"dep_time": "641", "dep_delay": "1301"},
        {"dep_local": on(1, 10, 6, 41), "dep_utc": utc(1, 10, 11, 41)},
    ),
    "left and arrived early": (
        scheduled(1, 2, "5", "4", "PBI") | {"dep_time": "2355", "dep_delay": "-10", "arr_time": "2354", "arr_delay": "-10"},
        {"dep_local": on(1, 1, 23, 55), "sched_arr_local": on(1, 3, 0, 4), "arr_local": on(1, 2, 23, 54)},
    ),
    "arrives before it left, on the clock of a zone further west": (
        scheduled(7, 1, "1000", "955", "HNL"), {"sched_arr_local": on(7, 1, 9, 55), "sched_arr_utc": utc(7, 1, 19, 55)},
    ),
    "arrives after midnight": (
        scheduled(7, 1, "2130", "17", "LAX"), {"sched_arr_local": on(7, 2, 0, 17), "sched_arr_utc": utc(7, 2, 7, 17)},
    ),
    "summer time here, none there": (
        scheduled(7, 1, "1200", "1500", "PHX"), {"sched_dep_utc": utc(7, 1, 16, 0), "sched_arr_utc": utc(7, 1, 22, 0)},
    ),
    "clocks go forward while it flies": (
        scheduled(3, 9, "2145", "34", "PBI") | {"dep_time": "2306", "dep_delay": "81", "arr_time": "203", "arr_delay": "89"},
        {"sched_arr_utc": utc(3, 10, 5, 34), "arr_local": on(3, 10, 2, 3), "arr_utc": utc(3, 10, 7, 3)},  # 2:03 did not exist
    ),
    "before clocks go back": (
        scheduled(11, 2, "2350", "300"), {"sched_dep_utc": utc(11, 3, 3, 50), "sched_arr_utc": utc(11, 3, 9, 0)},
    ),
    "after clocks went back": (scheduled(11, 3, "2350", "300"), {"sched_dep_utc": utc(11, 4, 4, 50)}),
    "an hour that comes twice is the first of the two": (
        scheduled(11, 3, "130", "530"), {"sched_dep_utc": utc(11, 3, 5, 30)},
    ),
    "delay across the hour that comes twice": (
        scheduled(11, 2, "2350", "300") | {"dep_time": "150", "dep_delay": "120"}, {"dep_utc": utc(11, 3, 5, 50)},
    ),
    "destination that the reference lacks": ({"dest": "SJU"}, {
        "dest": "SJU", "is_dest_known": False, "sched_arr_local": on(1, 1, 8, 19), "arr_local": on(1, 1, 8, 30),
        "sched_arr_utc": None, "arr_utc": None, "dep_utc": utc(1, 1, 10, 17),
    }),
    "destination without a time zone": ({"dest": "EEN"}, {"is_dest_known": True, "sched_arr_utc": None}),
    "origin that the reference lacks": ({"origin": "XXX"}, {"is_origin_known": False, "sched_dep_utc": None, "dep_utc": None}),
    "cancelled": (scheduled(1, 1, "1630", "1815") | {"tailnum": "NA"}, {
        "status": "cancelled", "has_arrived": False, "dep_local": None, "dep_utc": None, "arr_local": None, "arr_utc": None,
        "tail_number": None, "average_speed_mph": None, "sched_dep_utc": utc(1, 1, 21, 30), UNPARSED: None,
    }),
    "diverted, no arrival on record": (
        {"arr_time": "NA", "arr_delay": "NA", "air_time": ""},
        {"status": "flown", "has_arrived": False, "arr_utc": None, UNPARSED: None},
    ),
    "diverted, arrived later": (
        {"sched_dep_time": "1740", "dep_time": "1940", "dep_delay": "120", "sched_arr_time": "2020",
         "arr_time": "900", "arr_delay": "NA"},
        {"has_arrived": False, "arr_local": on(1, 2, 9, 0), "arr_utc": utc(1, 2, 15, 0)},
    ),
    "spaces and lower case": ({"origin": " ewr ", "carrier": "ua", "dep_delay": " 2 ", "tailnum": "  "}, {
        "origin": "EWR", "carrier": "UA", "dep_delay_min": 2, "tail_number": None, UNPARSED: None,
    }),
    "unicode": ({"tailnum": "ñ142", "dest": "ÍAH"}, {"tail_number": "Ñ142", "dest": "ÍAH", "is_dest_known": False}),
    "Arabic digits": ({"flight": "\u0661\u0665"}, {"flight_number": None, UNPARSED: "flight"}),
    "faster than 700 mph": ({"air_time": "65", "distance": "762"}, {"average_speed_mph": 762 * 60 / 65}),
    "no time in the air": ({"air_time": "0"}, {"air_time_min": 0, "average_speed_mph": None}),
    "several values do not parse": ({"dep_time": "abc", "distance": "1e3", "time_hour": "soon"}, {
        "dep_local": None, "distance_mi": None, UNPARSED: "dep_time,distance,time_hour",
    }),
    "a clock shows no 1260": ({"arr_time": "1260"}, {"arr_local": None, UNPARSED: "arr_time"}),
    "a clock shows no 2401": ({"sched_dep_time": "2401"}, {"sched_dep_local": None, UNPARSED: "sched_dep_time"}),
    "a calendar has no 30 February": ({"month": "2", "day": "30"}, {"flight_date": None, UNPARSED: "year,month,day"}),
    "a date is missing in part": ({"day": "NA"}, {"flight_date": None, UNPARSED: "year,month,day"}),
    "a year beyond all calendars": ({"year": "999999"}, {"flight_date": None, UNPARSED: "year,month,day"}),
    "a delay that no integer holds": ({"arr_delay": "2147483647"}, {"arr_delay_min": None, UNPARSED: "arr_delay"}),
    "a line that did not fit the header": (
        dict.fromkeys(("year", "month", "day", "flight", "sched_dep_time", "dep_time"), "") | {"_malformed": "2013,1"},
        {"flight_date": None, UNPARSED: "_malformed"},
    ),
    "came in an earlier delivery too": ({"_repeat": "delivery"}, {"flight_number": 1545}),
}  # fmt: skip

ZONES = {
    "EWR": "America/New_York", "IAH": "America/Chicago", "LAX": "America/Los_Angeles", "PBI": "America/New_York",
    "HNL": "Pacific/Honolulu", "PHX": "America/Phoenix", "EEN": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def airports(spark: SparkSession) -> DataFrame:
    rows = [{"airport_code": code, "time_zone": zone} for code, zone in ZONES.items()]
    return frame(spark, "silver.operations.airports", rows)


@pytest.fixture(scope="module")
def made(spark: SparkSession, airports: DataFrame) -> dict[str, Row]:
    """All cases through the transform at once; instants as clocks of UTC, whatever zone Python is in."""
    lines = [changes | {"_source_row": number} for number, (changes, _) in enumerate(CASES.values())]
    lines.append({"_repeat": "file", "_source_row": len(lines)})
    rows = silver.flights(frame(spark, FLIGHTS, lines), airports)
    clocks = [F.col(c).cast("timestamp_ntz").alias(c) if t == "timestamp" else F.col(c) for c, t in rows.dtypes]
    found = [row.asDict() for row in rows.select(*clocks).collect()]
    assert sorted(row["_source_row"] for row in found) == list(range(len(CASES))), "only a repeat within its file goes"
    return {list(CASES)[row["_source_row"]]: row for row in found}


@pytest.mark.parametrize("case", CASES)
def test_flights(made: dict[str, Row], case: str) -> None:
    expected = CASES[case][1]
    assert {name: made[case][name] for name in expected} == expected


def test_flights_have_the_columns_of_their_contract(spark: SparkSession, airports: DataFrame) -> None:
    line = frame(spark, FLIGHTS, [{}])
    expected = frame(spark, "silver.operations.flights", [{"average_speed_mph": 1400 * 60 / 227}])
    assert_df_equality(silver.flights(line, airports), expected, ignore_nullable=True)


def test_airports(spark: SparkSession) -> None:
    lines = [
        {},
        {"faa": " eCm ", "name": " Ñandú  Field ", "alt": "-54", "dst": "n", "tzone": "NA"},
        {"faa": "04G", "name": "", "lat": "NA", "lon": "", "tz": "5.5"},
        {"faa": "X01", "lat": "41°", "alt": "12.5", "tzone": " America/Chicago "},
        {"faa": "", "_malformed": "a,b"},
        {"_repeat": "file"},
    ]
    expected = [
        {},
        {"airport_code": "ECM", "name": "Ñandú  Field", "altitude_ft": -54, "dst_rule": "N", "time_zone": None},
        {"airport_code": "04G", "name": None, "latitude_deg": None, "longitude_deg": None, "utc_offset_h": 5.5},
        {"airport_code": "X01", "latitude_deg": None, "altitude_ft": None, UNPARSED: "lat,alt"},
        {"airport_code": None, UNPARSED: "_malformed"},
    ]
    assert_df_equality(
        silver.airports(frame(spark, "bronze.operations.airports", lines)),
        frame(spark, "silver.operations.airports", expected),
        ignore_nullable=True,
    )


def test_airlines(spark: SparkSession) -> None:
    """NA is a code like any here: North American Airlines flew under it."""
    lines = [{}, {"carrier": " na", "name": "North American Airlines"}, {"carrier": "9e", "name": " "}, {"_repeat": "file"}]
    expected = [
        {},
        {"airline_code": "NA", "name": "North American Airlines"},
        {"airline_code": "9E", "name": None},
    ]
    assert_df_equality(
        silver.airlines(frame(spark, "bronze.operations.airlines", lines)),
        frame(spark, "silver.operations.airlines", expected),
        ignore_nullable=True,
    )


def test_nothing_in_nothing_out(spark: SparkSession, airports: DataFrame) -> None:
    """A day without lines, and a reference without airports."""
    assert silver.flights(frame(spark, FLIGHTS, []), airports).isEmpty()
    lonely = silver.flights(frame(spark, FLIGHTS, [{}]), airports.limit(0)).first()
    assert (lonely.is_origin_known, lonely.is_dest_known, lonely.dep_utc, lonely.arr_utc) == (False, False, None, None)


WEATHER: dict[str, tuple[Row, Row]] = {  # case -> (changes to the sound record, what silver must say)
    "as it comes": ({}, {}),
    "nothing measured": (
        dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")),
        dict.fromkeys(("temp_f", "dewpoint_f", "humidity_pct", "wind_dir_deg", "wind_speed_mph"))
        | dict.fromkeys(("precip_in", "pressure_mb", "visibility_mi")),
    ),
    "gusts, spaces, lower case, an exponent": (
        {"origin": " jfk ", "wind_gust": " 23.0156", "pressure": "1e3", "temp": "", "wind_dir": "360"},
        {"origin": "JFK", "wind_gust_mph": 23.0156, "pressure_mb": 1000.0, "temp_f": None, "wind_dir_deg": 360},
    ),
    "the hour that comes twice, first": (
        {"month": "11", "day": "3", "hour": "1", "time_hour": "2013-11-03T05:00:00Z"},
        {"hour_local": on(11, 3, 1, 0), "time_hour": datetime(2013, 11, 3, 5, 0, tzinfo=UTC)},
    ),
    "the hour that comes twice, second": (
        {"month": "11", "day": "3", "hour": "1", "time_hour": "2013-11-03T06:00:00Z"},
        {"hour_local": on(11, 3, 1, 0), "time_hour": datetime(2013, 11, 3, 6, 0, tzinfo=UTC)},
    ),
    "what does not parse": (
        {"wind_dir": "VRB", "wind_speed": "12 kt", "time_hour": "soon", "hour": "24"},
        {"wind_dir_deg": None, "wind_speed_mph": None, "time_hour": None, "hour_local": None}
        | {UNPARSED: "time_hour,hour,wind_dir,wind_speed"},
    ),
    "no such day": ({"month": "2", "day": "30"}, {"hour_local": None, UNPARSED: "year,month,day"}),
    "NA is no mark for missing in JSON": ({"precip": "NA"}, {"precip_in": None, UNPARSED: "precip"}),
    "a record that was none": ({"_malformed": "[]"}, {UNPARSED: "_malformed"}),
    "came in an earlier delivery too": ({"_repeat": "delivery"}, {}),
}  # fmt: skip


def test_weather(spark: SparkSession) -> None:
    lines = [*[changes for changes, _ in WEATHER.values()], {"_repeat": "file"}]
    assert_df_equality(
        silver.weather(frame(spark, "bronze.operations.weather", lines)),
        frame(spark, "silver.operations.weather", [expected for _, expected in WEATHER.values()]),
        ignore_nullable=True,
    )


PLANES: dict[str, tuple[Row, Row]] = {  # case -> (changes to the sound row, what silver must say)
    "as it comes": ({}, {}),
    "as a hand would type it": (
        {"tailnum": " n14228 ", "type": " FIXED  WING SINGLE-ENGINE", "engine": "turbo prop", "model": " 737\t824 ", "speed": 90},
        {"aircraft_type_code": "4", "aircraft_type": "Fixed wing single engine", "engine_type_code": "2"}
        | {"engine_type": "Turbo-prop", "model": "737 824", "cruise_speed_mph": 90},
    ),
    "nothing known": (
        dict.fromkeys(("year", "type", "manufacturer", "model", "engines", "seats", "speed", "engine")),
        dict.fromkeys((
            "manufacture_year", "aircraft_type_code", "aircraft_type", "manufacturer", "model", "engines", "seats",
            "engine_type_code", "engine_type",
        )),
    ),
    "0 is not known, but engines are counted": (
        {"year": 0, "seats": 0, "speed": 0, "engines": 0, "type": "Glider", "engine": "None"},
        {"manufacture_year": None, "seats": None, "engines": 0, "aircraft_type_code": "1", "aircraft_type": "Glider"}
        | {"engine_type_code": "0", "engine_type": "None"},
    ),
    "types that have no code": (
        {"type": "Flying saucer", "engine": " "},
        {"aircraft_type_code": None, "aircraft_type": "Flying saucer", "engine_type_code": None, "engine_type": None},
    ),
    "years are left to the rules": ({"year": 1899}, {"manufacture_year": 1899}),
    "four-stroke": ({"engine": "4 Cycle"}, {"engine_type_code": "8", "engine_type": "4 Cycle"}),
    "came in an earlier delivery too": ({"_repeat": "delivery"}, {}),
} | {
    f"made by {came}": ({"manufacturer": came}, {"manufacturer": name})
    for came, name in {
        "AIRBUS INDUSTRIE": "AIRBUS", "Airbus": "AIRBUS", "BOMBARDIER INC": "BOMBARDIER", "CANADAIR LTD": "CANADAIR",
        "MCDONNELL DOUGLAS AIRCRAFT CO": "MCDONNELL DOUGLAS", "MCDONNELL DOUGLAS CORPORATION": "MCDONNELL DOUGLAS",
        "Cirrus Design Corp.": "CIRRUS DESIGN", "Acme, Inc.": "ACME", "DOUGLAS": "DOUGLAS", "AGUSTA SPA": "AGUSTA",
        "STEWART MACO": "STEWART MACO", "CO": "CO", "Études & Co.": "ÉTUDES",
    }.items()
}  # fmt: skip


def test_planes(spark: SparkSession) -> None:
    lines = [*[changes for changes, _ in PLANES.values()], {"_repeat": "file"}]
    assert_df_equality(
        silver.planes(frame(spark, "bronze.operations.planes", lines)),
        frame(spark, "silver.operations.planes", [expected for _, expected in PLANES.values()]),
        ignore_nullable=True,
    )

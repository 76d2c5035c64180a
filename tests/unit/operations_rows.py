"""One sound row of every dataset of operations, and for every row rule a row that it must reject.

PLANTED: dataset -> rule -> (what makes a sound row break the rule, what the nearest row that still
passes looks like), each as changes to the sound row.
"""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, SparkSession

from medallion.contract import UNPARSED, Contract
from medallion.domain_folders import BUILT_IN
from medallion.odcs import reader
from medallion.rule_kinds import FLAG
from tests.frames import frame_of
from tests.unit import operations_feature_rows
from tests.unit.row_parts import BRONZE, DAY, SILVER, Planted, Row, at, missing, utc

FOLDER = BUILT_IN / "operations"
CONTRACTS: dict[str, Contract] = {c.dataset: c for c in map(reader.read, sorted(FOLDER.glob("*.odcs.yaml")))}

_FLIGHT = {"flight_date": DAY, "carrier": "UA", "flight_number": 1545, "origin": "EWR", "dest": "IAH"}
_MEASURES = {"dep_delay_min": 2, "arr_delay_min": 11, "air_time_min": 227, "distance_mi": 1400}

SOUND: dict[str, Row] = operations_feature_rows.SOUND | {
    "bronze.operations.flights": BRONZE
    | {
        "year": "2013", "month": "1", "day": "1", "dep_time": "517", "sched_dep_time": "515", "dep_delay": "2",
        "arr_time": "830", "sched_arr_time": "819", "arr_delay": "11", "carrier": "UA", "flight": "1545",
        "tailnum": "N14228", "origin": "EWR", "dest": "IAH", "air_time": "227", "distance": "1400",
        "hour": "5", "minute": "15", "time_hour": "2013-01-01T10:00:00Z",
    },
    "bronze.operations.airports": BRONZE
    | {
        "faa": "IAH", "name": "George Bush Intercontinental", "lat": "29.984433", "lon": "-95.341442",
        "alt": "97", "tz": "-6", "dst": "A", "tzone": "America/Chicago",
    },
    "bronze.operations.airlines": BRONZE | {"carrier": "UA", "name": "United Air Lines Inc."},
    "silver.operations.flights": _FLIGHT | _MEASURES | SILVER
    | {
        "tail_number": "N14228", "status": "flown", "has_arrived": True, "is_origin_known": True,
        "is_dest_known": True, "sched_dep_local": at(5, 15), "dep_local": at(5, 17),
        "sched_arr_local": at(8, 19), "arr_local": at(8, 30), "sched_dep_utc": utc(10, 15),
        "dep_utc": utc(10, 17), "sched_arr_utc": utc(14, 19), "arr_utc": utc(14, 30),
        "average_speed_mph": 370.0, "source_hour_utc": utc(10, 0),
    },
    "silver.operations.airports": SILVER
    | {
        "airport_code": "IAH", "name": "George Bush Intercontinental", "latitude_deg": 29.984433,
        "longitude_deg": -95.341442, "altitude_ft": 97, "utc_offset_h": -6.0, "dst_rule": "A",
        "time_zone": "America/Chicago",
    },
    "silver.operations.airlines": SILVER | {"airline_code": "UA", "name": "United Air Lines Inc."},
    "gold.operations.dim_airport": {
        "airport_key": "IAH", "airport_code": "IAH", "name": "George Bush Intercontinental",
        "latitude_deg": 29.984433, "longitude_deg": -95.341442, "altitude_ft": 97, "utc_offset_h": -6.0,
        "time_zone": "America/Chicago",
    },
    "gold.operations.dim_airline": {"airline_key": "UA", "airline_code": "UA", "name": "United Air Lines Inc."},
    "gold.operations.fact_flight": _FLIGHT | _MEASURES
    | {
        "airline_key": "UA", "origin_airport_key": "EWR", "dest_airport_key": "IAH",
        "aircraft_key": "N14228", "tail_number": "N14228", "status": "flown",
        "has_arrived": True, "sched_dep_local": at(5, 15), "sched_dep_utc": utc(10, 15),
        "dep_utc": utc(10, 17), "sched_arr_utc": utc(14, 19), "arr_utc": utc(14, 30), "average_speed_mph": 370.0,
    },
    "gold.operations.route_performance": {
        "flight_date": DAY, "origin": "EWR", "dest": "IAH", "flights": 10, "cancelled": 1,
        "mean_dep_delay_min": 4.5, "p90_arr_delay_min": 22.6, "on_time_share": 0.75,
    },
}  # fmt: skip

CANCELLED: Row = {
    "status": "cancelled", "has_arrived": False, "dep_local": None, "arr_local": None, "dep_utc": None,
    "arr_utc": None, "dep_delay_min": None, "arr_delay_min": None, "air_time_min": None, "average_speed_mph": None,
}  # fmt: skip
NO_TIMES = {"sched_dep_utc": None, "dep_utc": None, "source_hour_utc": None}
_ALL_CANCELLED = {"cancelled": 10, "mean_dep_delay_min": None, "p90_arr_delay_min": None, "on_time_share": None}

PLANTED: dict[str, Planted] = operations_feature_rows.PLANTED | {
    "bronze.operations.flights": {
        "of_another_day": ({"day": "2"}, {"day": "01"}),
        "airport_code_malformed": ({"dest": "IA"}, {"dest": " iah "}),
        "untraceable": ({"flight": "NA"}, {"flight": "one"}),
        "schedule_contradicts_itself": ({"minute": "51"}, {"minute": "abc"}),
    },
    "bronze.operations.airports": {
        "without_code": ({"faa": " "}, {"faa": "x"}),
        "off_the_globe": ({"lon": "-950.3"}, {"lon": "-180"}),
        "time_zone_malformed": ({"tzone": "Chicago"}, {"tzone": "NA"}),
    },
    "bronze.operations.airlines": {
        "carrier_malformed": ({"carrier": "UAL"}, {"carrier": " u2"}),
        "without_name": ({"name": ""}, {"name": "Ünïted"}),
        "name_is_a_code": ({"name": "ua"}, {"name": "UAL"}),
    },
    "silver.operations.flights": {
        "parses": ({UNPARSED: "dep_time"}, {UNPARSED: None}),
        **missing("flight_date", "carrier", "flight_number", "origin", "dest", "status"),
        **missing("has_arrived", "is_origin_known", "is_dest_known", "sched_dep_local"),
        "carrier_pattern": ({"carrier": "UAL"}, {"carrier": "9E"}),
        "flight_number_minimum": ({"flight_number": 0}, {"flight_number": 1}),
        "flight_number_maximum": ({"flight_number": 10_000}, {"flight_number": 9_999}),
        "origin_not_new_york": ({"origin": "XXX"}, {"origin": "LGA"}),
        "dest_pattern": ({"dest": "IA1"}, {"dest": "BQN"}),
        "dep_delay_min_minimum": (
            {"dep_delay_min": -121, "dep_local": at(3, 14), "dep_utc": utc(8, 14)},
            {"dep_delay_min": -120, "dep_local": at(3, 15), "dep_utc": utc(8, 15)},
        ),
        "dep_delay_min_maximum": (
            {"dep_delay_min": 2881, "dep_local": at(5, 16, 3), "dep_utc": None},
            {"dep_delay_min": 2880, "dep_local": at(5, 15, 3), "dep_utc": None},
        ),
        "arr_delay_min_minimum": (
            {"arr_delay_min": -181, "arr_local": at(5, 18), "air_time_min": 60},
            {"arr_delay_min": -180, "arr_local": at(5, 19), "air_time_min": 60},
        ),
        "arr_delay_min_maximum": (
            {"arr_delay_min": 2881, "arr_local": at(8, 20, 3)},
            {"arr_delay_min": 2880, "arr_local": at(8, 19, 3)},
        ),
        "air_time_min_minimum": ({"air_time_min": -227}, {"air_time_min": 1}),
        "distance_mi_minimum": ({"distance_mi": 0}, {"distance_mi": 1}),
        "distance_mi_maximum": ({"distance_mi": 10_001}, {"distance_mi": 10_000}),
        "of_another_day": ({"_logical_date": date(2013, 1, 2)}, {}),
        # LGA to ATL, 762 miles, on 25 May: 65 minutes make 703.4 mph, 66 make 692.7
        "faster_than_700_mph": ({"average_speed_mph": 762 * 60 / 65}, {"average_speed_mph": 762 * 60 / 66}),
        "departure_contradicts_delay": ({"dep_delay_min": 20}, {"dep_delay_min": 3, "dep_local": at(5, 18)}),
        "arrival_contradicts_delay": ({"arr_local": None}, CANCELLED),
        "arrived_without_departure": (CANCELLED | {"arr_local": at(8, 30)}, CANCELLED),
        "longer_in_the_air_than_under_way": ({"arr_utc": utc(14, 3)}, {"arr_utc": utc(14, 4)}),
        "lands_before_it_leaves": (
            {"has_arrived": False, "arr_delay_min": None, "arr_utc": utc(10, 16)},
            {"has_arrived": False, "arr_delay_min": None, "arr_utc": utc(10, 17)},
        ),
        "source_disagrees_on_utc": ({"source_hour_utc": utc(11, 0)}, NO_TIMES),
        "returns_to_its_origin": ({"dest": "EWR"}, {"dest": "LGA"}),
        "destination_unknown": ({"is_dest_known": False}, {"is_dest_known": True, "sched_arr_utc": None, "arr_utc": None}),
        "tail_number_malformed": ({"tail_number": "D942DN"}, {"tail_number": None}),
    },
    "silver.operations.airports": {
        "parses": ({UNPARSED: "alt"}, {}),
        **missing("airport_code", "name"),
        "airport_code_pattern": ({"airport_code": "KIAH"}, {"airport_code": "04G"}),
        "latitude_deg_minimum": ({"latitude_deg": -90.1}, {"latitude_deg": -90.0}),
        "latitude_deg_maximum": ({"latitude_deg": float("nan")}, {"latitude_deg": 90.0}),
        "longitude_deg_minimum": ({"longitude_deg": -180.1}, {"longitude_deg": -180.0}),
        "longitude_deg_maximum": ({"longitude_deg": 180.1}, {"longitude_deg": 180.0}),
        "altitude_ft_minimum": ({"altitude_ft": -1401}, {"altitude_ft": -54}),
        "altitude_ft_maximum": ({"altitude_ft": 29_000}, {"altitude_ft": 9_078}),
        "utc_offset_h_minimum": ({"utc_offset_h": -360.0}, {"utc_offset_h": -12.0}),
        "utc_offset_h_maximum": ({"utc_offset_h": 15.0}, {"utc_offset_h": 5.5}),
        "dst_rule_unknown": ({"dst_rule": "Y"}, {"dst_rule": "U"}),
        "time_zone_not_american": ({"time_zone": "Asia/Chongqing"}, {"time_zone": None}),
        "longitude_not_american": ({"longitude_deg": 112.457}, {"longitude_deg": 174.11362}),
    },
    "silver.operations.airlines": {
        "parses": ({UNPARSED: "_malformed"}, {}),
        **missing("airline_code", "name"),
        "airline_code_pattern": ({"airline_code": "ua"}, {"airline_code": "9E"}),
        "code_without_letter": ({"airline_code": "99"}, {"airline_code": "B6"}),
        "name_is_a_code": ({"name": "Ua"}, {"name": "UAL"}),
    },
    "gold.operations.dim_airport": {
        **missing("airport_key", "name"),
        "airport_key_pattern": ({"airport_key": "unknown"}, {"airport_key": "04G", "airport_code": "04G"}),
        "key_is_not_the_code": ({"airport_code": "HOU"}, {}),
        "unknown_has_a_place": (
            {"airport_key": "~unknown", "airport_code": None, "time_zone": None, "longitude_deg": None},
            {"airport_key": "~unknown", "airport_code": None, "time_zone": None, "longitude_deg": None, "latitude_deg": None},
        ),
    },
    "gold.operations.dim_airline": {
        **missing("airline_key", "name"),
        "airline_key_pattern": ({"airline_key": "unknown"}, {}),
        "key_is_not_the_code": ({"airline_code": None}, {"airline_key": "~unknown", "airline_code": None, "name": "Unknown"}),
        "unknown_without_its_name": ({"name": "Unknown"}, {"name": "Unknown Air"}),
    },
    "gold.operations.fact_flight": {
        **missing("flight_date", "carrier", "flight_number", "origin", "dest", "status", "has_arrived"),
        **missing("airline_key", "origin_airport_key", "dest_airport_key", "aircraft_key"),
        "key_of_another_member": ({"dest_airport_key": "HOU"}, {}),
        "key_of_another_aircraft": ({"aircraft_key": "N14228", "tail_number": None}, {"aircraft_key": "~unknown"}),
        "cancelled_yet_measured": (CANCELLED | {"air_time_min": 0}, CANCELLED),
        "flown_without_departure": ({"dep_delay_min": None}, {"dep_delay_min": 0}),
        "lands_before_it_leaves": ({"arr_utc": utc(10, 16)}, {"arr_utc": None, "sched_arr_utc": None}),
        "member_unknown": ({"airline_key": "~unknown"}, {"aircraft_key": "~unknown"}),
        "aircraft_unknown": ({"aircraft_key": "~unknown"}, {"airline_key": "~unknown"}),
        "dest_reference": ({"_refers_dest_reference": False}, {}),
        "tail_number_reference": (
            {"_refers_tail_number_reference": False},
            {"_refers_tail_number_reference": False, "tail_number": None},
        ),
    },
    "gold.operations.route_performance": {
        **missing("flight_date", "origin", "dest", "flights", "cancelled"),
        "flights_minimum": ({"flights": 0}, {"flights": 1}),
        "cancelled_minimum": ({"cancelled": -1}, {"cancelled": 0}),
        "on_time_share_minimum": ({"on_time_share": -0.01}, {"on_time_share": 0.0}),
        "on_time_share_maximum": ({"on_time_share": 75.0}, {"on_time_share": 1.0, "p90_arr_delay_min": 15.0}),
        "more_cancelled_than_scheduled": ({"cancelled": 11}, _ALL_CANCELLED),
        "mean_of_nothing": ({"mean_dep_delay_min": None}, _ALL_CANCELLED),
        "share_and_percentile_disagree": ({"on_time_share": None}, {"on_time_share": None, "p90_arr_delay_min": None}),
        "punctual_yet_late": ({"on_time_share": 1.0}, {"on_time_share": 1.0, "p90_arr_delay_min": 15.0}),
    },
}


def ddl(columns: dict[str, str]) -> str:
    return ", ".join(f"`{name}` {type_}" for name, type_ in columns.items())


def frame(spark: SparkSession, dataset: str, rows: list[Row]) -> DataFrame:
    """Rows as changes to the sound one, with every column that a transform or a rule may read; what a sound row points
    into is there."""
    contract = CONTRACTS[dataset]
    flags = {f"{FLAG}{rule.name}": "boolean" for rule in contract.rules if rule.reference}
    schema = contract.schema() | ({UNPARSED: "string"} if contract.layer == "silver" else {}) | flags
    full = [dict.fromkeys(flags, True) | SOUND[dataset] | row for row in rows]
    return frame_of(spark, [tuple(row[name] for name in schema) for row in full], ddl(schema))

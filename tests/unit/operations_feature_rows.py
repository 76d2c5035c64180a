"""Sound and planted rows of what the features of delays are made from: weather, aircraft; see operations_rows."""

from __future__ import annotations

from datetime import date

from medallion.contract import UNPARSED
from tests.unit.row_parts import BRONZE, DAY, SILVER, Planted, Row, at, missing, utc

_OBSERVED = {
    "temp_f": 39.02, "dewpoint_f": 26.96, "humidity_pct": 61.63, "wind_dir_deg": 260, "wind_speed_mph": 12.65858,
    "wind_gust_mph": None, "precip_in": 0.0, "pressure_mb": 1011.9, "visibility_mi": 10.0,
}  # fmt: skip
NO_WEATHER: Row = {"weather_hour_utc": None} | dict.fromkeys(_OBSERVED)
NO_AIRCRAFT: Row = dict.fromkeys(
    ("aircraft_type", "aircraft_manufacturer", "aircraft_seats", "aircraft_engines", "aircraft_age_years")
)
UNKNOWN_AIRCRAFT: Row = {
    "aircraft_key": "~unknown", "tail_number": None, "name": "Unknown", "manufacturer": None, "model": None,
    "manufacture_year": None, "aircraft_type": None, "engine_type": None, "engines": None, "seats": None,
    "cruise_speed_mph": None,
}  # fmt: skip

SOUND: dict[str, Row] = {
    "bronze.operations.weather": BRONZE
    | {
        "origin": "EWR", "year": "2013", "month": "1", "day": "1", "hour": "4", "temp": "39.02", "dewp": "26.96",
        "humid": "61.63", "wind_dir": "260", "wind_speed": "12.65858", "wind_gust": None, "precip": "0",
        "pressure": "1011.9", "visib": "10", "time_hour": "2013-01-01T09:00:00Z",
    },
    "bronze.operations.planes": BRONZE
    | {
        "tailnum": "N14228", "year": 1999, "type": "Fixed wing multi engine", "manufacturer": "BOEING",
        "model": "737-824", "engines": 2, "seats": 149, "speed": None, "engine": "Turbo-fan",
    },
    "silver.operations.weather": {"origin": "EWR", "time_hour": utc(9, 0), "hour_local": at(4, 0)} | _OBSERVED | SILVER,
    "silver.operations.planes": SILVER
    | {
        "tail_number": "N14228", "manufacture_year": 1999, "aircraft_type_code": "5",
        "aircraft_type": "Fixed wing multi engine", "manufacturer": "BOEING", "model": "737-824", "engines": 2,
        "seats": 149, "cruise_speed_mph": None, "engine_type_code": "5", "engine_type": "Turbo-fan",
    },
    "gold.operations.dim_aircraft": {
        "aircraft_key": "N14228", "tail_number": "N14228", "name": "BOEING 737-824", "manufacturer": "BOEING",
        "model": "737-824", "manufacture_year": 1999, "aircraft_type": "Fixed wing multi engine",
        "engine_type": "Turbo-fan", "engines": 2, "seats": 149, "cruise_speed_mph": None,
    },
    "gold.operations.delay_features": _OBSERVED
    | {
        "flight_date": DAY, "carrier": "UA", "flight_number": 1545, "origin": "EWR", "dest": "IAH",
        "sched_dep_utc": utc(10, 15), "sched_dep_hour": 5, "weekday": 2, "month": 1, "distance_mi": 1400,
        "aircraft_type": "Fixed wing multi engine", "aircraft_manufacturer": "BOEING", "aircraft_seats": 149,
        "aircraft_engines": 2, "aircraft_age_years": 14, "weather_hour_utc": utc(9, 0), "label_dep_delayed_15": False,
    },
}  # fmt: skip

PLANTED: dict[str, Planted] = {
    "bronze.operations.weather": {
        "of_another_day": ({"day": "31"}, {"day": "01"}),
        "airport_code_malformed": ({"origin": None}, {"origin": " ewr "}),
        "time_hour_malformed": ({"time_hour": "2013-01-01 09:00:00"}, {"time_hour": "2013-01-01T09:59:00Z "}),
    },
    "bronze.operations.planes": {
        "tailnum_malformed": ({"tailnum": "N0123"}, {"tailnum": " n9 "}),
        "year_impossible": ({"year": 2014}, {"year": 0}),
        "negative_count": ({"seats": -149}, {"seats": None, "engines": 0}),
    },
    "silver.operations.weather": {
        "parses": ({UNPARSED: "pressure"}, {}),
        **missing("origin", "time_hour", "hour_local"),
        "origin_not_new_york": ({"origin": "BOS"}, {"origin": "JFK"}),
        "temp_f_minimum": ({"temp_f": -459.67, "dewpoint_f": None}, {"temp_f": -80.0, "dewpoint_f": None}),
        "temp_f_maximum": ({"temp_f": 390.2}, {"temp_f": 134.0}),
        "dewpoint_f_minimum": ({"dewpoint_f": -100.1}, {"dewpoint_f": -9.94}),
        "humidity_pct_minimum": ({"humidity_pct": -1.0}, {"humidity_pct": 0.0}),
        "humidity_pct_maximum": ({"humidity_pct": 100.1}, {"humidity_pct": 100.0}),
        "wind_dir_deg_minimum": ({"wind_dir_deg": -10}, {"wind_dir_deg": 0, "wind_speed_mph": 0.0}),
        "wind_dir_deg_maximum": ({"wind_dir_deg": 370}, {"wind_dir_deg": 360}),
        "wind_speed_mph_minimum": ({"wind_speed_mph": -0.1}, {"wind_speed_mph": 0.0, "wind_dir_deg": 0}),
        # EWR, 12 February, 3:00
        "wind_speed_mph_maximum": ({"wind_speed_mph": 1048.36058}, {"wind_speed_mph": 42.57886}),
        "wind_gust_mph_minimum": ({"wind_gust_mph": -16.1}, {"wind_gust_mph": 0.0, "wind_speed_mph": None}),
        "wind_gust_mph_maximum": ({"wind_gust_mph": float("nan")}, {"wind_gust_mph": 231.0}),
        "precip_in_minimum": ({"precip_in": -0.01}, {"precip_in": 0.0}),
        "precip_in_maximum": ({"precip_in": 30.7}, {"precip_in": 12.0}),  # 1.21 inches are 30.7 mm
        "pressure_mb_minimum": ({"pressure_mb": 29.88}, {"pressure_mb": 983.8}),  # inches of mercury
        "pressure_mb_maximum": ({"pressure_mb": 101_190.0}, {"pressure_mb": 1042.1}),  # pascal
        "visibility_mi_minimum": ({"visibility_mi": -1.0}, {"visibility_mi": 0.0}),
        "visibility_mi_maximum": ({"visibility_mi": 16.1}, {"visibility_mi": 10.0}),  # kilometres
        "of_another_day": (
            {"hour_local": at(4, 0, 2), "time_hour": utc(9, 0, 2)},
            {"hour_local": at(23, 0), "time_hour": utc(4, 0, 2)},
        ),
        "between_hours": ({"time_hour": utc(9, 51), "hour_local": at(4, 51)}, {"time_hour": utc(10, 0), "hour_local": at(5, 0)}),
        "clock_contradicts_instant": ({"time_hour": utc(4, 0)}, {"time_hour": utc(14, 0), "hour_local": at(9, 0)}),
        "dewpoint_above_temperature": ({"dewpoint_f": 39.03}, {"dewpoint_f": 39.02}),
        "gust_below_wind": ({"wind_gust_mph": 12.6}, {"wind_gust_mph": 12.65858}),
        "calm_with_direction": ({"wind_speed_mph": 0.0}, {"wind_speed_mph": 0.0, "wind_dir_deg": None}),
    },
    "silver.operations.planes": {
        "parses": ({UNPARSED: "_malformed"}, {}),
        **missing("tail_number"),
        "tail_number_pattern": ({"tail_number": "D942DN"}, {"tail_number": "N9"}),
        "manufacture_year_minimum": ({"manufacture_year": 1899}, {"manufacture_year": 1956}),
        "manufacturer_not_normalised": ({"manufacturer": "BOMBARDIER INC."}, {"manufacturer": "MCDONNELL DOUGLAS"}),
        "engines_minimum": ({"engines": -2, "aircraft_type_code": None, "aircraft_type": None}, {"engines": None}),
        "engines_maximum": ({"engines": 22}, {"engines": 8}),
        "seats_minimum": ({"seats": 0}, {"seats": 1}),
        "seats_maximum": ({"seats": 1490}, {"seats": 853}),
        "cruise_speed_mph_minimum": ({"cruise_speed_mph": -90}, {"cruise_speed_mph": 90}),
        "cruise_speed_mph_maximum": ({"cruise_speed_mph": 4320}, {"cruise_speed_mph": 432}),
        "built_after_its_delivery": ({"manufacture_year": 2014}, {"manufacture_year": 2013}),
        "type_without_code": (
            {"engine_type": "Warp drive", "engine_type_code": None},
            {"engine_type": None, "engine_type_code": None},
        ),
        "engines_contradict_type": ({"engines": 1}, {"engines": 1, "aircraft_type_code": "6", "aircraft_type": "Rotorcraft"}),
    },
    "gold.operations.dim_aircraft": {
        **missing("aircraft_key", "name"),
        "aircraft_key_pattern": ({"aircraft_key": "unknown"}, UNKNOWN_AIRCRAFT),
        "key_is_not_the_registration": ({"tail_number": "N14229"}, UNKNOWN_AIRCRAFT),
        "unknown_without_its_name": ({"name": "Unknown"}, {"name": "N14228"}),
        "unknown_is_described": (UNKNOWN_AIRCRAFT | {"seats": 0}, UNKNOWN_AIRCRAFT),
    },
    "gold.operations.delay_features": {
        **missing("flight_date", "carrier", "flight_number", "origin", "dest", "sched_dep_hour", "weekday", "month"),
        "sched_dep_hour_minimum": ({"sched_dep_hour": -1}, {"sched_dep_hour": 0}),
        "sched_dep_hour_maximum": ({"sched_dep_hour": 24}, {"sched_dep_hour": 23}),
        "aircraft_age_years_minimum": ({"aircraft_age_years": -1}, {"aircraft_age_years": 0}),
        "weather_of_another_hour": ({"weather_hour_utc": utc(10, 0)}, {"sched_dep_utc": utc(10, 59)}),
        "weather_from_nowhere": ({"weather_hour_utc": None}, NO_WEATHER),
        "of_another_day_of_the_week": ({"weekday": 1}, {"flight_date": date(2013, 1, 6), "weekday": 7}),
        "without_weather": (NO_WEATHER, dict.fromkeys(_OBSERVED)),
    },
}

"""Operations, gold: a star around flights, the daily performance of each route, and features of delays.

A key that matches no member points to the 'unknown' member; the code as flown stays beside it.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

UNKNOWN = "~unknown"
"""Key of the unknown member. No code starts with '~', and it sorts after all of them."""
_WEATHER = (
    "temp_f",
    "dewpoint_f",
    "humidity_pct",
    "wind_dir_deg",
    "wind_speed_mph",
    "wind_gust_mph",
    "precip_in",
    "pressure_mb",
    "visibility_mi",
)


def dim_airport(airports: DataFrame) -> DataFrame:
    """Every airport of the reference, and the unknown member."""
    members = airports.select(
        F.col("airport_code").alias("airport_key"),
        "airport_code",
        "name",
        "latitude_deg",
        "longitude_deg",
        "altitude_ft",
        "utc_offset_h",
        "time_zone",
    )
    return _with_unknown(members, "airport_key")


def dim_airline(airlines: DataFrame) -> DataFrame:
    """Every airline of the reference, and the unknown member."""
    members = airlines.select(F.col("airline_code").alias("airline_key"), "airline_code", "name")
    return _with_unknown(members, "airline_key")


def dim_aircraft(planes: DataFrame) -> DataFrame:
    """Every aircraft of the registry, and the unknown member."""
    described = F.nullif(F.concat_ws(" ", "manufacturer", "model"), F.lit(""))
    members = planes.select(
        F.col("tail_number").alias("aircraft_key"),
        "tail_number",
        F.coalesce(described, "tail_number").alias("name"),
        "manufacturer",
        "model",
        "manufacture_year",
        "aircraft_type",
        "engine_type",
        "engines",
        "seats",
        "cruise_speed_mph",
    )
    return _with_unknown(members, "aircraft_key")


def fact_flight(flights: DataFrame, dim_airport: DataFrame, dim_airline: DataFrame, dim_aircraft: DataFrame) -> DataFrame:
    """One row per flight of silver, with the keys of its airports, airline and aircraft."""
    airline = dim_airline.select(F.col("airline_code").alias("_airline"), "airline_key")
    origin = dim_airport.select(F.col("airport_code").alias("_from"), F.col("airport_key").alias("origin_airport_key"))
    dest = dim_airport.select(F.col("airport_code").alias("_to"), F.col("airport_key").alias("dest_airport_key"))
    aircraft = dim_aircraft.select(F.col("tail_number").alias("_tail"), "aircraft_key")
    joined = (
        flights.join(F.broadcast(airline), F.col("carrier") == F.col("_airline"), "left")
        .join(F.broadcast(origin), F.col("origin") == F.col("_from"), "left")
        .join(F.broadcast(dest), F.col("dest") == F.col("_to"), "left")
        .join(F.broadcast(aircraft), F.col("tail_number") == F.col("_tail"), "left")
    )
    keys = ("airline_key", "origin_airport_key", "dest_airport_key", "aircraft_key")
    return joined.select(
        "flight_date",
        "carrier",
        "flight_number",
        "origin",
        "dest",
        *[F.coalesce(key, F.lit(UNKNOWN)).alias(key) for key in keys],
        "tail_number",
        "status",
        "has_arrived",
        "sched_dep_local",
        "sched_dep_utc",
        "dep_utc",
        "sched_arr_utc",
        "arr_utc",
        "dep_delay_min",
        "arr_delay_min",
        "air_time_min",
        "distance_mi",
        "average_speed_mph",
    )


def route_performance(flights: DataFrame) -> DataFrame:
    """One row per day and route.

    A flight counts as cancelled when it never departed, and as arrived when it has an arrival
    delay on record; cancelled and diverted flights have none. Sums of whole minutes are exact in
    any order, so the same flights give the same bits on every engine. A percentile interpolated at
    rank 0.9 · (n - 1) between whole minutes has one decimal: rounding to it removes only the noise
    of binary fractions.
    """
    delay = F.col("arr_delay_min")
    return flights.groupBy("flight_date", "origin", "dest").agg(
        F.count("*").alias("flights"),
        F.count_if(F.col("status") == "cancelled").alias("cancelled"),
        F.try_divide(F.sum("dep_delay_min"), F.count("dep_delay_min")).alias("mean_dep_delay_min"),
        F.round(F.percentile(delay, 0.9), 1).alias("p90_arr_delay_min"),
        F.try_divide(F.count_if(delay <= 15), F.count(delay)).alias("on_time_share"),
    )


def delay_features(flights: DataFrame, weather: DataFrame, dim_aircraft: DataFrame) -> DataFrame:
    """One row per flight: what is known before its scheduled departure, and the label.

    Nothing that happened to the flight is read but for the label. An observation can be made at any
    minute of its hour, so the weather is that of the hour before the hour of departure; null where
    there is none. What the registry knows of an aircraft is null where it lacks it; so is the age of
    one that was built after the flight.
    """
    known = flights.select(
        "flight_date",
        "carrier",
        "flight_number",
        "origin",
        "dest",
        "sched_dep_utc",
        F.hour("sched_dep_local").alias("sched_dep_hour"),
        (F.weekday("flight_date") + 1).alias("weekday"),
        F.month("flight_date").alias("month"),
        "distance_mi",
        F.col("tail_number").alias("_tail"),
        F.timestamp_add("HOUR", F.lit(-1), F.date_trunc("HOUR", "sched_dep_utc")).alias("_hour_before"),
        (F.col("dep_delay_min") > 15).alias("label_dep_delayed_15"),
    )
    aircraft = dim_aircraft.select(
        "tail_number",
        "aircraft_type",
        F.col("manufacturer").alias("aircraft_manufacturer"),
        F.col("seats").alias("aircraft_seats"),
        F.col("engines").alias("aircraft_engines"),
        "manufacture_year",
    )
    observed = weather.select(F.col("origin").alias("_station"), F.col("time_hour").alias("weather_hour_utc"), *_WEATHER)
    there_and_then = (F.col("origin") == F.col("_station")) & (F.col("_hour_before") == F.col("weather_hour_utc"))
    joined = known.join(F.broadcast(aircraft), F.col("_tail") == F.col("tail_number"), "left").join(
        F.broadcast(observed), there_and_then, "left"
    )
    age = F.year("flight_date") - F.col("manufacture_year")
    return joined.select(
        "flight_date",
        "carrier",
        "flight_number",
        "origin",
        "dest",
        "sched_dep_utc",
        "sched_dep_hour",
        "weekday",
        "month",
        "distance_mi",
        "aircraft_type",
        "aircraft_manufacturer",
        "aircraft_seats",
        "aircraft_engines",
        F.when(age >= 0, age).alias("aircraft_age_years"),
        "weather_hour_utc",
        *_WEATHER,
        "label_dep_delayed_15",
    )


def _with_unknown(members: DataFrame, key: str) -> DataFrame:
    row = [
        F.lit(UNKNOWN if name == key else "Unknown" if name == "name" else None).cast(kind).alias(name)
        for name, kind in members.dtypes
    ]
    return members.unionByName(members.sparkSession.range(1).select(*row))

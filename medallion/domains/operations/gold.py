"""Operations, gold: a star around flights, and the daily performance of each route.

A key that matches no member points to the 'unknown' member; the code as flown stays beside it.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

UNKNOWN = "~unknown"
"""Key of the unknown member. No code starts with '~', and it sorts after all of them."""


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


def fact_flight(flights: DataFrame, dim_airport: DataFrame, dim_airline: DataFrame) -> DataFrame:
    """One row per flight of silver, with the keys of its airports and airline."""
    airline = dim_airline.select(F.col("airline_code").alias("_airline"), "airline_key")
    origin = dim_airport.select(F.col("airport_code").alias("_from"), F.col("airport_key").alias("origin_airport_key"))
    dest = dim_airport.select(F.col("airport_code").alias("_to"), F.col("airport_key").alias("dest_airport_key"))
    joined = (
        flights.join(F.broadcast(airline), F.col("carrier") == F.col("_airline"), "left")
        .join(F.broadcast(origin), F.col("origin") == F.col("_from"), "left")
        .join(F.broadcast(dest), F.col("dest") == F.col("_to"), "left")
    )
    return joined.select(
        "flight_date",
        "carrier",
        "flight_number",
        "origin",
        "dest",
        *[F.coalesce(key, F.lit(UNKNOWN)).alias(key) for key in ("airline_key", "origin_airport_key", "dest_airport_key")],
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


def _with_unknown(members: DataFrame, key: str) -> DataFrame:
    row = [
        F.lit(UNKNOWN if name == key else "Unknown" if name == "name" else None).cast(kind).alias(name)
        for name, kind in members.dtypes
    ]
    return members.unionByName(members.sparkSession.range(1).select(*row))

"""Operations, silver: the deliveries of bronze, typed and made comparable.

Text that is empty is missing, and so is `NA` where the delivery's contract says so. Text that does
not parse as its type becomes null and its source column is named in `_unparsed`, so that the gate
can quarantine the row with its reason.
Sessions run in UTC: `timestamp` columns are instants, `timestamp_ntz` columns are wall clocks.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_LINEAGE = ("_logical_date", "_delivery", "_source_row")
_FLIGHT_NUMBERS = {
    "flight_number": "flight",
    "dep_delay_min": "dep_delay",
    "arr_delay_min": "arr_delay",
    "air_time_min": "air_time",
    "distance_mi": "distance",
}
_OBSERVED = {
    "temp_f": "temp",
    "dewpoint_f": "dewp",
    "humidity_pct": "humid",
    "wind_dir_deg": "wind_dir",
    "wind_speed_mph": "wind_speed",
    "wind_gust_mph": "wind_gust",
    "precip_in": "precip",
    "pressure_mb": "pressure",
    "visibility_mi": "visib",
}
# Codes of the FAA's Releasable Aircraft Database (its ardata.pdf: MASTER, TYPE AIRCRAFT and TYPE ENGINE).
_AIRCRAFT_TYPES = {
    "Glider": "1", "Balloon": "2", "Blimp/Dirigible": "3", "Fixed wing single engine": "4", "Fixed wing multi engine": "5",
    "Rotorcraft": "6", "Weight-shift-control": "7", "Powered parachute": "8", "Gyroplane": "9",
}  # fmt: skip
_ENGINE_TYPES = {
    "None": "0", "Reciprocating": "1", "Turbo-prop": "2", "Turbo-shaft": "3", "Turbo-jet": "4", "Turbo-fan": "5",
    "Ramjet": "6", "2 Cycle": "7", "4 Cycle": "8", "Unknown": "9", "Electric": "10", "Rotary": "11",
}  # fmt: skip
_LEGAL_FORM = r"[ ,&]+(INC|LTD|LLC|CO|CORP|CORPORATION|COMPANY|SPA)\.?$"
_VARIANTS = {
    "AIRBUS INDUSTRIE": "AIRBUS",
    "MCDONNELL DOUGLAS AIRCRAFT": "MCDONNELL DOUGLAS",
}
"""Names of one maker that differ by more than their legal form. Douglas, which McDonnell bought in 1967, is another."""


def airlines(bronze_airlines: DataFrame) -> DataFrame:
    """Carrier codes and names; one row per line of the newest delivery. Here NA is a code like any."""
    return _first_lines(bronze_airlines).select(
        F.upper(_text("carrier", missing="")).alias("airline_code"),
        _text("name", missing="").alias("name"),
        *_LINEAGE,
        _unparsed({}),
    )


def airports(bronze_airports: DataFrame) -> DataFrame:
    """Airports with position in degrees, altitude in feet and IANA time zone."""
    numbers = {"latitude_deg": "lat", "longitude_deg": "lon", "altitude_ft": "alt", "utc_offset_h": "tz"}
    types = {"altitude_ft": "int"}
    text = _first_lines(bronze_airports).select(
        *[_text(source).alias(source) for source in ("faa", "name", "dst", "tzone", *numbers.values())],
        *[F.col(column) for column in (*_LINEAGE, "_malformed")],
    )
    typed = text.select("*", *[F.col(source).try_cast(types.get(name, "double")).alias(name) for name, source in numbers.items()])
    return typed.select(
        F.upper("faa").alias("airport_code"),
        "name",
        *numbers,
        F.upper("dst").alias("dst_rule"),
        F.col("tzone").alias("time_zone"),
        *_LINEAGE,
        _unparsed(numbers),
    )


def flights(bronze_flights: DataFrame, airports: DataFrame) -> DataFrame:
    """One row per scheduled departure, with wall clocks and instants.

    Wall clocks (`_local`) are the source's own, at origin for departures and at destination for
    arrivals. The source gives no day with them, so the day is worked out: a departure is the
    moment nearest to schedule plus delay; a scheduled arrival is the first one at or after the
    scheduled departure; an actual arrival is nearest to its schedule plus delay or, without a
    delay on record (diverted), the first at or after the departure. 2400 is midnight.

    Instants (`_utc`) add the delay, in elapsed minutes, to the scheduled instant: on the night when
    the clocks change the wall clock alone would be an hour off. They are null where the reference
    has no airport or no time zone for it; a guess would look like knowledge.
    """
    clocks = {"_dep": "dep_time", "_sched_dep": "sched_dep_time", "_arr": "arr_time", "_sched_arr": "sched_arr_time"}
    typed = _first_lines(bronze_flights).select(
        *[F.col(column) for column in (*_LINEAGE, "_malformed")],
        *[
            _text(source).alias(source)
            for source in (*_FLIGHT_NUMBERS.values(), *clocks.values(), "year", "month", "day", "time_hour")
        ],
        *[F.upper(_text(source)).alias(source) for source in ("carrier", "origin", "dest", "tailnum")],
    )
    typed = typed.select(
        "*",
        *[_minutes_of_day(source).alias(name) for name, source in clocks.items()],
        # A delay that does not fit a smallint (22 days) is no delay; longer ones overflow in sums.
        *[
            F.col(source).try_cast("smallint" if "delay" in source else "int").cast("int").alias(name)
            for name, source in _FLIGHT_NUMBERS.items()
        ],
        F.col("time_hour").try_cast("timestamp").alias("source_hour_utc"),
        _date("year", "month", "day").alias("flight_date"),
    )
    placed = typed.join(_zones(airports, "origin"), "origin", "left").join(_zones(airports, "dest"), "dest", "left")

    # Minutes from midnight of flight_date on the wall clock at origin (departure) or destination.
    departed = placed.select(
        "*",
        _after("flight_date", F.col("_sched_dep")).alias("sched_dep_local"),
        (F.col("_sched_dep") + _nearest(F.coalesce("dep_delay_min", F.lit(0)), F.col("_dep") - F.col("_sched_dep"))).alias(
            "_dep_at"
        ),
    ).select("*", F.to_utc_timestamp("sched_dep_local", F.col("_origin_zone")).alias("sched_dep_utc"))
    ahead = F.timestamp_diff(  # how far clocks at the destination are ahead of those at origin
        "MINUTE", F.col("sched_dep_local"), F.from_utc_timestamp("sched_dep_utc", F.col("_dest_zone")).cast("timestamp_ntz")
    )
    shifted = departed.select("*", F.coalesce(ahead, F.lit(0)).cast("int").alias("_ahead"))
    arrived = shifted.select(
        "*", _first(F.col("_sched_dep") + F.col("_ahead"), F.col("_sched_arr")).alias("_sched_arr_at")
    ).select(
        "*",
        F.coalesce(
            F.col("_sched_arr_at") + _nearest(F.col("arr_delay_min"), F.col("_arr") - F.col("_sched_arr")),
            _first(F.col("_dep_at") + F.col("_ahead"), F.col("_arr")),
        ).alias("_arr_at"),
    )
    timed = arrived.select(
        "*",
        _after("flight_date", F.col("_dep_at")).alias("dep_local"),
        _after("flight_date", F.col("_sched_arr_at")).alias("sched_arr_local"),
        _after("flight_date", F.col("_arr_at")).alias("arr_local"),
    ).select("*", F.to_utc_timestamp("sched_arr_local", F.col("_dest_zone")).alias("sched_arr_utc"))
    return _settled(
        timed,
        "flight_date",
        "carrier",
        "flight_number",
        "origin",
        "dest",
        F.col("tailnum").alias("tail_number"),
        F.when(F.col("_dep").isNull(), "cancelled").otherwise("flown").alias("status"),
        F.col("arr_delay_min").isNotNull().alias("has_arrived"),
        F.col("_origin_known").isNotNull().alias("is_origin_known"),
        F.col("_dest_known").isNotNull().alias("is_dest_known"),
        "sched_dep_local",
        "dep_local",
        "sched_arr_local",
        "arr_local",
        "sched_dep_utc",
        F.timestamp_add("MINUTE", F.col("dep_delay_min"), F.col("sched_dep_utc")).alias("dep_utc"),
        "sched_arr_utc",
        F.coalesce(
            F.timestamp_add("MINUTE", F.col("arr_delay_min"), F.col("sched_arr_utc")),
            F.to_utc_timestamp("arr_local", F.col("_dest_zone")),
        ).alias("arr_utc"),
        "dep_delay_min",
        "arr_delay_min",
        "air_time_min",
        "distance_mi",
        F.try_divide(F.col("distance_mi") * 60.0, "air_time_min").alias("average_speed_mph"),
        "source_hour_utc",
        *_LINEAGE,
        _unparsed(clocks | _FLIGHT_NUMBERS | {"source_hour_utc": "time_hour"}, {"flight_date": ("year", "month", "day")}),
    )


def planes(bronze_planes: DataFrame) -> DataFrame:
    """Aircraft with the FAA's codes, one name for each manufacturer, speed in miles per hour.

    The registry writes 0 for a year, seats or a speed that it does not know. A type that has no code
    keeps its words and gets none, so that the gate sees it.
    """
    manufacturer = F.regexp_replace(F.upper(_squeezed("manufacturer")), _LEGAL_FORM, "")
    return _settled(
        _first_lines(bronze_planes),
        F.upper(_text("tailnum", missing="")).alias("tail_number"),
        F.nullif("year", F.lit(0)).alias("manufacture_year"),
        *_coded("type", _AIRCRAFT_TYPES, "aircraft_type"),
        F.coalesce(_found(manufacturer, _VARIANTS), manufacturer).alias("manufacturer"),
        F.upper(_squeezed("model")).alias("model"),
        "engines",
        F.nullif("seats", F.lit(0)).alias("seats"),
        F.nullif("speed", F.lit(0)).alias("cruise_speed_mph"),
        *_coded("engine", _ENGINE_TYPES, "engine_type"),
        *_LINEAGE,
        _unparsed({}),
    )


def weather(bronze_weather: DataFrame) -> DataFrame:
    """Hourly observations with units in their columns' names, one row per airport and instant.

    `time_hour` is the source's instant; `hour_local` the wall clock that its year, month, day and
    hour make. On the night when clocks go back one wall clock is two instants, and both rows stay.
    """
    sources = ("origin", "year", "month", "day", "hour", "time_hour", *_OBSERVED.values())
    text = _first_lines(bronze_weather).select(
        *[F.col(column) for column in (*_LINEAGE, "_malformed")], *[_text(source, missing="").alias(source) for source in sources]
    )
    hour = F.col("hour").try_cast("int")
    types = {"wind_dir_deg": "int"}
    typed = text.select(
        "*",
        F.col("time_hour").try_cast("timestamp").alias("_instant"),
        _date("year", "month", "day").alias("_date"),
        F.when(hour.between(0, 23), hour).alias("_hour"),
        *[F.col(source).try_cast(types.get(name, "double")).alias(name) for name, source in _OBSERVED.items()],
    )
    return _settled(
        typed,
        F.upper("origin").alias("origin"),
        F.col("_instant").alias("time_hour"),
        _after("_date", F.col("_hour") * 60).alias("hour_local"),
        *_OBSERVED,
        *_LINEAGE,
        _unparsed({"_instant": "time_hour", "_hour": "hour"} | _OBSERVED, {"_date": ("year", "month", "day")}),
    )


def _settled(frame: DataFrame, *columns: str | Column) -> DataFrame:
    """The columns, worked out once before anything reads them.

    Spark pushes a filter below the projections that it reads from and writes their expressions out
    again wherever it names a column. For thirty rules over times made from times that is more code
    than a Java method can hold, and 4 times as slow; nothing is pushed below a generator.
    """
    return frame.select(F.inline(F.array(F.struct(*columns))))


def _first_lines(bronze: DataFrame) -> DataFrame:
    """Without the lines that repeat an earlier one of the same file word for word."""
    return bronze.filter(~F.col("_repeat").eqNullSafe("file"))


def _text(source: str | Column, missing: str = "NA") -> Column:
    """The source's text without spaces around it; null where it is empty or the mark for missing."""
    trimmed = F.trim(F.col(source) if isinstance(source, str) else source)
    return F.when(~trimmed.isin("", missing), trimmed)


def _squeezed(source: str) -> Column:
    """The source's text with single spaces; null where it is empty."""
    return _text(F.regexp_replace(source, r"\s+", " "), missing="")


def _found(key: Column, table: dict[str, str]) -> Column:
    """What a table has for a key, or null."""
    return F.try_element_at(F.create_map(*[F.lit(text) for entry in table.items() for text in entry]), key)


def _coded(source: str, codes: dict[str, str], name: str) -> list[Column]:
    """A text's code, and the text as the list of codes writes it, whatever its case and signs."""
    words = _squeezed(source)
    plain = {label.lower().replace("-", " ").replace("/", " "): label for label in codes}
    label = _found(F.translate(F.lower(words), "-/", "  "), plain)
    return [_found(label, codes).alias(f"{name}_code"), F.coalesce(label, words).alias(name)]


def _date(year: str, month: str, day: str) -> Column:
    """The date of three numbers; null for one that no calendar has. Later years overflow timestamps."""
    parts = [F.col(part).try_cast("int") for part in (year, month, day)]
    text = F.concat_ws("-", *[F.coalesce(part, F.lit(0)) for part in parts])
    return F.when(parts[0].between(1000, 9999), text.try_cast("date"))


def _zones(airports: DataFrame, end: str) -> DataFrame:
    """What the reference knows of the airports at one end of a flight."""
    return F.broadcast(
        airports.select(
            F.col("airport_code").alias(end),
            F.lit(True).alias(f"_{end}_known"),
            F.col("time_zone").alias(f"_{end}_zone"),
        )
    )


def _minutes_of_day(source: str) -> Column:
    """A clock written 517 or 2400, as minutes after midnight; null for what no clock shows."""
    clock = F.col(source).try_cast("int")
    return F.when(clock.between(0, 2400) & (clock % 100 < 60), F.floor(clock / 100) * 60 + clock % 100).cast("int")


def _after(date: str, minutes: Column) -> Column:
    return F.timestamp_add("MINUTE", minutes, F.col(date).cast("timestamp_ntz"))


def _nearest(delay: Column, shown: Column) -> Column:
    """The minutes nearest to the delay after which a clock, which knows no days, is ahead by what is shown."""
    return delay + F.pmod(shown - delay + 720, F.lit(1440)) - 720


def _first(start: Column, minute_of_day: Column) -> Column:
    """The first minute at or after the start when a clock shows this minute of the day."""
    return start + F.pmod(minute_of_day - start, F.lit(1440))


def _unparsed(sources: dict[str, str], dates: dict[str, tuple[str, ...]] | None = None) -> Column:
    """Names of the source columns (`typed column -> source`) whose text did not parse, or null.

    A line that did not fit the header counts as well, under the name `_malformed`.
    """
    names = [F.when(F.col("_malformed").isNotNull(), "_malformed")]
    names += [F.when(F.col(typed).isNull() & F.col(source).isNotNull(), source) for typed, source in sources.items()]
    for typed, parts in (dates or {}).items():
        some = F.coalesce(*parts).isNotNull()
        names.append(F.when(F.col(typed).isNull() & some, ",".join(parts)))
    return F.nullif(F.concat_ws(",", *names), F.lit("")).alias("_unparsed")

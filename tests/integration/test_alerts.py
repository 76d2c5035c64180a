"""Each rule on a real occurrence, and silent on its near miss; opened once, over when it is over."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from medallion.contract import Contract
from medallion.quality.gate import AS_USUAL
from tests.alert_place import BRONZE, GOLD, SILVER, AlertPlace, day, over, told, verdict, write
from tests.lake_tables import gold

pytest_plugins = ["tests.alerting"]


@pytest.fixture
def place(alert_place: AlertPlace) -> AlertPlace:
    return alert_place


# ── quality_drop ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("score", "fires"), [(70.0, True), (79.0, False), (81.0, False)])
def test_a_score_that_falls_by_more_than_a_fifth(place: AlertPlace, score: float, fires: bool) -> None:
    """The level is the median of the last seven dates, here 98.5: 21.2 % less is told, 20 % (78.8) and 19 % are not."""
    usual = (100.0, 98.5, 30.0, 98.5, 97.0)  # an earlier bad day does not move the median
    for number, points in enumerate(usual):
        place.merged(day(number), {SILVER: points})
    place.look()
    run = place.merged(day(5), {SILVER: 77.6 if fires else score})
    look = place.look()
    assert told(look) == ([("quality_drop", SILVER.dataset, day(5))] if fires else [])
    if fires:
        (alert,) = look.opened
        assert alert["detail"]["figures"] == {"score": 77.6, "usual": 98.5, "drop": 0.2122, "allowed": 0.2}
        assert alert["summary"].endswith("fell by 21%, from 98.5 to 77.6; the run is on main")
        assert alert["command"] == f"medallion quarantine show {SILVER.dataset} --date {day(5)} --run {run}"
        assert told(place.look()) == [], "it is told once"
        place.merged(day(6), {SILVER: 60.0})
        assert over(place.look()) == [], "the next day is as bad"
        place.merged(day(6), {SILVER: 97.0})
        look = place.look()
        assert over(look) == [("quality_drop", SILVER.dataset, day(5)), ("quality_drop", SILVER.dataset, day(6))]
        assert [alert["resolved_why"] for alert in look.resolved] == [f"the score of {day(6)} is 97.0"] * 2


def test_a_dataset_without_a_past_has_nothing_to_fall_from(place: AlertPlace) -> None:
    place.merged(day(0), {SILVER: 100.0})
    place.merged(day(1), {SILVER: 100.0})
    place.merged(day(2), {SILVER: 10.0})
    assert told(place.look()) == []


def test_a_day_that_the_gate_refused_is_one_alert_with_rows_and_without_personal_data(place: AlertPlace) -> None:
    columns = (*SILVER.columns, dataclasses.replace(SILVER.columns[0], name="customer", personal=True))
    place.contracts[SILVER.dataset] = dataclasses.replace(SILVER, columns=columns)
    for number in range(3):
        place.merged(day(number), {SILVER: 100.0})
    place.look()
    rows = ('{"order_id": 3, "customer": "ann"}', '{"order_id": 4, "customer": "bob"}')
    bad = write(SILVER, day(3), 70.0, verdict("parses", 30, samples=list(rows)), verdict("fine", 0))
    run = place.failed(day(3), "the gate refused run …", writes=[bad], reads=[SILVER])
    (alert,) = place.look().opened
    assert (alert["rule"], alert["run_id"]) == ("quality_drop", run), "not a failed run besides"
    assert alert["detail"]["also"] == ["run_failed"]
    assert alert["detail"]["rules"] == [{"rule": "parses", "severity": "error", "bad": 30, "judged": 100, "passed": False}]
    assert alert["detail"]["samples"] == [{"order_id": 3}, {"order_id": 4}]
    place.merged(day(3), {SILVER: 99.0})
    assert over(place.look()) == [("quality_drop", SILVER.dataset, day(3))]


def test_what_was_reverted_is_over(place: AlertPlace) -> None:
    for number in range(3):
        place.merged(day(number), {SILVER: 100.0})
    bad = place.merged(day(3), {SILVER: 50.0})
    place.look()
    place.merged(None, {}, options={"reverts": [bad]}, kind="revert")
    (alert,) = place.look().resolved
    assert alert["resolved_why"].startswith(f"run {bad} was reverted by revert-")


# ── run_failed ────────────────────────────────────────────────────────────────────────────────────
def test_a_critical_transformation_that_failed(place: AlertPlace) -> None:
    run = place.failed(day(0), "ValueError: invalid literal 'ann' in 'order_id'\nmore", at=SILVER, reads=[BRONZE])
    (alert,) = place.look().opened
    assert (alert["rule"], alert["dataset"], alert["run_id"], alert["severity"]) == (
        "run_failed",
        SILVER.dataset,
        run,
        "critical",
    )
    assert alert["detail"]["error"] == "ValueError: invalid literal '…' in 'order_id'", "a value may be somebody's"
    assert alert["command"] == f"medallion show {run}"
    place.failed(day(0), "ValueError: again", at=SILVER)
    assert told(place.look()) == [], "told once, however often it is tried"
    place.merged(day(1), {SILVER: None})
    assert over(place.look()) == [], "another day"
    place.merged(day(0), {SILVER: None})
    assert over(place.look()) == [("run_failed", SILVER.dataset, day(0))]
    place.failed(day(0), "ValueError: and again", at=SILVER)
    assert told(place.look()) == [("run_failed", SILVER.dataset, day(0))], "another occurrence"


@pytest.mark.parametrize("error", ["ValueError: of another one", "interrupted", "abandoned"])
def test_a_failure_of_what_is_not_critical_or_on_purpose_is_not_told(place: AlertPlace, error: str) -> None:
    at = GOLD if error.startswith("ValueError") else SILVER
    place.failed(day(0), error, at=at, reads=[BRONZE, SILVER])
    assert told(place.look()) == []


def test_a_gate_that_refuses_what_is_critical(place: AlertPlace) -> None:
    for at in (GOLD, SILVER):
        bad = write(at, day(0), 95.0, verdict("key_unique", 5))
        place.failed(day(0), "the gate refused run …", writes=[bad], reads=[SILVER, GOLD])
    look = place.look()
    assert told(look) == [("run_failed", SILVER.dataset, day(0))]
    assert look.opened[0]["summary"].endswith(f"failed at {SILVER.dataset}: the gate refused what it made; main is unchanged")


def test_a_run_that_failed_nobody_knows_where_is_told_if_it_was_to_make_something_critical(place: AlertPlace) -> None:
    place.failed(day(0), "its process ended before the merge", reads=[BRONZE, SILVER])
    place.failed(day(1), "its process ended before the merge", reads=[BRONZE])
    assert told(place.look()) == [("run_failed", None, day(0))]
    place.unchanged(day(0), SILVER)
    assert over(place.look()) == [("run_failed", None, day(0))]


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ({"layers": ["gold"], "domain": None, "dataset": None}, False),
        ({"layers": ["silver", "gold"], "domain": "shop", "dataset": GOLD.dataset}, False),
        ({"layers": ["silver"], "domain": "market", "dataset": None}, False),
        ({"layers": ["silver"], "domain": "shop", "dataset": None}, True),
        ({"layers": ["silver"], "domain": None, "dataset": SILVER.dataset}, True),
    ],
)
def test_a_failure_is_over_by_a_run_that_was_asked_for_it_not_by_one_that_read_it(
    place: AlertPlace, options: dict[str, Any], good: bool
) -> None:
    place.failed(day(0), "ValueError: no", at=SILVER)
    place.look()
    place.unchanged(day(0), SILVER, GOLD, options=options)
    assert over(place.look()) == ([("run_failed", SILVER.dataset, day(0))] if good else [])


# ── schema_violation ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kind", ["SchemaViolation", "BreakingSchema", "InputError"])
def test_a_broken_header_or_a_breaking_change(place: AlertPlace, kind: str) -> None:
    place.failed(day(0), f"{kind}: {BRONZE.dataset}: s3://x/y.csv: the header lacks 'ann'\n  → ask", reads=[BRONZE, SILVER])
    look = place.look()
    if kind == "InputError":  # a file that cannot be read for another reason; bronze is not critical here
        assert told(look) == []
        return
    assert told(look) == [("schema_violation", BRONZE.dataset, day(0))]
    assert look.opened[0]["detail"]["error"].endswith("the header lacks '…'")
    place.merged(day(0), {BRONZE: None})
    assert over(place.look()) == [("schema_violation", BRONZE.dataset, day(0))]


def test_an_added_column_that_fits_is_no_violation(place: AlertPlace) -> None:
    place.merged(day(0), {BRONZE: 100.0})
    assert told(place.look()) == []


# ── anomaly ───────────────────────────────────────────────────────────────────────────────────────
def test_a_write_that_is_not_as_usual(place: AlertPlace) -> None:
    def merged(number: int, bad: int) -> str:
        said = verdict(AS_USUAL, bad, severity="warning", description="9 rows", samples=["9 rows, usual: 90 to 110"])
        return place._ended(day(number), "merged", None, [write(SILVER, day(number), 90.0, said)], [SILVER])

    merged(0, 0)
    assert told(place.look()) == []
    merged(1, 1)
    look = place.look()
    assert told(look) == [("anomaly", SILVER.dataset, day(1))]
    assert look.opened[0]["detail"]["unusual"] == ["9 rows, usual: 90 to 110"]
    merged(2, 0)
    assert over(place.look()) == [("anomaly", SILVER.dataset, day(1))]


# ── what is looked at ─────────────────────────────────────────────────────────────────────────────
def test_runs_that_ended_long_ago_are_not_told(place: AlertPlace) -> None:
    place.failed(day(0), "ValueError: x", at=SILVER)
    assert told(place.look(datetime.now(UTC) + timedelta(hours=169))) == []
    assert told(place.look(datetime.now(UTC) + timedelta(hours=167))) == [("run_failed", SILVER.dataset, day(0))]


def test_a_story_that_makes_no_sense_hides_no_other(place: AlertPlace) -> None:
    strange = place.failed(day(0), "ValueError: x", writes=[write(SILVER, day(0), 9.0, {"rule": "no verdict"})])
    place.failed(day(1), "ValueError: x", at=SILVER)
    look = place.look()
    assert told(look) == [("run_failed", None, day(0)), ("run_failed", SILVER.dataset, day(1))]
    assert look.opened[0]["run_id"] == strange
    assert look.opened[0]["summary"].endswith("failed, and its story could not be looked at; main is unchanged")
    assert look.problems == (f"run {strange} could not be looked at: KeyError",)
    assert place.look().problems == ()


@pytest.mark.parametrize("story", ['{"writes": 1}', '{"writes": ["x"]}', '{"reads": 1, "writes": [[]]}', "[]"])
def test_a_failed_run_whose_story_has_another_form_is_told(place: AlertPlace, story: str) -> None:
    run = place.failed(day(0), "ValueError: 'ann'", at=SILVER)
    place.rows(f"UPDATE ops.runs SET story = '{story}' WHERE run_id = '{run}' RETURNING run_id")
    (alert,) = place.look().opened
    assert (alert["run_id"], alert["kind"], alert["detail"]["error"]) == (run, "run_failed", "ValueError: '…'")
    assert told(place.look()) == []


def test_freshness_knows_every_dataset_and_forgets_those_that_are_gone(place: AlertPlace) -> None:
    place.merged(day(0), {BRONZE: 100.0, SILVER: 100.0})
    place.look()
    shown = "SELECT dataset, newest_date, merged_at IS NOT NULL AS came, next_date FROM ops.freshness ORDER BY 1"
    assert [tuple(row.values()) for row in place.rows(shown)] == [
        (BRONZE.dataset, day(0), True, None), (GOLD.dataset, None, False, None), (SILVER.dataset, day(0), True, None),
    ]  # fmt: skip
    del place.contracts[GOLD.dataset]
    place.look()
    assert len(place.rows(shown)) == 2


def test_freshness_of_what_others_know_stays_until_nobody_does(place: AlertPlace) -> None:
    """Two processes, each with a domain of its own, look in turn; one of the domains is given up."""
    shop, other = place.contracts, gold("stock", {"day": "date"}, domain="store")
    now = datetime.now(UTC)

    def seen(contracts: dict[str, Contract], after: timedelta) -> set[str]:
        place.contracts = contracts
        place.look(now + after)
        return {row["dataset"] for row in place.rows("SELECT dataset FROM ops.freshness")}

    minutes = timedelta(minutes=1)
    assert seen(shop, 0 * minutes) == {*shop}
    for turn in range(1, 4, 2):
        assert seen({other.dataset: other}, turn * minutes) == {*shop, other.dataset}
        assert seen(shop, (turn + 1) * minutes) == {*shop, other.dataset}
    assert seen(shop, timedelta(days=30)) == {*shop, other.dataset}
    assert seen(shop, timedelta(days=30) + 4 * minutes) == {*shop}

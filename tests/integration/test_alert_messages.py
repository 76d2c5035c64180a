"""Messages: grouped, sent once the channel is there, by whoever comes next; silences, acknowledgements."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medallion.alerts import actions, channels, outbox, store
from medallion.alerts.evaluate import evaluate, tell
from medallion.errors import SettingsError, UsageError
from medallion.lakehouse import steps
from tests.alert_place import BRONZE, GOLD, SILVER, AlertPlace, day, verdict, write
from tests.webhook import Webhook

pytest_plugins = ["tests.alerting"]

LATER = timedelta(hours=2)


@pytest.fixture
def place(alert_place: AlertPlace) -> AlertPlace:
    return alert_place


class Killed(BaseException):
    """What a process does not survive."""


@contextmanager
def killed_at(name: str, after: bool = False) -> Iterator[None]:
    """Within, the process ends before a step, or after it."""

    @contextmanager
    def around(step: str) -> Iterator[None]:
        if step == name and not after:
            raise Killed
        yield
        if step == name:
            raise Killed

    steps.around = around
    try:
        with pytest.raises(Killed):
            yield
    finally:
        steps.around = None


def failing(place: AlertPlace, number: int = 0) -> str:
    return place.failed(day(number), "ValueError: no", at=SILVER)


def test_a_message_says_what_there_is_to_know(place: AlertPlace, hook: Webhook) -> None:
    for number in range(3):
        place.merged(day(number), {SILVER: 100.0})
    row = '{"order_id": 7}'
    run = place.failed(
        day(3),
        "the gate refused …",
        writes=[write(SILVER, day(3), 70.0, verdict("parses", 30, samples=[row]))],
        reads=[SILVER],
    )
    look = place.look()
    assert (look.sent, look.waiting, look.problems) == (1, 0, ())
    (message,) = hook.received
    assert message["type"] == "failure"
    assert message["title"] == f"[medallion] ERROR: {look.opened[0]['summary']}"
    for text in (
        f"alert {look.opened[0]['alert_id']}, rule quality_drop, dataset {SILVER.dataset}, run {run}",
        "score 70.0", "usual 100.0", "drop 0.3", "allowed 0.2", "parses (error): 30 of 100 rows", 'e.g. {"order_id": 7}',
        f"look further: medallion quarantine show {SILVER.dataset} --date {day(3)} --run {run}", "message 1;",
    ):  # fmt: skip
        assert text in message["message"]
    place.merged(day(3), {SILVER: 100.0})
    place.look()
    assert hook.received[1]["type"] == "success"
    assert hook.titles[1] == f"[medallion] RESOLVED: {look.opened[0]['summary']}"
    assert f": the score of {day(3)} is 100.0" in hook.received[1]["message"]
    assert place.look().sent == 0


def test_several_alerts_of_one_run_are_one_message(place: AlertPlace, hook: Webhook) -> None:
    failing(place)
    place.contracts[BRONZE.dataset] = dataclasses.replace(BRONZE, critical=True)
    both = [write(contract, day(2), 9.0, verdict("x", 1)) for contract in (SILVER, BRONZE)]
    run = place.failed(day(2), "the gate refused …", writes=both)
    look = place.look()
    assert (len(look.opened), look.sent) == (3, 2)
    assert hook.titles[1] == f"[medallion] CRITICAL: 2 alerts of run {run}"


def test_a_channel_that_is_down_loses_nothing(place: AlertPlace, hook: Webhook) -> None:
    hook.up = False
    failing(place)
    look = place.look()
    assert (look.sent, look.waiting) == (0, 1)
    assert look.problems == ("1 messages wait for the channel 'team': the channel did not take it",)
    assert "open-sesame" not in str(look)
    assert place.look().waiting == 1
    assert hook.asked == 1, "too early to ask again"
    place.merged(day(0), {SILVER: 90.0})
    assert place.look(datetime.now(UTC) + timedelta(seconds=31)).waiting == 2
    assert hook.asked == 2, "what comes later waits for what was there before"
    hook.up = True
    assert place.look(datetime.now(UTC) + timedelta(seconds=80)).waiting == 2, "twice as long"
    look = place.look(datetime.now(UTC) + LATER)
    assert (look.sent, look.waiting) == (2, 0)
    assert [title.partition(":")[0] for title in hook.titles] == ["[medallion] CRITICAL", "[medallion] RESOLVED"]
    assert [row["tries"] for row in place.rows("SELECT tries FROM ops.alert_messages ORDER BY message_id")] == [3, 1]


def test_no_channel_at_all_and_one_that_is_gone(place: AlertPlace, hook: Webhook) -> None:
    place.clear()
    failing(place)
    assert (len(place.look().opened), place.look().waiting) == (1, 0)
    place.clear(team=hook.url)
    hook.up = False
    failing(place)
    place.look()
    place.settings = AlertPlace.with_urls(place.settings)
    assert place.look().problems == ("1 messages wait for the channel 'team': it is no longer in the settings",)


def test_what_was_opened_and_resolved_without_a_channel_is_sent_by_who_has_one(place: AlertPlace, hook: Webhook) -> None:
    with_channel, without = place.settings, AlertPlace.with_urls(place.settings)
    place.settings = without
    failing(place)
    assert (len(place.look().opened), place.look().sent) == (1, 0)
    place.settings = with_channel
    assert (place.look().sent, place.look().sent) == (1, 0)
    place.settings = without
    place.merged(day(0), {SILVER: 90.0})
    assert (len(place.look().resolved), len(hook.received)) == (1, 1)
    place.settings = with_channel
    assert (place.look().sent, place.look().sent) == (1, 0)
    place.settings = without
    failing(place, 1)
    place.look()
    place.merged(day(1), {SILVER: 90.0})
    place.look()
    place.settings = with_channel
    assert place.look().sent == 0, "it came and went untold"
    assert [title.partition(":")[0] for title in hook.titles] == ["[medallion] CRITICAL", "[medallion] RESOLVED"]


def test_who_knows_less_takes_no_alert_from_who_knows_more(
    place: AlertPlace, hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = place.contracts
    failing(place)
    for number in range(4):
        place.merged(day(number + 1), {SILVER: 100.0 if number < 3 else 50.0})
    place.contracts = {BRONZE.dataset: BRONZE}
    assert place.look().opened == ()
    place.contracts = known
    assert {alert["kind"] for alert in place.look().opened} == {"run_failed", "quality_drop"}
    (tmp_path / "alerts.toml").write_text('[rules.another]\nkind = "gap"\n')
    monkeypatch.setenv("MEDALLION_CONF", str(tmp_path))
    assert place.look().resolved == (), "another file of rules resolves nothing that is not over"
    place.merged(day(0), {SILVER: 100.0})
    place.merged(day(4), {SILVER: 99.0})
    assert len(place.look().resolved) == 2


def test_a_run_of_which_not_all_is_known_is_told_once(place: AlertPlace, hook: Webhook) -> None:
    place.failed(day(0), "ValueError: no", at=SILVER, reads=[GOLD])
    del place.contracts[GOLD.dataset]
    assert len(place.look().opened) == 1
    place.merged(day(0), {SILVER: 90.0})
    assert len(place.look().resolved) == 1
    look = place.look()
    assert (look.opened, look.resolved, len(hook.received)) == ((), (), 2)


@pytest.mark.parametrize(
    ("step", "after", "received"),
    [
        ("alert.open", False, 1),
        ("alert.open", True, 1),
        ("alert.send", False, 1),
        ("alert.send", True, 2),
        ("alert.sent", True, 2),
    ],
)
def test_whoever_is_killed_leaves_it_to_the_next(place: AlertPlace, hook: Webhook, step: str, after: bool, received: int) -> None:
    """At least once, and each message says which it is."""
    failing(place)
    with killed_at(step, after):
        place.look()
    place.look()
    assert len(hook.received) == received
    ids = {message["message"].rpartition("message ")[2].partition(";")[0] for message in hook.received}
    assert len(ids) == 1
    assert [row["n"] for row in place.rows("SELECT count(*) AS n FROM ops.alerts")] == [1]


def test_two_who_look_at_once_tell_it_once(place: AlertPlace, hook: Webhook) -> None:
    failing(place)
    with ThreadPoolExecutor(4) as pool:
        looks = list(pool.map(lambda _: place.look(), range(4)))
    assert sum(len(look.opened) for look in looks) == 1
    assert len(hook.received) == 1


def test_a_failing_look_is_told_in_one_line_and_caught_up(place: AlertPlace, hook: Webhook) -> None:
    failing(place)
    gone = place.settings.postgres.model_copy(update={"port": 1})
    lines: list[str] = []
    tell(place.settings.model_copy(update={"postgres": gone}), place.contracts, lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("alerts could not be looked for, the next run or `medallion watch` does it: ServiceUnavailable: ")
    tell(place.settings, place.contracts, lines.append)
    assert lines[1].startswith("alert 1 (critical): a pipeline run for ")
    assert len(hook.received) == 1


def test_a_url_that_is_none_is_told_without_it(place: AlertPlace) -> None:
    failing(place)
    place.settings = AlertPlace.with_urls(place.settings, team="open-sesame")
    look = place.look()
    assert look.problems == (
        "1 messages wait for the channel 'team': the setting alerts.channels.team is no URL that Apprise takes",
    )


def test_a_channel_that_never_ends_its_answer_holds_a_look_for_a_limited_time(
    place: AlertPlace, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "PATIENCE_S", 0.3)
    failing(place)
    failing(place, 1)
    hook.slow = True
    look = place.look()
    assert (look.sent, look.waiting, hook.asked) == (0, 2, 1), "what comes next waits behind it"
    assert look.problems == ("2 messages wait for the channel 'team': the channel did not take it",)
    hook.slow = False
    assert place.look(datetime.now(UTC) + LATER).sent == 2


def test_a_look_sends_for_a_limited_time_and_leaves_the_rest_to_the_next(
    place: AlertPlace, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        failing(place, number)
    monkeypatch.setattr(outbox, "BUDGET_S", 0.0)
    look = place.look()
    assert (look.sent, look.waiting, hook.received) == (0, 3, [])
    monkeypatch.undo()
    assert place.look().sent == 3


# ── silences and acknowledgements ─────────────────────────────────────────────────────────────────
def test_what_is_silenced_is_recorded_and_sent_later_if_it_is_still_open(place: AlertPlace, hook: Webhook) -> None:
    place.look()
    now = datetime.now(UTC)
    with store.connection(place.settings.postgres) as connection:
        made = actions.silence(connection, duration=timedelta(hours=1), why="moving", who="ann", dataset="silver.*")
        actions.silence(connection, duration=timedelta(hours=1), why="another rule", who="ann", rule="gap")
        failing(place)
        assert (len(place.look().opened), len(hook.received)) == (1, 0)
        assert [row["state"] for row in actions.alerts(connection)] == ["silenced"]
        place.merged(day(0), {SILVER: 90.0})
        assert (len(place.look().resolved), len(hook.received)) == (1, 0), "what was not told is not told to be over"
        failing(place, 1)
        place.look()
        assert actions.unsilence(connection, made["silence_id"])["why"] == "moving"
        assert place.look(now + timedelta(minutes=5)).sent == 1
        assert f"for {day(1)}" in hook.titles[0]
        with pytest.raises(UsageError, match=f"there is no silence {made['silence_id']} now"):
            actions.unsilence(connection, made["silence_id"])
        for why, duration in ((" ", LATER), ("x", timedelta(0))):
            with pytest.raises(UsageError, match="a silence"):
                actions.silence(connection, who="ann", why=why, duration=duration)


def test_a_silence_that_ends_gives_way_to_one_that_goes_on(place: AlertPlace, hook: Webhook) -> None:
    place.look()
    now = datetime.now(UTC)
    with store.connection(place.settings.postgres) as connection:
        for minutes in (10, 600):
            actions.silence(connection, duration=timedelta(minutes=minutes), why="moving", who="ann", dataset="silver.*")
        failing(place)
        place.look()
        assert place.look(now + timedelta(minutes=11)).sent == 0
        assert [row["state"] for row in actions.alerts(connection)] == ["silenced"]
        assert place.look(now + timedelta(minutes=601)).sent == 1


def test_who_took_note_first_stays(place: AlertPlace) -> None:
    failing(place)
    place.look()
    with store.connection(place.settings.postgres) as connection:
        with pytest.raises(UsageError, match="there is no alert 99; nothing was changed"):
            actions.acknowledge(connection, [1, 99], "ann")
        assert actions.alert(connection, 1)["state"] == "open"
        assert [row["acknowledged_by"] for row in actions.acknowledge(connection, [1], "ann")] == ["ann"]
        assert [row["acknowledged_by"] for row in actions.acknowledge(connection, [1], "bob")] == ["ann"]
        assert actions.alert(connection, 1)["state"] == "acknowledged"


# ── the commands ──────────────────────────────────────────────────────────────────────────────────
def test_rules_that_send_to_nowhere_are_refused(place: AlertPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alerts.toml").write_text('[rules.late]\nkind = "gap"\nchannels = ["pager"]\n')
    monkeypatch.setenv("MEDALLION_CONF", str(tmp_path))
    with pytest.raises(SettingsError, match="rule 'late', channels: there is no channel 'pager'"):
        evaluate(place.settings, place.contracts)

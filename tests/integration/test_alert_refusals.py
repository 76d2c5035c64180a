"""A channel that is up and refuses one message: those behind it go, and the one is kept and can be sent again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from medallion.alerts import actions, store
from medallion.errors import UsageError
from tests.alert_place import SILVER, AlertPlace, day
from tests.webhook import Webhook

pytest_plugins = ["tests.alerting"]

LATER = timedelta(hours=2)


@pytest.fixture
def place(alert_place: AlertPlace) -> AlertPlace:
    return alert_place


def failing(place: AlertPlace, number: int = 0) -> str:
    return place.failed(day(number), "ValueError: no", at=SILVER)


def test_a_message_that_is_refused_time_and_again_lets_those_behind_it_go(place: AlertPlace, hook: Webhook) -> None:
    hook.refuses = f"for {day(0)} failed"
    failing(place)
    failing(place, 1)
    now = datetime.now(UTC)
    looks = [place.look(now + n * LATER) for n in range(5)]
    assert [look.sent for look in looks] == [0, 0, 0, 0, 1], "after five tries the other one is tried, and taken"
    assert looks[3].problems == ("2 messages wait for the channel 'team': the channel did not take it",)
    told = "message 1 is set aside: the channel 'team' refuses it, and takes others; `medallion alerts resend 1` sends it again"
    assert (looks[4].waiting, looks[4].problems) == (0, (told,))
    failing(place, 2)
    look = place.look(now + 6 * LATER)
    assert (look.sent, look.problems, hook.asked) == (1, (), 7)
    assert [title.rpartition("-0")[2][0] for title in hook.titles] == ["5", "6"]

    with store.connection(place.settings.postgres) as connection:
        assert [row["message_id"] for row in actions.set_aside(connection)] == [1]
        with pytest.raises(UsageError, match="no message 2, 9 is set aside"):
            actions.resend(connection, [1, 2, 9])
        assert len(actions.set_aside(connection)) == 1, "nothing was changed"
        actions.resend(connection, [1])
    hook.refuses = ""
    assert (place.look(now + 7 * LATER).sent, len(hook.titles)) == (1, 3)


def test_two_messages_that_are_refused_and_a_channel_that_is_down(place: AlertPlace, hook: Webhook) -> None:
    """While a channel takes nothing, all keep their places, however often it was asked."""
    for number in range(3):
        failing(place, number)
    hook.up, hook.refuses = False, f"for {day(0)} failed"
    now = datetime.now(UTC)
    for n in range(12):
        assert place.look(now + n * LATER).waiting == 3
    tries = "SELECT tries FROM ops.alert_messages ORDER BY message_id"
    assert [row["tries"] for row in place.rows(tries)] == [12, 8, 4]
    hook.up = True
    look = place.look(now + 13 * LATER)
    assert (look.sent, look.waiting) == (2, 0)
    assert [problem[:22] for problem in look.problems] == ["message 1 is set aside"]

"""Messages that wait to be sent: each is kept until its channel took it, and comes at least once.

To one channel they go in their order. A channel that did not take one is asked again after 30 seconds, then after twice as
long each time, up to an hour, by whichever run or `medallion watch` comes next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from medallion.alerts import messages, store
from medallion.alerts.channels import Channel
from medallion.errors import SettingsError
from medallion.lakehouse.steps import step

if TYPE_CHECKING:
    from pydantic import SecretStr

BUDGET_S = 30.0
"""For so long one look sends; what is left waits for the next."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
_HEAD = """
SELECT * FROM ops.alert_messages WHERE channel = %s AND sent_at IS NULL ORDER BY message_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_FIRST = "SELECT min(message_id) AS first FROM ops.alert_messages WHERE channel = %s AND sent_at IS NULL"
_WAITING = "SELECT channel, count(*) AS waiting, max(error) AS error FROM ops.alert_messages WHERE sent_at IS NULL GROUP BY 1"


@dataclass(frozen=True)
class Sending:
    """What came of it: how many messages were sent, how many wait, and why, a line for each channel."""

    sent: int
    waiting: int
    problems: tuple[str, ...] = ()


def send(opened: store.Connection, channels: Mapping[str, SecretStr], now: datetime) -> Sending:
    """Send what waits, as far as its time has come, for `BUDGET_S` at most and the message under way then."""
    sent, until = 0, time.monotonic() + BUDGET_S
    for name, url in channels.items():
        sent += _to(opened, name, url, now, until)
    waiting = store.rows(opened, _WAITING)
    problems = [
        f"{row['waiting']} messages wait for the channel '{row['channel']}': "
        + (row["error"] or "not tried yet" if row["channel"] in channels else "it is no longer in the settings")
        for row in waiting
    ]
    return Sending(sent, sum(row["waiting"] for row in waiting), tuple(problems))


def _to(opened: store.Connection, name: str, url: SecretStr, now: datetime, until: float) -> int:
    """Send to one channel, oldest first, until it is empty, does not take one, or the time is over. Returns: how many it took."""
    channel, sent = None, 0
    while time.monotonic() < until:
        with opened.transaction():
            first = store.one(opened, _FIRST, (name,))["first"]
            found = store.rows(opened, _HEAD, (name,))
            if not found or found[0]["message_id"] != first or found[0]["next_try_at"] > now:
                return sent  # empty; another process is sending; or it is too early
            message, why = found[0], "the channel did not take it"
            try:
                channel = channel or Channel(name, url)
                taken = _send(opened, channel, message)
            except SettingsError as error:
                taken, why = False, error.message
            with step("alert.sent"):
                _note(opened, message, taken, why, now)
        if not taken:
            return sent
        sent += 1
    return sent


def _send(opened: store.Connection, channel: Channel, message: dict[str, Any]) -> bool:
    alerts = store.rows(opened, "SELECT * FROM ops.alerts WHERE alert_id = ANY(%s) ORDER BY alert_id", (message["alert_ids"],))
    event = str(message["event"])
    kind = "resolved" if event == "resolved" else messages.worst(alerts)
    with step("alert.send"):
        return channel.send(messages.title(event, alerts), messages.body(message["message_id"], event, alerts), kind)


def _note(opened: store.Connection, message: dict[str, Any], taken: bool, why: str, now: datetime) -> None:
    tries = message["tries"] + 1
    wait = min(FIRST_WAIT * 2 ** min(tries - 1, 20), LONGEST_WAIT)
    opened.execute(
        "UPDATE ops.alert_messages SET tries = %s, sent_at = %s, error = %s, next_try_at = %s WHERE message_id = %s",
        (tries, now if taken else None, None if taken else why, now if taken else now + wait, message["message_id"]),
    )

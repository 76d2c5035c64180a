"""Messages that wait to be sent: each is kept until its channel took it, and comes at least once.

To one channel they go in their order. A channel that did not take one is asked again after 30 seconds, then after twice as
long each time, up to an hour, by whichever run or `medallion watch` comes next. One that it has refused so often that those
behind it are tried too is set aside when it takes one of these: it is up, and refuses that message. One that is down takes
none, and so all keep their places.
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
_WAITS = "sent_at IS NULL AND set_aside_at IS NULL"
_HEAD = f"""
SELECT * FROM ops.alert_messages WHERE channel = %s AND message_id > %s AND {_WAITS}
ORDER BY message_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_FIRST = f"SELECT min(message_id) AS first FROM ops.alert_messages WHERE channel = %s AND message_id > %s AND {_WAITS}"
_WAITING = (
    f"SELECT channel, count(*) AS waiting, max(error) AS error FROM ops.alert_messages WHERE {_WAITS} GROUP BY 1 ORDER BY 1"
)
_ASIDE = "UPDATE ops.alert_messages SET set_aside_at = %s WHERE message_id = ANY(%s)"


@dataclass(frozen=True)
class Sending:
    """What came of it: how many messages were sent, how many wait, and why, a line for each channel; and for each that was set
    aside."""

    sent: int
    waiting: int
    problems: tuple[str, ...] = ()


def send(opened: store.Connection, channels: Mapping[str, SecretStr], now: datetime, tries: int) -> Sending:
    """Send what waits, as far as its time has come, for `BUDGET_S` at most and the message under way then.

    Args:
        tries: after so many of them a message does not keep those behind it waiting.
    """
    sent, until = 0, time.monotonic() + BUDGET_S
    problems = []
    for name, url in channels.items():
        taken, aside = _to(opened, name, url, now, until, tries)
        sent += taken
        problems += [set_aside(message_id, name) for message_id in aside]
    waiting = store.rows(opened, _WAITING)
    problems += [
        f"{row['waiting']} messages wait for the channel '{row['channel']}': "
        + (row["error"] or "not tried yet" if row["channel"] in channels else "it is no longer in the settings")
        for row in waiting
    ]
    return Sending(sent, sum(row["waiting"] for row in waiting), tuple(problems))


def set_aside(message_id: int, channel: str) -> str:
    """What is told of a message that was set aside."""
    return (
        f"message {message_id} is set aside: the channel '{channel}' refuses it, and takes others; "
        f"`medallion alerts resend {message_id}` sends it again"
    )


def _to(opened: store.Connection, name: str, url: SecretStr, now: datetime, until: float, tries: int) -> tuple[int, list[int]]:
    """Send to one channel, oldest first, until it is empty, does not take one, or the time is over. Returns: how many it took,
    and which it refuses for good."""
    channel, sent, aside = None, 0, list[int]()
    refused: list[int] = []  # too often to wait for; one behind them says whether the channel is up
    while time.monotonic() < until:
        with opened.transaction():
            behind = refused[-1] if refused else 0
            first = store.one(opened, _FIRST, (name, behind))["first"]
            found = store.rows(opened, _HEAD, (name, behind))
            if not found or found[0]["message_id"] != first or (not refused and found[0]["next_try_at"] > now):
                break  # empty; another process is sending; or it is too early
            message, why = found[0], "the channel did not take it"
            try:
                channel = channel or Channel(name, url)
                taken = _send(opened, channel, message)
            except SettingsError as error:
                taken, why = False, error.message
            with step("alert.sent"):
                _note(opened, message, taken, why, now)
                if taken and refused:
                    opened.execute(_ASIDE, (now, refused))
        if taken:
            sent, aside, refused = sent + 1, aside + refused, []
        elif message["tries"] + 1 >= tries:
            refused.append(message["message_id"])
        else:
            break
    return sent, aside


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

"""What people do about alerts: look, take note, silence. For the command line and the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from medallion.alerts import store
from medallion.audit.record import record
from medallion.errors import UsageError
from medallion.lakehouse.steps import step

LISTED = (
    "alert_id", "severity", "rule", "dataset", "logical_date", "run_id", "summary", "opened_at", "state", "acknowledged_by",
    "command",
)  # fmt: skip
_STATE = """
SELECT *, CASE WHEN resolved_at IS NOT NULL THEN 'resolved' WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
  WHEN silence_id IS NOT NULL THEN 'silenced' ELSE 'open' END AS state
FROM ops.alerts
"""


def alerts(connection: store.Connection, *, all_: bool = False, limit: int = 500) -> list[dict[str, Any]]:
    """Alerts that are open, the gravest first; or all, the newest first. With their `state`: `open`, `acknowledged`,
    `silenced` or `resolved`."""
    where = "" if all_ else "WHERE resolved_at IS NULL"
    order = "" if all_ else "array_position(ARRAY['critical', 'error', 'warning'], severity), "
    return store.rows(connection, f"{_STATE} {where} ORDER BY {order}opened_at DESC, alert_id DESC LIMIT %s", (limit,))


def alert(connection: store.Connection, alert_id: int) -> dict[str, Any]:
    """One alert with its `state` and its `messages`. Raises: UsageError if there is none."""
    found = store.rows(connection, f"{_STATE} WHERE alert_id = %s", (alert_id,))
    if not found:
        raise UsageError(f"there is no alert {alert_id}", hint="`medallion alerts list --all` shows which there are")
    sent = "SELECT * FROM ops.alert_messages WHERE %s = ANY(alert_ids) ORDER BY message_id"
    return found[0] | {"messages": store.rows(connection, sent, (alert_id,))}


def set_aside(connection: store.Connection) -> list[dict[str, Any]]:
    """The messages that were set aside: `message_id`, `channel`, `alert_ids`, `tries`, `set_aside_at`."""
    asked = "SELECT message_id, channel, alert_ids, tries, set_aside_at FROM ops.alert_messages WHERE set_aside_at IS NOT NULL"
    return store.rows(connection, f"{asked} ORDER BY message_id")


def resend(connection: store.Connection, ids: Sequence[int]) -> None:
    """Let messages that were set aside be sent again, as if for the first time.

    Raises: UsageError if one of them is not set aside: nothing is changed then.
    """
    with connection.transaction():
        with step("alert.resend"):
            new = store.rows(
                connection,
                "UPDATE ops.alert_messages SET set_aside_at = NULL, tries = 0, next_try_at = clock_timestamp() "
                "WHERE message_id = ANY(%s) AND set_aside_at IS NOT NULL RETURNING message_id, channel",
                (list(ids),),
            )
        if lacking := sorted({*ids} - {row["message_id"] for row in new}):
            raise UsageError(
                f"no message {', '.join(map(str, lacking))} is set aside; nothing was changed",
                hint="`medallion alerts list` shows which are",
            )
        for row in new:
            record(connection, "alert.resent", str(row["message_id"]), detail={"channel": row["channel"]})


def acknowledge(connection: store.Connection, ids: Sequence[int], who: str) -> list[dict[str, Any]]:
    """Note that somebody has taken note. One that is acknowledged stays as it is.

    Returns: these alerts. Raises: UsageError if one of them does not exist: nothing is changed then.
    """
    with connection.transaction():
        found = store.rows(connection, "SELECT alert_id FROM ops.alerts WHERE alert_id = ANY(%s) FOR UPDATE", (list(ids),))
        if lacking := sorted({*ids} - {row["alert_id"] for row in found}):
            raise UsageError(
                f"there is no alert {', '.join(map(str, lacking))}; nothing was changed",
                hint="`medallion alerts list --all` shows which there are",
            )
        with step("alert.acknowledge"):
            new = store.rows(
                connection,
                "UPDATE ops.alerts SET acknowledged_at = clock_timestamp(), acknowledged_by = %s "
                "WHERE alert_id = ANY(%s) AND acknowledged_at IS NULL RETURNING alert_id, summary",
                (who, list(ids)),
            )
        after = store.rows(connection, f"{_STATE} WHERE alert_id = ANY(%s) ORDER BY alert_id", (list(ids),))
        for row in new:
            record(connection, "alert.acknowledged", str(row["alert_id"]), detail={"who": who, "summary": row["summary"]})
        return after


def silence(
    connection: store.Connection,
    *,
    duration: timedelta,
    why: str,
    who: str,
    rule: str | None = None,
    dataset: str | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Send nothing about new alerts of a rule, of a dataset (a name, with `*`), of both, or of any, for a while. They are
    recorded all the same, and sent afterwards if they are still open.

    Returns: the silence. Raises: UsageError without a reason, or for no time to come.
    """
    if not why.strip():
        raise UsageError("a silence without a reason", hint="say why, in a few words")
    if duration <= timedelta(0):
        raise UsageError("a silence that is over at once", hint="say for how long, as in 2h")
    until = (now or datetime.now(UTC)) + duration
    with step("alert.silence"), connection.transaction():
        made = store.one(
            connection,
            "INSERT INTO ops.silences (rule, dataset, until, who, why) VALUES (%s, %s, %s, %s, %s) RETURNING *",
            (rule, dataset, until, who, why),
        )
        told = {"rule": rule, "dataset": dataset, "until": until.isoformat(), "who": who, "why": why}
        record(connection, "alert.silenced", str(made["silence_id"]), detail=told)
    return made


def unsilence(connection: store.Connection, silence_id: int, now: datetime | None = None) -> dict[str, Any]:
    """End a silence now. Returns: the silence. Raises: UsageError if it does not exist, or is over."""
    with step("alert.unsilence"), connection.transaction():
        found = store.rows(
            connection,
            "UPDATE ops.silences SET until = %(now)s WHERE silence_id = %(id)s AND until > %(now)s RETURNING *",
            {"now": now or datetime.now(UTC), "id": silence_id},
        )
        if found:
            record(connection, "alert.unsilenced", str(silence_id))
    if not found:
        raise UsageError(f"there is no silence {silence_id} now", hint="`medallion alerts silences` shows those there are")
    return found[0]


def silences(connection: store.Connection, now: datetime | None = None) -> list[dict[str, Any]]:
    """The silences of now."""
    return store.rows(connection, "SELECT * FROM ops.silences WHERE until > %s ORDER BY until", (now or datetime.now(UTC),))

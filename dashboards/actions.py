"""What people do from the dashboards: take note of alerts, and silence them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection


def acknowledge(connection: Connection[Any], ids: Sequence[int], who: str) -> int:
    """Note who takes care of open alerts; those that somebody took care of before stay as they are.

    Returns: how many were noted.
    """
    return connection.execute(
        "UPDATE ops.alerts SET acknowledged_at = clock_timestamp(), acknowledged_by = %s "
        "WHERE alert_id = ANY(%s) AND acknowledged_at IS NULL AND resolved_at IS NULL",
        (who, list(ids)),
    ).rowcount


def silence(connection: Connection[Any], *, rule: str | None, dataset: str | None, until: datetime, who: str, why: str) -> int:
    """Keep alerts of a rule, of a dataset, or of both together quiet until then. Returns: the silence's number."""
    row = connection.execute(
        "INSERT INTO ops.silences (rule, dataset, until, who, why) VALUES (%s, %s, %s, %s, %s) RETURNING silence_id",
        (rule, dataset, until, who, why),
    ).fetchone()
    assert row is not None
    return int(row[0])

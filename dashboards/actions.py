"""What people do from the dashboards, as from the command line: take note of alerts, and silence them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from medallion.alerts import actions


def acknowledge(connection: Connection[Any], ids: Sequence[int], who: str) -> int:
    """Note who takes care of open alerts; those that somebody took care of before stay as they are.

    Returns: how many are in the hands of this person now. Raises: UsageError for one that does not exist.
    """
    connection.row_factory = dict_row
    return sum(row["acknowledged_by"] == who for row in actions.acknowledge(connection, ids, who))


def silence(connection: Connection[Any], *, rule: str | None, dataset: str | None, until: datetime, who: str, why: str) -> int:
    """Keep alerts of a rule, of a dataset, or of both together quiet until then.

    Returns: the silence's number. Raises: UsageError without a reason, or for a time that is over.
    """
    connection.row_factory = dict_row
    lasting = until - datetime.now(UTC)
    return int(actions.silence(connection, duration=lasting, why=why, who=who, rule=rule, dataset=dataset)["silence_id"])

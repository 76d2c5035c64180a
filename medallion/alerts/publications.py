"""Publications that failed and were not made good: what the warehouse shows is whole, and may be older than main."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from medallion.alerts import questions, store
from medallion.alerts.finding import Finding, masked, occurrence
from medallion.alerts.rules import PublicationFailed, Rules

_COMMANDS = {"gold": "medallion publish", "marts": "medallion marts"}


def failed(opened: store.Connection, rules: Rules, known: Iterable[str], now: datetime) -> list[Finding]:
    """The last publications to each warehouse, where they failed.

    Args:
        known: names that errors may show.
    """
    found, known = [], list(known)
    for last in store.rows(opened, questions.PUBLICATIONS, {"now": now, "hours": rules.look_back_hours}):
        if last["outcome"] == "done":
            continue
        warehouse, what = last["warehouse"], last["what"]
        found += [
            Finding(
                rule, occurrence(rule, warehouse, what), None, None, None,
                f"a publication of {what} to {warehouse} failed: what is shown there is whole, and may be older than main",
                _COMMANDS[what],
                {
                    "error": masked(last["outcome"] or "its process ended", known),
                    "warehouse": warehouse, "of": what, "failed_at": last["ended_at"].isoformat(),
                },
            )
            for rule in rules.of(PublicationFailed, None)
        ]  # fmt: skip
    return found


def made_good(opened: store.Connection, alert: Mapping[str, Any]) -> str | None:
    """Why an alert of a publication is over; None while it is not."""
    detail = alert["detail"]
    asked = {"after": detail["failed_at"], "warehouse": detail["warehouse"], "what": detail["of"]}
    good = store.rows(opened, questions.PUBLISHED, asked)
    return f"a later publication of {detail['of']} to {detail['warehouse']} ended well" if good else None

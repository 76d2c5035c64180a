"""What a message about alerts says: run, dataset, rule, figures, sample rows, and the command to look further."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

_ORDER = ("critical", "error", "warning")
LONGEST = 8000
"""Characters of a message's text."""

Alert = Mapping[str, Any]


def worst(alerts: Sequence[Alert]) -> str:
    """The gravest severity of some alerts."""
    return min((str(alert["severity"]) for alert in alerts), key=_ORDER.index, default="warning")


def title(event: str, alerts: Sequence[Alert]) -> str:
    """One line: what it is about."""
    what = str(alerts[0]["summary"]) if len(alerts) == 1 else f"{len(alerts)} alerts" + _of(alerts)
    return f"[medallion] {'RESOLVED' if event == 'resolved' else worst(alerts).upper()}: {what}"[:250]


def body(message_id: int, event: str, alerts: Sequence[Alert]) -> str:
    """The whole text. The message's id tells a repetition: a message comes at least once."""
    parts = [_resolved(alert) if event == "resolved" else opened(alert) for alert in alerts]
    end = f"message {message_id}; `medallion alerts list` shows what is open"
    text = "\n\n".join(parts)
    return f"{text if len(text) <= LONGEST else f'{text[: LONGEST - 1]}…'}\n\n{end}"


def _of(alerts: Sequence[Alert]) -> str:
    runs = {alert["run_id"] for alert in alerts}
    return f" of run {next(iter(runs))}" if len(runs) == 1 and None not in runs else ""


def opened(alert: Alert) -> str:
    """What an alert tells."""
    detail = alert["detail"]
    lines = [f"{str(alert['severity']).upper()} {alert['summary']}"]
    place = [f"{name} {alert[key]}" for name, key in (("dataset", "dataset"), ("run", "run_id")) if alert[key]]
    lines.append(f"  alert {alert['alert_id']}, rule {alert['rule']}" + "".join(f", {each}" for each in place))
    if figures := detail.get("figures"):
        lines.append("  " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
    if error := detail.get("error"):
        lines.append(f"  {error}")
    lines += [
        f"  {rule['rule']} ({rule['severity']}): {rule['bad']} of {rule['judged']} rows" for rule in detail.get("rules", ())
    ]
    lines += [f"  {text}" for text in detail.get("unusual", ())]
    lines += [f"  e.g. {json.dumps(row, ensure_ascii=False, default=str)}" for row in detail.get("samples", ())]
    lines.append(f"  look further: {alert['command']}")
    return "\n".join(lines)


def _resolved(alert: Alert) -> str:
    after = ""
    if alert["resolved_at"] and alert["opened_at"]:
        after = f" after {_spoken(alert['resolved_at'], alert['opened_at'])}"
    return f"RESOLVED{after}: {alert['summary']}\n  alert {alert['alert_id']}, rule {alert['rule']}: {alert['resolved_why']}"


def _spoken(end: datetime, begin: datetime) -> str:
    minutes = (end - begin).total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.0f} h"

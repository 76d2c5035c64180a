"""What a rule has found: one occurrence, not told yet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from medallion.alerts.rules import Rule
from medallion.contract import Contract

_QUOTES = "'\"`\u2018\u2019“”«»"
_QUOTED = re.compile(r"(?<!\w)(['\"`])([\w.]+)\1(?!\w)")
SAMPLES = 3
"""How many rows an alert shows."""


@dataclass(frozen=True)
class Finding:
    """One occurrence. While an alert of the same `occurrence` is open it is not told again. `command` looks further."""

    rule: Rule
    occurrence: str
    dataset: str | None
    run_id: str | None
    logical_date: date | None
    summary: str
    command: str
    detail: dict[str, Any] = field(default_factory=dict)


def occurrence(rule: Rule, *parts: object) -> str:
    """What makes an occurrence one and the same."""
    return "|".join([rule.name, *("" if part is None else str(part) for part in parts)])


def samples(texts: Iterable[str], contract: Contract | None) -> list[dict[str, Any]]:
    """Rows of a verdict, without the columns that the contract classifies as personal; without a contract none."""
    if contract is None:
        return []
    hidden = {column.name for column in contract.columns if column.personal}
    hidden |= {column.source for column in contract.columns if column.personal}
    found = []
    for text in texts:
        try:
            row = json.loads(text, parse_constant=str)  # PostgreSQL's JSON has no NaN
        except ValueError:
            continue  # a figure, not a row
        if isinstance(row, dict):
            found.append({name: value for name, value in row.items() if name not in hidden})
    return found[:SAMPLES]


def masked(text: str, known: Iterable[str], limit: int = 300) -> str:
    """The first line of an error's text without what may be a value of somebody's row: all from the first quote to the last
    one is left out, unless what stands in quotes are `known` names. Without a closing quote the rest of the line is.

    Quotes are not paired otherwise: with an apostrophe in the text or in a value, the value would stand outside of them.
    """
    names = set(known)
    line = (text.strip().splitlines() or [""])[0]
    unknown = _QUOTED.sub(lambda m: " " * len(m[0]) if m[2] in names else m[0], line)
    quotes = [place for place, letter in enumerate(unknown) if letter in _QUOTES]
    if quotes:
        first, last = quotes[0], quotes[-1]
        line = f"{line[: first + 1]}…{line[last:] if last > first else ''}"
    return line if len(line) <= limit else f"{line[: limit - 1]}…"

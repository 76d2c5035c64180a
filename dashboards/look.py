"""How things look: chips, links, tables, tiles, numbers. Everything returns HTML with what it is given escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

Level = Literal["good", "warn", "bad", "quiet"]
ICONS: dict[Level, str] = {"good": "✔", "warn": "▲", "bad": "✖", "quiet": "○"}
OF_STATE: dict[str, Level] = {
    "published": "good", "merged": "good", "unchanged": "good", "failed": "bad", "conflicted": "warn", "reverted": "quiet",
}  # fmt: skip
OF_SEVERITY: dict[str, Level] = {"critical": "bad", "error": "bad", "warning": "warn"}
BLANK = "–"  # noqa: RUF001  # a dash, where there is no value


def style() -> None:
    """Put the style sheet into the page."""
    st.html(f"<style>{(Path(__file__).parent / 'style.css').read_text('utf-8')}</style>")


def html(body: str) -> None:
    st.html(f'<div class="m">{body}</div>')


def link(page: str, label: str, **parameters: Any) -> str:
    """A link to a page of ours."""
    return f'<a href="{address(page, **parameters)}">{escape(label)}</a>'


def address(page: str, **parameters: Any) -> str:
    """A page's address, in HTML."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return escape(page + (f"?{urlencode(given)}" if given else ""))


def run_link(run_id: Any) -> str:
    return BLANK if is_missing(run_id) else link("run", str(run_id), run=run_id)


def dataset_link(dataset: Any, page: str = "quality") -> str:
    return BLANK if is_missing(dataset) else link(page, str(dataset), dataset=dataset)


def chip(level: Level, word: str) -> str:
    return f'<span class="m-chip m-{level}">{ICONS[level]} {escape(word)}</span>'


def state_chip(state: str) -> str:
    return chip(OF_STATE[state], state) if state in OF_STATE else f'<span class="m-chip">◔ {escape(state)}</span>'


def text(value: Any) -> str:
    return BLANK if is_missing(value) else escape(str(value))


def code(value: Any) -> str:
    return f"<code>{escape(str(value))}</code>"


def is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (not isinstance(value, list | dict | str) and bool(pd.isna(value)))


# ── numbers and times ─────────────────────────────────────────────────────────────────────────────
def count(value: Any) -> str:
    return BLANK if is_missing(value) else f"{int(value):,}"


def score(value: Any) -> str:
    """Points of 100."""
    return BLANK if is_missing(value) else f"{float(value):.1f}"


def share(part: Any, whole: Any) -> str:
    if is_missing(part) or is_missing(whole) or not whole:
        return BLANK
    found = 100 * float(part) / float(whole)
    return "0 %" if found == 0 else "< 0.01 %" if found < 0.01 else f"{found:.2f} %" if found < 10 else f"{found:.0f} %"


def size(value: Any) -> str:
    """Bytes, in decimal units."""
    if is_missing(value):
        return BLANK
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError


def lasting(seconds: Any) -> str:
    if is_missing(seconds):
        return BLANK
    amount = float(seconds)
    if amount < 1:
        return f"{amount * 1000:.0f} ms"
    if amount < 60:
        return f"{amount:.1f} s"
    minutes, rest = divmod(round(amount), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def when(value: Any) -> str:
    """A moment, in UTC."""
    return BLANK if is_missing(value) else f'<span class="w">{pd.Timestamp(value):%Y-%m-%d %H:%M}</span>'


def day(value: Any) -> str:
    return BLANK if is_missing(value) else f'<span class="w">{pd.Timestamp(value):%Y-%m-%d}</span>'


def ago(value: Any) -> str:
    """How long ago, or until when, a moment is."""
    if is_missing(value):
        return BLANK
    seconds = (datetime.now(UTC) - pd.Timestamp(value).to_pydatetime()).total_seconds()
    whole = abs(seconds)
    told = (
        "now" if whole < 60 else f"{whole // 60:.0f} min" if whole < 3600
        else f"{whole // 3600:.0f} h" if whole < 172_800 else f"{whole // 86_400:.0f} days"
    )  # fmt: skip
    return told if told == "now" else f"{told} ago" if seconds > 0 else f"in {told}"


# ── parts of a page ───────────────────────────────────────────────────────────────────────────────
def head(title: str, below: str = "") -> None:
    """The title of a page; `below` is HTML."""
    html(f'<div class="m-head"><h1>{escape(title)}</h1>{f"<p>{below}</p>" if below else ""}</div>')


def section(title: str, below: str = "") -> None:
    html(f'<div class="m-section"><h2>{escape(title)}</h2>{f"<p>{below}</p>" if below else ""}</div>')


def verdict(level: Level, title: str, below: str) -> None:
    html(f'<div class="m-verdict m-{level}"><h1>{ICONS[level]} {escape(title)}</h1><p>{below}</p></div>')


def matters(rows: Iterable[tuple[str, str, str]]) -> None:
    """What matters, one below the other: chip, what, where to go; all of it HTML."""
    html(
        '<ul class="m-list">' + "".join(f"<li><span>{a}</span><div>{b}</div><span>{c}</span></li>" for a, b, c in rows) + "</ul>"
    )


def tiles(rows: Sequence[tuple[str, str, str, str | None]]) -> None:
    """Figures side by side: title, value (HTML), what it says (HTML), address."""
    parts = []
    for title, value, below, to in rows:
        body = f'<div class="t">{escape(title)}</div><div class="v">{value}</div><div class="d">{below}</div>'
        parts.append(f'<a class="m-tile" href="{to}">{body}</a>' if to else f'<div class="m-tile">{body}</div>')
    html(f'<div class="m-tiles">{"".join(parts)}</div>')


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; cells are HTML. A header that begins with `#` is of numbers, with `*` of words that may wrap."""
    kinds = [{"#": "n", "*": "wrap"}.get(name[:1], "w") for name in header]
    names = [name.lstrip("#*") for name in header]
    top = "".join(
        f'<th class="{"n" if kind == "n" else ""}" scope="col">{escape(name)}</th>'
        for name, kind in zip(names, kinds, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    html(f'<div class="m-scroll"><table class="m-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """Names and values; values are HTML."""
    html('<div class="m-facts">' + "".join(f"<div><span>{escape(name)}</span>{value}</div>" for name, value in rows) + "</div>")


def nothing(what: str, *, well: bool = False) -> None:
    """What stands where there is nothing to show; `what` is HTML."""
    html(f'<div class="m-empty">{"<b>✔</b> " if well else ""}{what}</div>')


def sample(value: Any) -> str:
    """A sample row, which is JSON, in one line."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return code(value)
    if isinstance(found, dict):
        return code(", ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in found.items()))
    return code(json.dumps(found, ensure_ascii=False))


# ── when there is nothing to show at all ──────────────────────────────────────────────────────────
def first_steps() -> None:
    """No run has ever been: what to do first."""
    verdict("quiet", "Nothing has run yet", "This is what will be seen here: runs, their quality, where data comes from, alerts.")
    section("What to do first")
    steps = (
        ("make demo", "runs four days of real records from bronze to the warehouse"),
        ("medallion run --date 2013-01-05", "runs one day"),
        ("medallion ops rebuild", "fills these pages from runs that there were before"),
    )
    table(("Command", "*What it does"), [(code(command), escape(what)) for command, what in steps])


def is_down(message: str, hint: str | None, title: str = "The database does not answer") -> None:
    """PostgreSQL does not answer, or not in time."""
    verdict("bad", title, escape(message))
    section("What to do")
    nothing(
        escape(hint or "see `medallion doctor`")
        .replace("`medallion up`", code("medallion up"))
        .replace("`medallion doctor`", code("medallion doctor"))
        + "<br>Runs are not harmed by it; this page shows them when it is back."
    )

"""The first screen: whether today is all right, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import pandas as pd
from psycopg import Connection

from dashboards import look, queries, run_queries
from dashboards.asking import asked
from dashboards.look import Level

HOURS = 24
SHOWN = 12
Matter = tuple[Level, str, str, str]
"""How bad, the chip's word, what it is, where its cause is; the last two are HTML."""


def show(db: Connection[Any]) -> None:
    alerts = asked(db, run_queries.open_alerts)
    bad = asked(db, queries.ended_badly, HOURS)
    late = asked(db, queries.late)
    behind = asked(db, queries.unpublished)
    layers = asked(db, queries.layers_now)
    unsent = asked(db, run_queries.unsent)
    found = sorted(matters(alerts, bad, late, layers, behind, unsent), key=lambda one: one[0] != "bad")
    red, amber = (sum(one[0] == level for one in found) for level in ("bad", "warn"))
    day = f"{pd.Timestamp.now('UTC'):%A, %d %B %Y, %H:%M} UTC"
    if red:
        look.verdict("bad", f"Today is not all right: {_counted(red, 'thing')} to look at", f"{day}{_also(amber)}")
    elif amber:
        look.verdict("warn", f"Today is mostly all right: {_counted(amber, 'thing')} to keep an eye on", day)
    else:
        look.verdict("good", "Today is all right", f"{day} · no run failed, nothing is late, no alert is open")
    if found:
        look.matters((look.chip(level, word), what, cause) for level, word, what, cause in found[:SHOWN])
        if len(found) > SHOWN:
            look.nothing(
                f"and {len(found) - SHOWN} more: {look.link('alerts', 'alerts')}, {look.link('operations', 'what is late')}"
            )
    look.section("At a glance")
    look.tiles([*_tiles(db, alerts, late, behind, layers)])
    look.section("Newest runs", look.link("operations", "all of them as a timeline"))
    runs(asked(db, queries.recent_runs))


def matters(
    alerts: pd.DataFrame, bad: pd.DataFrame, late: pd.DataFrame, layers: pd.DataFrame, behind: pd.DataFrame, unsent: pd.DataFrame
) -> Iterator[Matter]:
    """Whatever is not as it should be: each with the page that shows its cause. What somebody took care of, or silenced, is
    not told; what an alert tells already is not told twice."""
    waiting = alerts[alerts["acknowledged_at"].isna() & alerts["silence_id"].isna()]
    for one in waiting.itertuples():
        level: Level = look.OF_SEVERITY[one.severity]
        subject = one.dataset if not look.is_missing(one.dataset) else one.rule
        cause = look.link("run", "its run", run=one.run_id) if not look.is_missing(one.run_id) else (
            look.link("quality", "its dataset", dataset=one.dataset) if not look.is_missing(one.dataset) else ""
        )  # fmt: skip
        small = f"{escape(str(subject))} · {escape(one.rule)} · {look.ago(one.opened_at)}"
        more = look.link("alerts", "alert", alert=one.alert_id)
        yield level, one.severity, f"{escape(one.summary)}<small>{small}</small>", " · ".join(filter(None, (cause, more)))
    told = set(alerts["run_id"].dropna())
    for one in bad[~bad["run_id"].isin(told)].itertuples():
        error = escape(str(one.error or "")[:300])
        yield ("bad" if one.state == "failed" else "warn"), one.state, (
            f"{escape(one.run_id)}<small>{error} · {look.ago(one.opened_at)}</small>"
        ), look.link("run", "its run", run=one.run_id)  # fmt: skip
    quiet = set(alerts["dataset"].dropna())
    overdue = late[~late["dataset"].isin(quiet)]
    if len(overdue):
        first = overdue.iloc[0]
        names = ", ".join(look.dataset_link(name) for name in overdue["dataset"].head(4))
        more = f" and {len(overdue) - 4} more" if len(overdue) > 4 else ""
        yield "bad", "late", (
            f"{_counted(len(overdue), 'dataset')} late: {names}{more}"
            f"<small>longest: {escape(first['dataset'])}, due {look.ago(first['due_at'])}</small>"
        ), look.link("operations", "what is late")  # fmt: skip
    for one in layers.itertuples():
        if one.before and one.score < 0.8 * one.before:
            yield "bad", "quality", (
                f"{escape(one.layer)}: score {look.score(one.score)}, usually {look.score(one.before)}"
            ), look.link("quality", "scores")  # fmt: skip
    for one in behind.itertuples():
        if look.is_missing(one.behind):
            yield "warn", "behind", (
                f"how far {escape(one.target)} is behind is not known<small>main's log does not have "
                f"{escape(one.main_hash[:12])}, which it shows</small>"
            ), look.link("operations", "publications")  # fmt: skip
        elif one.behind and pd.Timestamp.now("UTC") - one.published_at > pd.Timedelta(hours=HOURS):
            yield "warn", "behind", (
                f"{escape(one.target)} lacks {_counted(one.behind, 'commit')} of main<small>last publication "
                f"{look.ago(one.published_at)}</small>"
            ), look.link("operations", "publications")  # fmt: skip
    for one in unsent.itertuples():
        yield "warn", "set aside" if one.aside else "not sent", (
            f"{_counted(one.messages, 'message')} for the channel {escape(one.channel)} since {look.ago(one.since)}"
            f"<small>{escape(str(one.error or ''))}</small>"
        ), look.link("alerts", "alerts")  # fmt: skip


def _tiles(
    db: Connection[Any], alerts: pd.DataFrame, late: pd.DataFrame, behind: pd.DataFrame, layers: pd.DataFrame
) -> Iterator[tuple[str, str, str, str | None]]:
    states = dict(asked(db, queries.counted_runs, HOURS).itertuples(index=False))
    failed, lost = states.get("failed", 0), states.get("conflicted", 0)
    below = f'<span class="m-bad">✖ {failed} failed</span>' if failed else "none failed"
    yield (
        f"Runs, {HOURS} h",
        look.count(sum(states.values())),
        below + (f", {lost} lost a conflict" if lost else ""),
        "operations",
    )
    for one in layers.itertuples():
        change = one.score - one.before if not look.is_missing(one.before) else 0.0
        level = "bad" if change < -5 else "warn" if change < -1 else "quiet"
        told = (
            f'<span class="m-{level}">{change:+.1f}</span> on the 30 days before'
            if not look.is_missing(one.before)
            else "no past yet"
        )
        yield f"Score, {one.layer}", f"{look.score(one.score)}", told, "quality"
    promised = asked(db, queries.promised)
    level = "bad" if len(late) else "good"
    yield "Late", f'<span class="m-{level}">{look.count(len(late))}</span>', f"of {promised} datasets with an SLA", "operations"
    quiet = int((alerts["acknowledged_at"].notna() | alerts["silence_id"].notna()).sum())
    yield "Open alerts", look.count(len(alerts)), f"{quiet} taken care of or silenced", "alerts"
    for one in behind.itertuples():
        yield (
            f"Published, {one.target}",
            look.ago(one.published_at),
            f"no. {one.sequence}, {how_far(one.behind)}",
            ("operations"),
        )


def how_far(behind: Any) -> str:
    """How many commits a warehouse is behind, in words."""
    return "how far behind is not known" if look.is_missing(behind) else f"{_counted(behind, 'commit')} behind"


def runs(found: pd.DataFrame) -> None:
    """A table of runs."""
    look.table(
        ("State", "Run", "Opened (UTC)", "#Took", "*Error"),
        [
            (look.state_chip(r.state), look.run_link(r.run_id), f"{look.when(r.opened_at)} · {look.ago(r.opened_at)}",
             look.lasting(r.seconds), look.text(r.error and r.error[:160]))
            for r in found.itertuples()
        ],
    )  # fmt: skip


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _also(amber: int) -> str:
    return f" · and {_counted(amber, 'thing')} to keep an eye on" if amber else ""

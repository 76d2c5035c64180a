"""Alerts: what is open, and what to do about it; silences; what is over."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import pandas as pd
import streamlit as st
from psycopg import Connection

from dashboards import actions, look, run_queries
from dashboards.asking import asked, forget
from dashboards.database import connected
from dashboards.views import quality

_UNTIL = {"1 hour": 1, "8 hours": 8, "1 day": 24, "7 days": 168}
SHOWN = 20


def show(db: Connection[Any]) -> None:
    found = asked(db, run_queries.open_alerts)
    waiting = found[found["acknowledged_at"].isna() & found["silence_id"].isna()]
    look.head("Alerts", f"{len(found):,} open, {len(waiting):,} of them wait for somebody")
    if done := st.session_state.pop("alerts_done", None):
        st.success(done)
    for one in asked(db, run_queries.unsent).itertuples():
        if one.aside:
            look.html(f"{look.chip('warn', 'set aside')} The channel {escape(one.channel)} refuses {one.messages:,} messages, "
                      f"and takes others. To send again: {look.code(f'medallion alerts resend {one.ids}')}")  # fmt: skip
            continue
        look.html(f"{look.chip('warn', 'not sent')} {one.messages:,} messages for the channel {escape(one.channel)} wait since "
                  f"{look.ago(one.since)}: {look.text(one.error)}. None is lost.")  # fmt: skip
    shown = _filtered(found)
    who = st.text_input("Your name", value=_me(), max_chars=80, help="Kept with what you acknowledge and silence", width=260)
    if found.empty:
        look.nothing("No alert is open.", well=True)
    elif shown.empty:
        look.nothing(f"None of the open alerts fits. {look.link('alerts', 'Show all')}")
    for _, alert in shown.head(SHOWN).iterrows():
        _one(alert, who)
    if len(shown) > SHOWN:
        look.nothing(f"and {len(shown) - SHOWN} more, older or less severe")
    ids = [int(i) for i in shown.loc[shown["acknowledged_at"].isna(), "alert_id"]]
    if len(ids) > 1 and st.button(f"Acknowledge all {len(ids)} shown", icon=":material/done_all:"):
        _do(who, lambda c: f"{actions.acknowledge(c, ids, who)} alerts acknowledged by {who}")
    _silences(db, who, found)
    look.section("Over", "The newest first")
    over = asked(db, run_queries.over)
    if over.empty:
        look.nothing("No alert was opened and resolved yet.")
    else:
        quality.alerts_table(over)


def _filtered(found: pd.DataFrame) -> pd.DataFrame:
    for name in ("alert", "dataset", "run"):
        if wanted := st.query_params.get(name):
            column = {"alert": "alert_id", "run": "run_id"}.get(name, name)
            look.html(f"Only {name} {look.code(wanted)} · {look.link('alerts', 'show all')}")
            found = found[found[column].astype(str) == wanted]
    return found


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _one(alert: pd.Series, who: str) -> None:
    number = int(alert["alert_id"])
    with st.container(border=True, key=f"alert-{number}"):
        parts = [escape(alert["rule"]), f"opened {look.when(alert['opened_at'])} UTC, {look.ago(alert['opened_at'])}"]
        if not look.is_missing(alert["dataset"]):
            parts.append(f"{look.dataset_link(alert['dataset'])} ({look.link('lineage', 'lineage', dataset=alert['dataset'])})")
        if not look.is_missing(alert["run_id"]):
            parts.append(f"run {look.run_link(alert['run_id'])}")
        if not look.is_missing(alert["acknowledged_at"]) or not look.is_missing(alert["silence_id"]):
            parts.append(quality.how_it_is(alert))
        look.html(
            f'<div class="m-alert">{look.chip(look.OF_SEVERITY[alert["severity"]], alert["severity"])} '
            f"<b>{escape(alert['summary'])}</b>"
            f'<p class="m-quiet">{" · ".join(parts)}</p><p>Look further: {look.code(alert["command"])}</p></div>'
        )
        with st.container(horizontal=True):
            if look.is_missing(alert["acknowledged_at"]) and st.button(
                "Acknowledge", key=f"acknowledge-{number}", icon=":material/done:"
            ):
                _do(who, lambda c: f"{actions.acknowledge(c, [number], who)} alert acknowledged by {who}")
            with st.popover("Silence", icon=":material/notifications_off:"):
                _silence_form(f"{number}", who, alert["rule"], alert["dataset"])
            if alert["detail"]:
                with st.popover("Details", icon=":material/info:"):
                    _detail(alert["detail"])


def _detail(detail: Any) -> None:
    rows = detail if isinstance(detail, dict) else {"detail": detail}
    samples = rows.get("samples") if isinstance(rows.get("samples"), list) else None
    look.facts([(name, look.code(value)) for name, value in rows.items() if name != "samples" or samples is None])
    if samples:
        look.html("<p>Sample rows, without personal columns</p>" + "<br>".join(look.sample(row) for row in samples[:10]))


def _silence_form(key: str, who: str, rule: str | None, dataset: str | None) -> None:
    whats = {f"rule {rule} of {dataset}": (rule, dataset)} if rule and not look.is_missing(dataset) else {}
    whats |= {f"rule {rule}, everywhere": (rule, None)} if rule else {}
    whats |= {f"everything of {dataset}": (None, dataset)} if not look.is_missing(dataset) else {}
    with st.form(f"silence-{key}", border=False):
        what = st.radio("What", list(whats))
        until = st.selectbox("For", list(_UNTIL), index=1)
        why = st.text_input("Why", placeholder="For example: the source is being moved", max_chars=300)
        if st.form_submit_button("Silence it"):
            if not why.strip():
                st.error("Say why: those who look next must know.")
                return
            of_rule, of_dataset = whats[what or next(iter(whats))]
            end = datetime.now(UTC) + timedelta(hours=_UNTIL[until])

            def silence(c: Connection[Any]) -> str:
                number = actions.silence(c, rule=of_rule, dataset=of_dataset, until=end, who=who, why=why.strip())
                return f"Silence {number}: {what}, until {end:%Y-%m-%d %H:%M} UTC"

            _do(who, silence)


def _silences(db: Connection[Any], who: str, found: pd.DataFrame) -> None:
    look.section("Silences", "Alerts that they cover are opened and kept, and nobody is told")
    lasting = asked(db, run_queries.silences)
    if lasting.empty:
        look.nothing("Nothing is silenced.")
        return
    look.table(
        ("Rule", "Dataset", "Until (UTC)", "Who", "*Why", "#Open alerts"),
        [
            (
                look.text(s.rule) if not look.is_missing(s.rule) else "every rule",
                look.dataset_link(s.dataset) if not look.is_missing(s.dataset) else "every dataset",
                f"{look.when(s.until)}, {look.ago(s.until)}",
                escape(s.who),
                escape(s.why),
                look.count((found["silence_id"] == s.silence_id).sum()),
            )
            for s in lasting.itertuples()
        ],
    )


def _do(who: str, action: Callable[[Connection[Any]], str]) -> None:
    if not who.strip():
        st.error("Say who you are: it is kept with what you do.")
        return
    with connected(writing=True) as connection:
        st.session_state["alerts_done"] = action(connection)
    forget()
    st.rerun()

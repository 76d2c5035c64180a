"""How it runs: timeline, durations, success rates, volume, what is late, publications, storage."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st
from psycopg import Connection

from dashboards import charts, look, operations_queries, queries
from dashboards.asking import asked

_SPANS = {"24 hours": 24, "7 days": 7 * 24, "30 days": 30 * 24}
DAYS = 90
SHOWN = 25


def show(db: Connection[Any]) -> None:
    look.head("Operations", "Times are UTC.")
    chosen = st.segmented_control("Span", list(_SPANS), default="7 days", label_visibility="collapsed", key="span", required=True)
    hours = _SPANS[chosen or "7 days"]
    runs = asked(db, operations_queries.runs_since, hours)
    look.section("Runs", f"The last {chosen}; each bar is a run, from its opening to its end (short ones are drawn wider)")
    if runs.empty:
        look.nothing(f"No run was opened in the last {chosen}.")
    else:
        st.altair_chart(charts.timeline(runs), width="stretch")
        bad = runs[runs["state"].isin(["failed", "conflicted"])].sort_values("opened_at", ascending=False)
        if bad.empty:
            look.nothing("None of them failed.", well=True)
        else:
            look.table(
                ("State", "Run", "Opened", "#Took", "*Domains"),
                [
                    (
                        look.state_chip(r.state),
                        look.run_link(r.run_id),
                        look.when(r.opened_at),
                        look.lasting(r.seconds),
                        look.text(r.domains),
                    )
                    for r in bad.head(SHOWN).itertuples()
                ],
            )
    _late(db)
    left, right = st.columns(2, gap="large")
    with left:
        _outcomes(db, max(hours // 24, 30))
    with right:
        look.section(
            "Durations by step", "Of runs of the last 30 days that ended well: usual band (10 to 90 %), │ median, ● newest"
        )
        times = asked(db, operations_queries.step_times, 30)
        if times.empty:
            look.nothing("No run ended well in the last 30 days.")
        else:
            st.altair_chart(charts.step_times(times), width="stretch")
            slow = times[(times["newest"] > times["high"] * 1.5) & (times["newest"] > 1)]
            for one in slow.itertuples():
                look.html(f"{look.chip('warn', 'slow')} {escape(one.step)}: {look.lasting(one.newest)}, usually up to "
                          f"{look.lasting(one.high)} · {look.run_link(one.run_id)}")  # fmt: skip
    volume = asked(db, operations_queries.volume, DAYS)
    look.section("Volume per layer", f"What main holds, over the last {DAYS} days")
    if volume.empty:
        look.nothing("Nothing is on main yet.")
    else:
        for what, column in zip(("rows", "bytes"), st.columns(2, gap="large"), strict=True):
            column.altair_chart(charts.volume(volume, what), width="stretch")
    _publications(db)
    _storage(db)


def _late(db: Connection[Any]) -> None:
    found = asked(db, queries.late, 12)
    late = found[found["hours_late"] > 0]
    promised = asked(db, queries.promised)
    look.section(
        "Freshness",
        f"{promised:,} datasets have an SLA; {len(late):,} are late, {len(found) - len(late):,} are due within 12 hours",
    )
    if not promised:
        look.nothing(f"No contract says when its dates are due ({look.code('slaProperties')}).")
    elif late.empty:
        look.nothing("Nothing is late.", well=True)
    if found.empty:
        return
    shown = pd.concat([late.head(SHOWN), found[found["hours_late"] <= 0].head(5)])
    look.table(
        ("State", "Dataset", "Waits for", "Was due", "#Late by", "Newest date", "Merged"),
        [
            (
                look.chip("bad", "late") if f.hours_late > 0 else look.chip("quiet", "due"),
                look.dataset_link(f.dataset),
                look.day(f.next_date),
                look.when(f.due_at),
                look.lasting(f.hours_late * 3600) if f.hours_late > 0 else look.ago(f.due_at),
                look.day(f.newest_date),
                look.when(f.merged_at),
            )
            for f in shown.itertuples()
        ],
    )
    if len(found) > len(shown):
        look.html(f'<p class="m-quiet">and {len(found) - len(shown):,} more</p>')


def _outcomes(db: Connection[Any], days: int) -> None:
    found = asked(db, operations_queries.outcomes, days)
    total = int(found["runs"].sum())
    well, failed = (int(found.loc[found["outcome"] == name, "runs"].sum()) for name in ("ended well", "failed"))
    rates = f"{look.share(well, total)} ended well, {look.share(failed, total)} failed, of {total:,}" if total else "no runs"
    look.section("How runs ended", f"The last {days} days: {rates}")
    if total:
        st.altair_chart(charts.outcomes(found), width="stretch")


def _publications(db: Connection[Any]) -> None:
    look.section("Publications", "What the warehouse shows, the newest first")
    found = asked(db, operations_queries.publications)
    if found.empty:
        look.nothing("Nothing was published yet.")
        return
    for one in asked(db, queries.unpublished).itertuples():
        if look.is_missing(one.behind):
            look.html(f"{look.chip('warn', 'behind')} {escape(one.target)}: how far is not known, main's log does not have "
                      f"{escape(one.main_hash[:12])}, which it shows")  # fmt: skip
        elif one.behind:
            look.html(f"{look.chip('warn', 'behind')} {escape(one.target)} lacks {one.behind} commits of main that changed what "
                      "it shows")  # fmt: skip
    look.table(
        (
            "Warehouse",
            "#No.",
            "Published",
            "#Runs",
            "#Tables changed",
            "#Of tables",
            "#Rows in all",
            "#Staged",
            "#Re-encoded",
            "Newest run",
        ),
        [
            (
                escape(p.target),
                look.count(p.sequence),
                look.when(p.published_at),
                look.count(len(p.runs)),
                look.count(p.changed),
                look.count(p.tables),
                look.count(p.rows),
                look.size(p.staged_bytes),
                look.size(p.reencoded_bytes),
                look.run_link(p.runs[-1] if p.runs else None),
            )
            for p in found.itertuples()
        ],
    )


def _storage(db: Connection[Any]) -> None:
    look.section("Storage", "Files that main's tables hold now; older snapshots not counted")
    layers = asked(db, operations_queries.storage_of_layers)
    if layers.empty:
        look.nothing("Nothing is on main yet.")
        return
    look.tiles(
        [
            (
                one.layer.capitalize(),
                look.size(one.bytes),
                f"{look.count(one.rows)} rows, {look.count(one.files)} files, {one.tables} tables",
                None,
            )
            for one in layers.itertuples()
        ]
    )
    look.section("Largest tables")
    look.table(
        ("Table", "#Size", "#Rows", "#Files", "#Mean file", "Last changed"),
        [
            (
                look.dataset_link(s.dataset.removesuffix("__quarantine"))
                + (" (quarantine)" if s.dataset.endswith("__quarantine") else ""),
                look.size(s.bytes),
                look.count(s.rows),
                look.count(s.files),
                look.size(s.bytes / s.files if s.files else None),
                look.when(s.committed_at),
            )
            for s in asked(db, operations_queries.storage).itertuples()
        ],
    )

"""How good the data is: per layer and dataset, over time; what rules caught, what was unusual, what lies in quarantine."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st
from psycopg import Connection

from dashboards import charts, lineage_queries, look, queries, run_queries
from dashboards.asking import asked

_RANGES = {"30 days": 30, "90 days": 90, "a year": 366}
SHOWN = 25


def show(db: Connection[Any]) -> None:
    known = asked(db, queries.datasets_now)
    if known.empty:
        look.head("Quality")
        look.nothing(
            f"Nothing is known of any dataset yet. It comes with the end of the next run; {look.code('medallion ops rebuild')} "
            "fills it from the runs that there were."
        )
        return
    chosen = st.query_params.get("dataset")
    if chosen is None:
        _all(db, known)
    elif (known["dataset"] == chosen).any():
        _one(db, known[known["dataset"] == chosen].iloc[0])
    else:
        look.head(chosen, look.link("quality", "← all datasets"))
        look.nothing("No dataset of this name has a contract. It may have been renamed or removed.")


def _range() -> int:
    chosen = st.segmented_control(
        "Range", list(_RANGES), default="90 days", label_visibility="collapsed", key="range", required=True
    )
    return _RANGES[chosen or "90 days"]


def _all(db: Connection[Any], known: pd.DataFrame) -> None:
    look.head("Quality", "Score: 100 means that no rule caught anything and nothing was unusual. Dates are logical dates.")
    days = _range()
    scores, unusual = asked(db, queries.scores_of_layers, days), asked(db, queries.anomalies, days)
    look.section("Score per layer", "The mean of its datasets of that date; ▲ marks days on which a dataset was unusual")
    if scores.empty:
        look.nothing("No write of this range has a score yet.")
    else:
        st.altair_chart(charts.scores_of_layers(scores, unusual), width="stretch")
    look.section("Datasets", "The weakest first")
    words, layer = st.columns([3, 2], vertical_alignment="bottom")
    wanted = words.text_input("Search datasets", placeholder="Name, domain or owner", label_visibility="collapsed")
    only = layer.segmented_control("Layer", ["bronze", "silver", "gold"], label_visibility="collapsed", key="layer")
    found = known
    if only:
        found = found[found["layer"] == only]
    if wanted:
        text = found["dataset"] + " " + found["owner"].fillna("")
        found = found[text.str.contains(wanted.strip(), case=False, regex=False)]
    found = found.assign(red=found["failed_run"].notna() | found["is_late"] | (found["worst_alert"].isin(["critical", "error"])))
    datasets(found.sort_values(["red", "score", "dataset"], ascending=[False, True, True]).head(SHOWN), len(found))
    look.section("Rules that caught most", f"In the last {days} days")
    _rules(asked(db, queries.rules_of, min(days, 90)), with_dataset=True)
    look.section("Most rows in quarantine", "Look through them on the page of the dataset")
    _quarantine(asked(db, queries.quarantine, days), with_dataset=True)
    look.section("Unusual", "What differed from a dataset's own past")
    _unusual(unusual.head(SHOWN), with_dataset=True)


def _one(db: Connection[Any], dataset: pd.Series) -> None:
    name = dataset["dataset"]
    below = " · ".join(filter(None, (escape(str(dataset["description"] or "")), f"owner {look.text(dataset['owner'])}")))
    look.head(name, f"{below}<br>{look.link('quality', '← all datasets')} · {look.link('lineage', 'lineage', dataset=name)}")
    state = state_of(dataset)
    change = dataset["score"] - dataset["usual"]
    told = f"{change:+.1f} on its 30 days before" if not look.is_missing(change) else "no past yet"
    late = f'<span class="m-bad">late, due {look.ago(dataset["due_at"])}</span>' if dataset["is_late"] else (
        f"next is due {look.ago(dataset['due_at'])}" if not look.is_missing(dataset["due_at"]) else "no SLA")  # fmt: skip
    look.tiles(
        [
            ("State", state, f"{look.count(dataset['alerts'])} open alerts", look.address("alerts", dataset=name)),
            ("Score", look.score(dataset["score"]), told, None),
            (
                "Newest date",
                look.day(dataset["date"]),
                late,
                look.address("run", run=dataset["run_id"]) if dataset["run_id"] else None,
            ),
            ("Rows of it", look.count(dataset["rows_in"]), f"{look.count(dataset['quarantined'])} quarantined", None),
        ]
    )
    days = _range()
    scores, unusual = asked(db, queries.scores_of_dataset, name, days), asked(db, queries.anomalies, days, name)
    look.section("Score", "▲ unusual · ✖ refused, not on main")
    if scores.empty:
        look.nothing("It was not written yet.")
    else:
        st.altair_chart(charts.scores_of_dataset(scores, unusual), width="stretch")
        look.section("Rows per date", "Green bars: what would have been usual where it was not")
        st.altair_chart(charts.rows_of_dataset(scores, unusual), width="stretch")
    if len(unusual):
        look.section("Unusual")
        _unusual(unusual, with_dataset=False)
    look.section("Rules", f"{look.count(dataset['rules'])} in its contract; what they caught in the last {days} days")
    _rules(asked(db, queries.rules_of, days, name, 100), with_dataset=False)
    aside = asked(db, queries.quarantine, days, name)
    look.section("Quarantine", f"Rows put aside; all of them: {look.code(f'medallion quarantine show {name}')}")
    _quarantine(aside, with_dataset=False)
    if len(aside):
        samples = asked(db, queries.samples, name, aside["run_id"].drop_duplicates().head(10).tolist())
        if len(samples):
            look.section("Sample rows that broke rules", "Without personal columns")
            look.table(
                ("Date", "Rule", "*Row", "Run"),
                [
                    (
                        look.text(s.date),
                        f"{look.chip(look.OF_SEVERITY[s.severity], s.rule)}",
                        look.sample(s.sample),
                        look.run_link(s.run_id),
                    )
                    for s in samples.itertuples()
                ],
            )
    alerts = asked(db, run_queries.alerts_of, dataset=name)
    if len(alerts):
        look.section("Alerts")
        alerts_table(alerts)
    versions = asked(db, lineage_queries.schema_versions, name)
    if len(versions):
        look.section("Schema versions")
        look.table(("#Version", "Since (UTC)", "Contract", "Run"), [
            (look.count(v.version), look.when(v.committed_at), look.text(v.contract_version), look.run_link(v.run_id))
            for v in versions.itertuples()
        ])  # fmt: skip


def state_of(dataset: pd.Series) -> str:
    """A dataset's state as a chip, with the link to its cause where there is one."""
    if not look.is_missing(dataset["failed_run"]):
        return look.chip("bad", "refused")
    if dataset["worst_alert"] in ("critical", "error"):
        return look.chip("bad", "alert")
    if dataset["is_late"]:
        return look.chip("bad", "late")
    if dataset["worst_alert"] == "warning":
        return look.chip("warn", "alert")
    if look.is_missing(dataset["score"]):
        return look.chip("quiet", "not written")
    return look.chip("good", "well")


def datasets(found: pd.DataFrame, of: int, page: str = "quality") -> None:
    """A table of datasets as they are now, with links to a page of ours."""
    if found.empty:
        look.nothing("No dataset fits.")
        return
    rows = []
    for _, d in found.iterrows():
        cause = (
            look.link("run", "run", run=d["failed_run"]) if not look.is_missing(d["failed_run"])
            else look.link("alerts", "alerts", dataset=d["dataset"]) if d["alerts"]
            else look.link("operations", "SLA") if d["is_late"] else ""
        )  # fmt: skip
        rows.append(
            (
                f"{state_of(d)} {cause}",
                look.dataset_link(d["dataset"], page),
                look.score(d["score"]),
                look.score(d["usual"]),
                look.day(d["date"]),
                look.count(d["rows_in"]),
                look.share(d["quarantined"], d["rows_in"]),
                look.text(d["owner"]),
            )
        )
    look.table(("State", "Dataset", "#Score", "#Usual", "Newest date", "#Rows", "#Quarantined", "Owner"), rows)
    if len(found) < of:
        look.html(f'<p class="m-quiet">{len(found)} of {of:,}; search for others.</p>')


def alerts_table(found: pd.DataFrame) -> None:
    """A table of alerts, open or over."""
    look.table(
        ("Severity", "*What", "Dataset", "Rule", "Opened (UTC)", "How it is", ""),
        [
            (
                look.chip(look.OF_SEVERITY[a.severity], a.severity),
                escape(a.summary),
                look.dataset_link(a.dataset),
                escape(a.rule),
                look.when(a.opened_at),
                how_it_is(a),
                look.link("alerts", "open", alert=a.alert_id)
                if look.is_missing(a.resolved_at)
                else ""
                if look.is_missing(a.run_id)
                else look.link("run", "its run", run=a.run_id),
            )
            for a in found.itertuples()
        ],
    )


def how_it_is(alert: Any) -> str:
    """Whether an alert is open, taken care of, silenced or over."""
    if not look.is_missing(alert.resolved_at):
        return look.chip("good", "over") + f" {look.ago(alert.resolved_at)}"
    if not look.is_missing(alert.silence_id):
        return look.chip("quiet", "silenced") + f" until {look.when(alert.silenced_until)}"
    if not look.is_missing(alert.acknowledged_at):
        return look.chip("quiet", "acknowledged") + f" by {escape(str(alert.acknowledged_by))}"
    return look.chip(look.OF_SEVERITY[alert.severity], "open")


def _rules(found: pd.DataFrame, *, with_dataset: bool) -> None:
    if found.empty:
        look.nothing("No rule caught anything.", well=True)
        return
    look.table(
        (*(["Dataset"] if with_dataset else []), "Rule", "*It says", "#Caught", "#Of rows", "#Refused", "Last caught"),
        [
            (
                *([look.dataset_link(r.dataset)] if with_dataset else []),
                f"{escape(r.rule)} {look.chip(look.OF_SEVERITY[r.severity], r.severity)}",
                escape(r.description),
                look.count(r.bad),
                look.share(r.bad, r.judged),
                look.count(r.refused),
                f"{look.day(r.last_caught)} {look.link('run', 'run', run=r.last_run) if r.last_run else ''}",
            )
            for r in found.itertuples()
        ],
    )


def _quarantine(found: pd.DataFrame, *, with_dataset: bool) -> None:
    if found.empty:
        look.nothing("Nothing was put aside.", well=True)
        return
    look.table((*(["Dataset"] if with_dataset else []), "Date", "#Put aside", "#Of rows", "Run", "On main"), [
        (*([look.dataset_link(q.dataset)] if with_dataset else []), look.day(q.date), look.count(q.quarantined),
         look.share(q.quarantined, q.rows_in), look.run_link(q.run_id), "yes" if q.merged else look.chip("bad", "refused"))
        for q in found.itertuples()
    ])  # fmt: skip


def _unusual(found: pd.DataFrame, *, with_dataset: bool) -> None:
    if found.empty:
        look.nothing("Nothing was unusual.", well=True)
        return
    look.table(("Date", *(["Dataset"] if with_dataset else []), "Metric", "*What", "Run"), [
        (look.day(a.date), *([look.dataset_link(a.dataset)] if with_dataset else []),
         escape(a.metric + (f" of {a.column}" if a.column else "")), escape(a.description), look.run_link(a.run_id))
        for a in found.itertuples()
    ])  # fmt: skip

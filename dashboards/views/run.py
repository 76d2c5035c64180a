"""One run, its whole story: how it ended, the gate, its differences to main, its steps, and what to do next."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st
from psycopg import Connection

from dashboards import charts, look, queries, run_queries
from dashboards.asking import asked
from dashboards.look import Level
from dashboards.run_queries import Told
from dashboards.views import quality, today

SHOWN = 30


def show(db: Connection[Any]) -> None:
    wanted = st.query_params.get("run")
    if wanted is None:
        look.head("Run", "Choose a run; each has its whole story on one page.")
        words = st.text_input(
            "Search runs", placeholder="Part of a run's id, such as its date: 2013-01-05", label_visibility="collapsed"
        )
        found = asked(db, queries.recent_runs, 40, words.strip())
        if found.empty:
            look.nothing("No run's id has this in it.")
        else:
            today.runs(found)
        return
    told = asked(db, run_queries.run, wanted)
    if told is None:
        look.head(wanted, look.link("run", "← all runs"))
        look.nothing(f"There is no run of this id, or several begin so. {look.code('medallion runs')} lists them.")
        return
    _story(db, told)


def _story(db: Connection[Any], told: Told) -> None:
    row, run_id = told.row, told.row["run_id"]
    writes = told.story.get("writes") or []
    rules = verdicts(asked(db, run_queries.rules, run_id), writes)
    refused = rules[~rules["passed"].astype(bool) & (rules["severity"] == "error")]
    look.head(run_id, look.link("run", "← all runs"))
    level, title, below, command = next_step(row, refused)
    look.verdict(level, title, f"{below}{f'<br>Next: {look.code(command)}' if command else ''}")
    if row["error"] and refused.empty:
        look.html(f"<p>{look.code(row['error'])}</p>")
    quarantined = sum(w.get("quarantined") or 0 for w in writes)
    look.tiles(
        [
            ("State", look.state_chip(row["state"]), f"kind {escape(row['kind'])}", None),
            ("Took", look.lasting(row["seconds"]), f"opened {look.when(row['opened_at'])} UTC", None),
            (
                "Rows written",
                look.count(sum(w.get("rows_out") or 0 for w in writes)),
                f"of {look.count(sum(w.get('rows_in') or 0 for w in writes))} read, {look.count(quarantined)} quarantined",
                None,
            ),
            (
                "Gate",
                look.chip("bad", "refused")
                if len(refused)
                else look.chip("good", "passed")
                if row["merged_hash"]
                else look.chip("quiet", "not reached" if row["state"] == "failed" else row["state"]),
                f"{len(rules):,} verdicts, {int((rules['bad'] > 0).sum())} caught something",
                None,
            ),
        ]
    )
    _gate(rules, writes)
    _changes(db, row, writes)
    look.section("Written", "Each write with what came in, what is kept and what was put aside")
    if writes:
        look.table(
            ("Dataset", "Date", "#In", "#Kept", "#Quarantined", "#Dropped", "#Score", "#Took", "*Why"),
            [
                (
                    look.dataset_link(w["dataset"]),
                    look.text(w.get("logical_date")),
                    look.count(w.get("rows_in")),
                    look.count(w.get("rows_out")),
                    look.count(w.get("quarantined")),
                    look.count(sum((w.get("dropped") or {}).values())),
                    look.score(w.get("score")),
                    look.lasting(w.get("seconds")),
                    look.text(w.get("reason")),
                )
                for w in writes
            ],
        )
    else:
        look.nothing("It wrote nothing.")
    steps = asked(db, run_queries.steps, run_id)
    look.section("Steps", "What it did outside its own process, in order")
    if steps.empty:
        look.nothing("No step was noted.")
    else:
        st.altair_chart(charts.steps_of_run(steps), width="stretch")
        broken = steps[steps["outcome"].notna() & (steps["outcome"] != "done")]
        if len(broken):
            look.table(
                ("Step", "*What came of it"), [(look.chip("bad", s.step), look.code(s.outcome)) for s in broken.itertuples()]
            )
    _read(told)
    alerts = asked(db, run_queries.alerts_of, run_id=run_id)
    if len(alerts):
        look.section("Alerts")
        quality.alerts_table(alerts)
    _bound_to(db, row)


def next_step(row: dict[str, Any], refused: pd.DataFrame) -> tuple[Level, str, str, str | None]:
    """What a run's state means and what to do: how bad, in a sentence, more (HTML), a command."""
    run_id, day = row["run_id"], row["logical_date"]
    again = f"medallion run --date {day}" if day else None
    state = row["state"]
    if state == "failed" and len(refused):
        first = refused.iloc[0]
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        return "bad", "The gate refused it; main is as it was", (
            f"{look.dataset_link(first['dataset'])}: {escape(first['rule'])} was broken by {look.count(first['bad'])} of "
            f"{look.count(first['judged'])} rows{more}. Look at the rows, have the delivery corrected, run the date again."
        ), f"medallion quarantine show {first['dataset']} --run {run_id}"  # fmt: skip
    if state == "failed":
        return (
            "bad",
            "It failed; main is as it was",
            "What it wrote stays on its branch, sealed. When the cause is mended, run it again.",
            again,
        )
    if state == "conflicted":
        return "warn", "Others changed what it read; it was run again as another run", "Nothing of it is on main.", None
    if state == "reverted":
        by = look.run_link(row["reverted_by"])
        return "quiet", "It was taken back", f"by {by}; its deliveries are still in their buckets", None
    if state == "unchanged":
        return "good", "There was nothing to do", "Its deliveries were there already, and everything made of them.", None
    if state == "published":
        return "good", "It is on main and in the warehouse", f"main is at {look.code(row['merged_hash'][:12])}", None
    if state == "merged":
        return "good", "It is on main", f"main is at {look.code(row['merged_hash'][:12])}; the warehouse does not show it yet", (
            "medallion publish"
        )  # fmt: skip
    return (
        "quiet",
        f"It is under way: {state}",
        "If no process works on it any more, it is finished or failed by:",
        f"medallion resume {run_id}",
    )


def verdicts(projected: pd.DataFrame, writes: list[dict[str, Any]]) -> pd.DataFrame:
    """A run's verdicts as projected, else as its story has them (the projection may be behind)."""
    if len(projected):
        return projected
    rows = [
        {"n": n, "dataset": w["dataset"], "logical_date": pd.to_datetime(w.get("logical_date"))}
        | {key: v.get(key) for key in ("rule", "severity", "passed", "bad", "judged", "tolerance", "description", "decided_by")}
        for n, w in enumerate(writes, 1) for v in w.get("verdicts") or ()
    ]  # fmt: skip
    found = pd.DataFrame(rows, columns=projected.columns)
    return found.sort_values(["passed", "bad"], ascending=[True, False]) if rows else found


def _gate(rules: pd.DataFrame, writes: list[dict[str, Any]]) -> None:
    samples = {
        (n, v["rule"]): (v.get("samples") or [None])[0]
        for n, w in enumerate(writes, 1) for v in w.get("verdicts") or () if v.get("bad")
    }  # fmt: skip
    caught = rules[rules["bad"] > 0]
    look.section("Gate", f"{len(rules):,} verdicts on what it wrote; those that caught something")
    if rules.empty:
        look.nothing("Nothing was judged.")
    elif caught.empty:
        look.nothing("All rules held on every row.", well=True)
    else:
        look.table(("Verdict", "Dataset", "Rule", "*It says", "#Caught", "#Of rows", "#Allowed", "*For example"), [
            (_verdict_chip(r), look.dataset_link(r.dataset), escape(r.rule), escape(str(r.description)), look.count(r.bad),
             look.share(r.bad, r.judged), f"{r.tolerance:.1%}" if r.tolerance < 1 else look.count(r.tolerance),
             look.sample(sample) if (sample := samples.get((r.n, r.rule))) else look.BLANK)
            for r in caught.head(SHOWN).itertuples()
        ])  # fmt: skip


def _verdict_chip(rule: Any) -> str:
    if rule.severity == "error":
        return look.chip("warn", "within tolerance") if rule.passed else look.chip("bad", "refused")
    return look.chip("warn", "warning")


def _changes(db: Connection[Any], row: dict[str, Any], writes: list[dict[str, Any]]) -> None:
    if row["merged_hash"]:
        look.section("Differences to main before it", f"Its commit {look.code(row['merged_hash'][:12])}, against the one before")
        found = asked(db, run_queries.differences, row["merged_hash"])
        if found.empty:
            look.nothing(f"Not projected yet; {look.code('medallion diff ' + row['run_id'])} reads it from the lake.")
            return
        look.table(("Table", "#Rows before", "#Rows after", "#Added", "#Deleted", "#Size now", "#Files"), [
            (look.dataset_link(d.dataset), look.count(d.before), look.count(d.after), f"+{d.added:,}" if d.added else "0",
             f"-{d.deleted:,}" if d.deleted else "0", look.size(d.bytes), look.count(d.files))
            for d in found.itertuples()
        ])  # fmt: skip
    elif writes and row["state"] in ("failed", "open", "written", "validated", "merging"):
        look.section("Differences to main", "Nothing of it is on main")
        look.nothing(
            f"It wrote {look.count(sum(w.get('rows_out') or 0 for w in writes))} rows "
            f"to {len({w['dataset'] for w in writes})} tables "
            f"of its branch {look.code(row['branch'])}; {look.code('medallion diff ' + row['run_id'])} compares them with main."
        )


def _read(told: Told) -> None:
    deliveries, reads = told.story.get("deliveries") or [], told.story.get("reads") or []
    look.section("Read", f"At main {look.code(told.row['h0'][:12])}")
    if deliveries:
        look.table(
            ("Dataset", "Date", "#Rows", "*Landing file", "SHA-256"),
            [
                (
                    look.dataset_link(d["dataset"]),
                    look.text(d.get("logical_date")),
                    look.count(d.get("rows")),
                    escape(d["uri"]),
                    f'<code title="{escape(d["sha256"])}">{escape(d["sha256"][:12])}…</code>',
                )
                for d in deliveries
            ],
        )
    if reads:
        with st.expander(f"{len(reads)} tables"):
            look.html(" · ".join(look.dataset_link(name, "lineage") for name in reads))
    if not deliveries and not reads:
        look.nothing("It read nothing.")
    for note in told.story.get("notes") or ():
        look.html(f"<p>{escape(str(note))}</p>")


def _bound_to(db: Connection[Any], row: dict[str, Any]) -> None:
    look.section("Before and after it")
    again = asked(db, run_queries.retries, row["run_id"])
    shown = asked(db, run_queries.publications_of, row["run_id"])
    look.facts(
        [
            ("Runs again", look.run_link(row["retry_of"])),
            ("Was run again by", " · ".join(look.run_link(r) for r in again["run_id"]) or look.BLANK),
            ("Taken back by", look.run_link(row["reverted_by"])),
            (
                "Shown by publication",
                " · ".join(f"{escape(p.target)} no. {p.sequence}, {look.when(p.published_at)}" for p in shown.itertuples())
                or look.BLANK,
            ),
            ("Branch", look.code(row["branch"])),
            ("More", look.code(f"medallion show {row['run_id']}")),
        ]
    )
    audit = asked(db, run_queries.audit_of, row["run_id"])
    if len(audit):
        with st.expander(f"{len(audit)} records in the audit log"):
            look.table(("#No.", "When (UTC)", "Who", "What", "On", "Outcome"), [
                (look.count(a.sequence), look.when(a.at), escape(a.who), escape(a.action), escape(a.object), escape(a.outcome))
                for a in audit.itertuples()
            ])  # fmt: skip

"""When an alert is over: asked of the journal each time, so that nothing is missed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from medallion.alerts import lateness, occurrences, publications, questions, store
from medallion.alerts.lateness import Standing
from medallion.alerts.rules import QualityDrop, Rules
from medallion.quality.gate import AS_USUAL

_RUN = "SELECT state, kind, ended_at, reverted_by FROM ops.runs WHERE run_id = %s"


def why_over(opened: store.Connection, alert: Mapping[str, Any], rules: Rules, standings: Mapping[str, Standing]) -> str | None:
    """Why an open alert is over; None while it is not. One whose rule is not known is no other: another process, with another
    file of rules, has opened it."""
    rule = rules.by_name.get(alert["rule"])
    if alert["kind"] in ("gap", "sla_missed"):
        return _of_promise(opened, alert, standings.get(alert["dataset"]))
    if alert["kind"] == "publication_failed" and alert["run_id"] is None:
        return publications.made_good(opened, alert)
    run = next(iter(store.rows(opened, _RUN, (alert["run_id"],))), None)
    if run is None:
        return "its run is no longer in the journal"
    if run["state"] == "reverted":
        return f"run {alert['run_id']} was reverted by {run['reverted_by']}"
    if alert["kind"] in ("run_failed", "publication_failed", "schema_violation"):
        asked = {"after": run["ended_at"], "dataset": alert["dataset"], "date": alert["logical_date"], "kind": run["kind"]}
        good = store.rows(opened, questions.MADE_GOOD, asked)
        return f"run {good[0]['run_id']} ended well" if good else None
    asked = {"dataset": alert["dataset"], "since": str(alert["logical_date"]), "after": run["ended_at"]}
    later = store.rows(opened, questions.LATER_WRITE, asked)
    if not later:
        return None
    write, when = later[0]["write"], later[0]["logical_date"]
    if alert["kind"] == "quality_drop":
        if not isinstance(rule, QualityDrop):
            rule = QualityDrop(name=alert["rule"], kind="quality_drop", share=alert["detail"]["figures"]["allowed"])
        return _of_score(opened, rule, alert["dataset"], write, when)
    strange = any(verdict["rule"] == AS_USUAL and verdict["bad"] for verdict in write.get("verdicts", ()))
    return None if strange else f"{when} is as usual"


def _of_promise(opened: store.Connection, alert: Mapping[str, Any], standing: Standing | None) -> str | None:
    if standing is None:
        return None  # another process knows its contract
    if alert["kind"] == "sla_missed":
        back = lateness.in_time_since(opened, standing, alert["logical_date"])
        return f"{standing.newest} came in time" if back else None
    if lateness.still_missing(opened, standing, alert):
        return None
    return "all of it came, or is not expected any more"


def _of_score(opened: store.Connection, rule: QualityDrop, dataset: str, write: dict[str, Any], when: date) -> str | None:
    if write.get("score") is None:
        return None
    usual = occurrences.level(opened, rule, dataset, when)
    fell = occurrences.drop(usual, write["score"])
    return None if fell > rule.share + 1e-9 else f"the score of {when} is {write['score']:.1f}"

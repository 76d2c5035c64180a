"""What is to be told of a run that has ended.

Of one run and dataset one kind is told, the one that says most: a violated schema, a drop in quality, a failure, something
unusual. What else there was stands in the alert's detail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from statistics import median
from typing import Any

from medallion.alerts import questions, store
from medallion.alerts.finding import Finding, masked, occurrence, samples
from medallion.alerts.rules import PublicationFailed, QualityDrop, Rules, RunFailed, SchemaViolated, Unusual
from medallion.contract import Contract
from medallion.quality import gate, score
from medallion.quality.gate import AS_USUAL

SCHEMA_ERRORS = ("SchemaViolation", "BreakingSchema")
"""Errors of `medallion.errors`, as the journal notes them before their text."""
_ON_PURPOSE = ("interrupted", "abandoned")
_TELLS_MOST = ("schema_violation", "quality_drop", "run_failed", "publication_failed", "anomaly")
_NAMED = re.compile(r"\b(?:bronze|silver|gold)\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")

Contracts = Mapping[str, Contract]


def of_run(opened: store.Connection, run: dict[str, Any], contracts: Contracts, rules: Rules) -> list[Finding]:
    """What one run is worth telling, one kind for each dataset and date.

    Args:
        run: a row of `questions.NEW_RUNS`.
    """
    if run["state"] in ("unchanged", "reverted"):
        return []
    story = store.one(opened, questions.STORY, (run["run_id"],))["story"]
    writes = [write for write in story.get("writes", ()) if write["dataset"] in contracts]
    found = [*_schema(opened, run, story, contracts, rules), *_drops(opened, run, writes, contracts, rules)]
    found += [*_failures(opened, run, story, contracts, rules), *_unusual(run, writes, contracts, rules)]
    found += _marts(run, rules)
    of_place: dict[tuple[str | None, date | None], list[Finding]] = {}
    for one in found:
        of_place.setdefault((one.dataset, one.logical_date), []).append(one)
    told = []
    for those in of_place.values():
        most = min(_TELLS_MOST.index(one.rule.kind) for one in those)
        other = sorted({one.rule.kind for one in those if _TELLS_MOST.index(one.rule.kind) > most})
        for one in those:
            if _TELLS_MOST.index(one.rule.kind) == most:
                one.detail.update({"also": other} if other else {})
                told.append(one)
    return told


def unreadable(run: dict[str, Any], rules: Rules) -> list[Finding]:
    """What is told of a run whose story makes no sense: that it failed, if it did.

    Args:
        run: a row of `questions.NEW_RUNS`.
    """
    if run["state"] not in ("failed", "conflicted") or run["error"] in _ON_PURPOSE:
        return []
    return [
        Finding(
            rule, occurrence(rule, run["kind"], run["logical_date"] or run["run_id"]), None, run["run_id"], run["logical_date"],
            f"a {run['kind']} run{_for(run)} failed, and its story could not be looked at; main is unchanged",
            f"medallion show {run['run_id']}",
            {"error": masked(run["error"] or "its process ended", ()), "kind": run["kind"]},
        )
        for rule in rules.of(RunFailed, None)
    ]  # fmt: skip


def strange_to(opened: store.Connection, run: dict[str, Any], contracts: Contracts) -> bool:
    """Whether a run has to do with datasets that these contracts do not have: another process may know more of it.

    Args:
        run: a row of `questions.NEW_RUNS`.
    """
    if run["state"] in ("unchanged", "reverted"):
        return False
    steps = store.rows(opened, questions.BROKEN_STEPS, (run["run_id"],))
    names = {name for text in (run["error"] or "", *(row["name"] for row in steps)) for name in _NAMED.findall(text)}
    names = {name for name in names if not name.endswith(".odcs")}  # a contract's file
    names |= {row["dataset"] for row in store.rows(opened, questions.NAMED, (run["run_id"],))}
    return not names <= contracts.keys()


def level(opened: store.Connection, rule: QualityDrop, dataset: str, before: date) -> float | None:
    """The median score of a dataset's last dates on main before one; None where there are too few."""
    asked = {"dataset": dataset, "before": before.isoformat(), "limit": rule.writes}
    scores = [row["score"] for row in store.rows(opened, questions.LEVEL, asked) if row["score"] is not None]
    return median(scores) if len(scores) >= rule.least else None


def drop(usual: float | None, now: float) -> float:
    """The share by which a score lies below the usual one; 0 if it does not."""
    return max((usual - now) / usual, 0.0) if usual else 0.0


def _drops(
    opened: store.Connection, run: dict[str, Any], writes: list[dict[str, Any]], contracts: Contracts, rules: Rules
) -> list[Finding]:
    of_date: dict[tuple[str, date], list[dict[str, Any]]] = {}
    for write in writes:
        if write.get("score") is not None and (when := _date(write, run)):
            of_date.setdefault((write["dataset"], when), []).append(write)
    found = []
    for (dataset, when), those in of_date.items():
        now = score.of_datasets(those)[dataset]
        for rule in rules.of(QualityDrop, dataset):
            usual = level(opened, rule, dataset, when)
            fell = drop(usual, now)
            if usual is None or fell <= rule.share + 1e-9:
                continue
            end = "the run failed, main is unchanged" if run["state"] == "failed" else "the run is on main"
            figures = {"score": now, "usual": round(usual, 1), "drop": round(fell, 4), "allowed": rule.share}
            found.append(
                Finding(
                    rule, occurrence(rule, dataset, when), dataset, run["run_id"], when,
                    f"quality of {dataset} of {when} fell by {fell:.0%}, from {usual:.1f} to {now:.1f}; {end}",
                    f"medallion quarantine show {dataset} --date {when} --run {run['run_id']}",
                    {"figures": figures} | _broken(those, contracts.get(dataset)),
                )
            )  # fmt: skip
    return found


def _schema(
    opened: store.Connection, run: dict[str, Any], story: dict[str, Any], contracts: Contracts, rules: Rules
) -> list[Finding]:
    if run["state"] != "failed" or _class(run) not in SCHEMA_ERRORS:
        return []
    dataset = _named(run["error"], contracts)
    what = "a delivery" if _class(run) == "SchemaViolation" else "a change of its contract"
    error = _error(run, story, contracts)
    return [
        Finding(
            rule, occurrence(rule, dataset, run["logical_date"] or run["run_id"]), dataset, run["run_id"], run["logical_date"],
            f"the schema of {dataset or 'a dataset'} is violated by {what}{_for(run)}: it was refused, main is unchanged",
            f"medallion show {run['run_id']}",
            {"error": error},
        )
        for rule in rules.of(SchemaViolated, dataset)
    ]  # fmt: skip


def _failures(
    opened: store.Connection, run: dict[str, Any], story: dict[str, Any], contracts: Contracts, rules: Rules
) -> list[Finding]:
    if run["state"] not in ("failed", "conflicted") or run["error"] in _ON_PURPOSE:
        return []
    if _class(run) in SCHEMA_ERRORS and rules.of(SchemaViolated, _named(run["error"], contracts)):
        return []
    writes = story.get("writes", ())
    refused: dict[str | None, list[dict[str, Any]]] = {}
    for write, _ in gate.refusals(list(writes)):
        refused.setdefault(write["dataset"], []).append(write)
    places = refused or {_failed_at(opened, run, contracts): []}
    found = []
    for dataset, those in places.items():
        when = (_date(those[0], run) if those else None) or run["logical_date"]
        for rule in rules.of(RunFailed, dataset):
            if not _critical(rule, [dataset] if dataset else story.get("reads", ()), contracts):
                continue
            why = "the gate refused what it made" if those else "it ended with an error"
            where = f" at {dataset}" if dataset else ""
            detail = _broken(those, contracts.get(dataset or "")) if those else {"error": _error(run, story, contracts)}
            found.append(
                Finding(
                    rule, occurrence(rule, dataset or run["kind"], when or run["run_id"]), dataset, run["run_id"], when,
                    f"a {run['kind']} run{_for(run)} failed{where}: {why}; main is unchanged",
                    f"medallion show {run['run_id']}",
                    detail | {"kind": run["kind"]},
                )
            )  # fmt: skip
    return found


def _marts(run: dict[str, Any], rules: Rules) -> list[Finding]:
    """Marts that are made in the lake are a run's."""
    if run["kind"] != "marts" or run["state"] not in ("failed", "conflicted") or run["error"] in _ON_PURPOSE:
        return []
    return [
        Finding(
            rule, occurrence(rule, "lake", "marts"), None, run["run_id"], None,
            "the marts could not be made in the lake; main is unchanged", f"medallion show {run['run_id']}",
            {"error": masked(run["error"] or "its process ended", ())},
        )
        for rule in rules.of(PublicationFailed, None)
    ]  # fmt: skip


def _unusual(run: dict[str, Any], writes: list[dict[str, Any]], contracts: Contracts, rules: Rules) -> list[Finding]:
    found = []
    for write in writes:
        dataset, when = write["dataset"], _date(write, run)
        for verdict in write.get("verdicts", ()):
            if verdict["rule"] != AS_USUAL or not verdict["bad"]:
                continue
            found += [
                Finding(
                    rule, occurrence(rule, dataset, when), dataset, run["run_id"], when,
                    f"{dataset} of {when} is not as usual: {verdict['description']}",
                    f"medallion quality {dataset}",
                    {"unusual": list(verdict["samples"]), "figures": {"compared_with": verdict["judged"]}},
                )
                for rule in rules.of(Unusual, dataset)
            ]  # fmt: skip
    return found


def _failed_at(opened: store.Connection, run: dict[str, Any], contracts: Contracts) -> str | None:
    """The dataset that a run failed at: of the step that did not end well, or the one that its error names."""
    for row in store.rows(opened, questions.BROKEN_STEPS, (run["run_id"],)):
        dataset = row["name"].partition(".")[2]
        if dataset in contracts:
            return str(dataset)
    return _named(run["error"] or "", contracts)


def _named(text: str, contracts: Contracts) -> str | None:
    return next((name for name in _NAMED.findall(text) if name in contracts), None)


def _critical(rule: RunFailed, datasets: list[str], contracts: Contracts) -> bool:
    more = RunFailed(name=rule.name, kind="run_failed", datasets=rule.critical)
    return any((dataset in contracts and contracts[dataset].critical) or more.watches(dataset) for dataset in datasets)


def _class(run: dict[str, Any]) -> str:
    return str(run["error"] or "").partition(":")[0]


def _error(run: dict[str, Any], story: dict[str, Any], contracts: Contracts) -> str:
    known = {*contracts, *story.get("reads", ())}
    for dataset in known & {*contracts}:
        known |= {name for column in contracts[dataset].columns for name in (column.name, column.source)}
    return masked(run["error"] or "its process ended", known)


def _broken(writes: list[dict[str, Any]], contract: Contract | None) -> dict[str, Any]:
    """The rules that rows of some writes broke, most first, with sample rows."""
    verdicts = [v for write in writes for v in write.get("verdicts", ()) if v["bad"] and v["rule"] != AS_USUAL]
    verdicts.sort(key=lambda v: (v["severity"] != "error", -v["bad"]))
    counted = [{key: v[key] for key in ("rule", "severity", "bad", "judged", "passed")} for v in verdicts[:5]]
    return {"rules": counted, "samples": samples([text for v in verdicts for text in v["samples"]], contract)}


def _date(write: dict[str, Any], run: dict[str, Any]) -> date | None:
    told = write.get("logical_date") or write.get("as_of") or run["logical_date"]
    return told if isinstance(told, date) or told is None else date.fromisoformat(str(told))


def _for(run: dict[str, Any]) -> str:
    return f" for {run['logical_date']}" if run["logical_date"] else ""

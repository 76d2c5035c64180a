"""One look at everything: what ended since the last one, what has not come, what is over; told in one transaction and sent.

An occurrence is opened once, with its outgoing messages, under a lock that keeps other processes waiting. Whoever is killed
before it has sent them leaves them to the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from medallion.alerts import lateness, occurrences, outbox, publications, questions, resolution, store
from medallion.alerts import rules as rules_module
from medallion.alerts.finding import Finding
from medallion.alerts.rules import Rule, Rules
from medallion.contract import Contract
from medallion.lakehouse.steps import step
from medallion.settings import Settings

log = logging.getLogger(__name__)
Alert = dict[str, Any]


@dataclass(frozen=True)
class Look:
    """What came of a look: alerts as `ops.alerts` has them, how many messages were sent and how many wait, and why."""

    opened: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    sent: int
    waiting: int
    problems: tuple[str, ...]


def evaluate(settings: Settings, contracts: Mapping[str, Contract], now: datetime | None = None) -> Look:
    """Open what is to be told, resolve what is over, and send.

    Args:
        contracts: of all datasets, by their names.
        now: the time to go by, if not the present.
    Raises: SettingsError for rules or channels that cannot be used; ServiceUnavailable.
    """
    channels = settings.alerts.channels
    rules = rules_module.load(channels)
    with store.connection(settings.postgres) as opened:
        with step("alert.open"), opened.transaction():
            store.alone(opened)
            now = now or datetime.now(UTC)
            new, over, problems = _look(opened, contracts, rules, tuple(channels), now)
        sending = outbox.send(opened, channels, now, settings.alerts.tries)
    return Look(tuple(new), tuple(over), sending.sent, sending.waiting, (*problems, *sending.problems))


def tell(settings: Settings, contracts: Mapping[str, Contract], report: Callable[[str], None]) -> None:
    """Evaluate after a run, and report what is new, a line for each. Never raises: what fails is told in one line, and the
    next look catches up."""
    try:
        look = evaluate(settings, contracts)
    except Exception as error:
        log.exception("alerts could not be looked for")
        first = (str(error).strip().splitlines() or [""])[0]
        report(
            f"alerts could not be looked for, the next run or `medallion watch` does it: {type(error).__name__}: {first[:300]}"
        )
        return
    for line in lines(look):
        report(line)


def lines(look: Look) -> list[str]:
    """What a look found, for a person."""
    told = [f"alert {alert['alert_id']} ({alert['severity']}): {alert['summary']}" for alert in look.opened]
    told += [f"alert {alert['alert_id']} is over: {alert['resolved_why']}" for alert in look.resolved]
    return told + [f"alerts: {problem}" for problem in look.problems]


def _look(
    opened: store.Connection, contracts: Mapping[str, Contract], rules: Rules, channels: tuple[str, ...], now: datetime
) -> tuple[list[Alert], list[Alert], list[str]]:
    standings = lateness.standings(opened, contracts)
    lateness.keep(opened, standings, now)
    findings: list[Finding] = []
    problems: list[str] = []
    asked = {"now": now, "hours": rules.look_back_hours}
    for run in store.rows(opened, questions.NEW_RUNS, asked):
        try:
            with opened.transaction():
                findings += occurrences.of_run(opened, run, contracts, rules)
        except psycopg.OperationalError:
            raise
        except Exception as error:  # one strange story is not to hide all others
            log.exception("run %s could not be looked at", run["run_id"])
            problems.append(f"run {run['run_id']} could not be looked at: {type(error).__name__}")
            findings += occurrences.unreadable(run, rules)
        if not occurrences.strange_to(opened, run, contracts):
            opened.execute("INSERT INTO ops.alert_runs (run_id, looked_at) VALUES (%s, %s)", (run["run_id"], now))
    covered: dict[tuple[str, str], set[str]] = {}
    for one in store.rows(opened, questions.OPEN):
        if one["kind"] == "gap":
            told = [one["detail"].get("since"), *one["detail"].get("dates", ())]
            covered.setdefault((one["rule"], one["dataset"]), set()).update(each for each in told if each)
    findings += lateness.gaps(opened, standings, rules, now, covered)
    findings += lateness.late(opened, standings, rules, now, timedelta(hours=rules.look_back_hours))
    names = {*contracts, *(column.name for contract in contracts.values() for column in contract.columns)}
    findings += publications.failed(opened, rules, names, now)
    silences = store.rows(opened, questions.SILENCES, (now,))
    for one in store.rows(opened, questions.UNHEARD, (now,)):
        if (longer := _silenced_by(silences, one["rule"], one["dataset"])) is not None:
            opened.execute("UPDATE ops.alerts SET silence_id = %s WHERE alert_id = %s", (longer, one["alert_id"]))
    new = [alert for finding in findings if (alert := _open(opened, finding, silences, now))]
    _post(opened, "opened", store.rows(opened, questions.UNTOLD), rules, channels, now)
    by_dataset = {standing.contract.dataset: standing for standing in standings}
    over = []
    for one in store.rows(opened, questions.OPEN):
        if why := resolution.why_over(opened, one, rules, by_dataset):
            over.append(store.one(opened, questions.RESOLVE, {"now": now, "why": why, "alert_id": one["alert_id"]}))
    _post(opened, "resolved", store.rows(opened, questions.UNTOLD_OVER, asked), rules, channels, now)
    return new, over, problems


def _open(opened: store.Connection, finding: Finding, silences: list[dict[str, Any]], now: datetime) -> Alert | None:
    """The new alert of a finding; None if one of the same occurrence is open, or told it of the same run or late date."""
    known = store.one(opened, questions.KNOWN, {"base": finding.occurrence, "run_id": finding.run_id})
    if known["open"] or known["of_run"] or (known["known"] and finding.rule.kind == "sla_missed"):
        return None
    again = f"#{known['known'] + 1}" if known["known"] else ""
    silence = _silenced_by(silences, finding.rule.name, finding.dataset)
    row = {
        "occurrence": finding.occurrence + again,
        "rule": finding.rule.name,
        "kind": finding.rule.kind,
        "severity": finding.rule.severity,
        "dataset": finding.dataset,
        "run_id": finding.run_id,
        "logical_date": finding.logical_date,
        "summary": finding.summary,
        "command": finding.command,
        "detail": Jsonb(finding.detail),
        "silence_id": silence,
        "now": now,
    }
    return store.one(opened, questions.INSERT, row)


def _silenced_by(silences: Iterable[Mapping[str, Any]], rule: str, dataset: str | None) -> int | None:
    """The first of these silences that covers a rule's alert of a dataset."""
    for silence in silences:
        of_it = Rule(name="", kind="", datasets=(silence["dataset"],)) if silence["dataset"] else None
        covers = of_it is None or (dataset is not None and of_it.watches(dataset))
        if covers and silence["rule"] in (None, rule):
            return int(silence["silence_id"])
    return None


def _post(
    opened: store.Connection, event: str, alerts: Iterable[Alert], rules: Rules, channels: tuple[str, ...], now: datetime
) -> None:
    """Write down what is to be sent: of one run one message to each channel, of what is of no run one too."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    for alert in alerts:
        rule = rules.by_name.get(alert["rule"])
        wanted = channels if rule is None or rule.channels is None else rule.channels
        for channel in wanted if alert["silence_id"] is None else ():
            groups.setdefault((channel, alert["run_id"]), []).append(alert["alert_id"])
    for (channel, _), ids in groups.items():
        opened.execute(questions.MESSAGE, (channel, event, ids, now, now))

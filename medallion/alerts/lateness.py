"""What was promised and has not come: by the contracts' SLA and calendar, whether anything runs or not.

A date has come when a run that wrote it is on main; of datasets that bring no rows of their own each date (reference data,
increments, tables made whole) when a run of the date ended well that asked for them. Nothing is expected of a dataset
before its first date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Any

from psycopg.types.json import Jsonb

from medallion.alerts import questions, store
from medallion.alerts.finding import Finding, occurrence
from medallion.alerts.rules import Gap, Rules, SlaMissed
from medallion.contract import Contract, Promise
from medallion.odcs.anomalies import comes_daily
from medallion.quality.holidays import is_holiday

WINDOW = 60
"""So many days before the newest date holes are looked for, and so many missing dates after it are told."""
FORGOTTEN_DAYS = 30
"""A domain that no process has known for so long is gone."""
SHOWN = 10
"""How many missing dates a summary names."""


@dataclass(frozen=True)
class Standing:
    """How far a dataset has come: its newest date and when that came; the date that is next by its promise, and by when."""

    contract: Contract
    newest: date | None = None
    came_at: datetime | None = None
    next_date: date | None = None
    due_at: datetime | None = None


def expected(promise: Promise, when: date) -> bool:
    """Whether a date is to come at all."""
    free = promise.holidays is not None and is_holiday(when, promise.holidays)
    return when.weekday() in promise.weekdays and not free and when not in promise.closed


def following(promise: Promise, after: date) -> Iterator[date]:
    """The dates that are to come after one, as far as the calendar goes."""
    for days in range(1, (date.max - after).days):
        if expected(promise, after + timedelta(days)):
            yield after + timedelta(days)


def standings(opened: store.Connection, contracts: Mapping[str, Contract]) -> list[Standing]:
    """How far each dataset has come."""
    asked = {"datasets": sorted(contracts)}
    newest = {row["dataset"]: row for row in store.rows(opened, questions.NEWEST, asked)}
    found = []
    for dataset, contract in sorted(contracts.items()):
        row, promise = newest.get(dataset), contract.promise
        if promise and not _by_its_dates(contract):
            last = store.rows(
                opened, questions.LAST_ASKED, {"dataset": dataset, "since": row["logical_date"] if row else date.min}
            )
            row = max([*([row] if row else []), *last], key=lambda r: (r["logical_date"], r["ended_at"]), default=None)
        if row is None:
            found.append(Standing(contract))
            continue
        when, came = row["logical_date"], row["ended_at"]
        next_date = due = None
        if promise and promise.hours:
            ended = store.rows(opened, questions.LAST_ENDED, {"dataset": dataset, "since": came})
            came = max([came, *(each["ended_at"] for each in ended)])
            due = came + timedelta(hours=promise.hours)
        elif promise:
            next_date = next(following(promise, when), None)
            due = promise.due(next_date) if next_date else None
        found.append(Standing(contract, when, came, next_date, due))
    return found


def keep(opened: store.Connection, found: Sequence[Standing], now: datetime) -> None:
    """Write them into `ops.freshness`. What other processes wrote there of domains that are not known here stays, for
    `FORGOTTEN_DAYS` after they looked last."""
    rows = [
        {
            "dataset": one.contract.dataset,
            "newest_date": one.newest and one.newest.isoformat(),
            "merged_at": one.came_at and one.came_at.isoformat(),
            "next_date": one.next_date and one.next_date.isoformat(),
            "due_at": one.due_at and one.due_at.isoformat(),
        }
        for one in found
    ]
    opened.execute(questions.FRESHNESS, {"rows": Jsonb(rows), "now": now})
    known = {"datasets": [row["dataset"] for row in rows], "domains": sorted({one.contract.domain for one in found})}
    opened.execute(questions.GONE, known | {"now": now, "days": FORGOTTEN_DAYS})


def missing(opened: store.Connection, standing: Standing, now: datetime, after: timedelta) -> list[date]:
    """The expected dates that are not there though a later one is, or though they were due long enough ago."""
    promise, newest = standing.contract.promise, standing.newest
    if promise is None or promise.hours or newest is None:
        return []
    first = newest - timedelta(WINDOW)
    came = _came(opened, standing.contract, first, max(newest, now.date()))
    begun = min(came, default=newest)
    between = takewhile(lambda when: when < newest, following(promise, begun))
    found = [when for when in between if when not in came]
    for count, when in enumerate(following(promise, newest)):
        due = promise.due(when)
        if due is None or due + after > now or count >= WINDOW:
            break
        if when not in came:
            found.append(when)
    return found


def gaps(
    opened: store.Connection, found: Iterable[Standing], rules: Rules, now: datetime, covered: Mapping[tuple[str, str], set[str]]
) -> list[Finding]:
    """What is missing now.

    Args:
        covered: (rule, dataset) -> dates, or the last arrival, that open alerts tell of already.
    """
    findings = []
    for standing in found:
        dataset, promise = standing.contract.dataset, standing.contract.promise
        for rule in rules.of(Gap, dataset) if promise else ():
            after, told = timedelta(hours=rule.after_hours), covered.get((rule.name, dataset), set())
            if promise and promise.hours:
                silent = standing.came_at and standing.due_at and standing.due_at + after < now
                if silent and standing.came_at and standing.came_at.isoformat() not in told:
                    findings.append(_silent(rule, standing))
                continue
            if dates := [when for when in missing(opened, standing, now, after) if when.isoformat() not in told]:
                findings.append(_gap(rule, standing, dates))
    return findings


def still_missing(opened: store.Connection, standing: Standing, alert: Mapping[str, Any]) -> bool:
    """Whether anything that an alert tells of has not come."""
    if since := alert["detail"].get("since"):
        return standing.came_at is None or standing.came_at <= datetime.fromisoformat(since)
    dates = [date.fromisoformat(text) for text in alert["detail"]["dates"]]
    promise = standing.contract.promise
    came = _came(opened, standing.contract, min(dates), max(dates))
    return promise is not None and any(when not in came and expected(promise, when) for when in dates)


def late(opened: store.Connection, found: Iterable[Standing], rules: Rules, now: datetime, back: timedelta) -> list[Finding]:
    """Dates that came after they were due; of those that were due within the time that is looked back."""
    findings = []
    for standing in found:
        promise, newest, dataset = standing.contract.promise, standing.newest, standing.contract.dataset
        due = promise.due(newest) if promise and newest else None
        if promise is None or newest is None or due is None or not now - back < due < now or not expected(promise, newest):
            continue
        came = _came(opened, standing.contract, newest, newest).get(newest)
        if came is None or came <= due:
            continue
        minutes = round((came - due).total_seconds() / 60)
        findings += [
            Finding(
                rule, occurrence(rule, dataset, newest), dataset, None, newest,
                f"{newest} of {dataset} came {_spoken(minutes)} late: due at {due:%Y-%m-%d %H:%M} UTC, came at {came:%H:%M}",
                "medallion runs",
                {"figures": {"minutes_late": minutes, "due_at": due.isoformat(), "came_at": came.isoformat()}},
            )
            for rule in rules.of(SlaMissed, dataset)
        ]  # fmt: skip
    return findings


def in_time_since(opened: store.Connection, standing: Standing, when: date) -> bool:
    """Whether the newest date is later than one that was late, and came in time."""
    promise, newest = standing.contract.promise, standing.newest
    if promise is None or newest is None or newest <= when:
        return promise is None
    came, due = _came(opened, standing.contract, newest, newest).get(newest), promise.due(newest)
    return due is None or (came is not None and came <= due)


def _by_its_dates(contract: Contract) -> bool:
    return comes_daily(contract.layer, contract.materialisation, contract.delivery)


def _came(opened: store.Connection, contract: Contract, first: date, last: date) -> dict[date, datetime]:
    asked = {"dataset": contract.dataset, "first": first, "last": last}
    found = {row["logical_date"]: row["came_at"] for row in store.rows(opened, questions.CAME, asked)}
    if not _by_its_dates(contract):
        for row in store.rows(opened, questions.ASKED, asked):
            found[row["logical_date"]] = min(row["came_at"], found.get(row["logical_date"], row["came_at"]))
    return found


def _gap(rule: Gap, standing: Standing, dates: list[date]) -> Finding:
    dataset, newest = standing.contract.dataset, standing.newest
    assert newest is not None
    many = f" (and {len(dates) - SHOWN} more)" if len(dates) > SHOWN else ""
    named = ", ".join(str(when) for when in dates[:SHOWN]) + many
    why = f"later dates are there, up to {newest}" if dates[0] < newest else f"the newest that came is {newest}"
    return Finding(
        rule, occurrence(rule, dataset, dates[0]), dataset, None, dates[0],
        f"{dataset} lacks {named}: {why}",
        f"medallion run --date {dates[0]} --domain {standing.contract.domain}",
        {"dates": [when.isoformat() for when in dates], "figures": {"missing": len(dates), "newest": newest.isoformat()}},
    )  # fmt: skip


def _silent(rule: Gap, standing: Standing) -> Finding:
    dataset, came, promise = standing.contract.dataset, standing.came_at, standing.contract.promise
    assert came is not None
    assert promise is not None
    return Finding(
        rule, occurrence(rule, dataset, came.isoformat()), dataset, None, None,
        f"nothing came of {dataset} since {came:%Y-%m-%d %H:%M} UTC; something is promised every {promise.hours} h",
        f"medallion quality {dataset}",
        {"since": came.isoformat(), "figures": {"hours": promise.hours}},
    )  # fmt: skip


def _spoken(minutes: int) -> str:
    return f"{minutes} min" if minutes < 180 else f"{minutes / 60:.0f} h" if minutes < 72 * 60 else f"{minutes / 1440:.0f} days"

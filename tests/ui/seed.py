"""A year of operations in schema `ops`, made up from a seed and copied into a fresh database in seconds.

Runs of several domains day by day: most end well, some fail or lose a conflict and are run again; rules catch rows, volumes
grow, some days are unusual, alerts are opened and resolved, a publication follows each day. Of the last day some things are
wrong, so that there is something to see: see `LEFT_WRONG`.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg

from tests.ui import seed_tables
from tests.ui.seed_datasets import Dataset, lineage, of_domains

RUNS, DATASETS, DAYS, DOMAINS = 5_000, 500, 365, 13
LEFT_WRONG = "the last day's run of the first domain failed at the gate, a dataset of the second is late, four alerts are open"
_STEPS = (
    ("run.branch", 0.3), ("data.append", 5.0), ("data.overwrite", 21.0), ("data.overwrite", 13.0), ("object.put", 0.2),
    ("merge.request", 0.05), ("merge.commit", 0.4), ("run.branch.remove", 0.1),
)  # fmt: skip
_REFUSED = "GateRefused: {dataset}: rule 'amount_positive' broken by {bad} of {judged} rows, tolerance 0.01"
_UNREACHABLE = "ServiceUnavailable: the source of {dataset} does not answer: 503 Service Unavailable"


@dataclass(frozen=True)
class Size:
    """How much is made up."""

    runs: int = RUNS
    datasets: int = DATASETS
    days: int = DAYS
    domains: int = DOMAINS
    seed: int = 1


SMALL = Size(runs=130, datasets=45, days=40, domains=3)


@dataclass
class _Year:
    size: Size
    until: datetime
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    totals: dict[str, list[int]] = field(default_factory=dict)
    commits: int = 0
    publications: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.size.seed)
        self.datasets = of_domains(self.size.domains, self.size.datasets, self.random)

    def put(self, table: str, *row: Any) -> None:
        self.rows[table].append(row)

    def alert(
        self,
        rule: str,
        severity: str,
        dataset: str | None,
        run_id: str | None,
        day: date,
        summary: str,
        command: str,
        opened: datetime,
        lasted_h: float | None,
    ) -> None:
        """An alert that was taken care of and is over after some hours, or is open."""
        over = opened + timedelta(hours=lasted_h) if lasted_h else None
        known = (opened + timedelta(minutes=12), "on call") if over and severity == "critical" else (None, None)
        detail = json.dumps({"bad": 12, "judged": 480, "samples": [{"id": 7, "amount": -3.5}]})
        self.put(
            "alerts",
            f"{rule}:{dataset}:{run_id}:{day}",
            rule,
            rule,
            severity,
            dataset,
            run_id,
            day,
            summary,
            command,
            detail,
            opened,
            *known,
            over,
            over and "a later run of this date is on main",
            None,
        )

    def audit(self, at: datetime, action: str, run_id: str, outcome: str) -> None:
        """A record of the audit log."""
        n = len(self.rows["audit"])
        self.put(
            "audit",
            n + 1,
            at,
            "scheduler",
            "batch-1:4711",
            action,
            run_id,
            outcome,
            run_id,
            "{}",
            self.hash("audit", n),
            self.hash("audit", n + 1),
        )

    def hash(self, *parts: object) -> str:
        return hashlib.sha256("/".join(map(str, (self.size.seed, *parts))).encode()).hexdigest()


def fill(connection: psycopg.Connection[Any], size: Size = Size(), until: datetime | None = None) -> None:
    """Make the tables of schema `ops`, and fill them.

    Args:
        connection: to a database without them.
        until: the moment that the year ends with; now, if none is given. The rest depends on the seed alone.
    """
    year = _Year(size, until or datetime.now(UTC))
    again = _runs_again(year)
    domains = sorted({d.domain for d in year.datasets})
    for day in range(size.days):
        when = (year.until - timedelta(days=size.days - day)).date()
        for number, domain in enumerate(domains):
            opened = _opened(year, day, number)
            last = day == size.days - 1
            if last and number == 0:
                _run(year, domain, when, opened, "failed")
                continue
            before = None
            if (day, number) in again:
                before = _run(year, domain, when, opened - timedelta(minutes=14), again[day, number])
            _run(year, domain, when, opened, "merged" if last and number % 3 == 2 else "published", retry_of=before)
        _publish(year, day, when)
    _contracts(year, domains)
    _alerts_of_today(year)
    seed_tables.make(connection)
    seed_tables.copy(connection, year.rows)
    connection.commit()
    connection.autocommit = True
    connection.execute("ANALYZE")


def _runs_again(year: _Year) -> dict[tuple[int, int], str]:
    """The places (day, domain) whose first run did not end well, and how it ended."""
    size = year.size
    places = [(day, number) for day in range(size.days - 1) for number in range(size.domains)]
    chosen = year.random.sample(places, size.runs - size.days * size.domains)
    return {place: "conflicted" if n % 8 == 0 else "failed" for n, place in enumerate(sorted(chosen))}


def _opened(year: _Year, day: int, number: int) -> datetime:
    """Runs of a day begin from 22 hours before its end on, in the order of domains."""
    at = year.until - timedelta(days=year.size.days - 1 - day)
    return at - timedelta(hours=22) + timedelta(minutes=97 * number % 1200 + year.random.uniform(0, 6))


def _run(year: _Year, domain: str, when: date, opened: datetime, state: str, retry_of: str | None = None) -> str:
    """One run with its steps, writes, verdicts, and what it changed. Returns: its id."""
    run_id = f"{when}-pipeline-{year.hash(domain, when, opened)[:8]}"
    mine = [d for d in year.datasets if d.domain == domain and (d.daily or when.weekday() == d.weekday)]
    well = state in ("merged", "published")
    refused = year.random.choice(mine) if state == "failed" else None
    gated = refused is not None and (year.random.random() < 0.7 or when == year.until.date() - timedelta(days=1))
    writes, scores = [], defaultdict(list)
    merged = year.hash("main", run_id) if well else None
    ended = _steps(year, run_id, opened, well, gated or state == "conflicted")
    error = None if refused is None else _UNREACHABLE.format(dataset=refused.name)
    if state == "conflicted":
        error = "CommitConflict: others changed what this run read"
    if well:
        year.commits += 1
        year.put("commits", merged, year.commits, ended, run_id, "pipeline", when, f"run {run_id}")
    for n, dataset in enumerate(mine, 1):
        if refused is not None and not gated:
            break
        write, score = _write(year, run_id, n, dataset, when, well, merged, ended, spoiled=dataset is refused)
        writes.append(write)
        scores[dataset.layer].append(score)
        if dataset is refused:
            broken = write["verdicts"][0]
            error = _REFUSED.format(dataset=dataset.name, bad=f"{broken['bad']:,}", judged=f"{broken['judged']:,}")
    for layer, points in scores.items():
        year.put("layer_scores", run_id, layer, round(sum(points) / len(points), 2))
    deliveries = _deliveries(year, run_id, mine, when) if well or gated else []
    story = {"reads": [d.name for d in mine if d.layer != "bronze"], "writes": writes, "deliveries": deliveries, "notes": [],
             "options": {"publish": True, "domain": domain}, "head": None}  # fmt: skip
    h0 = year.hash("main", "h0", run_id)
    year.put("runs", run_id, "pipeline", when, f"run/{run_id}", state, h0, merged, merged, retry_of, opened, ended, error,
             json.dumps(story), ended)  # fmt: skip
    if error:
        kind, summary = ("run_failed", error.partition(": ")[2]) if state == "failed" else ("conflict", error)
        if state == "failed" and when < year.until.date() - timedelta(days=1):
            year.alert(kind, "critical", refused and refused.name, run_id, when, summary, f"medallion show {run_id}", ended, 0.5)
    year.audit(opened, "run.opened", run_id, "done")
    year.audit(ended, "run.merged" if well else f"run.{state}", run_id, "done" if well else "failed")
    return run_id


def _steps(year: _Year, run_id: str, opened: datetime, well: bool, to_the_gate: bool) -> datetime:
    """Returns: when the run ended."""
    at = opened + timedelta(seconds=0.4)
    until = len(_STEPS) if well else 6 if to_the_gate else 2
    for n, (name, usual) in enumerate(_STEPS[:until]):
        took = usual * year.random.lognormvariate(0, 0.25)
        outcome = "done" if well or to_the_gate or n + 1 < until else "ServiceUnavailable: 503 Service Unavailable"
        year.put("steps", run_id, name, at, at + timedelta(seconds=took), outcome, "{}")
        at += timedelta(seconds=took + 0.2)
    return at


def _write(
    year: _Year, run_id: str, n: int, dataset: Dataset, when: date, well: bool, merged: str | None, ended: datetime, spoiled: bool
) -> tuple[dict[str, Any], float]:
    """Returns: the write as the story has it, and its score."""
    chance = year.random.random
    usual = dataset.usual * (0.8 if when.weekday() > 4 else 1.0)
    unusual = chance() < 0.0008 and n > 1
    rows_in = max(1, int(usual * (0.62 if unusual else year.random.gauss(1, 0.03))))
    verdicts, bad_rows, warned = [], 0, 0
    for number, (rule, severity, description) in enumerate(dataset.rules):
        broken = chance() < (0.06 if severity == "error" else 0.1)
        share = year.random.uniform(0.0002, 0.004) if broken else 0.0
        if spoiled and number == 0:
            share = year.random.uniform(0.08, 0.3)
        bad = int(rows_in * share)
        passed = bad <= rows_in * 0.01
        year.put("rule_results", run_id, n, rule, dataset.name, when, severity, passed, bad, rows_in, 0.01, "pass", description)
        if bad:
            sample = json.dumps({"id": int(chance() * 9e5) + 1, "amount": round(-100 * chance(), 2), "status": "?"})
            verdicts.append({"rule": rule, "severity": severity, "bad": bad, "judged": rows_in, "tolerance": 0.01,
                             "passed": passed, "description": description, "samples": [sample]})  # fmt: skip
            bad_rows, warned = (bad_rows + bad, warned) if severity == "error" else (bad_rows, warned + bad)
    score = round(max(0.0, 100 - 100 * bad_rows / rows_in * 2.2 - warned / rows_in * 40 - (18 if unusual else 0)
                      - dataset.weakness * chance()), 2)  # fmt: skip
    seconds = round(0.4 + rows_in / 90_000 * year.random.lognormvariate(0, 0.2), 3)
    rows_out, reason = rows_in - bad_rows, "delivery" if dataset.layer == "bronze" else "inputs changed"
    year.put("written", run_id, n, dataset.name, when, well, rows_in, rows_out, bad_rows, warned, "{}", seconds, score, reason)
    if unusual:
        low, high = int(usual * 0.91), int(usual * 1.09)
        told = f"{rows_in:,} rows, usual for a {when:%A}: {low:,} to {high:,}"
        year.put("anomalies", run_id, n, dataset.name, when, "volume", "", "", rows_in, int(usual), low, high, told)
        year.alert("anomaly", "warning", dataset.name, run_id, when, told, f"medallion quality {dataset.name}", ended, 9)
    if well:
        total = year.totals.setdefault(dataset.name, [0, 0, 0])
        deleted = total[0] if dataset.whole else 0
        size = int(rows_out * dataset.row_bytes)
        total[:] = [rows_out, 1, size] if dataset.whole else [total[0] + rows_out, total[1] + 1, total[2] + size]
        year.put("volumes", merged, dataset.name, *total, rows_out, deleted, size)
    return {"dataset": dataset.name, "logical_date": str(when), "reason": reason, "rows_in": rows_in, "rows_out": rows_out,
            "quarantined": bad_rows, "warned": warned, "dropped": {}, "seconds": seconds, "score": score,
            "verdicts": sorted(verdicts, key=lambda v: v["passed"])}, score  # fmt: skip


def _deliveries(year: _Year, run_id: str, mine: Sequence[Dataset], when: date) -> list[dict[str, Any]]:
    found = []
    for dataset in mine:
        if dataset.layer == "bronze":
            uri = f"s3://bronze-batch/{dataset.domain}/{dataset.short}/{when:%Y/%m/%d}/{dataset.short}.csv"
            sha = year.hash("delivery", dataset.name, when)
            year.put("deliveries", run_id, dataset.name, f"{dataset.short}.csv@{when}", when, uri, sha, dataset.usual)
            found.append({"dataset": dataset.name, "logical_date": str(when), "uri": uri, "sha256": sha, "rows": dataset.usual})
    return found


def _publish(year: _Year, day: int, when: date) -> None:
    """Everything that is merged by then, once a day."""
    runs = [r[0] for r in year.rows["runs"][-2 * year.size.domains :] if r[2] == when and r[4] == "published"]
    if not runs or day % 30 == 17:
        return
    year.publications += 1
    shown = [d for d in year.datasets if d.layer == "gold"]
    at = year.until - timedelta(days=year.size.days - 1 - day, hours=1)
    hash_ = year.rows["commits"][-1][0]
    rows = {d.name: year.totals.get(d.name, [0])[0] for d in shown}
    changed, staged = json.dumps([d.name for d in shown if d.daily]), 40_000_000 + day * 30_000
    year.put("publications", "snowflake", year.publications, year.hash("publication", day)[:16], hash_, at, json.dumps(runs),
             changed, json.dumps(rows), staged, day % 7 * 1_000_000)  # fmt: skip


def _contracts(year: _Year, domains: Sequence[str]) -> None:
    newest = {row[1]: row for row in year.rows["volumes"]}
    when = {row[0]: (row[5], row[2]) for row in year.rows["commits"]}
    for dataset in year.datasets:
        year.put("datasets", dataset.name, dataset.domain, dataset.layer, dataset.short, dataset.zone, f"{dataset.domain} data",
                 dataset.description, "1.2.0", len(dataset.rules))  # fmt: skip
        if dataset.name not in newest:
            continue
        last, merged = when[newest[dataset.name][0]]
        promised = dataset.daily and dataset.layer != "bronze"
        late = dataset.domain == domains[0] or dataset.name == next(
            d.name for d in year.datasets if d.domain == domains[1] and d.daily and d.layer == "gold"
        )
        due = (
            (year.until - timedelta(hours=3, minutes=20)) if late else year.until + timedelta(hours=5 + _some_hours(dataset.name))
        )
        year.put(
            "freshness", dataset.name, last, merged, last + timedelta(days=1) if promised else None, due if promised else None
        )
        first, columns = year.rows["commits"][0], json.dumps([{"name": c, "type": "string"} for c in dataset.columns])
        year.put(
            "schema_versions", dataset.name, 1, first[0], first[2], None, "1.0.0", year.hash(dataset.name)[:16], "[]", columns
        )
    for edge in lineage(year.datasets):
        year.put("lineage", *edge)
    for source, position in (("main", year.rows["commits"][-1][0]), ("journal", year.rows["runs"][-1][0])):
        year.put("projected", source, position, year.until)


def _some_hours(name: str) -> int:
    """Some hours that depend on a name alone."""
    return hashlib.sha256(name.encode()).digest()[0] % 14


def _alerts_of_today(year: _Year) -> None:
    failed = next(r for r in reversed(year.rows["runs"]) if r[4] == "failed")
    gate = failed[11].partition(": ")[2]
    late = next(r for r in year.rows["freshness"] if r[4] and r[4] < year.until)
    quality = next(d for d in year.datasets if d.layer == "silver" and d.daily and d.domain != failed[2])
    opened, run, day = failed[13], failed[0], failed[2]
    summaries = (
        ("run_failed", "critical", gate.partition(":")[0], run, gate, f"medallion show {run}"),
        ("time_gap", "error", late[0], None, f"{late[0]} of {late[3]} has not come; it was due at {late[4]:%H:%M} UTC",
         f"medallion lineage {late[0]}"),
        ("quality_drop", "error", quality.name, None, f"{quality.name}: score 71.3, usually 97.9: down by 27 %",
         f"medallion quality {quality.name}"),
        ("schema", "warning", quality.name, None, "a column <b>discount</b> came that the contract does not know",
         f"medallion schema log {quality.name}"),
    )  # fmt: skip
    for rule, severity, dataset, of_run, summary, command in summaries:
        year.alert(rule, severity, dataset, of_run, day, summary, command, opened, None)

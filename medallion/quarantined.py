"""What lies in quarantine: how many rows, since when, and the rows themselves. Read without a JVM, on any state of the lake."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from medallion import story
from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import UsageError
from medallion.lakehouse.history import deliveries, total_records
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Content, Nessie
from medallion.lakehouse.table import open_static, reaching
from medallion.settings import S3

if TYPE_CHECKING:
    import pyarrow as pa

_COUNTED = ("_run_id", "_logical_date", "rules", "_quarantined_at")


@dataclass(frozen=True)
class State:
    """A state of the lake that is looked at: every table on it, and the run whose rows alone are wanted."""

    name: str
    tables: dict[str, Content]
    run: str | None = None


@dataclass(frozen=True)
class Aside:
    """How many rows of a dataset's date break a rule; one that breaks two counts under both. They were put aside by
    `since_run` at `since`: whoever made the date last judged all its rows anew."""

    dataset: str
    logical_date: date | None
    rule: str
    rows: int
    since_run: str
    since: datetime


def look_at(nessie: Nessie, journal: Journal, *, run: str | None = None, at: str | None = None) -> State:
    """The state that a person means: main; with `at` a branch, a hash on main or a run; with `run` what this run put
    aside, on its kept branch if it failed.

    Raises: UsageError if both are given, or there is no such state any more.
    """
    if run and at:
        raise UsageError("--run and --at name two states", hint="give one of them")
    name, only = at or MAIN, None
    if run:
        row = journal.newest(run)
        name = only = row["run_id"]
        if not row["merged_hash"] and not nessie.references(row["branch"]):
            raise UsageError(
                f"run {name} is {row['state']} and its branch is gone: nothing that it put aside is left",
                hint="branches of failed runs are kept for runs.failed_branch_ttl_days; run the date again to see its rows",
                run=name,
            )
    return State(name, nessie.tables(story.resolve(nessie, journal, name)), only)


def count(s3: S3, domains: Domains, state: State) -> list[Aside]:
    """What lies in quarantine, by dataset, date and rule. Raises: ServiceUnavailable."""
    known = [c for c in domains.contracts.values() if _holds_rows(s3, state.tables.get(c.quarantine))]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda c: _counted(s3, c, state), known))
    return sorted((one for each in found for one in each), key=lambda a: (a.dataset, a.logical_date or date.min, a.rule))


def _counted(s3: S3, contract: Contract, state: State) -> list[Aside]:
    groups: dict[tuple[date | None, str], list[tuple[datetime, str]]] = {}
    for row in _rows(s3, contract, state, _COUNTED):
        for rule in row["rules"]:
            groups.setdefault((row["_logical_date"], rule), []).append((row["_quarantined_at"], row["_run_id"]))
    return [
        Aside(contract.dataset, when, rule, len(which), min(which)[1], min(which)[0]) for (when, rule), which in groups.items()
    ]


def show(
    s3: S3, domains: Domains, dataset: str, state: State, *, on: date | None = None, rule: str | None = None, limit: int = 20
) -> list[dict[str, Any]]:
    """Rows in quarantine, ordered by date, delivery and source row.

    Returns: for each `dataset`, `logical_date`, `rules`, `run`, `delivery`, `source_row`, `bronze` (the table that holds the
        original under these two; None for gold, whose rows were made, and for a delivery that is not there), `uri` (the file,
        with its version), `record`: the row without columns that the contract classifies as personal, today or then.
    Raises: UsageError for a dataset or rule that does not exist; ServiceUnavailable.
    """
    contract = domains.contract(dataset)
    rules = [each.name for each in contract.rules]
    found = _rows(s3, contract, state) if _holds_rows(s3, state.tables.get(contract.quarantine)) else []
    met = {name for row in found for name in row["rules"]}
    if rule is not None and rule not in {*rules, *met}:
        raise UsageError(f"{dataset} has no rule '{rule}'", hint=f"it has {', '.join(sorted({*rules, *met}))}")
    wanted = [row for row in found if on in (None, row["_logical_date"]) and (rule is None or rule in row["rules"])]
    wanted.sort(key=lambda r: (r["_logical_date"] or date.min, r["_delivery"] or "", r["_source_row"] or 0, r["record"]))
    origin = _origins(s3, domains, contract, state)
    hidden = {column.name for column in contract.columns if column.personal}
    return [
        {
            "dataset": dataset,
            "logical_date": row["_logical_date"],
            "rules": row["rules"],
            "run": row["_run_id"],
            "delivery": row["_delivery"],
            "source_row": row["_source_row"],
            "bronze": origin.get(row["_delivery"], (None, None))[0],
            "uri": origin.get(row["_delivery"], (None, None))[1],
            "record": {name: value for name, value in json.loads(row["record"]).items() if name not in hidden},
        }
        for row in wanted[:limit]
    ]


def pointers(s3: S3, contract: Contract, state: State, on: date) -> set[tuple[str, int]]:
    """(delivery, source row) of every row of a date that lies in quarantine."""
    if not _holds_rows(s3, state.tables.get(contract.quarantine)):
        return set()
    rows = _rows(s3, contract, state, ("_run_id", "_logical_date", "_delivery", "_source_row"))
    return {(row["_delivery"], row["_source_row"]) for row in rows if row["_logical_date"] == on and row["_delivery"]}


def held(s3: S3, contract: Contract, state: State, on: date) -> int:
    """How many rows of a date lie in quarantine."""
    if not _holds_rows(s3, state.tables.get(contract.quarantine)):
        return 0
    return sum(row["_logical_date"] == on for row in _rows(s3, contract, state, ("_run_id", "_logical_date")))


def _holds_rows(s3: S3, content: Content | None) -> bool:
    return content is not None and total_records(s3, content) > 0


def _rows(s3: S3, contract: Contract, state: State, columns: tuple[str, ...] = ("*",)) -> list[dict[str, Any]]:
    table = open_static(s3, state.tables[contract.quarantine])
    with reaching(s3, table.location()):
        rows: pa.Table = table.scan(selected_fields=columns).to_arrow()
    return [row for row in rows.to_pylist() if state.run in (None, row["_run_id"])]


def _origins(s3: S3, domains: Domains, contract: Contract, state: State) -> dict[str | None, tuple[str, str]]:
    """Delivery -> (bronze table, file) of the deliveries that a dataset is made from."""
    transform = domains.transforms.get(contract.dataset)
    sources = [contract.dataset] if transform is None else list(transform.inputs.values())
    found: dict[str | None, tuple[str, str]] = {}
    for dataset in sources:
        if domains.contracts[dataset].layer == "bronze" and dataset in state.tables:
            found |= {one.delivery: (dataset, one.uri) for one in deliveries(s3, state.tables[dataset])}
    return found

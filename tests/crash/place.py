"""A small lake, its journal and its warehouse, in which runs are killed: the protocol is the real one, and no Spark.

What a run would write with Spark, pyiceberg writes (as in `tests.backfills`); everything else is what
`medallion run --json` and `medallion resume --json` do: `Place.command` calls these commands themselves.
A day's delivery lies nowhere, unless the place is told to fetch it: then the real code asks a source for it and lands it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DecimalType, LongType

from medallion import cli, job, pipeline, terminal
from medallion import settings as settings_module
from medallion.commands import ops, undo
from medallion.contract import LAYERS, Column, Contract, Delivery, Origin, Rule
from medallion.domain import Domains
from medallion.errors import ServiceUnavailable
from medallion.lakehouse.history import DATE_PROPERTY, Delivered, deliveries
from medallion.lakehouse.nessie import Operation, OutcomeUnknown, commit_body
from medallion.lakehouse.run import Run
from medallion.lakehouse.steps import step
from medallion.lakehouse.table import open_static, reaching
from medallion.layers.bronze import DELIVERY_PROPERTY
from medallion.pipeline import Lake, Request
from medallion.rule_kinds import Reference
from medallion.settings import Settings
from medallion.sources.inbox import discover
from tests.crash import source
from tests.lake_tables import gold, write

FIRST = date(2024, 1, 1)
ROWS_A_DAY = 3
DIGITS = 10
"""Of the column `amount`, at first."""
DELIVERY = Delivery("csv", "none", "", "{year}/{month}/{day}/", "daily", "", "history")
REFUSED = {
    "rule": "planted", "severity": "error", "passed": False, "bad": 1, "judged": 3, "tolerance": 0.0,
    "description": "a planted row", "samples": [], "scope": "delivery", "decided_by": "rows",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What a command told a person: its exit code, what it printed on standard output, and on standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out) if self.out.strip() else None


@dataclass(frozen=True)
class Place:
    """One domain with a journal and a warehouse of its own; can be handed to another process.

    `columns` is how many columns the table `totals` has beyond its first ones, which its description and that of `latest`
    tell; `digits` how many more digits its column `amount` has than at first; `fetched` whether days are asked for at a source.
    """

    settings: Settings
    domain: str
    columns: int = 0
    digits: int = 0
    fetched: bool = False
    with_spark: ClassVar = False

    @property
    def bronze(self) -> Contract:
        delivery = DELIVERY
        if self.fetched:
            origin = Origin("http", source.ENDPOINT, "/{year}-{month}-{day}/{part}")
            path = f"domain={self.domain}/{DELIVERY.path}"
            delivery = replace(DELIVERY, path=path, expected="initial", parts=source.PARTS, source=origin)
        return gold("counts", {"value": "string"}, layer="bronze", domain=self.domain, delivery=delivery)

    @property
    def totals(self) -> Contract:
        more = {f"more_{n}": "bigint" for n in range(self.columns)}
        types = {"day": "date", "counted": "bigint", "run": "string", "amount": f"decimal({DIGITS + self.digits},2)"} | more
        made = gold("totals", types, domain=self.domain, key=("day",), description=f"days, with {self.columns} more columns")
        return replace(made, columns=tuple(replace(c, required=c.name == "day", description=c.name) for c in made.columns))

    @property
    def latest(self) -> Contract:
        to = Reference(("last",), self.totals.dataset, ("day",))
        known = Rule("last_is_known", "error", 0, "", passes="true", reference=to)
        types = {"run": "string", "days": "bigint", "last": "date"}
        told = f"the newest run, beside {self.columns} more columns"
        return gold("latest", types, domain=self.domain, rules=(known,), description=told)

    @property
    def domains(self) -> Domains:
        return Domains({c.dataset: c for c in (self.bronze, self.totals, self.latest)}, {})

    @property
    def published(self) -> dict[str, str]:
        """The tables that the warehouse shows, and their columns."""
        return {self.totals.dataset: "day, counted, run, amount", self.latest.dataset: "run, days, last"}

    # ── the commands ──────────────────────────────────────────────────────────────────────────
    def run(self, day: date, *, refused: bool = False, only_bronze: bool = False) -> Told:
        """`medallion run --date DAY --json`, with publication; of bronze alone without."""
        options = SimpleNamespace(date=str(day), domain=None, dataset=None, refetch=False, run=None, json=True)
        layers = ("bronze",) if only_bronze else LAYERS
        return self.command(lambda: job.run(layers, options, publish=not only_bronze), refused=refused)

    def resume(self) -> Told:
        """`medallion resume --json`."""
        return self.command(lambda: cli.resume(None, True))

    def revert(self, run_id: str) -> Told:
        """`medallion revert RUN --json`, with publication."""
        return self.command(lambda: undo.revert(run_id, as_json=True))

    def command(self, what: Any, *, refused: bool = False) -> Told:
        """Run a command in this process as the command line does, in this place."""
        out, err, settings = io.StringIO(), io.StringIO(), self.settings
        with ExitStack() as patched:
            if self.fetched:
                settings = settings.model_copy(update={"sources": patched.enter_context(source.served())})
            for module in (settings_module, cli, ops, undo):
                patched.enter_context(mock.patch.object(module, "load", return_value=settings))
            for patch in self.patches(refused):
                patched.enter_context(patch)
            patched.enter_context(mock.patch.object(terminal.signal, "signal"))
            patched.enter_context(redirect_stdout(out))
            patched.enter_context(redirect_stderr(err))
            code = terminal.guard(what)
        return Told(code, out.getvalue(), err.getvalue())

    def patches(self, refused: bool) -> Iterator[Any]:
        """What is not as in a command of a user: which domains there are, and who writes the tables."""
        yield mock.patch.object(pipeline, "Lake", lambda settings: Lake(settings, self.domains))
        yield mock.patch.object(pipeline, "_write", _Writer(self, refused))


@dataclass
class _Writer:
    """As `pipeline._write`, for the deliveries of one day; gold is made from all that bronze then holds."""

    place: Place
    refused: bool

    def __call__(self, lake: Lake, run: Run, request: Request, selected: tuple[str, ...], report: Any) -> None:
        with reaching(lake.settings.s3, "the tables' files"):  # as a run says it of Spark
            self._all(lake, run, request, selected)

    def _all(self, lake: Lake, run: Run, request: Request, selected: tuple[str, ...]) -> None:
        bronze, s3, day = self.place.bronze, lake.settings.s3, request.logical_date
        run.reads |= set(selected)
        with_gold = "gold" in request.layers
        base = run.base[bronze.dataset]
        new = self._arrived(lake, run, request, deliveries(s3, base))
        days = {} if base["snapshotId"] in (-1, None) else _days(open_static(s3, base))
        # gold is up to date if it counts every day that bronze holds, and has all columns
        if with_gold and not new and days == _counted(s3, run.base[self.place.totals.dataset], self.place.totals):
            return
        for delivered, numbers in new:
            notes = {DATE_PROPERTY: str(day), DELIVERY_PROPERTY: delivered.delivery}
            add = partial(_append, delivered=delivered, numbers=numbers, run_id=run.id, notes=notes)
            self._one(lake, run, bronze, "data.append", day, add)
            run.deliveries.append({"dataset": bronze.dataset} | asdict(delivered))
        if new:
            days = days | {day: ROWS_A_DAY}
        elif not with_gold:
            return
        if with_gold:
            more = {f"more_{n}": n for n in range(self.place.columns)}
            of = [{"day": each, "counted": n, "amount": Decimal(n)} for each, n in sorted(days.items())]
            totals = [each | {"run": run.id} | more for each in of]
            self._quarantine(lake, run, day)
            self._one(lake, run, self.place.totals, "data.overwrite", day, lambda table: _replace(table, totals))
            latest = [{"run": run.id, "days": len(days), "last": max(days)}]
            self._one(lake, run, self.place.latest, "data.overwrite", day, lambda table: _replace(table, latest))
        if self.refused:
            run.writes[-1]["verdicts"] = [REFUSED]

    def _arrived(self, lake: Lake, run: Run, request: Request, held: list[Delivered]) -> list[tuple[Delivered, list[int]]]:
        """What bronze does not hold yet of the day, and which of its rows each has."""
        bronze, day = self.place.bronze, request.logical_date
        if not self.place.fetched:
            delivered = _delivered(day)
            known = any(one.delivery == delivered.delivery for one in held)
            return [] if known else [(delivered, list(range(ROWS_A_DAY)))]
        pipeline._fetch(lake, run, bronze, request, held)
        arrivals = discover(lake.store, bronze, day, held).new
        return [(one.delivered, [int(v.rpartition("/")[2]) for v in one.rows["value"].to_pylist()]) for one in arrivals]

    def _one(self, lake: Lake, run: Run, contract: Contract, effect: str, day: date, what: Any) -> None:
        with lake.journal.step(run.id, f"write.{contract.dataset}"):
            content = _evolved(lake, run, contract, lake.nessie.content(run.branch, contract.dataset))
            content = content if contract.layer == "bronze" else _emptied(lake.settings.s3, content)
            with step(effect):
                _commit(lake, run, contract.dataset, write(lake.settings.s3, content, what))
        written = {"dataset": contract.dataset, "logical_date": day, "verdicts": [], "quarantined": 0, "warned": 0}
        run.writes.append(written | {"rows_in": ROWS_A_DAY, "rows_out": ROWS_A_DAY, "seconds": 0.0, "inputs_hash": None})
        run.save(lake.journal)

    def _quarantine(self, lake: Lake, run: Run, day: date) -> None:
        name = self.place.totals.quarantine
        row = {"_run_id": run.id, "_logical_date": day, "rules": ["planted"], "_source_row": 1, "record": "{}"}
        with step("quarantine"):
            content = _emptied(lake.settings.s3, lake.nessie.content(run.branch, name))
            _commit(lake, run, name, write(lake.settings.s3, content, lambda table: _replace(table, [row])))


def _commit(lake: Lake, run: Run, dataset: str, content: dict[str, Any]) -> None:
    onto = lake.nessie.reference(run.branch)
    try:
        lake.nessie.commit(onto, commit_body([Operation("PUT", dataset, content)], dataset, {}))
    except OutcomeUnknown as error:  # Spark's catalog fails then too
        raise ServiceUnavailable(f"{dataset}: {error}", hint="run it again") from error


def _evolved(lake: Lake, run: Run, contract: Contract, content: dict[str, Any]) -> dict[str, Any]:
    """With the columns that the contract has and the table lacks, and as wide as there."""
    there = open_static(lake.settings.s3, content).schema()
    lacking: list[Column] = [column for column in contract.columns if column.name not in there.column_names]
    wider = [column for column in contract.columns if _wider(there, column)]
    if not (lacking or wider) or contract.layer != "gold":
        return content

    def evolve(table: Table) -> None:
        with table.update_schema() as update:
            for column in lacking:
                update.add_column(column.name, LongType())
            for column in wider:
                update.update_column(column.name, DecimalType(_precision(column), 2))

    with step("data.evolve"):
        evolved = write(lake.settings.s3, content, evolve)
        _commit(lake, run, contract.dataset, evolved)
    return evolved


def _wider(schema: Schema, column: Column) -> bool:
    """Whether a table's decimals have fewer digits than the contract's."""
    if not column.type.startswith("decimal") or column.name not in schema.column_names:
        return False
    there = schema.find_type(column.name)
    return isinstance(there, DecimalType) and there.precision < _precision(column)


def _precision(column: Column) -> int:
    return int(column.type.partition("(")[2].partition(",")[0])


def _emptied(s3: Any, content: dict[str, Any]) -> dict[str, Any]:
    """A table as it was made, if it has that schema still: rows then go into it at once, and its metadata stay small."""
    metadata = open_static(s3, content).metadata
    if not metadata.metadata_log:
        return content
    first = metadata.metadata_log[0].metadata_file
    empty = open_static(s3, content | {"metadataLocation": first}).metadata
    same = not empty.snapshots and empty.schema() == metadata.schema()
    return content | {"metadataLocation": first, "snapshotId": -1} if same else content


def _days(table: Any) -> dict[date, int]:
    """How many rows bronze holds of each day."""
    found: dict[date, int] = {}
    for each in table.scan(selected_fields=("_logical_date",)).to_arrow()["_logical_date"].to_pylist():
        found[each] = found.get(each, 0) + 1
    return found


def _counted(s3: Any, content: dict[str, Any], contract: Contract) -> dict[date, int]:
    if content["snapshotId"] in (-1, None):
        return {}
    table = open_static(s3, content)
    schema = table.schema()
    if any(column.name not in schema.column_names or _wider(schema, column) for column in contract.columns):
        return {}
    return {row["day"]: row["counted"] for row in table.scan().to_arrow().to_pylist()}


def _replace(table: Table, rows: list[dict[str, Any]]) -> None:
    arrow = pa.Table.from_pylist(rows, schema=schema_to_pyarrow(table.schema(), include_field_ids=False))
    (table.overwrite if table.metadata.snapshots else table.append)(arrow)


def _delivered(day: date) -> Delivered:
    sha256 = hashlib.sha256(str(day).encode()).hexdigest()
    return Delivered(day, f"{day}-{sha256[:12]}", f"s3://nowhere/{day}.csv?versionId=1", sha256, ROWS_A_DAY)


def _append(table: Table, *, delivered: Delivered, numbers: list[int], run_id: str, notes: dict[str, str]) -> None:
    rows = [
        {
            "value": f"{delivered.logical_date}/{number}", "_delivery": delivered.delivery,
            "_logical_date": delivered.logical_date, "_source_uri": delivered.uri, "_source_sha256": delivered.sha256,
            "_source_row": number, "_ingested_at": datetime.now(UTC), "_run_id": run_id,
            "_row_hash": hashlib.sha256(f"{delivered.logical_date}/{number}".encode()).hexdigest(),
        }
        for number in numbers
    ]  # fmt: skip
    table.append(pa.Table.from_pylist(rows, schema=schema_to_pyarrow(table.schema(), include_field_ids=False)), notes)


def nth_day(number: int) -> date:
    """The days that runs of a place are for, in order."""
    return FIRST + timedelta(days=number)

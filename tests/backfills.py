"""Backfills of one bronze table without Spark: what a run would write, pyiceberg writes; all else is the pipeline's.

backfill = Backfill(settings, domain)
with backfill.written_by_pyiceberg():
    outcome = backfill.run(date(2024, 1, 1))
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest import mock

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from medallion import pipeline
from medallion.contract import Contract, Delivery
from medallion.domain import Domains
from medallion.lakehouse.history import DATE_PROPERTY, Delivered, deliveries
from medallion.lakehouse.nessie import MAIN, Commit, Content, Nessie
from medallion.lakehouse.run import Run, put_on_branch
from medallion.lakehouse.store import Store
from medallion.lakehouse.table import open_static
from medallion.layers.bronze import DELIVERY_PROPERTY
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from tests.lake_tables import gold, write

FIRST = date(2024, 1, 1)
DELIVERY = Delivery("csv", "none", "", "{year}/{month}/{day}/", "daily", "", "history")


@dataclass(frozen=True)
class Backfill:
    """One bronze table of a domain of its own; can be handed to another process."""

    settings: Settings
    domain: str

    @property
    def contract(self) -> Contract:
        return gold("counts", {"value": "string"}, layer="bronze", domain=self.domain, delivery=DELIVERY)

    @property
    def domains(self) -> Domains:
        return Domains({self.contract.dataset: self.contract}, {})

    def run(self, day: date, settings: Settings | None = None) -> Outcome:
        """Bring in a day, whose delivery holds its number within the year and that with a letter."""
        with Lake(settings or self.settings, self.domains) as lake:
            return execute(lake, Request(day, layers=("bronze",)), report=lambda line: None)

    @contextmanager
    def written_by_pyiceberg(self) -> Iterator[None]:
        """Within this, runs of this process write with pyiceberg."""
        with mock.patch.object(pipeline, "_write", _write):
            yield

    def rows(self) -> list[tuple[date, str]]:
        """What the table on main holds."""
        found = self._table().scan(selected_fields=("_logical_date", "value")).to_arrow().to_pylist()
        return sorted((row["_logical_date"], row["value"]) for row in found)

    def data_files(self) -> tuple[set[str], set[str]]:
        """The paths of the data files that the table on main holds, and of those that were ever written."""
        table = self._table()
        bucket, _, prefix = table.location().removeprefix("s3://").partition("/")
        stored = {item.uri.partition("?")[0] for item in Store(self.settings.s3).versions(bucket, f"{prefix}/data/")}
        return {task.file.file_path for task in table.scan().plan_files()}, stored

    def snapshots(self, content: Content | None = None) -> list[tuple[int, int | None, str]]:
        """(sequence number, sequence number of the parent, date) of each, in order; of main's version, or of another."""
        table = open_static(self.settings.s3, content) if content else self._table()
        found = {s.snapshot_id: s for s in table.metadata.snapshots}
        number = {id_: s.sequence_number for id_, s in found.items()}
        return sorted((number[s.snapshot_id], number.get(s.parent_snapshot_id), s.summary[DATE_PROPERTY]) for s in found.values())

    def commits(self) -> list[Commit]:
        """Main's commits that brought something into the table, newest first."""
        nessie = Nessie(self.settings.nessie)
        found = [
            c for c in nessie.log(nessie.reference(MAIN)) if self.contract.dataset in c.properties.get("medallion.deliveries", "")
        ]
        nessie.close()
        return found

    def _table(self) -> Any:
        nessie = Nessie(self.settings.nessie)
        content = nessie.tables(nessie.reference(MAIN))[self.contract.dataset]
        nessie.close()
        return open_static(self.settings.s3, content)


def expected(*days: date) -> list[tuple[date, str]]:
    """The rows of these days."""
    return sorted((day, value) for day in days for value in _values(day))


def days(count: int) -> list[date]:
    """The first days of the year."""
    return [FIRST + timedelta(days=number) for number in range(count)]


def _values(day: date) -> list[str]:
    return [f"{day:%j}", f"{day:%j}b"]


def _write(lake: Lake, run: Run, request: Request, selected: tuple[str, ...], report: Any) -> None:
    """As `pipeline._write`, for one delivery that lies nowhere."""
    (dataset,) = selected
    s3, day = lake.settings.s3, request.logical_date
    sha256 = hashlib.sha256(str(day).encode()).hexdigest()
    delivered = Delivered(day, f"{day}-{sha256[:12]}", f"s3://nowhere/{day}.csv?versionId=1", sha256, len(_values(day)))
    run.reads.add(dataset)
    if any(one.delivery == delivered.delivery for one in deliveries(s3, run.base[dataset])):
        return
    notes = {DATE_PROPERTY: str(day), DELIVERY_PROPERTY: delivered.delivery}
    content = write(s3, run.base[dataset], lambda table: table.append(_rows(table, delivered, run.id), notes))
    put_on_branch(lake.nessie, run, {dataset: content}, "write")
    run.deliveries.append({"dataset": dataset} | asdict(delivered))
    written = {"dataset": dataset, "logical_date": day, "delivery": delivered.delivery, "verdicts": []}
    run.writes.append(
        written | {"rows_in": delivered.rows, "rows_out": delivered.rows, "quarantined": 0, "warned": 0, "seconds": 0.0}
    )
    run.save(lake.journal)


def _rows(table: Table, delivered: Delivered, run_id: str) -> pa.Table:
    rows = [
        {
            "value": value, "_delivery": delivered.delivery, "_logical_date": delivered.logical_date,
            "_source_uri": delivered.uri, "_source_sha256": delivered.sha256, "_source_row": number,
            "_ingested_at": datetime.now(UTC), "_run_id": run_id, "_row_hash": hashlib.sha256(value.encode()).hexdigest(),
        }
        for number, value in enumerate(_values(delivered.logical_date), start=1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema_to_pyarrow(table.schema(), include_field_ids=False))

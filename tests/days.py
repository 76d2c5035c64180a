"""Runs of days without Spark: a delivery to bronze, its date in silver, and gold as a whole; pyiceberg writes what Spark would.

with Days(settings) as days:
    first = days.run(date(2024, 7, 1), 10)
    days.rows(days.silver)      # [(date(2024, 7, 1), 10)]
"""

from __future__ import annotations

import hashlib
import uuid
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Self

import pyarrow as pa
from pyiceberg.expressions import EqualTo
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from medallion.contract import Contract, Delivery, Materialisation, Rule
from medallion.domain import Domains
from medallion.lake import Lake
from medallion.lakehouse.catalog import ensure_tables
from medallion.lakehouse.history import CODE_PROPERTY, DATE_PROPERTY, INPUTS_PROPERTY, Delivered, deliveries
from medallion.lakehouse.nessie import MAIN, Content, Reference
from medallion.lakehouse.run import Run, open_run, put_on_branch
from medallion.lakehouse.table import open_static
from medallion.layers.bronze import DELIVERY_PROPERTY
from medallion.pipeline import judge_and_merge
from medallion.settings import Settings
from tests.lake_tables import gold, write

DELIVERY = Delivery("csv", "none", "", "domain={domain}/counts/{year}/{month}/{day}/", "daily", "", "history")


class Days:
    """A domain of its own, with a lake that knows no other. `rules` are those of silver."""

    def __init__(self, settings: Settings, *rules: Rule) -> None:
        self.domain = f"d{uuid.uuid4().hex[:10]}"
        path = DELIVERY.path.replace("{domain}", self.domain)
        delivery = Delivery(**(asdict(DELIVERY) | {"path": path}))
        self.bronze = gold("counts", {"value": "string"}, layer="bronze", domain=self.domain, delivery=delivery)
        self.silver = gold(
            "counts",
            {"value": "bigint"},
            layer="silver",
            domain=self.domain,
            materialisation=Materialisation("date"),
            rules=rules,
        )
        self.gold = gold("total", {"total": "bigint"}, domain=self.domain)
        self.daily = gold(
            "daily", {"day": "date", "value": "bigint"}, domain=self.domain, materialisation=Materialisation("date", "day"),
            publication="partitions",
        )  # fmt: skip
        self.settings = settings
        contracts = {contract.dataset: contract for contract in (self.bronze, self.silver, self.gold, self.daily)}
        self.lake = Lake(settings, Domains(contracts, {}))

    def __enter__(self) -> Self:
        ensure_tables(self.settings, self.lake.nessie, self.lake.journal, self.lake.domains.contracts.values())
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self.lake.nessie):
            self.lake.journal.close()

    # ── runs ──────────────────────────────────────────────────────────────────────────────────
    def run(self, day: date, value: int, **options: Any) -> str:
        """A day with one row, through all layers; of gold only what is asked for. Returns: the run's id."""
        run = open_run(self.lake.nessie, self.lake.journal, "pipeline", day)
        return self.finish(run, self.written(run, day, value, **options))

    def run_of_gold(self, day: date) -> str:
        """Gold as a whole from what silver holds, and nothing else. Returns: the run's id."""
        run = open_run(self.lake.nessie, self.lake.journal, "gold", day)
        run.reads |= {self.silver.dataset, self.gold.dataset}
        return self.finish(run, {self.gold.dataset: self._total(run, run.base[self.silver.dataset])})

    def written(
        self, run: Run, day: date, value: int, *, total: bool = False, daily: bool = False, delivered: Delivered | None = None
    ) -> dict[str, Content]:
        """What a run of a day writes: the tables' new versions; its story is noted."""
        one, base = delivered or self.delivery(day, value), run.base
        tables = {
            self.bronze.dataset: self._bronze(base[self.bronze.dataset], one, value, run.id),
            self.silver.dataset: self._of_date("_logical_date", base[self.silver.dataset], day, value),
        }
        run.deliveries.append({"dataset": self.bronze.dataset} | asdict(one))
        self._note(run, self.bronze, day)
        self._note(run, self.silver, day, inputs={self.bronze.dataset: [str(day)]})
        if total:
            tables[self.gold.dataset] = self._total(run, tables[self.silver.dataset])
        if daily:
            tables[self.daily.dataset] = self._of_date("day", base[self.daily.dataset], day, value)
            self._note(run, self.daily, day, inputs={self.silver.dataset: [str(day)]})
        run.reads |= set(tables)
        return tables

    def _total(self, run: Run, silver: Content) -> Content:
        total = sum(row["value"] for row in self._read(silver))
        notes = {DATE_PROPERTY: "", INPUTS_PROPERTY: f"of {run.id}", CODE_PROPERTY: "1"}
        self._note(run, self.gold, None, inputs={self.silver.dataset: ["None"]})
        return self._replaced(run.base[self.gold.dataset], [{"total": total}], notes)

    def finish(self, run: Run, tables: dict[str, Content]) -> str:
        """Put these on the run's branch and merge it. Returns: its id."""
        put_on_branch(self.lake.nessie, run, tables, "write")
        assert judge_and_merge(self.lake, run, lambda line: None)
        return run.id

    def delivery(self, day: date, value: int) -> Delivered:
        """The delivery of a value for a day."""
        sha256 = hashlib.sha256(f"{day} {value}".encode()).hexdigest()
        return Delivered(day, f"{day}-{sha256[:12]}", f"s3://nowhere/{day}/{value}.csv?versionId=1", sha256, 1)

    def _note(self, run: Run, contract: Contract, day: date | None, **more: Any) -> None:
        written = {"dataset": contract.dataset, "logical_date": day, "rows_in": 1, "rows_out": 1, "quarantined": 0}
        run.writes.append(written | {"warned": 0, "verdicts": [], "seconds": 0.0} | more)

    def _bronze(self, content: Content, one: Delivered, value: int, run_id: str) -> Content:
        row = {
            "value": str(value), "_delivery": one.delivery, "_logical_date": one.logical_date, "_source_uri": one.uri,
            "_source_sha256": one.sha256, "_source_row": 1, "_ingested_at": datetime.now(UTC), "_run_id": run_id,
            "_row_hash": one.sha256,
        }  # fmt: skip
        notes = {DATE_PROPERTY: str(one.logical_date), DELIVERY_PROPERTY: one.delivery}
        return write(self.settings.s3, content, lambda table: table.append(_arrow(table, [row]), notes))

    def _of_date(self, column: str, content: Content, day: date, value: int) -> Content:
        made = {DATE_PROPERTY: str(day), INPUTS_PROPERTY: f"{day} {value}", CODE_PROPERTY: "1"}

        def replace(table: Table) -> None:
            rows = _arrow(table, [{"value": value, column: day}])
            if any(row[column] == day for row in self._read(content)):
                table.overwrite(rows, overwrite_filter=EqualTo(column, day), snapshot_properties=made)
            else:
                table.append(rows, made)

        return write(self.settings.s3, content, replace)

    def _replaced(self, content: Content, rows: list[dict[str, Any]], notes: dict[str, str]) -> Content:
        def replace(table: Table) -> None:
            if table.metadata.snapshots:
                table.overwrite(_arrow(table, rows), snapshot_properties=notes)
            else:
                table.append(_arrow(table, rows), notes)

        return write(self.settings.s3, content, replace)

    # ── what there is ─────────────────────────────────────────────────────────────────────────
    def main(self) -> Reference:
        """Where main is."""
        return self.lake.nessie.reference(MAIN)

    def content(self, contract: Contract) -> Content:
        """A table's content on main."""
        return self.lake.nessie.tables(self.main())[contract.dataset]

    def rows(self, contract: Contract) -> list[tuple[Any, ...]]:
        """What a table on main holds: (date, value) of bronze and silver, totals of gold."""
        names = ("total",) if contract is self.gold else ("_logical_date", "value")
        return sorted(tuple(row[name] for name in names) for row in self._read(self.content(contract)))

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of all three tables."""
        return {contract.layer: self.rows(contract) for contract in (self.bronze, self.silver, self.gold)}

    def deliveries(self) -> list[date]:
        """The dates of which bronze holds a delivery."""
        return [one.logical_date for one in self.deliveries_held()]

    def deliveries_held(self) -> list[Delivered]:
        """The deliveries that bronze holds."""
        return deliveries(self.settings.s3, self.content(self.bronze))

    def row(self, run_id: str) -> dict[str, Any]:
        """A run's row in the journal."""
        return self.lake.journal.run(run_id)

    def _read(self, content: Content) -> list[dict[str, Any]]:
        return list(open_static(self.settings.s3, content).scan().to_arrow().to_pylist())


def _arrow(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema_to_pyarrow(table.schema(), include_field_ids=False))

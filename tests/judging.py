"""A table on a branch of its own, and writes to it that are judged as those of many rows are.

desk = Desk(settings, rules)
judged = desk.write(rows)                     # of the date DAY; desk.table(), desk.kept() read it back
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from medallion import session
from medallion.contract import Materialisation, Rule
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.history import CODE_PROPERTY, DATE_PROPERTY, INPUTS_PROPERTY
from medallion.lakehouse.nessie import MAIN, Nessie, Operation, commit_body
from medallion.lakehouse.staging import Staging
from medallion.lakehouse.table import create
from medallion.quality.judge import judge
from medallion.quality.verdict import Judged
from medallion.settings import Settings
from tests.lake_tables import gold

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DAY = date(2031, 3, 1)
COLUMNS = {
    "id": "bigint", "kind": "string", "amount": "decimal(10,2)", "low": "int", "high": "int", "weight": "double",
    "marks": "array<string>", "day": "date",
}  # fmt: skip
Values = tuple[Any, ...]


def row(
    id_: int, kind: str | None = "A", amount: int | None = 1, low: int | None = 1, high: int | None = 2, **more: Any
) -> Values:
    """A row without its day; `more` may have a `weight`."""
    return (id_, kind, None if amount is None else Decimal(amount), low, high, more.get("weight", 1.0), [str(id_)])


class Desk:
    """One gold table, made a date at a time, with rules."""

    def __init__(self, settings: Settings, *rules: Rule) -> None:
        self.settings, self.nessie = settings, Nessie(settings.nessie)
        self.spark = session.start(settings)
        domain = f"d{uuid.uuid4().hex[:8]}"
        self.contract = gold("things", COLUMNS, domain=domain, rules=rules, materialisation=Materialisation("date", "day"))
        name = f"run/{domain}"
        self.nessie.create_branch(name, self.nessie.reference(MAIN))
        there = self.nessie.contents(self.nessie.reference(name))
        spaces = [space for space in ("gold", f"gold.{domain}") if space not in there]
        operations = [Operation("PUT", s, {"type": "NAMESPACE", "elements": s.split(".")}) for s in spaces]
        for table, quarantine in ((self.contract.dataset, False), (self.contract.quarantine, True)):
            operations.append(Operation("PUT", table, create(settings.s3, self.contract, quarantine=quarantine)))
        self.nessie.commit(self.nessie.reference(name), commit_body(operations, "made by a test", {}))
        self.branch = Branch(self.spark, settings, self.nessie, name, session.attach(self.spark, settings, name))
        self.writes = 0

    def frame(self, rows: Sequence[Values], day: date | None = DAY) -> DataFrame:
        """Rows (without their day) as a frame."""
        return self.spark.createDataFrame(self.arrow(rows, day))

    def arrow(self, rows: Sequence[Values], day: date | None = DAY) -> pa.Table:
        """The same in memory."""
        types = [
            pa.int64(),
            pa.string(),
            pa.decimal128(10, 2),
            pa.int32(),
            pa.int32(),
            pa.float64(),
            pa.list_(pa.string()),
            pa.date32(),
        ]
        columns = list(zip(*[(*r, day) for r in rows], strict=True))
        return pa.table({n: pa.array(c, t) for n, c, t in zip(COLUMNS, columns, types, strict=True)})

    def write(self, rows: Sequence[Values] | DataFrame, day: date = DAY, *, staged: bool = True) -> Judged:
        from pyspark.sql import functions as f

        self.writes += 1
        frame = rows if not isinstance(rows, Sequence) else self.frame(rows, day)
        notes = {DATE_PROPERTY: day.isoformat(), INPUTS_PROPERTY: f"inputs {self.writes}", CODE_PROPERTY: "code"}
        where, of_day = f.col("day") == f.lit(day), f.col("_logical_date") == f.lit(day)

        def replace(rows: DataFrame, table: str, condition: Any, back: Callable[[], DataFrame]) -> Any:
            added = self.branch.overwrite(rows, table, condition, notes)
            return back() if table == self.contract.quarantine else added

        return judge(
            frame, self.contract, "run-1", day,
            write=lambda rows: replace(rows, self.contract.dataset, where, frame.limit),
            quarantine=lambda rows: replace(rows, self.contract.quarantine, of_day, lambda: self.kept(day)),
            written=lambda: self.branch.read(self.contract.dataset).filter(where),
            table=lambda: self.branch.read(self.contract.dataset),
            staging=Staging(self.branch, self.contract, notes, replaces=day) if staged else None,
        )  # fmt: skip

    def kept(self, day: date = DAY) -> DataFrame:
        return self.branch.read(self.contract.quarantine).filter(f"_logical_date = DATE '{day}'")

    def ids(self, day: date = DAY) -> list[int]:
        return sorted(r["id"] for r in self.branch.read(self.contract.dataset).filter(f"day = DATE '{day}'").collect())

    def tables(self) -> set[str]:
        """The keys of the table's own domain."""
        return {key for key in self.nessie.tables(self.nessie.reference(self.branch.name)) if self.contract.domain in key}

    def ways(self, judged: Judged) -> Counter[str]:
        return Counter(verdict.decided_by for verdict in judged.verdicts)

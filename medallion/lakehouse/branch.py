"""A run's branch as Spark sees it: read, append, overwrite, evolve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract
from medallion.lakehouse import schema
from medallion.lakehouse.history import added_records, deleted_in_place
from medallion.lakehouse.nessie import Content, Nessie
from medallion.lakehouse.schema import Difference
from medallion.lakehouse.steps import step
from medallion.lakehouse.table import contract_properties, layout_changes, open_static
from medallion.lakehouse.tuning import tuned
from medallion.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

FEW_ROWS = "spark.medallion.few-rows"
"""The session's setting that says that the work at hand is over a few rows."""


class Branch:
    """The tables of one branch through one Spark catalog (see `medallion.session.attach`)."""

    def __init__(self, spark: SparkSession, settings: Settings, nessie: Nessie, name: str, catalog: str) -> None:
        self.spark = spark
        self.settings = settings
        self.nessie = nessie
        self.name = name
        self.catalog = catalog

    @property
    def few_rows(self) -> bool:
        """Whether the session is tuned for a few rows (see `medallion.session.sized`)."""
        return self.spark.conf.get(FEW_ROWS, "false") == "true"

    def read(self, dataset: str) -> DataFrame:
        """A table as it is on the branch now."""
        return self.spark.table(f"{self.catalog}.{dataset}")

    def content(self, dataset: str) -> Content:
        """What the catalog holds for a table on the branch now."""
        return self.nessie.content(self.name, dataset)

    def append(self, frame: DataFrame, dataset: str, notes: dict[str, str]) -> int:
        """Add rows. `notes` stay in the snapshot's summary. Returns: rows added, as the commit counts them."""
        with step("data.append"):
            self._writer(frame, dataset, notes).append()
        return added_records(self.settings.s3, self.content(dataset))

    def overwrite(self, frame: DataFrame, dataset: str, where: Column, notes: dict[str, str]) -> int:
        """Replace the rows that `where` selects, in one commit. Returns: as `append`."""
        with step("data.overwrite"):
            self._writer(frame, dataset, notes).overwrite(where)
        return added_records(self.settings.s3, self.content(dataset))

    def merge(self, source: str, dataset: str, key: Sequence[str], clauses: str, notes: dict[str, str]) -> tuple[int, int]:
        """MERGE the rows of one table (in `clauses`: s) into another (t) by their key, in one commit, which is there
        also where no row changes.

        Returns: how many rows were added, and how many went, as the commit counts them; a row replaced is one of each.
        """
        before, s3 = self.content(dataset), self.settings.s3
        on = " AND ".join(f"t.`{name}` = s.`{name}`" for name in key)
        # SQL has no words for what a snapshot's summary shall keep
        notes = {f"spark.sql.iceberg.snapshot-property.{key}": value for key, value in notes.items()}
        with tuned(self.spark, notes), step("data.merge"):
            self.spark.sql(
                f"MERGE INTO {self.catalog}.{dataset} t USING (SELECT * FROM {self.catalog}.{source}) s ON {on} {clauses}"
            )
        after = self.content(dataset)
        if after == before:
            return self.append(self.read(dataset).limit(0), dataset, notes), 0
        return added_records(s3, after), deleted_in_place(s3, after) - deleted_in_place(s3, before)

    def evolve(self, contract: Contract) -> list[Difference]:
        """Add the columns that the contract has and the table lacks, widen types that it widened, and lay the
        table out as the contract says from now on. Returns: what became of the schema.

        Raises: ContractError for a change that would break readers.
        """
        table = open_static(self.settings.s3, self.content(contract.dataset))
        found, name = schema.changes(table, contract), f"{self.catalog}.{contract.dataset}"
        todo = schema.statements(name, found) + [f"ALTER TABLE {name} {change}" for change in layout_changes(table, contract)]
        if found:
            properties = ", ".join(f"'{key}' = '{value}'" for key, value in contract_properties(contract).items())
            todo.append(f"ALTER TABLE {name} SET TBLPROPERTIES ({properties})")
        for statement in todo:
            with step("data.evolve"):
                self.spark.sql(statement)
        return found

    def rewrite_files(self, dataset: str, where: str, *, deleted: bool = False) -> int:
        """Rewrite small files into larger ones, in the table's sort order, in one commit.

        Args:
            where: SQL that selects whole partitions; empty for all of them.
            deleted: also files of any size of which rows were deleted in place.
        Returns: how many files were rewritten.
        """
        selected = ", where => '{}'".format(where.replace("'", "\\'")) if where else ""
        more = ", 'delete-file-threshold', '1'" if deleted else ""
        with step("data.compact"):
            row = self.spark.sql(
                f"CALL {self.catalog}.system.rewrite_data_files(table => '{dataset}', "
                f"options => map('min-input-files', '2'{more}){selected})"
            ).first()
        return int(row["rewritten_data_files_count"]) if row else 0

    def _writer(self, frame: DataFrame, dataset: str, notes: dict[str, str]) -> Any:
        writer = frame.writeTo(f"{self.catalog}.{dataset}")
        for key, value in notes.items():
            writer = writer.option(f"snapshot-property.{key}", value)
        return writer

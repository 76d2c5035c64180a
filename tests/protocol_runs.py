"""Runs at the level of the protocol: real branches, commits and Iceberg rows, and no Spark.

with ProtocolRuns(settings) as runs:
    run, judged = runs.written({sales: [{"id": 1}]}, reads={prices})
    runs.merge(run, judged)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from medallion.contract import Contract
from medallion.lakehouse import merge as merge_module
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, Commit, Nessie, Operation, Reference, commit_body
from medallion.lakehouse.run import Run, open_run
from medallion.settings import Settings
from tests.lake_tables import LakeTables

MERGE_REQUEST = r"POST \S*/trees/main@\w+/history/commit"
"""What a merge's request looks like to a proxy."""


class ProtocolRuns:
    """Opens runs, writes on their branches and merges them, as the pipeline does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._closing = ExitStack()
        self.journal = self._closing.enter_context(Journal(settings.postgres))
        self.tables = LakeTables(settings)
        self._closing.callback(self.tables.close)
        self.nessie = Nessie(settings.nessie)
        self._closing.callback(self.nessie.close)

    def __enter__(self) -> ProtocolRuns:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def main(self) -> Reference:
        """Where main is."""
        return self.nessie.reference(MAIN)

    def written(
        self, writes: Mapping[Contract, Any], *, reads: Iterable[Contract] = (), drops: Iterable[Contract] = ()
    ) -> tuple[Run, Reference]:
        """A validated run that read and wrote these tables. Returns: the run and its judged hash."""
        run = open_run(self.nessie, self.journal, "test", None)
        run.reads = {contract.dataset for contract in (*reads, *writes)}
        if writes:
            self.tables.commit(writes, branch=run.branch, run=run.id)
        for contract in drops:
            body = commit_body([Operation("DELETE", contract.dataset)], "drop", {})
            self.nessie.commit(self.nessie.reference(run.branch), body)
        run.writes = [{"dataset": c.dataset, "logical_date": None, "rows_in": 1, "rows_out": 1} for c in writes]
        judged = self.nessie.reference(run.branch)
        run.save(self.journal, "validated")
        return run, judged

    def handed_over(self, writes: Mapping[Contract, Any], *, reads: Iterable[Contract] = ()) -> Run:
        """A run that is written and that any process may now gate and merge, with `pipeline.merge_run`."""
        run, _ = self.written(writes, reads=reads)
        run.head = self.nessie.reference(run.branch).hash
        run.save(self.journal, "written")
        self.journal.release(run.id)
        return run

    def merge(self, run: Run, judged: Reference, *, nessie: Nessie | None = None, **properties: str) -> str | None:
        """Merge a run, through another client of the catalog if given. Returns and raises: as `merge`."""
        return merge_module.merge(nessie or self.nessie, self.journal, run, judged, f"merge {run.id}", properties)

    def merged(self, writes: Mapping[Contract, Any], *, reads: Iterable[Contract] = ()) -> str:
        """A whole run, merged. Returns: its commit's hash."""
        run, judged = self.written(writes, reads=reads)
        found = self.merge(run, judged)
        self.journal.release(run.id)
        assert found is not None
        return found

    def commits_of(self, run: Run) -> list[Commit]:
        """The commits on main that carry the run's id."""
        return [c for c in self.nessie.log(self.main()) if c.properties.get(RUN_PROPERTY) == run.id]

    def state(self, run: Run) -> str:
        """A run's state in the journal."""
        return str(self.journal.run(run.id)["state"])

    def rows(self, contract: Contract) -> list[dict[str, Any]]:
        """A table's rows on main."""
        return list(self.tables.read(contract).to_pylist())


def another_value(number: int) -> list[dict[str, Any]]:
    """Rows for the column set VALUE."""
    return [{"value": number}]


VALUE = {"value": "bigint"}
"""Columns of a table that holds one number."""

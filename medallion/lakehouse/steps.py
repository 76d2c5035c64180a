"""The named steps: every effect outside the process, each at one place of the code.

    with step("merge.commit"):
        ...                     # the effect, and nothing else that matters

`Journal.step` passes through here and writes the step down besides; what is no step of the journal (its own rows,
the parts of a write) says so directly. A step does nothing by itself. Whoever wants to be at each (tests, which stop
the process there) puts a context manager that takes the step's name into `around`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

STEPS = {
    "journal.open": "a run's row in the journal, before anything else is done",
    "journal.state": "a run's state and story in the journal",
    "run.branch": "a run's branch is forked from main",
    "init.tables": "the tables of new contracts, on a run's branch",
    "table.create": "the first metadata file of a new table",
    "fetch": "a source is asked for a dataset's deliveries",
    "land": "what a source gave is laid into its bucket",
    "write": "one date of one dataset is written, judged, and measured",
    "data.append": "rows are added to a table on a branch",
    "data.overwrite": "rows of a table on a branch are replaced",
    "data.merge": "rows are merged into an upserted table on a branch",
    "data.evolve": "a table on a branch gets the columns and the layout of its contract",
    "data.compact": "small files of a table on a branch are rewritten",
    "data.staged": "a write's judged files, or a table to judge them in, are committed to a branch",
    "quarantine": "refused rows are put aside on the branch",
    "branch.commit": "tables made without Spark are committed to a run's branch",
    "gate": "the verdict on all that a run wrote, with its evidence",
    "object.put": "a file is written into a bucket: evidence, or a delivery",
    "merge.request": "the merge's exact request is written into the journal",
    "merge.commit": "the one commit on main",
    "run.branch.remove": "the branch of a run that is at an end is removed",
    "run.branch.expire": "the branch of a failed run is removed after its time to live",
    "rebase.branch": "the branch of a run that lost a conflict is forked anew",
    "rebase.commit": "what such a run wrote is committed there by metadata",
    "rebase.rules": "the rules on all rows are judged again",
    "undo.tables": "earlier states of tables are made by metadata and committed to the branch of a revert or a restore",
    "undo.rules": "the rules on all rows of what a revert took rows from are judged again",
    "publish.whole": "a publication of gold or marts, with all its steps; how it ended",
    "publish.prepare": "the ledger, where it is missing",
    "publish.create": "a table in the warehouse",
    "publish.add_columns": "further columns of a table in the warehouse",
    "publish.widen": "columns of a table in the warehouse get a wider type",
    "publish.exchange": "columns of a table in the warehouse are dropped or made anew, on purpose",
    "publish.describe": "comments, NOT NULL and keys of a table in the warehouse",
    "publish.relate": "foreign keys of a table in the warehouse",
    "publish.stage": "staging tables are made, and files of several tables uploaded to the warehouse's stage",
    "publish.copy": "COPY into one staging table",
    "publish.begin": "BEGIN of the publication's one transaction",
    "publish.head": "the ledger's head is locked, then read",
    "publish.delete": "DELETE of the rows of all tables that change",
    "publish.insert": "INSERT of their rows from their staging tables",
    "publish.ledger": "the ledger's entry, and its head",
    "publish.commit": "COMMIT",
    "publish.rollback": "ROLLBACK of a publication that was outrun or failed",
    "publish.cleanup": "staging tables and files, or the schema that marts were built in, are removed",
    "publish.marts.build": "dbt builds and tests the marts in a schema of their own",
    "marts.build": "dbt builds and tests the marts on a run's branch",
    "audit.record": "a record of the audit log that is not made by the journal's own rows",
    "audit.contracts": "contracts that have changed since the runs before are noted in the audit log",
    "audit.prune": "old records of the audit log are removed",
    "lineage.edges": "the rows of ops.lineage are replaced, all at once",
    "lineage.send": "OpenLineage events, kept in the journal until then, are sent",
    "ops.project": "what is new in main's log, the journal, the evidence and the ledgers is filled into the tables of `ops`",
    "ops.rebuild": "these tables are made anew",
    "backup.begin": "a second location that is empty becomes this lake's",
    "backup.copy": "files that commits of main need are copied to the second location",
    "backup.mark": "a named point in the write-ahead log of the catalog's PostgreSQL, at which main is at a known commit",
    "backup.base": "a base backup of that PostgreSQL is copied to the second location",
    "backup.catalog": "its write-ahead log up to the named point is copied there",
    "backup.watermark": "the newest commit whose every file is there is recorded; written last",
    "restore.catalog": "a new stack's PostgreSQL is recovered from the second location",
    "restore.files": "a new stack's buckets are filled from the second location",
    "restore.runs": "what was under way at that time is ended in the new stack's journal",
    "restore.branches": "branches whose files were not copied are removed in the new stack",
    "alert.open": "alerts are opened and resolved, with what is to be sent of them, in one transaction",
    "alert.send": "a message about alerts is sent to a channel",
    "alert.test": "a message is sent to a channel, to see that it comes",
    "alert.sent": "that it was sent, or not, is noted",
    "alert.resend": "a message that its channel refused is to be sent again",
    "alert.acknowledge": "somebody takes note of alerts",
    "alert.silence": "alerts of some kind are not sent for a while",
    "alert.unsilence": "they are again",
}
"""Every step and what it does. A name in the code may go on after a dot with a dataset: `write.silver.sales.orders`."""

around: Callable[[str], AbstractContextManager[object]] | None = None
"""Entered at every step with its name as in STEPS; None outside of tests."""


def known(name: str) -> str:
    """The name of a step as STEPS has it, without a dataset's. Raises: KeyError for a step that has no name there."""
    found = name if name in STEPS else name.partition(".")[0]
    if found not in STEPS:
        raise KeyError(f"step '{name}' is not in medallion.lakehouse.steps.STEPS")
    return found


@contextmanager
def step(name: str) -> Iterator[None]:
    """One effect outside the process."""
    if around is None:
        yield
        return
    with around(known(name)):
        yield

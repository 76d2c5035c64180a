"""Taking back what is on `main`, as a run like any other: journal, branch, gate, evidence, and one commit.

What `medallion.undo.revert` and `medallion.undo.restore` share. Such a run names every table of `main` as read: whether anything
depends on what goes is a question about all that was merged, so whoever merges meanwhile makes it look again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from medallion import session
from medallion.errors import ConflictError, ServiceUnavailable, UsageError
from medallion.evidence import PROPERTIES
from medallion.lake import Lake
from medallion.lakehouse.history import total_records
from medallion.lakehouse.nessie import MAIN, CommitConflict, Content, Reference
from medallion.lakehouse.putback import missing_files
from medallion.lakehouse.run import Run, fail, load_run, open_run, put_on_branch, remove_branch
from medallion.lakehouse.standing import moved
from medallion.pipeline import Request, judge_and_merge, write
from medallion.rebase import judge_again
from medallion.settings import S3

Report = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """What becomes of one table: `way` is `state` (an earlier state as a whole), `files` (the files of what is taken back
    go, those that they replaced come back), or `empty` (it was not there); rows before, and after it and what was
    run again."""

    table: str
    way: str
    rows_before: int
    rows_after: int


@dataclass
class Undone:
    """What came of it: the run, its commit, which runs it took back (newest first) and brought back, what became of each
    table, and the requests that were run again. Of a dry run there is no run."""

    run_id: str | None
    state: str
    merged_hash: str | None
    reverted: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    tables: list[Change] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


@dataclass
class Prepared:
    """What a run puts back: the tables' new versions, its writes, its commit's properties, what was done to each table,
    the datasets whose rules on all rows are to be judged anew, and what is to be run again on its branch."""

    tables: dict[str, Content]
    writes: list[dict[str, Any]]
    properties: dict[str, str]
    changes: list[Change]
    judged_again: list[str] = field(default_factory=list)
    again: list[Request] = field(default_factory=list)


def carry_out(lake: Lake, kind: str, prepare: Callable[[Run], Prepared], report: Report, *, publish: bool) -> Undone:
    """Take something back in one run; made anew on the newer `main` if others were quicker.

    Args:
        prepare: makes the new versions of the tables, from `main` as the run has it (`h0`, `base`); called once an attempt.
        publish: noted, so that `resume` publishes what was merged and not shown.
    Raises: UsageError and what `prepare` raises: nothing was merged, the run is `failed`; GateRefused; ConflictError after the
        bounded retries; ServiceUnavailable.
    """
    previous: str | None = None
    contested: tuple[str, ...] = ()
    tries = lake.settings.runs.conflict_retries + 1
    for _ in range(tries):
        with lake.journal.queue(list(contested)) if contested else nullcontext():
            run = open_run(lake.nessie, lake.journal, kind, None, retry_of=previous, options={"publish": publish})
            report(f"run {run.id}: branch {run.branch} from main@{run.h0.hash[:12]}")
            try:
                prepared = _put(lake, run, prepare, report)
                run = _run_again(lake, run, prepared, report)
                _judge_again(lake, run, prepared.judged_again)
                merged = judge_and_merge(lake, run, report)
            except CommitConflict as conflict:
                report(f"run {run.id}: conflict on {', '.join(conflict.keys)}; looking again")
                fail(lake.journal, run, str(conflict), "conflicted")
                remove_branch(lake.nessie, lake.journal, run.id, run.branch)
                previous, contested = run.id, conflict.keys
                continue
            finally:
                with suppress(ServiceUnavailable):  # the lock goes with the connection
                    lake.journal.release(run.id)
            options = run.options
            return Undone(
                run.id, run.state, merged, options["reverts"], options["returns"], prepared.changes,
                [str(one.logical_date) for one in prepared.again],
            )  # fmt: skip
    raise ConflictError(
        f"{kind}: {', '.join(contested)} changed on main in each of {tries} attempts; nothing was merged",
        hint="do it again when fewer runs are merged, or raise runs.conflict_retries",
        run=previous,
    )


def _put(lake: Lake, run: Run, prepare: Callable[[Run], Prepared], report: Report) -> Prepared:
    """Prepare, put the tables on the run's branch, and judge what has to be judged anew. On an error the run is failed."""
    try:
        with lake.journal.step(run.id, "undo.tables") as found:
            prepared = prepare(run)
            found["tables"] = {change.table: change.way for change in prepared.changes}
            run.writes = prepared.writes
            run.options |= {PROPERTIES: prepared.properties} | moved(list(lake.nessie.log(run.h0)), prepared.properties)
            run.reads = {name for name, content in run.base.items() if content["type"] == "ICEBERG_TABLE"}
            if prepared.tables:
                run.head = put_on_branch(lake.nessie, run, prepared.tables, f"{run.kind}: tables put back").hash
        run.notes += [told(change) for change in prepared.changes]
        for note in run.notes:
            report(f"  {note}")
        run.save(lake.journal, "written")
    except BaseException as error:
        fail(lake.journal, run, "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}")
        with suppress(ServiceUnavailable):  # nothing on it to look at
            remove_branch(lake.nessie, lake.journal, run.id, run.branch)
        raise
    return prepared


def _judge_again(lake: Lake, run: Run, datasets: list[str]) -> None:
    """Judge the rules on all rows of tables that nobody has written anew, as they are in the end. On an error the run is
    failed."""
    if not datasets:
        return
    try:
        with lake.journal.step(run.id, "undo.rules", tables=datasets), session.speaking_plainly():
            judge_again(lake.branch(run.branch), lake.domains, run.writes, datasets, None)
        run.save(lake.journal)
    except BaseException as error:
        fail(lake.journal, run, "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}")
        raise


def _run_again(lake: Lake, run: Run, prepared: Prepared, report: Report) -> Run:
    """Make requests again on the run's branch, each as a part of it; this process holds the run throughout. What became of
    the tables is told with the rows that they have then."""
    if not prepared.again:
        return run
    for request in prepared.again:
        report(f"run {run.id}: running {request.logical_date} again")
        write(lake, run.id, request, report)
    made = lake.nessie.contents(lake.nessie.reference(run.branch))
    s3 = lake.settings.s3
    prepared.changes[:] = [replace(change, rows_after=rows(s3, made.get(change.table))) for change in prepared.changes]
    return load_run(lake.nessie, lake.journal, run.id)


def told(change: Change) -> str:
    """What became of a table, for a person."""
    way = {"state": "as it was before", "files": "by its files", "empty": "emptied: it was not there"}[change.way]
    return f"{change.table}: {way}, {change.rows_before} rows before, {change.rows_after} now"


def rows(s3: S3, content: Content | None) -> int:
    """How many rows a version of a table holds."""
    return total_records(s3, content) if content else 0


def a_write(dataset: str, logical_date: date | None, reason: str, **more: Any) -> dict[str, Any]:
    """An entry of the run's story for what it did to one date of a dataset (None: to all of it)."""
    return {
        "dataset": dataset, "logical_date": logical_date, "reason": reason, "rows_in": 0, "rows_out": 0, "quarantined": 0,
        "warned": 0, "inputs": {}, "verdicts": [], "seconds": 0.0,
    } | more  # fmt: skip


def tables_at(lake: Lake, hash_: str) -> dict[str, Content]:
    """Every table at a commit of `main`."""
    return lake.nessie.tables(Reference(MAIN, hash_))


def check_files(s3: S3, contents: Iterable[Content], what: str) -> None:
    """See that the metadata and the manifests of these versions are there; data files are not asked for.

    Raises: UsageError naming those that are not.
    """
    if gone := missing_files(s3, contents):
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        raise UsageError(
            f"{what} cannot be put back: {len(gone)} files that it needs are not there any more: {', '.join(gone[:3])}{more}",
            hint="bring them back from a backup, or choose a newer state",
        )

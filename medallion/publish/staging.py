"""Bring tables of the lake into staging tables of the target, and make the target fit for them.

Nothing here is seen by a reader: tables and columns that are new are empty until the transaction.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medallion.errors import MedallionError, ServiceUnavailable, UsageError
from medallion.lakehouse.nessie import Content
from medallion.publish import lake_files
from medallion.publish.checksum import Digest, digest
from medallion.publish.columns import Column, from_iceberg
from medallion.publish.ledger import Head, TableState
from medallion.publish.partitions import Change, Part, since
from medallion.publish.plan import Plan
from medallion.publish.target import Journal, Outrun, Target, Unanswered
from medallion.settings import S3

if TYPE_CHECKING:
    from pyiceberg.table import StaticTable

log = logging.getLogger(__name__)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Staged:
    """One version of one table, or those partitions of it that changed, loaded into a staging table."""

    place: str
    columns: tuple[Column, ...]
    state: TableState
    bytes: int
    as_they_are: bool
    parts: tuple[Part, ...] | None = None


@dataclass
class Attempts:
    """What is kept from one attempt to the next. `whole` are tables that are not replaced by partitions after all."""

    publication_id: str
    staged: dict[tuple[str, str, int, int, str], Staged] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)
    rewinds_from: Head | None = None

    def place(self) -> str:
        """A new place: its first part says when, so that leftovers can be told."""
        self.places.append(f"{datetime.now(UTC):%Y%m%dt%H%M%S}_{self.publication_id[:12]}_{len(self.places)}")
        return self.places[-1]


class Steps:
    """The journal of one publication: every effect outside the process is a step `publish.<name>`."""

    def __init__(self, journal: Journal, run_id: str) -> None:
        self._journal, self._run_id = journal, run_id

    @contextmanager
    def __call__(self, name: str, **detail: object) -> Iterator[None]:
        with self._journal.step(self._run_id, f"publish.{name}", **detail):
            yield


@dataclass(frozen=True)
class Fit:
    """What a target's table lacks of the lake's: all of it, or some columns, or (`change`) no more than the partitions
    that changed since `base`."""

    table: StaticTable
    columns: tuple[Column, ...]
    exists: bool
    new: tuple[Column, ...]
    base: TableState | None = None
    change: Change | None = None


def fit(s3: S3, target: Target, dataset: str, content: Content, base: TableState | None = None) -> Fit:
    """Compare a table's columns in lake and target, and its partitions with those of `base`, what the target
    shows, if it may be replaced by partitions. Changes nothing.

    Raises: UsageError for a column that the target cannot hold, and for a change that would break
        consumers: a column that is gone, or another type.
    """
    table = lake_files.open_table(s3, content)
    columns = from_iceberg(dataset, table.schema())
    target.check(dataset, columns)
    there = target.columns(dataset)
    wanted = {column.name.lower(): column for column in columns}
    for name, type_ in (there or {}).items():
        if name not in wanted:
            problem = f"column '{name}' is in the warehouse, and no longer in the lake"
        elif (now := target.type_of(wanted[name])) != type_:
            problem = f"column '{name}' is {type_} in the warehouse, and {now} ({wanted[name].type}) in the lake"
        else:
            continue
        hint = "publish it as a new dataset under another name, or bring the column back in the gold transform"
        if name in wanted:
            hint = (
                f"where its consumers can take that, let the table's owner alter the column to {now} in the warehouse, and "
                "publish again; else publish a new dataset under another name"
            )
        raise UsageError(
            f"{dataset}: {problem}; consumers would break, so the warehouse is unchanged", hint=hint, dataset=dataset
        )
    new = tuple(column for column in columns if column.name.lower() not in (there or {}))
    change = since(s3, base, content, table, columns) if base and there and not new else None
    return Fit(table, columns, there is not None, new, base, change)


def stage(s3: S3, target: Target, dataset: str, fit: Fit, todo: Plan, report: Report, steps: Steps, attempts: Attempts) -> Staged:
    """Create the target's table or its new columns, and load the lake's rows into a staging table.

    Raises: MedallionError if a row was lost or doubled on the way; ServiceUnavailable.
    """
    if not fit.exists:
        with steps("create", dataset=dataset):
            target.create(dataset, fit.columns)
    elif fit.new:
        with steps("add_columns", dataset=dataset, columns=[column.name for column in fit.new]):
            target.add(dataset, fit.new)
    content = todo.contents[dataset]
    since_what = fit.base.metadata_location if fit.base and fit.change else ""
    version = (dataset, content["id"], content["snapshotId"], content["schemaId"], since_what)
    if staged := attempts.staged.get(version):  # an earlier attempt has brought it
        return replace(staged, state=replace(staged.state, hash=todo.hash))
    place, change = attempts.place(), fit.change
    before = _before(s3, fit) if change else None
    if before is None:
        change = None
    with tempfile.TemporaryDirectory(prefix="medallion-publish-") as name:
        files = lake_files.fetch(s3, fit.table, Path(name), change.now if change else None)
        found = digest(files.paths, fit.columns)
        size = files.bytes
        with steps("stage", dataset=dataset, place=place, files=len(files.paths), bytes=size):
            target.stage(place, files.paths)
        with steps("copy", dataset=dataset, place=place, rows=files.rows):
            try:
                copied = target.copy(place, fit.columns)
            except MedallionError as error:
                error.dataset = dataset
                raise
    if not files.rows == found.rows == copied:
        raise MedallionError(
            f"{dataset}: {files.rows} rows in the lake, {found.rows} in the files, {copied} in the warehouse's "
            "staging table; what the warehouse shows is unchanged",
            hint="publish again; if it stays so, `medallion doctor` and the table's manifests",
            dataset=dataset,
        )
    anew = "" if files.as_they_are else ", written anew"
    which = f" of {len(change.parts)} partitions that changed" if change else ""
    report(f"staged {dataset}: {copied} rows{which}, {len(files.paths)} files{anew}")
    if before and fit.base:
        found = Digest(fit.base.rows, fit.base.checksum).replaced(before, found)
    state = TableState(
        content_id=content["id"],
        snapshot_id=content["snapshotId"],
        schema_id=content["schemaId"],
        metadata_location=content["metadataLocation"],
        rows=found.rows,
        checksum=found.checksum,
        hash=todo.hash,
    )
    parts = change.parts if change else None
    attempts.staged[version] = Staged(place, fit.columns, state, size, files.as_they_are, parts)
    return attempts.staged[version]


def _before(s3: S3, fit: Fit) -> Digest | None:
    """What the target shows of the partitions that changed, from the lake's files of then; None if they are gone."""
    if not fit.change:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="medallion-publish-") as name:
            return digest(lake_files.fetch(s3, fit.change.old, Path(name), fit.change.before).paths, fit.columns)
    except ServiceUnavailable:
        return None


def clean(target: Target, steps: Steps, attempts: Attempts) -> None:
    """Remove what was staged. It failing changes nothing that anyone sees, so it is only logged."""
    if not attempts.places:
        return
    try:
        with steps("cleanup", places=list(attempts.places)):
            target.discard(attempts.places)
    except (MedallionError, Unanswered, Outrun):
        log.warning("what publication %s staged could not be removed; a later one will", attempts.publication_id)

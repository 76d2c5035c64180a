"""Bring tables of the lake into staging tables of the target, and make the target fit for them.

Nothing here is seen by a reader: tables and columns that are new are empty until the transaction.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medallion.contract import Contract
from medallion.errors import MedallionError, ServiceUnavailable, UsageError
from medallion.lakehouse.nessie import Content
from medallion.publish import lake_files
from medallion.publish.checksum import Digest, digest
from medallion.publish.columns import Column, from_iceberg, wider
from medallion.publish.description import Description
from medallion.publish.description import of as description_of
from medallion.publish.ledger import Head, TableState
from medallion.publish.partitions import Change, Part, since
from medallion.publish.plan import Plan
from medallion.publish.target import Journal, Outrun, Target, Unanswered
from medallion.settings import S3

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask, StaticTable

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
    """What is kept from one attempt to the next. `whole` are tables that are not replaced by partitions after all, `bare`
    those that get no constraints, because their rows break them, `described` what was said of tables already."""

    publication_id: str
    staged: dict[tuple[str, str, int, int, str], Staged] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)
    described: dict[str, str] = field(default_factory=dict)
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

    def work(self, publication_id: str) -> str:
        """What the publication is called in the warehouse: its id, and the run's if it is one's."""
        return publication_id if self._run_id == publication_id else f"{publication_id} run {self._run_id}"

    @contextmanager
    def __call__(self, name: str, **detail: object) -> Iterator[None]:
        with self._journal.step(self._run_id, f"publish.{name}", **detail):
            yield


@dataclass(frozen=True)
class Fit:
    """What a target's table lacks of the lake's: all of it, or some columns (`new`), digits of some (`wide`), or no more
    than the partitions that changed (`change`) since `base`. `gone` are columns to be dropped, on purpose, and
    `remade` those of them that the lake has with another type."""

    table: StaticTable
    tasks: list[FileScanTask]
    columns: tuple[Column, ...]
    description: Description
    exists: bool
    new: tuple[Column, ...] = ()
    wide: tuple[Column, ...] = ()
    gone: tuple[str, ...] = ()
    remade: tuple[Column, ...] = ()
    base: TableState | None = None
    change: Change | None = None


def fit(
    s3: S3,
    target: Target,
    contract: Contract,
    published: Mapping[str, Contract],
    content: Content,
    base: TableState | None = None,
    allowed: Collection[str] = (),
) -> Fit:
    """Compare a table's columns in lake and target, and its partitions with those of `base`, what the target
    shows, if it may be replaced by partitions. Changes nothing.

    Args:
        published: the contracts of all published datasets.
        allowed: columns, as `dataset.column`, that may be dropped in the target.
    Raises: UsageError for a column that the target cannot hold, and for a change that would break
        consumers: a column that is gone, or another type.
    """
    dataset = contract.dataset
    table = lake_files.open_table(s3, content)
    columns = from_iceberg(dataset, table.schema())
    target.check(dataset, columns)
    there = target.columns(dataset)
    wanted = {column.name.lower(): column for column in columns}
    gone, wide = [], []
    for name, type_ in (there or {}).items():
        now = target.type_of(wanted[name]) if name in wanted else None
        if now == type_ or (now and wider(now, type_)):  # what is wider there holds it too
            continue
        if now and wider(type_, now):
            wide.append(wanted[name])
        elif f"{dataset}.{name}" in allowed:
            gone.append(name)
        else:
            raise _breaking(dataset, name, type_, now, wanted.get(name))
    tasks = lake_files.planned(table)
    new = tuple(column for column in columns if column.name.lower() not in (there or {}))
    change = None
    if base and there and not new and not gone:
        change = since(s3, base, content, table, tasks, columns)
    names = [column.name for column in columns]
    return Fit(
        table=table,
        tasks=tasks,
        columns=columns,
        description=description_of(contract, published, names, lake_files.without_nulls(table, tasks)),
        exists=there is not None,
        new=new,
        wide=tuple(wide),
        gone=tuple(gone),
        remade=tuple(wanted[name] for name in gone if name in wanted),
        base=base,
        change=change,
    )


def _breaking(dataset: str, name: str, type_: str, now: str | None, column: Column | None) -> UsageError:
    problem = f"column '{name}' is in the warehouse, and no longer in the lake"
    anew = ""
    if column:
        problem = f"column '{name}' is {type_} in the warehouse, and {now} ({column.type}) in the lake"
        anew = ", and makes it anew with that type"
    return UsageError(
        f"{dataset}: {problem}; consumers would break, so the warehouse is unchanged",
        hint="publish it as a new dataset under another name (a new version beside the old one); or, where consumers can take "
        f"it, `medallion publish --allow-breaking {dataset}.{name}`, which drops the column in the warehouse{anew}",
        dataset=dataset,
    )


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
    if fit.wide:
        with steps("widen", dataset=dataset, columns=[column.name for column in fit.wide]):
            target.widen(dataset, fit.wide)
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
        files = lake_files.fetch(s3, fit.table, change.now if change else fit.tasks, Path(name))
        found = digest(files.paths, fit.columns)
        if target.nested_as_texts:
            files = files.with_texts(fit.columns)
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
            return digest(lake_files.fetch(s3, fit.change.old, fit.change.before, Path(name)).paths, fit.columns)
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

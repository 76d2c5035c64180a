"""Bring tables of the lake into staging tables of the target, and make the target fit for them.

Nothing here is seen by a reader: tables and columns that are new are empty until the transaction.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from medallion.errors import MedallionError, ServiceUnavailable
from medallion.lakehouse.nessie import Content
from medallion.publish import lake_files
from medallion.publish.checksum import Digest, digest
from medallion.publish.columns import Column
from medallion.publish.fitting import READERS, Fit
from medallion.publish.lake_files import LakeFiles
from medallion.publish.ledger import Head, TableState
from medallion.publish.partitions import Part
from medallion.publish.plan import Plan
from medallion.publish.target import Journal, Load, Outrun, Target, Unanswered
from medallion.settings import S3

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)
Report = Callable[[str], None]
TOGETHER_BYTES = 268_435_456
"""Tables are brought together while their files are no more than this, which must find room on this machine's disk."""
Version = tuple[str, str, int, int, str]
"""A dataset's table as it is to be shown, and since which version of it only what changed."""


@dataclass(frozen=True)
class Staged:
    """One version of one table, or those partitions of it that changed, loaded into a staging table."""

    dataset: str
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
    staged: dict[Version, Staged] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)
    described: dict[str, str] = field(default_factory=dict)
    places: list[str] = field(default_factory=list)
    rewinds_from: Head | None = None
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))

    def place(self) -> str:
        """A new place: its first part says when, so that leftovers can be told."""
        self.places.append(f"{self.begun:%Y%m%dt%H%M%S}_{self.publication_id[:12]}_{len(self.places)}")
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


def stage(
    s3: S3, target: Target, fits: Mapping[str, Fit], todo: Plan, report: Report, steps: Steps, attempts: Attempts
) -> dict[str, Staged]:
    """Create the target's tables or their new columns, and load the lake's rows into staging tables.

    Raises: MedallionError if a row was lost or doubled on the way; ServiceUnavailable.
    """
    import duckdb

    for dataset, each in fits.items():
        if not each.exists:
            with steps("create", dataset=dataset):
                target.create(dataset, each.columns)
        elif each.new:
            with steps("add_columns", dataset=dataset, columns=[column.name for column in each.new]):
                target.add(dataset, each.new)
        if each.wide:
            with steps("widen", dataset=dataset, columns=[column.name for column in each.wide]):
                target.widen(dataset, each.wide)
    versions = {dataset: _version(todo.contents[dataset], dataset, each) for dataset, each in fits.items()}
    missing = {dataset: each for dataset, each in fits.items() if versions[dataset] not in attempts.staged}
    with duckdb.connect() as engine:
        for batch in _batches(missing.items()):
            for brought in _bring(s3, target, batch, todo, engine, report, steps, attempts):
                attempts.staged[versions[brought.dataset]] = brought
    found = {dataset: attempts.staged[version] for dataset, version in versions.items()}
    # an earlier attempt, at another hash, may have brought it
    return {dataset: replace(each, state=replace(each.state, hash=todo.hash)) for dataset, each in found.items()}


def _version(content: Content, dataset: str, fit: Fit) -> Version:
    since_what = fit.base.metadata_location if fit.base and fit.change else ""
    return dataset, content["id"], content["snapshotId"], content["schemaId"], since_what


def _batches(fits: Iterable[tuple[str, Fit]]) -> Iterator[dict[str, Fit]]:
    """Tables that are brought together."""
    batch: dict[str, Fit] = {}
    size = 0
    for dataset, each in fits:
        more = sum(task.file.file_size_in_bytes for task in each.brought)
        if batch and size + more > TOGETHER_BYTES:
            yield batch
            batch, size = {}, 0
        batch[dataset] = each
        size += more
    if batch:
        yield batch


@dataclass(frozen=True)
class _Fetched:
    """A table's files on this disk, in which only the partitions that changed are, if `before` says what was in them."""

    place: str
    files: LakeFiles
    found: Digest
    before: Digest | None


def _bring(
    s3: S3,
    target: Target,
    batch: Mapping[str, Fit],
    todo: Plan,
    engine: duckdb.DuckDBPyConnection,
    report: Report,
    steps: Steps,
    attempts: Attempts,
) -> list[Staged]:
    """Fetch the files of tables, stage them together, and copy each into its staging table."""
    places = {dataset: attempts.place() for dataset in batch}
    with tempfile.TemporaryDirectory(prefix="medallion-publish-") as name:
        folder = Path(name)

        def one(dataset: str) -> _Fetched:
            each = batch[dataset]
            before = _before(s3, each, engine)
            tasks = each.brought if before else each.tasks
            files = lake_files.fetch(s3, each.table, tasks, folder, f"{places[dataset]}_")
            with engine.cursor() as cursor:  # of this thread
                found = digest(files.paths, each.columns, cursor)
            if target.nested_as_texts:
                files = files.with_texts(each.columns)
            return _Fetched(places[dataset], files, found, before)

        with ThreadPoolExecutor(READERS) as pool:
            fetched = dict(zip(batch, pool.map(one, batch), strict=True))
        loads = {dataset: Load(each.place, batch[dataset].columns, each.files.paths) for dataset, each in fetched.items()}
        size = sum(each.files.bytes for each in fetched.values())
        with steps("stage", datasets=list(loads), places=[each.place for each in loads.values()], bytes=size):
            target.stage(list(loads.values()))
        return [
            _copied(target, dataset, batch[dataset], fetched[dataset], load, todo, report, steps)
            for dataset, load in loads.items()
        ]


def _copied(
    target: Target, dataset: str, fit: Fit, fetched: _Fetched, load: Load, todo: Plan, report: Report, steps: Steps
) -> Staged:
    files, found = fetched.files, fetched.found
    with steps("copy", dataset=dataset, place=load.place, rows=files.rows):
        try:
            copied = target.copy(load)
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
    change = fit.change if fetched.before else None
    anew = "" if files.as_they_are else ", written anew"
    which = f" of {len(change.parts)} partitions that changed" if change else ""
    report(f"staged {dataset}: {copied} rows{which}, {len(files.paths)} files{anew}")
    if fetched.before and fit.base:
        found = Digest(fit.base.rows, fit.base.checksum).replaced(fetched.before, found)
    content = todo.contents[dataset]
    state = TableState(
        content_id=content["id"],
        snapshot_id=content["snapshotId"],
        schema_id=content["schemaId"],
        metadata_location=content["metadataLocation"],
        rows=found.rows,
        checksum=found.checksum,
        hash=todo.hash,
    )
    return Staged(dataset, load.place, fit.columns, state, files.bytes, files.as_they_are, change.parts if change else None)


def _before(s3: S3, fit: Fit, engine: duckdb.DuckDBPyConnection) -> Digest | None:
    """What the target shows of the partitions that changed, from the lake's files of then; None if they are gone."""
    if not fit.change:
        return None
    try:
        with tempfile.TemporaryDirectory(prefix="medallion-publish-") as name, engine.cursor() as cursor:
            return digest(lake_files.fetch(s3, fit.change.old, fit.change.before, Path(name)).paths, fit.columns, cursor)
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

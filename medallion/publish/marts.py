"""Publish marts: built and tested in a schema of their own, shown in one transaction for all of them and the ledger.

The same lock and the same ledger as gold's. What was built from one version of gold is published only while that is
the version shown; else it is built again. The tables are emptied and filled, never dropped, renamed or truncated.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from medallion.errors import ConflictError, MedallionError, ServiceUnavailable, UsageError
from medallion.publish.checksum import digest
from medallion.publish.columns import Column
from medallion.publish.ledger import Entry, Head, MartState
from medallion.publish.retrying import in_attempts
from medallion.publish.staging import Report, Steps
from medallion.publish.target import BUILD, Journal, NoJournal, Outrun, Target, Unanswered, connect, left_over
from medallion.settings import Settings

log = logging.getLogger(__name__)

SCHEMA = "marts"
Columns = dict[str, tuple[Column, ...]]
"""Mart -> its columns."""
Build = Callable[[Head, str], Columns]
"""Builds and tests all marts in a schema, from what a head shows. Returns: what there is to publish."""


def dataset(mart: str) -> str:
    """A mart's name as a dataset: `gold.marts.<name>`."""
    return f"gold.{SCHEMA}.{mart}"


@dataclass(frozen=True)
class MartsPublication:
    """What came of it. `already`: the very same rows are shown. `hash` is the commit that they were built from."""

    outcome: Literal["published", "already"]
    sequence: int
    publication_id: str | None
    hash: str
    marts: dict[str, MartState]

    @property
    def message(self) -> str:
        rows = sum(state.rows for state in self.marts.values())
        if self.outcome == "already":
            return f"the marts of main@{self.hash[:12]} are already published, as number {self.sequence}: nothing was changed"
        return f"published {len(self.marts)} marts of main@{self.hash[:12]} as number {self.sequence}: {rows} rows"


@dataclass
class _Attempts:
    publication_id: str
    schemas: list[str] = field(default_factory=list)

    def schema(self) -> str:
        """A new schema's name: it says when, so that leftovers can be told."""
        self.schemas.append(f"{BUILD}{datetime.now(UTC):%Y%m%dt%H%M%S}_{self.publication_id[:12]}_{len(self.schemas)}")
        return self.schemas[-1]


def publish(
    settings: Settings, build: Build, report: Report = lambda line: None, journal: Journal | None = None
) -> MartsPublication:
    """Build all marts from the gold that is shown, and show them all at once.

    Raises: what `build` raises; UsageError if no gold is published, or for a change that would break consumers;
        ServiceUnavailable; ConflictError if others published in every bounded attempt. In every case the
        warehouse shows whole versions only.
    """
    attempts = _Attempts(uuid.uuid4().hex)
    steps = Steps(journal or NoJournal(), attempts.publication_id)
    most = settings.runs.conflict_retries + 1
    with steps("whole", of="marts", warehouse=settings.warehouse, publication_id=attempts.publication_id):
        one = partial(_attempt, settings, build, report, steps, attempts)
        try:
            return in_attempts(
                f"marts {attempts.publication_id}", one, most, lambda reason: report(f"building the marts again ({reason})")
            )
        except Unanswered as error:
            raise ServiceUnavailable(
                f"the warehouse stopped answering the marts' publication {attempts.publication_id}; it shows the marts before "
                f"or after it, whole: {error}",
                hint="run `medallion marts` again: the ledger says what was done",
            ) from error
        except Outrun as error:
            raise ConflictError(
                f"others published in all of {most} attempts; the marts are as they were: {error}",
                hint="run `medallion marts` again later",
            ) from error


def _attempt(settings: Settings, build: Build, report: Report, steps: Steps, attempts: _Attempts) -> MartsPublication:
    with closing(connect(settings, f"marts {attempts.publication_id}")) as target:
        if attempts.schemas and (done := target.entry(publication_id=attempts.publication_id)):
            report("the ledger says that it was done")  # the answer to COMMIT was lost, not the COMMIT
            _clean(target, steps, attempts)
            return _result("published", done)
        head = target.head()
        entry = target.entry(sequence=head.sequence) if head.sequence else None
        if entry is None:
            raise UsageError("no gold is published in this warehouse: there is nothing to build marts from",
                             hint="`medallion publish`, with the same warehouse")  # fmt: skip
        schema = attempts.schema()
        try:
            with steps("marts.build", schema=schema, hash=entry.hash):
                marts = build(head, schema)
            states = {mart: _state(target, mart, schema, columns, entry.hash) for mart, columns in marts.items()}
            if states == entry.marts:
                result = _result("already", entry)
            else:
                there = target.columns([dataset(mart) for mart in marts])
                for mart, columns in marts.items():
                    _fit(target, mart, columns, there.get(dataset(mart)), steps)
                for name in target.end_abandoned():
                    report(f"ended the transaction that '{name}' had left open")
                result = _result("published", _replace(target, head, entry, schema, marts, states, steps, attempts))
        except (MedallionError, Outrun):
            _clean(target, steps, attempts)
            raise
        # after no answer, and after Ctrl-C, a transaction may be open, and in Snowflake removing a schema would commit it
        _clean(target, steps, attempts)
    for gone in sorted(set(entry.marts) - set(states)):
        report(f"{dataset(gone)} is no longer in the project: its table stays as it was, and is not kept up to date")
    report(result.message)
    return result


def _state(target: Target, mart: str, schema: str, columns: Sequence[Column], hash_: str) -> MartState:
    """What was built of one mart."""
    found = digest(target.fetch(f"gold.{schema}.{mart}", columns), columns)
    return MartState(found.rows, found.checksum, hash_, {column.name: column.type for column in columns})


def _fit(target: Target, mart: str, columns: Sequence[Column], there: dict[str, str] | None, steps: Steps) -> None:
    """Create a mart's table, or the columns that it lacks of those that are there. Raises: UsageError for what would break
    consumers."""
    name = dataset(mart)
    target.check(name, columns)
    if there is None:
        with steps("create", dataset=name):
            target.create(name, columns)
        return
    wanted = {column.name.lower(): column for column in columns}
    for column, type_ in there.items():
        if column not in wanted:
            problem = f"column '{column}' is in the warehouse, and no longer in the model"
        elif (now := target.type_of(wanted[column])) != type_:
            problem = f"column '{column}' is {type_} in the warehouse, and {now} in the model"
        else:
            continue
        raise UsageError(
            f"{name}: {problem}; consumers would break, so the marts are as they were",
            hint="give the model a new name, or bring the column back",
            dataset=name,
        )
    if new := [column for name_, column in wanted.items() if name_ not in there]:
        with steps("add_columns", dataset=name, columns=[column.name for column in new]):
            target.add(name, new)


def _replace(
    target: Target,
    head: Head,
    before: Entry,
    schema: str,
    marts: Columns,
    states: dict[str, MartState],
    steps: Steps,
    attempts: _Attempts,
) -> Entry:
    """The one transaction. Raises: Outrun after rolling back; Unanswered."""
    entry = replace(
        before,
        sequence=head.sequence + 1,
        publication_id=attempts.publication_id,
        runs=(),
        published_at=None,
        changed=tuple(dataset(mart) for mart in states),
        staged_bytes=0,
        reencoded_bytes=0,
        marts=states,
    )
    with steps("begin", hash=entry.hash, publication_id=attempts.publication_id):
        target.begin()
    try:
        with steps("head", sequence=head.sequence):
            found = target.lock()
            if found != head:
                raise Outrun(f"the warehouse shows {(found.hash or 'nothing')[:12]}, number {found.sequence}, by now")
        built = {dataset(mart): (f"gold.{schema}.{mart}", columns) for mart, columns in marts.items()}
        with steps("delete", datasets=list(built)):
            target.empty(dict.fromkeys(built), head)
        with steps("insert", datasets=list(built), schema=schema, rows=[state.rows for state in states.values()]):
            target.fill_from(built, head)
        counts = target.counts([dataset(mart) for mart in marts]) if marts else {}
        for mart, state in states.items():
            if counts[dataset(mart)] != state.rows:
                raise Outrun(f"{mart} has {counts[dataset(mart)]} rows instead of {state.rows} in the transaction")
        with steps("ledger", sequence=entry.sequence):
            target.append(entry, head)
        with steps("commit", sequence=entry.sequence, publication_id=attempts.publication_id, warehouse=target.name):
            target.commit()
    except (Outrun, MedallionError):
        with steps("rollback"):
            target.rollback()
        raise
    return entry


def _clean(target: Target, steps: Steps, attempts: _Attempts) -> None:
    """Remove what was built in. It failing changes nothing that anyone sees, so it is only logged."""
    try:
        there = [name for name in target.schemas() if name.startswith(BUILD)]
        mine = [name for name in there if name in attempts.schemas or left_over(name.removeprefix(BUILD))]
        with steps("cleanup", schemas=mine):
            for name in mine:
                target.drop_schema(name)
    except (MedallionError, Unanswered, Outrun):
        log.warning("what the marts %s were built in could not be removed; a later build will", attempts.publication_id)


def _result(outcome: Literal["published", "already"], entry: Entry) -> MartsPublication:
    return MartsPublication(outcome, entry.sequence, entry.publication_id, entry.hash, dict(entry.marts))

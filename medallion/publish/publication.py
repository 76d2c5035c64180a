"""Publish: stage, copy, and one transaction for every table and the ledger.

Whatever goes wrong, the warehouse shows the version before or the version after, and the ledger
says which. No answer to a statement means: ask the ledger, in a new session, and plan again.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from medallion.contract import Contract
from medallion.errors import ConflictError, MedallionError, ServiceUnavailable, UsageError
from medallion.lakehouse.nessie import Nessie
from medallion.publish import plan
from medallion.publish.describing import describe
from medallion.publish.fitting import Fit, fit
from medallion.publish.ledger import Entry, Head, TableState
from medallion.publish.plan import Outcome, Plan
from medallion.publish.retrying import in_attempts
from medallion.publish.staging import Attempts, Report, Staged, Steps, clean, stage
from medallion.publish.target import Journal, NoJournal, Outrun, Target, Unanswered, Violated, connect
from medallion.settings import Settings


class HasContracts(Protocol):
    """Anything that knows the contracts, by dataset name."""

    @property
    def contracts(self) -> dict[str, Contract]: ...


@dataclass(frozen=True)
class Publication:
    """What came of it. `message` says it in one line.

    `hash` is the commit that was to be shown; `sequence`, `shown` (a hash) and `tables` (every
    published table) are the ledger's head afterwards; `changed` are the tables that this
    publication wrote, `runs` the ids of the runs that it brought, `staged_bytes` what it put into the warehouse's
    stage, `reencoded_bytes` what of that could not be staged as it lay in the lake.
    """

    outcome: Outcome
    publication_id: str | None
    hash: str
    sequence: int
    shown: str | None
    tables: dict[str, TableState]
    changed: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    staged_bytes: int = 0
    reencoded_bytes: int = 0

    @property
    def message(self) -> str:
        at, shown = self.hash[:12], (self.shown or "nothing")[:12]
        return {
            "published": f"published main@{at} as number {self.sequence}: {len(self.changed)} tables changed, "
            f"{size(self.staged_bytes)} staged, {size(self.reencoded_bytes)} of them written anew",
            "already": f"main@{at} is already published, as number {self.sequence}",
            "unchanged": f"nothing to publish: no published table has changed from {shown} to main@{at}",
            "older": f"main@{at} is older than {shown}, which the warehouse shows; nothing was changed "
            "(--allow-rewind publishes it on purpose)",
        }[self.outcome]


def publish(
    settings: Settings,
    domains: HasContracts,
    *,
    at: str | None = None,
    allow_rewind: bool = False,
    allow_breaking: Collection[str] = (),
    report: Report = lambda line: None,
    journal: Journal | None = None,
    run: str | None = None,
) -> Publication:
    """Make one commit of `main` visible in the warehouse, every table of it at once.

    Args:
        domains: their contracts say which gold datasets are published.
        at: a hash on `main`; None for the newest. One older than what is shown changes nothing.
        allow_rewind: replace every table, as a new entry of the ledger, where the commit is older than
            what is shown, or `main` no longer contains what is shown. It replaces what is shown when it
            begins: if others publish meanwhile, it ends with a ConflictError.
        allow_breaking: columns, as `gold.domain.table.column`, that the warehouse may lose, because the lake has them no
            more or with another type.
        report: called with a line for each step.
        journal: where effects are written down; `run`: under which run's id, else the publication's.

    Returns: what came of it; also when there was nothing to do.
    Raises: UsageError for a commit that is not on main or a change that would break consumers;
        ServiceUnavailable; ConflictError if others were faster in every bounded attempt. In every
        case the warehouse shows whole versions only, and publishing again is safe.
    """
    attempts = Attempts(uuid.uuid4().hex)
    published = {name: contract for name, contract in domains.contracts.items() if contract.published}
    if strange := [each for each in allow_breaking if each.rpartition(".")[0] not in published]:
        raise UsageError(
            f"'{strange[0]}' is no column of a published dataset; the warehouse is unchanged",
            hint="write <layer>.<domain>.<dataset>.<column>",
        )
    steps = Steps(journal or NoJournal(), run or attempts.publication_id)
    noted = {"of": "gold", "warehouse": settings.warehouse, "publication_id": attempts.publication_id, "at": at}
    most = settings.runs.conflict_retries + 1
    with steps("whole", **noted), closing(Nessie(settings.nessie)) as nessie:
        one = partial(_attempt, settings, nessie, published, at, allow_rewind, allow_breaking, report, steps, attempts)
        try:
            return in_attempts(
                f"publication {attempts.publication_id}",
                one,
                most,
                lambda reason: report(f"planning the publication again ({reason})"),
            )
        except Unanswered as error:
            raise ServiceUnavailable(
                f"the warehouse stopped answering publication {attempts.publication_id}; it shows the version before or "
                f"after it, whole: {error}",
                hint="publish again: the ledger says what was done",
            ) from error
        except Outrun as error:
            raise ConflictError(
                f"the publication was outrun in all of {most} attempts; nothing was changed: {error}", hint="publish again later"
            ) from error


def history(settings: Settings, limit: int = 50) -> list[Entry]:
    """The newest entries of the ledger first. Raises: ServiceUnavailable."""
    with closing(connect(settings)) as target, _answering():
        return target.entries(limit)


@contextmanager
def _answering() -> Iterator[None]:
    """For reading: no answer is a missing service."""
    try:
        yield
    except (Unanswered, Outrun) as error:
        raise ServiceUnavailable(f"the warehouse does not answer: {error}", hint="try again") from error


def _attempt(
    settings: Settings,
    nessie: Nessie,
    contracts: Mapping[str, Contract],
    at: str | None,
    allow_rewind: bool,
    allow_breaking: Collection[str],
    report: Report,
    steps: Steps,
    attempts: Attempts,
) -> Publication:
    with closing(connect(settings, steps.work(attempts.publication_id))) as target:
        if attempts.places and (done := target.entry(publication_id=attempts.publication_id)):
            report("the ledger says that it was done")  # the answer to COMMIT was lost, not the COMMIT
            clean(target, steps, attempts)
            return _result("published", done.hash, done)
        head = target.head()
        entry = target.entry(sequence=head.sequence) if head.sequence else None
        try:
            todo = plan.make(nessie, contracts, at, head, entry, allow_rewind)
            if todo.rewinds:
                _same_head(head, todo, attempts)
                report(f"main@{todo.hash[:12]} does not follow {str(head.hash)[:12]}, which is shown: every table is replaced")
            if todo.outcome != "published":
                clean(target, steps, attempts)
                result = _result(todo.outcome, todo.hash, entry)
                report(result.message)
                return result
            # all, before any effect
            fits = fit(settings.s3, target, todo, contracts, attempts.whole, allow_breaking)
            # what is new there is empty in every row: once it is made, nothing tells that it was not always there
            attempts.whole.update(d for d, each in fits.items() if each.new or each.gone or not each.exists)
            with steps("prepare"):
                target.prepare()
            staged = stage(settings.s3, target, fits, todo, report, steps, attempts)
            known = entry.tables if entry else {}
            marks = describe(settings.s3, target, todo, contracts, fits, known, report, steps, attempts)
            for name in target.end_abandoned():
                report(f"ended the transaction that '{name}' had left open")
            new = _replace(target, todo, fits, staged, marks, report, steps, attempts)
        except MedallionError:
            clean(target, steps, attempts)
            raise
        clean(target, steps, attempts)
        result = _result("published", todo.hash, new)
        report(result.message)
        return result


def _same_head(head: Head, todo: Plan, attempts: Attempts) -> None:
    """What was to be replaced on purpose is the version shown at first, and none that came meanwhile."""
    first = attempts.rewinds_from = attempts.rewinds_from or head
    if head != first:
        raise ConflictError(
            f"while main@{todo.hash[:12]} was to replace {str(first.hash)[:12]}, somebody published {str(head.hash)[:12]} "
            f"as number {head.sequence}; nothing was changed",
            hint="look at what is shown now (`medallion reconcile`), and rewind again if that too is to go",
        )


def _replace(
    target: Target,
    todo: Plan,
    fits: Mapping[str, Fit],
    staged: Mapping[str, Staged],
    marks: Mapping[str, str],
    report: Report,
    steps: Steps,
    attempts: Attempts,
) -> Entry:
    """The one transaction. Raises: Outrun after rolling back; Unanswered."""
    head = todo.head
    breaking = {dataset: each for dataset, each in fits.items() if each.gone}
    states = todo.kept | {dataset: each.state for dataset, each in staged.items()}
    entry = Entry(
        sequence=head.sequence + 1,
        publication_id=attempts.publication_id,
        hash=todo.hash,
        runs=todo.runs,
        published_at=None,
        # an exchange takes keys with it, also those of others that point to it
        tables={d: replace(state, described="" if breaking else marks.get(d, "")) for d, state in states.items()},
        changed=tuple(staged),
        staged_bytes=sum(each.bytes for each in staged.values()),
        reencoded_bytes=sum(each.bytes for each in staged.values() if not each.as_they_are),
        marts=todo.marts,
    )
    if not target.alters_in_transaction:
        _exchange(target, breaking, report, steps)
    with steps("begin", hash=todo.hash, publication_id=attempts.publication_id):
        target.begin()
    try:
        with steps("head", sequence=head.sequence):
            found = target.lock()
            if found != head:
                raise Outrun(f"the warehouse shows {(found.hash or 'nothing')[:12]} by now")
        if target.alters_in_transaction:
            _exchange(target, breaking, report, steps)
        # not those of which only the metadata is another
        exchanged = {dataset: each for dataset, each in staged.items() if each.parts != ()}
        if exchanged:
            with steps("delete", datasets=list(exchanged)):
                target.empty({dataset: each.parts for dataset, each in exchanged.items()}, head)
            with steps("insert", datasets=list(exchanged), rows=[each.state.rows for each in exchanged.values()]):
                _fill(target, exchanged, head, attempts, marks)
        counts = target.counts(tuple(staged))
        for dataset, each in staged.items():
            if counts[dataset] != each.state.rows:
                attempts.staged.clear()  # what was staged may be gone, as when the warehouse has crashed
                attempts.whole.add(dataset)  # or others have changed rows in partitions that stay
                raise Outrun(f"{dataset} has {counts[dataset]} rows instead of {each.state.rows} in the transaction")
        with steps("ledger", sequence=entry.sequence):
            target.append(entry, head)
        with steps("commit", sequence=entry.sequence, publication_id=attempts.publication_id, warehouse=target.name):
            target.commit()
    except (Outrun, MedallionError):
        with steps("rollback"):
            target.rollback()
        raise
    return entry


def _exchange(target: Target, breaking: Mapping[str, Fit], report: Report, steps: Steps) -> None:
    for dataset, each in breaking.items():
        with steps("exchange", dataset=dataset, columns=list(each.gone)):
            target.exchange(dataset, each.gone, each.remade)
        report(f"{dataset}: dropped in the warehouse, as allowed: {', '.join(each.gone)}")


def _fill(target: Target, staged: Mapping[str, Staged], head: Head, attempts: Attempts, marks: Mapping[str, str]) -> None:
    """Insert what was staged. Raises: Outrun if the rows break a promise, which the next attempt does not make.

    Args:
        marks: of the tables whose own constraints this attempt has taken away, if an earlier one said that they are in the way.
    """
    try:
        target.fill({dataset: (each.place, each.columns) for dataset, each in staged.items()}, head)
    except Violated as error:
        dataset = str(error.dataset)
        if dataset in attempts.bare and marks.get(dataset):
            raise UsageError(
                f"{dataset}: {error.message}; what the warehouse shows is unchanged",
                hint="the constraint is not of our making: whoever made it has to drop it, or the gold transform has to keep it",
                dataset=dataset,
            ) from error
        attempts.bare.add(dataset)
        raise Outrun(f"{dataset} gets no keys, and no NOT NULL: {error.message}") from error


def _result(outcome: Outcome, hash_: str, entry: Entry | None) -> Publication:
    mine = entry if outcome == "published" else None
    return Publication(
        outcome=outcome,
        publication_id=entry.publication_id if entry else None,
        hash=hash_,
        sequence=entry.sequence if entry else 0,
        shown=entry.hash if entry else None,
        tables=dict(entry.tables) if entry else {},
        changed=mine.changed if mine else (),
        runs=mine.runs if mine else (),
        staged_bytes=mine.staged_bytes if mine else 0,
        reencoded_bytes=mine.reencoded_bytes if mine else 0,
    )


def size(count: int) -> str:
    """A number of bytes as people read it."""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= of:
            return f"{count / of:.1f} {unit}"
    return f"{count} bytes"

"""The one function that changes `main`: a serializable commit of many tables.

Nessie's own merge checks neither that the target stood still nor what the run read. A commit does:
it answers 409 when any key that it names has moved since the hash it expects. So the merge is one
commit on `main@H0` that names everything: `PUT` what the run changed, `DELETE` what it dropped,
`UNCHANGED` what it read. What it passes is a serial order of the runs.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import (
    MAIN,
    CommitConflict,
    CommitRefused,
    Content,
    Nessie,
    Operation,
    OutcomeUnknown,
    Reference,
    commit_body,
)
from medallion.lakehouse.run import Run
from medallion.lakehouse.sandbox import refuse_to_merge

log = logging.getLogger(__name__)

RUN_PROPERTY = "medallion.run"
AUDIT_SEQUENCE = "medallion.audit-sequence"
AUDIT_HASH = "medallion.audit-hash"
"""Which record of the audit log was the newest when the commit was asked for, so that nobody can write that log anew."""
TRIES = 6


def operations(base: dict[str, Content], judged: dict[str, Content], reads: set[str]) -> list[Operation]:
    """What one commit on `main@H0` must say.

    Args:
        base: every key of `main@H0`.
        judged: every key of the judged hash of the run's branch.
        reads: the datasets that the run read as of H0.
    Returns: puts and deletes of what changed, `UNCHANGED` for what was read and did not change.
    """
    puts = [
        # a key that is new to main must not carry the id that the branch gave it
        Operation("PUT", key, content if key in base else {k: v for k, v in content.items() if k != "id"})
        for key, content in judged.items()
        if base.get(key) != content
    ]
    deletes = [Operation("DELETE", key) for key in base if key not in judged]
    changed = {operation.key for operation in puts + deletes}
    return puts + deletes + [Operation("UNCHANGED", key) for key in sorted(reads - changed) if key in base]


def merge(nessie: Nessie, journal: Journal, run: Run, judged: Reference, message: str, properties: dict[str, str]) -> str | None:
    """Change `main` once, for every table of the run, or not at all.

    Returns: the commit's hash on `main`; None if the run changed nothing, which ends it as `unchanged`.
    Raises: CommitConflict when what the run read or wrote has moved; UsageError for a sealed run, and for
        any branch but the run's own;
        CommitRefused for a request that the catalog cannot take;
        ServiceUnavailable when the outcome could not be learned (`medallion resume` will).
    """
    if run.state != "validated":
        raise UsageError(
            f"run {run.id} is {run.state}: only a validated run can be merged",
            hint="a failed run's branch is sealed; mend the cause and run the date again",
            run=run.id,
        )
    if judged.name != run.branch:
        refuse_to_merge(judged.name)
        raise UsageError(
            f"run {run.id}: only its own branch can be merged, not '{judged.name}'",
            hint=f"write what is to be merged in a run: `medallion open`, jobs with --run, `medallion merge {run.id}`",
            run=run.id,
        )
    todo = operations(run.base, nessie.contents(judged), run.reads)
    if all(operation.type == "UNCHANGED" for operation in todo):
        run.save(journal, "unchanged")
        return None
    sequence, hash_ = journal.audit_head()
    anchor = {AUDIT_SEQUENCE: str(sequence), AUDIT_HASH: hash_}
    body = commit_body(todo, message, properties | anchor | {RUN_PROPERTY: run.id})
    run.state = "merging"
    with journal.step(run.id, "merge.request", operations=len(todo)):
        journal.update(run.id, state="merging", judged_hash=judged.hash, story=run.story() | {"request": body})
    try:
        merged = send(nessie, journal, run.id, run.h0, body)
    except CommitRefused:
        run.state = "validated"  # it is not on main and never will be: the run has failed
        raise
    try:
        journal.update(run.id, state="merged", merged_hash=merged, story=run.story())
    except ServiceUnavailable as error:
        raise _untold(run.id, merged, error) from error
    run.state = "merged"  # only now: whoever is interrupted before leaves it to `resume`
    return merged


def send(nessie: Nessie, journal: Journal, run_id: str, h0: Reference, body: dict[str, Any]) -> str:
    """Send a merge's request until its outcome is known; the same request, never another one.

    An answer that was lost does not matter: the commit is looked for in the log, and if it is not
    there the request is sent again. Should the first one land late, it meets its own keys moved, and
    is refused. Raises: as `merge`.
    """
    reason: Exception | None = None
    for attempt in range(TRIES):
        time.sleep(0 if attempt == 0 else min(0.2 * 2**attempt, 5))
        found: dict[str, Any] = {}
        try:
            with journal.step(run_id, "merge.commit", attempt=attempt) as found:
                found["hash"] = nessie.commit(h0, body)
            return str(found["hash"])
        except OutcomeUnknown as error:
            reason = error
            log.warning("run %s: %s; looking for it in the log", run_id, error)
        except CommitConflict:
            if found_hash := find(nessie, run_id, h0):
                return found_hash
            raise
        except ServiceUnavailable as error:
            if "hash" in found:
                raise _untold(run_id, found["hash"], error) from error
            reason = error
        try:
            if found_hash := find(nessie, run_id, h0):
                return found_hash
        except ServiceUnavailable as error:
            reason = error
    raise ServiceUnavailable(
        f"whether run {run_id} was merged is not known yet: {reason}",
        hint=f"when the catalog answers again, `medallion resume {run_id}` finds out and finishes it",
        run=run_id,
    )


def _untold(run_id: str, merged: str, error: ServiceUnavailable) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"run {run_id} is merged, main is at {merged[:12]}, but the journal could not be told: {error.message}",
        hint=f"when it answers again, `medallion resume {run_id}` finds the commit and finishes the run",
        run=run_id,
    )


def find(nessie: Nessie, run_id: str, h0: Reference) -> str | None:
    """The hash of the run's commit on `main` since `h0`, if it is there."""
    head = nessie.reference(MAIN)
    for commit in nessie.log(head, until=h0.hash):
        if commit.properties.get(RUN_PROPERTY) == run_id:
            return commit.hash
    return None

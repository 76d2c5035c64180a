"""A run: the branch it writes, what it read and wrote, and its state.

    open → written → validated → merging → merged → published
      └──────┴───────────┴─► failed (the gate, an error, Ctrl-C)   └─► conflicted (run again as another)

A run that found nothing to do ends as `unchanged`. The branch of a failed run is kept and sealed:
`merge` refuses it, by our own convention, until its time to live ends.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse.journal import LIVE as LIVE
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Content, Nessie, Operation, OutcomeUnknown, Reference, commit_body
from medallion.lakehouse.sandbox import refuse_to_merge
from medallion.lakehouse.steps import step

PREFIX = "run/"


@dataclass
class Run:
    """One run, as far as it has come. `base` is every key of `main@h0`; `head` is where its branch
    was when the last of its parts ended, for a run that is written in parts."""

    id: str
    kind: str
    logical_date: date | None
    h0: Reference
    state: str
    base: dict[str, Content]
    retry_of: str | None = None
    reads: set[str] = field(default_factory=set)
    writes: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    head: str | None = None

    @property
    def branch(self) -> str:
        return PREFIX + self.id

    def story(self) -> dict[str, Any]:
        """What the journal and the evidence keep of the run."""
        return {
            "reads": sorted(self.reads),
            "writes": self.writes,
            "deliveries": self.deliveries,
            "notes": self.notes,
            "options": self.options,
            "head": self.head,
        }

    def save(self, journal: Journal, state: str | None = None) -> None:
        """Keep the story, and a new state if given, in the journal."""
        self.state = state or self.state
        journal.update(self.id, state=self.state, story=self.story())


def open_run(
    nessie: Nessie,
    journal: Journal,
    kind: str,
    logical_date: date | None,
    *,
    retry_of: str | None = None,
    options: dict[str, Any] | None = None,
) -> Run:
    """Write a new run down and fork its branch from `main` as it is now."""
    h0 = nessie.reference(MAIN)
    prefix = logical_date.isoformat() if logical_date else kind
    run = Run(f"{prefix}-{kind}-{secrets.token_hex(4)}" if logical_date else f"{prefix}-{secrets.token_hex(4)}",
              kind, logical_date, h0, "open", {}, retry_of, options=options or {})  # fmt: skip
    journal.open(run.id, kind, logical_date, run.branch, h0.hash, retry_of)
    try:
        with journal.step(run.id, "run.branch", branch=run.branch, at=h0.hash):
            nessie.create_branch(run.branch, h0)
        run.base = nessie.contents(h0)
        run.save(journal)
    except BaseException as error:
        fail(journal, run, f"{type(error).__name__}: {error}")
        raise
    return run


def load_run(nessie: Nessie, journal: Journal, run_id: str) -> Run:
    """A run as the journal has it. Raises: UsageError if there is none."""
    row = journal.run(run_id)
    h0 = Reference(MAIN, row["h0"])
    story = row["story"]
    return Run(
        id=row["run_id"],
        kind=row["kind"],
        logical_date=row["logical_date"],
        h0=h0,
        state=row["state"],
        base=nessie.contents(h0),
        retry_of=row["retry_of"],
        reads=set(story.get("reads", ())),
        writes=list(story.get("writes", ())),
        deliveries=list(story.get("deliveries", ())),
        notes=list(story.get("notes", ())),
        options=dict(story.get("options", {})),
        head=story.get("head"),
    )


def join_run(nessie: Nessie, journal: Journal, run_id: str) -> Run:
    """Take up an open run to write more on its branch.

    Raises: UsageError if it does not exist, is a sandbox, is no longer open, another process works on it, or one
        was killed while it wrote: the run is failed then.
    """
    refuse_to_merge(run_id)
    full_id = journal.run(run_id)["run_id"]
    if not journal.hold(full_id):
        raise UsageError(f"another process works on run {full_id}", hint="wait for it, or open a run of your own")
    run = load_run(nessie, journal, full_id)  # only now: what another process wrote before stands in it
    if run.state not in ("open", "written"):
        journal.release(run.id)
        raise UsageError(
            f"run {run.id} is {run.state}: nothing can be written to it any more",
            hint="open a new one: `medallion open --date …`",
        )
    if nessie.reference(run.branch).hash != (run.head or run.h0.hash):
        fail(journal, run, "a process ended while it wrote a part; what it wrote was never judged")
        raise UsageError(
            f"run {run.id}: a process ended while it wrote a part; what it wrote was never judged, so nothing can be merged",
            hint="open a new one: `medallion open --date …`",
        )
    return run


def put_on_branch(nessie: Nessie, run: Run, tables: dict[str, Content], message: str) -> Reference:
    """Commit contents to a run's branch, which stands at its H0, with the namespaces that are missing.

    Returns: the branch after it. Raises: CommitConflict if it does not stand there; ServiceUnavailable.
    """
    branch = Reference(run.branch, run.h0.hash)
    spaces = {".".join(dataset.split(".")[:depth]) for dataset in tables for depth in (1, 2)} - set(run.base)
    operations = [
        Operation("PUT", space, {"type": "NAMESPACE", "elements": space.split(".")})
        for space in sorted(spaces, key=lambda s: (s.count("."), s))
    ] + [Operation("PUT", dataset, content) for dataset, content in sorted(tables.items())]
    try:
        with step("branch.commit"):
            return Reference(branch.name, nessie.commit(branch, commit_body(operations, message, {})))
    except OutcomeUnknown as error:
        now = nessie.reference(branch.name)
        if now == branch:
            raise ServiceUnavailable(f"run {run.id}: {error}", hint="run it again", run=run.id) from error
        return now  # nobody else writes there


def fail(journal: Journal, run: Run, error: str, state: str = "failed") -> None:
    """End a run without a merge. Its branch stays, sealed.

    Raises: ServiceUnavailable, saying how it ended, if the journal cannot be told.
    """
    run.state = state
    try:
        journal.update(run.id, state=state, error=error[:4000], story=run.story())
        journal.release(run.id)
    except ServiceUnavailable as down:
        why = "" if down.message in error else f"; it ended because of: {error[:500]}"
        raise ServiceUnavailable(
            f"run {run.id} ended, and the journal could not be told: {down.message}; nothing of it is on main{why}",
            hint="`medallion up` starts the embedded stack; then `medallion resume` marks the run, and its date can be run again",
            run=run.id,
        ) from down


def close_unchanged(nessie: Nessie, journal: Journal, run: Run) -> None:
    """End a run that had nothing to write, and remove its branch."""
    remove_branch(nessie, journal, run.id, run.branch)
    run.save(journal, "unchanged")
    journal.release(run.id)


def remove_branch(nessie: Nessie, journal: Journal, run_id: str, branch: str) -> None:
    """Remove the branch of a run, which need not be there any more. Raises: ServiceUnavailable."""
    with journal.step(run_id, "run.branch.remove", branch=branch):
        nessie.delete_branch(branch)

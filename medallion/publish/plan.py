"""What a publication has to do: from the ledger's head to one commit of `main`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medallion.contract import Contract
from medallion.errors import UsageError
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, NO_ANCESTOR, Content, Nessie, Reference
from medallion.publish.ledger import Entry, Head, MartState, TableState

Outcome = Literal["published", "already", "unchanged", "older"]


@dataclass(frozen=True)
class Plan:
    """`outcome` is `published` if there is something to do; else why there is nothing:

    - `already`: the head is this commit;
    - `unchanged`: the head is an older commit, but no published table has changed since. The
      ledger gets no entry, so that its entries are the versions that a reader could see;
    - `older`: the head is a newer commit. An older one never replaces it by itself.

    `rewinds`: the head is not an ancestor of the commit, and everything is to be replaced.

    `contents` are the published tables of the commit, `changed` those that the head does not show, `bases` what it
    shows of those of them of which no more than the changed partitions need be replaced, `runs` the ids of the runs
    merged after the head up to the commit, oldest first; `marts` stay as the head has them.
    """

    outcome: Outcome
    hash: str
    head: Head
    contents: dict[str, Content]
    changed: tuple[str, ...]
    kept: dict[str, TableState]
    runs: tuple[str, ...]
    rewinds: bool = False
    bases: Mapping[str, TableState] = field(default_factory=dict)
    marts: dict[str, MartState] = field(default_factory=dict)


def make(
    nessie: Nessie,
    contracts: Mapping[str, Contract],
    at: str | None,
    head: Head,
    entry: Entry | None,
    allow_rewind: bool = False,
) -> Plan:
    """Plan a publication.

    Args:
        contracts: those of the published datasets.
        at: a commit of `main`, in full or at least its first 8 digits; None for its newest.
        head, entry: the ledger's head and its entry; no entry if nothing has been published.
        allow_rewind: also plan for a commit that the head is no ancestor of.

    Raises: UsageError if `main` does not contain `at`, or not what the warehouse shows (unless it may
        rewind), or has lost a table that the warehouse shows.
    """
    main = nessie.reference(MAIN)
    wanted = main.hash if at in (None, MAIN) else str(at)
    outcome, hash_, runs, rewinds = _position(nessie, main, wanted, head, allow_rewind)
    if outcome != "published":
        return Plan(outcome, hash_, head, {}, (), {}, ())
    tables = nessie.tables(Reference(MAIN, hash_)) if hash_ != NO_ANCESTOR else {}
    contents = {dataset: tables[dataset] for dataset in sorted(contracts) if dataset in tables}
    known = entry.tables if entry else {}
    for dataset in sorted(set(known) & set(contracts) - set(contents)):
        raise UsageError(
            f"{dataset} is in the warehouse, but main has no such table at {hash_[:12]}; the warehouse is unchanged",
            hint="set `published: false` in its contract to let the warehouse keep its last version",
            dataset=dataset,
        )
    changed = tuple(d for d, content in contents.items() if rewinds or d not in known or not known[d].shows(content))
    kept = {dataset: state for dataset, state in known.items() if dataset in contents and dataset not in changed}
    if not changed:
        outcome = "unchanged"
    bases = {d: known[d] for d in changed if d in known and not rewinds and contracts[d].publication == "partitions"}
    marts = entry.marts if entry else {}
    return Plan(outcome, hash_, head, contents, changed, kept, runs, rewinds, bases, marts)


def _position(
    nessie: Nessie, main: Reference, wanted: str, head: Head, allow_rewind: bool
) -> tuple[Outcome, str, tuple[str, ...], bool]:
    """Where a commit of `main` stands to the head, its full hash, the runs between them (none for an
    older commit: the ledger has them already), and whether publishing it rewinds."""
    if wanted == main.hash == head.hash:
        return "already", wanted, (), False
    if wanted == NO_ANCESTOR and head.hash is None:
        return "published", wanted, (), False
    if len(wanted) < 8:
        raise UsageError(f"'{wanted}' is too short for a commit", hint="give at least its first 8 digits")
    found: str | None = None
    passed_head = False
    runs: list[str] = []
    for commit in nessie.log(main):
        if found is None and commit.hash.startswith(wanted):
            found = commit.hash
            if found == head.hash:
                return "already", found, (), False
            if passed_head:
                return ("published", found, (), True) if allow_rewind else ("older", found, (), False)
        elif commit.hash == head.hash:
            if found is not None:
                return "published", found, tuple(reversed(runs)), False
            passed_head = True
        if found is not None and (run := commit.properties.get(RUN_PROPERTY)):
            runs.append(run)
    if found is None:
        raise UsageError(
            f"main has no commit '{wanted}'; the warehouse is unchanged",
            hint="only what has been merged into main can be published; `medallion runs` lists it",
        )
    diverged = head.hash is not None  # the whole log was read
    if diverged and not allow_rewind:
        raise UsageError(
            f"the warehouse shows {str(head.hash)[:12]}, which main no longer contains; the warehouse is unchanged",
            hint="`medallion publish --allow-rewind` replaces every table; or restore main to a history that contains it",
        )
    return "published", found, tuple(reversed(runs)), diverged

"""Which later runs depend on a run: what they read of what it wrote, and what they wrote over it.

A run's story says of each of its writes which dates of which datasets it was made from. So a run of another day, which
only appended beside it, does not depend on it; one that read its rows, or replaced them, does. Of what says less (the
marts, a commit that no run made) a table in common is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from medallion import evidence
from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import InputError
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import Commit, Nessie, Reference
from medallion.lakehouse.standing import RESTORES_PROPERTY, standing
from medallion.lakehouse.store import Store

WHOLE = str(None)
"""In a write's inputs: all rows of the dataset."""


@dataclass(frozen=True)
class Merged:
    """A run that stands on `main`: its commit, the tables that this changed, and its story: from the journal, else from
    its evidence; None where neither has it."""

    run_id: str
    commit: Commit
    tables: frozenset[str]
    story: dict[str, Any] | None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.row.get("kind") or self.commit.properties.get("medallion.kind", ""))

    @property
    def writes(self) -> list[dict[str, Any]]:
        return list((self.story or {}).get("writes", ()))


@dataclass(frozen=True)
class History:
    """A part of the log of `main`, back to one run or to its beginning: the runs that stand, newest first, and the place of
    every commit and run in it, also of those that do not stand; the oldest has the lowest."""

    runs: list[Merged]
    places: dict[str, int]

    def run(self, run_id: str) -> Merged | None:
        """A run that stands in it."""
        return next((one for one in self.runs if one.run_id == run_id), None)

    def depends(self, later: Merged, on: Merged, domains: Domains) -> bool:
        """Whether a later run read or replaced what an earlier one wrote."""
        at = self.places[on.run_id]
        if later.kind == "init" or self.places.get(later.commit.properties.get(RESTORES_PROPERTY, ""), -1) >= at:
            return False  # to where it was restored, the earlier run is there
        if later.story is None or on.story is None:
            return bool(later.tables & on.tables)
        # together with what it takes back, a revert has changed nothing
        writes = [write for write in later.writes if self.places.get(str(write.get("takes_back")), -1) <= at]
        reads = set(later.story.get("reads", ()))
        return any(_touches(write, reads, of, domains.contracts.get(of["dataset"])) for write in writes for of in on.writes)

    def closure(self, begin: Iterable[str], domains: Domains) -> list[Merged]:
        """These runs and all later ones that depend on them, newest first."""
        wanted = set(begin)
        taken: list[Merged] = []
        for one in reversed(self.runs):
            if one.run_id in wanted or any(self.depends(one, earlier, domains) for earlier in taken):
                taken.append(one)
        return taken[::-1]


def history(nessie: Nessie, journal: Journal, store: Store, main: Reference, run_id: str) -> History:
    """The log of `main` back to the run of this id. Raises: ServiceUnavailable."""
    seen: list[tuple[Commit, frozenset[str]]] = []
    for one in nessie.changes(main):
        seen.append(one)
        if one[0].properties.get(RUN_PROPERTY) == run_id:
            break
    tables = {commit.hash: keys for commit, keys in seen}
    commits = list(standing(commit for commit, _ in seen))
    rows = journal.outlines([run for commit in commits if (run := commit.properties.get(RUN_PROPERTY))])
    runs = []
    for commit in commits:
        name = _name(commit)
        row = rows.get(name, {})
        story = row["story"] if row else _evidence(store, commit)
        runs.append(Merged(name, commit, tables[commit.hash], story, row))
    places = {each: place for place, (commit, _) in enumerate(reversed(seen)) for each in (commit.hash, _name(commit))}
    return History(runs, places)


def _name(commit: Commit) -> str:
    return commit.properties.get(RUN_PROPERTY) or f"commit {commit.hash[:12]}"


def _evidence(store: Store, commit: Commit) -> dict[str, Any] | None:
    if RUN_PROPERTY not in commit.properties or "medallion.evidence" not in commit.properties:
        return None
    try:
        return evidence.read(store, commit.properties[RUN_PROPERTY])
    except InputError:
        return None


def _touches(write: dict[str, Any], reads: set[str], of: dict[str, Any], contract: Contract | None) -> bool:
    dataset, date = of["dataset"], str(of.get("logical_date"))
    if write["dataset"] == dataset:
        if _layer(dataset) == "bronze":
            # a delivery stands beside another one; an increment follows on the one before
            return contract is None or (contract.delivery is not None and contract.delivery.expected == "increments")
        mine = str(write.get("logical_date"))
        upserted = contract is not None and contract.materialisation.kind == "upsert"
        return upserted or WHOLE in (date, mine) or date == mine
    if "inputs" in write:
        dates = write["inputs"].get(dataset, ())
        return bool(dates) and (date == WHOLE or WHOLE in dates or date in dates)
    return _layer(write["dataset"]) != "bronze" and dataset in reads


def _layer(dataset: str) -> str:
    return dataset.partition(".")[0]

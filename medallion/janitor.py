"""Branches that nobody needs any more go: those of failed and abandoned runs after a time to live, others' at once.

Nothing else is ever removed: no sandbox, no branch of a run that is not at an end or of no run, no row of the journal, and
no file, for files are shared between branches.
"""

from __future__ import annotations

from dataclasses import dataclass

from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import Nessie
from medallion.lakehouse.run import PREFIX, remove_branch


@dataclass(frozen=True)
class Leaving:
    """A branch that nobody needs, where it stands, the run whose it is, that run's state, and why it goes."""

    run_id: str
    state: str
    branch: str
    hash: str
    why: str


def leaving(nessie: Nessie, journal: Journal, ttl_days: int) -> list[Leaving]:
    """The branches of failed (also abandoned) and conflicted runs that ended more than so many days ago, and those that runs
    which were merged, or had nothing to do, left behind because their process was killed or cut off.

    Raises: ServiceUnavailable."""
    there = {reference.name: reference for reference in nessie.references(PREFIX)}
    rows = journal.leaving([name.removeprefix(PREFIX) for name in there], ttl_days) if there else []
    found = []
    for row in rows:
        run_id, branch, state = row["run_id"], row["branch"], row["state"]
        expired = state in ("failed", "conflicted")
        why = f"it ended more than {ttl_days} days ago" if expired else f"it is {state}, and left it behind"
        found.append(Leaving(run_id, state, branch, there[branch].hash, why))
    return found


def clean(nessie: Nessie, journal: Journal, ttl_days: int) -> list[Leaving]:
    """Remove the branches that are `leaving`. Returns: those that are gone.

    Raises: ServiceUnavailable; what is removed by then stays so, and the next time goes on.
    """
    found = leaving(nessie, journal, ttl_days)
    for one in found:
        if one.state in ("failed", "conflicted"):
            with journal.step(one.run_id, "run.branch.expire", branch=one.branch, at=one.hash):
                nessie.delete_branch(one.branch)
        else:
            remove_branch(nessie, journal, one.run_id, one.branch)
    return found

"""What a killed process left: finished or failed, by the evidence in Nessie's log and the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile
from typing import Any

from medallion.errors import UsageError
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import send
from medallion.lakehouse.nessie import MAIN, CommitConflict, Nessie, Reference
from medallion.lakehouse.run import LIVE, remove_branch
from medallion.lakehouse.standing import standing

_CLOCKS_DIFFER = timedelta(days=1)
"""The catalog's clock and the journal's, at the most."""
PARTS = "parts"
"""Option of a run that people write in several commands: nobody works on it in between."""


@dataclass(frozen=True)
class Resumed:
    """What was found out about one run: its state before and after, and why, in one line."""

    run_id: str
    before: str
    after: str
    why: str


def resume(nessie: Nessie, journal: Journal, run_id: str | None = None) -> list[Resumed]:
    """Finish or fail runs that no process works on any more.

    Args:
        run_id: only this run; else all that are not at an end, except those open for further parts.
    Returns: what became of each. Raises: ServiceUnavailable if Nessie cannot say yet.
    """
    rows = [journal.run(run_id)] if run_id else journal.runs(limit=1000, states=LIVE)
    found = []
    for row in rows:
        if row["state"] not in LIVE:
            found.append(Resumed(row["run_id"], row["state"], row["state"], "it is at an end"))
        elif not run_id and row["state"] in ("open", "written") and row["story"].get("options", {}).get(PARTS):
            continue
        elif not journal.hold(row["run_id"]):
            found.append(Resumed(row["run_id"], row["state"], row["state"], "a process works on it"))
        else:
            try:
                found.append(_end(nessie, journal, journal.run(row["run_id"])))
            finally:
                journal.release(row["run_id"])
    return found


def _end(nessie: Nessie, journal: Journal, row: dict[str, Any]) -> Resumed:
    run_id, state = row["run_id"], row["state"]
    if state not in LIVE:  # it ended between our two looks
        return Resumed(run_id, state, state, "it is at an end")
    if state == "merging":
        try:
            merged = send(nessie, journal, run_id, Reference(MAIN, row["h0"]), row["story"]["request"])
        except CommitConflict as conflict:
            journal.update(run_id, state="conflicted", error=str(conflict))
            return Resumed(run_id, state, "conflicted", f"{', '.join(conflict.keys)} changed on main meanwhile")
        journal.update(run_id, state="merged", merged_hash=merged)
        remove_branch(nessie, journal, run_id, row["branch"])
        return Resumed(run_id, state, "merged", f"its commit is {merged[:12]} on main")
    journal.update(run_id, state="failed", error="its process ended before the merge")
    return Resumed(run_id, state, "failed", "its process ended before the merge; its branch is sealed")


def abandon(journal: Journal, run_id: str) -> str:
    """Fail an open run on purpose. Returns: its full id. Raises: UsageError if it is not open."""
    row = journal.run(run_id)
    if row["state"] not in ("open", "written") or not journal.hold(row["run_id"]):
        raise UsageError(f"run {row['run_id']} is {row['state']}, or in use", hint="only an open, idle run can be abandoned")
    journal.update(row["run_id"], state="failed", error="abandoned")
    journal.release(row["run_id"])
    return str(row["run_id"])


def mark_published(nessie: Nessie, journal: Journal, shown: str | None) -> list[str]:
    """Note which merged runs the warehouse shows. Returns: their ids.

    Args:
        shown: the hash at the head of the warehouse's ledger.
    """
    rows = journal.runs(limit=1000, states=("merged",))
    if not rows or not shown:
        return []
    merged = {row["merged_hash"]: row["run_id"] for row in rows}
    since = min(row["opened_at"] for row in rows) - _CLOCKS_DIFFER  # what they merged, they merged later
    log = takewhile(lambda commit: commit.time > since, nessie.log(Reference(MAIN, shown)))
    done = []
    for commit in standing(log):
        if commit.hash in merged:
            done.append(merged.pop(commit.hash))
        if not merged:
            break
    for run_id in done:
        journal.published(run_id)
    return done

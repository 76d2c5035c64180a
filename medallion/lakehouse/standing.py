"""Which merged runs still stand on `main`: not those that a later commit took back.

A revert's commit names the runs that it takes back, a restore's the commit whose contents `main` has again from there on.
Both are runs like any other, and may be taken back themselves: then they count for nothing. So the log alone, read from
its newest commit, says what stands; the journal repeats it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import Commit

REVERTS, RETURNS = "reverts", "returns"
"""Options of a run: the ids of the runs that no longer stand because of it, and of those that stand again. The journal marks
them when it is merged."""
REVERTS_PROPERTY = "medallion.reverts"
"""Property of a revert's commit: the ids of the runs that it takes back, joined by commas."""
RESTORES_PROPERTY = "medallion.restores"
"""Property of a restore's commit: the hash of the commit of `main` whose contents it puts back."""
SINCE_PROPERTY = "medallion.restores-since"
"""Property of a restore's commit: the hash of `main` that it began from; what comes between the two it takes back."""


def standing(log: Iterable[Commit]) -> Iterator[Commit]:
    """The commits of a log of `main`, newest first, that nothing later in it took back."""
    gone: set[str] = set()
    since = until = ""
    for commit in log:
        if commit.hash == since:
            since = "past"
        if since == "past" and commit.hash != until:
            continue
        since = "" if since == "past" else since
        if commit.properties.get(RUN_PROPERTY) in gone:
            continue
        yield commit
        gone.update(each for each in commit.properties.get(REVERTS_PROPERTY, "").split(",") if each)
        if RESTORES_PROPERTY in commit.properties:
            since, until = commit.properties[SINCE_PROPERTY], commit.properties[RESTORES_PROPERTY]


def moved(log: Sequence[Commit], properties: dict[str, str]) -> dict[str, list[str]]:
    """Which runs will no longer stand, and which will again, once a commit with these properties is on top of a log of `main`.

    Args:
        log: newest first.
    Returns: the options REVERTS and RETURNS, the newest runs first.
    """
    first = log[0]
    before = [commit.properties.get(RUN_PROPERTY, "") for commit in standing(log)]
    top = Commit("", first.hash, "", first.time, properties)
    after = [commit.properties.get(RUN_PROPERTY, "") for commit in standing([top, *log])]
    return {
        REVERTS: [run for run in before if run and run not in set(after)],
        RETURNS: [run for run in after if run and run not in set(before)],
    }

"""The catalog's first commit, and the tables that new contracts bring.

Every namespace and every contract's table exists on `main`, empty, before anyone reads it: a commit
can hold a key that was read `UNCHANGED` only if the key is there.
"""

from __future__ import annotations

from collections.abc import Iterable

from medallion.contract import Contract
from medallion.lakehouse import table
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import merge
from medallion.lakehouse.nessie import MAIN, CommitConflict, Content, Nessie
from medallion.lakehouse.run import close_unchanged, fail, open_run, put_on_branch, remove_branch
from medallion.settings import Settings


def missing(contracts: Iterable[Contract], present: dict[str, Content]) -> list[tuple[Contract, bool]]:
    """Tables that `main` lacks: (contract, whether its quarantine is meant)."""
    return [
        (contract, quarantine)
        for contract in contracts
        for quarantine in (False, True)
        if (contract.quarantine if quarantine else contract.dataset) not in present
    ]


def ensure_tables(settings: Settings, nessie: Nessie, journal: Journal, contracts: Iterable[Contract]) -> int:
    """Create what is missing, in a run of its own, merged like any other.

    Returns: how many tables were created. Two processes may do this at once: one of them merges.
    """
    wanted = list(contracts)
    while missing(wanted, nessie.contents(nessie.reference(MAIN))):
        run = open_run(nessie, journal, "init", None)
        try:
            new = missing(wanted, run.base)
            if not new:  # another process was quicker
                close_unchanged(nessie, journal, run)
                return 0
            with journal.step(run.id, "init.tables", tables=len(new)):
                contents = {
                    (c.quarantine if quarantine else c.dataset): table.create(settings.s3, c, quarantine=quarantine)
                    for c, quarantine in new
                }
                judged = put_on_branch(nessie, run, contents, "create tables")
            run.writes = [{"dataset": dataset, "rows_out": 0} for dataset in sorted(contents)]
            run.save(journal, "validated")
            merge(nessie, journal, run, judged, f"create {len(new)} tables", {"medallion.kind": "init"})
            journal.release(run.id)
            remove_branch(nessie, journal, run.id, run.branch)
        except CommitConflict as error:
            fail(journal, run, str(error), "conflicted")
            remove_branch(nessie, journal, run.id, run.branch)
            continue
        except BaseException as error:
            if run.state not in ("merging", "merged"):
                fail(journal, run, str(error))
            raise
        return len(new)
    return 0

"""A dataset's past: the metrics of its writes that are on `main`, one for each logical date.

Only runs that were merged count, and of several of one date the one that was merged last; a table that is
made whole has the dates of its runs. A date is compared with those before it, whenever they were made:
newer dates say nothing of an older one that comes late, and an older one that comes late changes no verdict
of newer ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from medallion.contract import Contract
from medallion.lakehouse.journal import Journal
from medallion.quality.anomalies import DAYS, Anomaly, unusual
from medallion.quality.gate import AS_USUAL

SHOWN = 9
"""How many unusual metrics a verdict names."""


def previous(journal: Journal, dataset: str, before: date, n: int = DAYS) -> list[Mapping[str, Any]]:
    """The metrics of a dataset's last `n` dates before one, oldest first.

    Returns: for each `logical_date` (ISO), `run_id`, and the metrics as `medallion.quality.metrics` has them.
    Raises: ServiceUnavailable.
    """
    return [
        row["metrics"] | {"logical_date": row["logical_date"], "run_id": row["run_id"]}
        for row in reversed(journal.merged_metrics(dataset, before, n))
    ]


def compare(journal: Journal, contract: Contract, write: dict[str, Any], run_date: date | None) -> list[Anomaly]:
    """Compare a write with its dataset's past, and put the verdict among its others.

    Args:
        write: the write's entry of the run's story, with its `metrics`; gets a verdict if there was enough to
            compare it with, and `compared_with`, the number of earlier dates, in any case; `unusual` has the figures of what
            is, if anything is.
        run_date: the logical date of the run, for a table that is made whole.
    Returns: what is unusual.
    """
    when, watch = write.get("logical_date") or run_date, contract.anomalies
    write.pop("unusual", None)  # of an earlier comparison
    if watch is None or when is None or "metrics" not in write:
        return []
    history = previous(journal, contract.dataset, when)
    write["compared_with"] = len(history)
    if len(history) < watch.minimum_history:
        return []
    found = unusual(write["metrics"] | {"logical_date": when}, history, watch)
    if found:
        write["unusual"] = [one.as_json() for one in found]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    write["verdicts"].append(
        {
            "rule": AS_USUAL,
            "severity": watch.severity,
            "bad": len(found),
            "judged": len(history),
            "tolerance": 0,
            "passed": not found,
            "description": f"{found[0].text}{more}" if found else f"like the {len(history)} dates before it",
            "samples": [one.text for one in found[:SHOWN]],
        }
    )
    return found

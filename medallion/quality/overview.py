"""How good the data on `main` is: scores over the last dates, and what lowered them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

from medallion.contract import LAYERS, Contract
from medallion.errors import UsageError
from medallion.lakehouse.journal import Journal
from medallion.quality.gate import AS_USUAL

WORST = 3
"""How many of a dataset's most broken rules are named."""


def overview(journal: Journal, contracts: Mapping[str, Contract], dataset: str | None, last: int) -> dict[str, Any]:
    """Scores over each dataset's `last` newest dates on main.

    Returns: `datasets`, each with `dates` (how many there are), `newest`, `score` (of the newest), `mean_score`,
        `quarantine_share` (mean), `worst_rules` (`rule`, `severity`, `bad`) and `unusual` (`logical_date`, `what`); `layers`,
        each with `datasets`, `score` and `mean_score`, the plain means of theirs.
    Raises: UsageError for a dataset that no contract has; ServiceUnavailable.
    """
    if dataset is not None and dataset not in contracts:
        raise UsageError(f"there is no dataset '{dataset}'", hint="`medallion domain list` shows which there are")
    wanted = [dataset] if dataset else sorted(contracts, key=lambda d: (LAYERS.index(contracts[d].layer), d))
    datasets = [found for each in wanted if (found := _of_dataset(journal, each, last))]
    layers = []
    for layer in LAYERS:
        of_it = [one for one in datasets if one["dataset"].startswith(f"{layer}.")]
        if of_it:
            means = {key: round(sum(one[key] for one in of_it) / len(of_it), 1) for key in ("score", "mean_score")}
            layers.append({"layer": layer, "datasets": len(of_it)} | means)
    return {"datasets": datasets, "layers": layers}


def _of_dataset(journal: Journal, dataset: str, last: int) -> dict[str, Any] | None:
    writes = [row for row in journal.merged_metrics(dataset, date.max, last) if row["score"] is not None]
    if not writes:
        return None
    broken: Counter[tuple[str, str]] = Counter()
    unusual = []
    for write in writes:
        for verdict in write["verdicts"]:
            if verdict["rule"] != AS_USUAL:
                broken[verdict["rule"], verdict["severity"]] += verdict["bad"]
            elif verdict["bad"]:
                unusual.append({"logical_date": write["logical_date"], "what": verdict["description"]})
    return {
        "dataset": dataset,
        "dates": len(writes),
        "newest": writes[0]["logical_date"],
        "score": writes[0]["score"],
        "mean_score": round(sum(write["score"] for write in writes) / len(writes), 1),
        "quarantine_share": sum(write["metrics"]["quarantine_share"] for write in writes) / len(writes),
        "worst_rules": [{"rule": r, "severity": s, "bad": bad} for (r, s), bad in broken.most_common(WORST) if bad],
        "unusual": unusual,
    }

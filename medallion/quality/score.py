"""The score of a write, a dataset and a layer: 0 to 100.

A write:    100 * (1 - (E + W / 4) / N) * 0.5 ^ e * 0.9 ^ w

- N: the rows that were judged; E: those that broke an error rule and went to quarantine; W: those of the others
  that broke a warning. A row counts once, however many rules it broke, so that ten rules on one column do not
  weigh ten times. A warning costs a quarter of an error: its row is still used.
- e, w: how many rules on the table as a whole (a key that is not unique, a row count out of bounds) are broken as errors
  and as warnings; that the write is unusual counts as one of them. They cannot be laid at a row's door, so each
  takes a part of what is left. Beyond its tolerance or not: the score says how good the data is, the gate
  whether that is good enough.

A dataset: the mean over its writes of a run (several dates, several deliveries), weighted by their rows.
A layer:   the plain mean over its datasets, for each is a promise of its own; by rows, the one large table would hide
           the small ones that everything is joined with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medallion.contract import LAYERS, Contract
from medallion.quality.gate import AS_USUAL

WARNING = 0.25
"""What a row that breaks a warning costs, where one that breaks an error costs 1."""
OF_TABLE = {"error": 0.5, "warning": 0.9}
"""What a broken rule on the whole table leaves of the score."""


def of_write(write: dict[str, Any], contract: Contract) -> float:
    """The score of a write, from its entry in the run's story; one decimal, and 100.0 only if nothing broke."""
    judged, whole = write["rows_in"], {rule.name for rule in contract.table_rules} | {AS_USUAL}
    lost = (write["quarantined"] + WARNING * write["warned"]) / judged if judged else 0.0
    points = 100 * (1 - min(lost, 1.0))
    for verdict in write["verdicts"]:
        if verdict["rule"] in whole and verdict["bad"]:
            points *= OF_TABLE[verdict["severity"]]
    return _down(points)


def of_datasets(writes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Dataset -> score, over these writes; those that have none are left out."""
    grouped: dict[str, list[tuple[float, int]]] = {}
    for write in writes:
        if write.get("score") is not None:
            grouped.setdefault(write["dataset"], []).append((write["score"], max(write["rows_in"], 1)))
    return {
        dataset: _down(sum(points * rows for points, rows in scored) / sum(rows for _, rows in scored))
        for dataset, scored in grouped.items()
    }


def of_layers(writes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Layer -> score, over these writes."""
    scores = of_datasets(writes)
    of_layer = {layer: [points for dataset, points in scores.items() if dataset.startswith(f"{layer}.")] for layer in LAYERS}
    return {layer: _down(sum(points) / len(points)) for layer, points in of_layer.items() if points}


def _down(points: float) -> float:
    """One decimal, and 100.0 only if it is no less."""
    return min(round(points, 1), 99.9) if points < 100 - 1e-9 else 100.0

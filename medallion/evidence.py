"""The evidence of a run: one JSON file in `backup-metadata`, whose SHA-256 stands in the run's commit."""

from __future__ import annotations

import json
import platform
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from medallion.lakehouse.nessie import Content, Reference
from medallion.lakehouse.run import Run
from medallion.lakehouse.store import Store
from medallion.quality import score
from medallion.settings import EVIDENCE_BUCKET

PROPERTIES = "properties"
"""Option of a run: further properties of its commit."""
_PACKAGES = ("medallion", "pyspark", "pyiceberg")


def uri(run_id: str) -> str:
    """Where the evidence of a run lies."""
    return f"s3://{EVIDENCE_BUCKET}/evidence/{run_id}.json"


def keep(store: Store, run: Run, judged: Reference, contents: dict[str, Content]) -> dict[str, str]:
    """Write the evidence of a run that passed the gate.

    Args:
        contents: every key of the judged hash.
    Returns: the properties of the run's commit: what a reader of the log wants to know at once, and
        where the evidence is, with its SHA-256.
    """
    document = {
        "run": run.id,
        "kind": run.kind,
        "logical_date": run.logical_date,
        "h0": run.h0.hash,
        "judged": judged.hash,
        "written_at": datetime.now(UTC),
        "read": {d: _pointer(run.base.get(d)) for d in sorted(run.reads)},
        "scores": (scores := score.of_layers(run.writes)),
        "wrote": {w["dataset"]: _pointer(contents.get(w["dataset"])) for w in run.writes},
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in _PACKAGES},
    } | run.story()
    data = json.dumps(document, indent=1, sort_keys=True, default=_plain).encode()
    digest = store.put(uri(run.id), data, "application/json")
    properties = {
        "medallion.kind": run.kind,
        "medallion.judged": judged.hash,
        "medallion.evidence": uri(run.id),
        "medallion.evidence-sha256": digest,
        "medallion.rows-in": str(sum(w.get("rows_in", 0) for w in run.writes)),
        "medallion.rows-out": str(sum(w.get("rows_out", 0) for w in run.writes)),
        "medallion.quarantined": str(sum(w.get("quarantined", 0) for w in run.writes)),
        "medallion.dropped": str(sum(sum(w.get("dropped", {}).values()) for w in run.writes)),
        "medallion.deliveries": ",".join(f"{d['dataset']}={d['sha256']}" for d in run.deliveries),
    }
    properties |= {f"medallion.score.{layer}": str(points) for layer, points in scores.items()}
    properties |= run.options.get(PROPERTIES, {})
    if run.logical_date:
        properties["medallion.logical-date"] = run.logical_date.isoformat()
    return properties


def read(store: Store, run_id: str) -> dict[str, Any]:
    """The evidence of a run. Raises: InputError if there is none."""
    return dict(json.loads(store.get(uri(run_id))))


def _pointer(content: Content | None) -> dict[str, Any] | None:
    return {k: content[k] for k in ("metadataLocation", "snapshotId")} if content and "snapshotId" in content else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)

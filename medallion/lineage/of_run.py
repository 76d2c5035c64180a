"""What one run read, took in and wrote: versions of tables and files, by the evidence that its commit on `main` vouches for."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from medallion.errors import InputError, MedallionError
from medallion.evidence import uri
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Nessie, Reference
from medallion.lakehouse.store import Store

READ = ("dataset", "hash", "snapshot", "metadata_location")
TAKEN_IN = ("dataset", "logical_date", "rows", "sha256", "uri")
WROTE = ("dataset", "logical_date", "rows", "snapshot", "metadata_location")
_SHA256 = "medallion.evidence-sha256"


def of_run(nessie: Nessie, journal: Journal, store: Store, name: str) -> dict[str, Any]:
    """The run that a name, or the beginning of one, stands for.

    Returns: `run`, `kind`, `logical_date`, `state`, `h0`, `merged_hash`; rows of `read` (READ: at which commit of main, and which
        version that was), `deliveries` (TAKEN_IN) and `wrote` (WROTE); `evidence`: the SHA-256 that the commit names, and the
        file has. A run that passed no gate has no evidence: its versions are None.
    Raises: UsageError if there is no such run; MedallionError if the evidence is gone or is not what the commit names.
    """
    row = journal.newest(name)
    run_id, merged = row["run_id"], row["merged_hash"]
    try:
        data: bytes | None = store.get(uri(run_id))
    except InputError:
        data = None
    digest = hashlib.sha256(data).hexdigest() if data else None
    if merged:
        named = next(nessie.log(Reference(MAIN, merged), limit=1)).properties.get(_SHA256)
        if named and named != digest:
            what = f"is not what its commit names: its SHA-256 is {digest}, not {named}" if data else "is gone"
            raise MedallionError(
                f"the evidence of run {run_id} {what}",
                hint=f"older versions of {uri(run_id)}, or a backup, may have it",
                run=run_id,
            )
    evidence = json.loads(data) if data else {}
    story = row["story"]
    read = evidence.get("read") or dict.fromkeys(story.get("reads", ()))
    wrote = evidence.get("wrote") or {}
    return {
        "run": run_id,
        **{key: row[key] for key in ("kind", "logical_date", "state", "h0", "merged_hash")},
        "evidence": digest,
        "read": [
            {"dataset": dataset, "hash": evidence.get("h0", row["h0"])} | _version(at) for dataset, at in sorted(read.items())
        ],
        "deliveries": [{key: one.get(key) for key in TAKEN_IN} for one in story.get("deliveries", ())],
        "wrote": [
            {"dataset": one["dataset"], "logical_date": one.get("logical_date"), "rows": one.get("rows_out")}
            | _version(wrote.get(one["dataset"]))
            for one in story.get("writes", ())
        ],
    }


def _version(pointer: dict[str, Any] | None) -> dict[str, Any]:
    known = pointer or {}
    return {"snapshot": known.get("snapshotId"), "metadata_location": known.get("metadataLocation")}

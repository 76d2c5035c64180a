"""What is known of runs and branches: lists, one run's whole story, and the difference of two states."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from medallion.errors import InputError, UsageError
from medallion.settings import S3
from medallion.terminal import show_table

if TYPE_CHECKING:
    from medallion.lakehouse.journal import Journal
    from medallion.lakehouse.nessie import Content, Nessie, Reference
    from medallion.lakehouse.store import Store

RUN_COLUMNS = ("run", "kind", "logical_date", "state", "opened_at", "seconds", "rows_in", "rows_out", "quarantined", "merged")


def runs(journal: Journal, limit: int = 20) -> list[dict[str, Any]]:
    """One row per run, newest first, with RUN_COLUMNS and `error`."""
    return [
        {
            "run": row["run_id"],
            "kind": row["kind"],
            "logical_date": row["logical_date"],
            "state": row["state"],
            "opened_at": row["opened_at"],
            "seconds": round((row["ended_at"] - row["opened_at"]).total_seconds(), 1) if row["ended_at"] else None,
            "merged": (row["merged_hash"] or "")[:12] or None,
            "error": row["error"],
            "reverted_by": row["reverted_by"],
        }
        | {key: sum(w.get(key) or 0 for w in row["story"].get("writes", ())) for key in ("rows_in", "rows_out", "quarantined")}
        for row in journal.runs(limit)
    ]


def show(journal: Journal, store: Store, run_id: str) -> dict[str, Any]:
    """One run's whole story: what it read (with hashes), wrote, how it was judged, its steps with times,
    and its evidence. Raises: UsageError if there is no such run."""
    from medallion.evidence import read as read_evidence  # not at the top: `medallion runs` needs the journal alone

    row = journal.newest(run_id)
    story = {key: value for key, value in row.pop("story").items() if key != "request"}
    try:
        evidence: dict[str, Any] | None = read_evidence(store, row["run_id"])
    except InputError:
        evidence = None  # only a run that passed the gate leaves evidence
    read = (evidence or {}).get("read") or dict.fromkeys(story.get("reads", ()))
    return row | story | {"read": read, "steps": journal.steps(row["run_id"]), "evidence": evidence and evidence["written_at"]}


def resolve(nessie: Nessie, journal: Journal, name: str) -> Reference:
    """A branch, a hash on main, or a run's id (its judged state, or its branch) as a reference."""
    from medallion.lakehouse.nessie import MAIN, Reference

    if name == MAIN or "/" in name:
        return nessie.reference(name)
    if len(name) == 64 and all(letter in "0123456789abcdef" for letter in name):
        return Reference(MAIN, name)
    try:
        row = journal.newest(name)
    except UsageError:
        return nessie.reference(name)
    if row["merged_hash"]:
        return Reference(MAIN, row["merged_hash"])
    return nessie.reference(row["branch"])


def diff(s3: S3, old: dict[str, Content], new: dict[str, Content]) -> list[dict[str, Any]]:
    """Which tables differ between two states: `dataset`, `change` (added, removed, changed),
    `rows_before`, `rows_after`, and what the last write on the new side added and deleted."""
    found = []
    for dataset in sorted({*old, *new}):
        before, after = old.get(dataset), new.get(dataset)
        if before and after and _version(before) == _version(after):
            continue
        summary = _summary(s3, after) if after else {}
        found.append(
            {
                "dataset": dataset,
                "change": "added" if before is None else "removed" if after is None else "changed",
                "rows_before": _rows(s3, before),
                "rows_after": _rows(s3, after),
                "last_write_added": int(summary.get("added-records", 0)),
                "last_write_deleted": int(summary.get("deleted-records", 0)),
            }
        )
    return found


def _counts(counted: dict[str, int]) -> str | None:
    return ", ".join(f"{n} {name}" for name, n in counted.items() if n) or None


def _place(write: dict[str, Any]) -> dict[str, Any]:
    return {"dataset": write["dataset"], "logical_date": write["logical_date"]}


def _version(content: Content) -> tuple[Any, ...]:
    """What rows and columns depend on. Metadata files differ for less, as on a new sandbox."""
    return content["snapshotId"], content["schemaId"], content["specId"], content["sortOrderId"]


def _summary(s3: S3, content: Content) -> dict[str, str]:
    from medallion.lakehouse.table import open_static

    if content["snapshotId"] in (-1, None):
        return {}
    snapshot = open_static(s3, content).metadata.current_snapshot()
    return dict(snapshot.summary.additional_properties) if snapshot and snapshot.summary else {}


def _rows(s3: S3, content: Content | None) -> int | None:
    return None if content is None else int(_summary(s3, content).get("total-records", 0))


def tell(found: dict[str, Any]) -> None:
    """Print a run's story, as `show` returns it, for a person."""
    for key in (
        "run_id",
        "kind",
        "logical_date",
        "state",
        "branch",
        "h0",
        "judged_hash",
        "merged_hash",
        "retry_of",
        "reverted_by",
        "error",
    ):
        if found.get(key) is not None:
            print(f"{key.replace('_', ' '):>14}  {found[key]}")
    for note in found["notes"]:
        print(f"{'note':>14}  {note}")
    if found["deliveries"]:
        show_table(found["deliveries"], ("dataset", "logical_date", "uri", "sha256", "rows"), "deliveries")
    read = [
        {"dataset": d, "snapshot": str((p or {}).get("snapshotId", "")), "at": found["h0"][:12]} for d, p in found["read"].items()
    ]
    show_table(read, ("dataset", "snapshot", "at"), "read")
    columns = ("dataset", "logical_date", "reason", "rows_in", "rows_out", "quarantined", "dropped", "warned", "score", "seconds")
    show_table([w | {"dropped": _counts(w.get("dropped", {}))} for w in found["writes"]], columns, "wrote")
    if upserted := [_place(w) | w["upserted"] for w in found["writes"] if w.get("upserted")]:
        kinds = ("way", "inserted", "updated", "withdrawn", "restored", "rows")
        seen = [name for name in kinds if any(name in one for one in upserted)]
        show_table(upserted, ("dataset", "logical_date", *seen), "changed in upserted tables")
    if similar := [{"dataset": w["dataset"]} | s for w in found["writes"] for s in w.get("similar", ())]:
        rows = [s | {"names": _counts(s["names"])} for s in similar]
        show_table(rows, ("dataset", "column", "canonical", "names", "score"), "names that may be one")
    broken = [
        {"dataset": w["dataset"], "decided_by": "pass"} | v | {"samples": "\n".join(v["samples"])}
        for w in found["writes"]
        for v in w.get("verdicts", ())
        if v["bad"]
    ]
    ways = Counter(v.get("decided_by", "pass") for w in found["writes"] for v in w.get("verdicts", ()))
    told = f"{ways.total()}; decided by {', '.join(f'{way} {n}' for way, n in ways.most_common())}" if ways else "0"
    if broken:
        told_columns = ("dataset", "rule", "severity", "bad", "judged", "tolerance", "passed", "decided_by", "samples")
        show_table(broken, told_columns, f"rules ({told})")
    else:
        print(f"all rules held on every row ({told})")
    steps = [s | {"seconds": (s["ended_at"] - s["began_at"]).total_seconds() if s["ended_at"] else None} for s in found["steps"]]
    show_table(steps, ("name", "began_at", "seconds", "outcome"), "steps")
    if found["publications"]:
        show_table(found["publications"], ("sequence", "hash", "published_at", "staged_bytes", "reencoded_bytes"), "publications")

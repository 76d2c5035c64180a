"""The ledger: which version of the lake the warehouse shows, and how it came there.

It stands in the warehouse beside the data, so that one transaction writes both. The head is one
row that every publication updates first: whoever holds it publishes, everyone else waits or plans
again. Every publication that changed something is one entry; its sequence numbers have no gaps.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Head:
    """What the warehouse shows now. `sequence` 0 and no hash: nothing has been published yet."""

    sequence: int
    hash: str | None
    publication_id: str | None


@dataclass(frozen=True)
class TableState:
    """One table as the warehouse holds it after a publication.

    `content_id`, `snapshot_id`, `schema_id` and `metadata_location` say which version of the lake's
    table it is; `rows` and `checksum` what is in it (see `checksum.py`); `hash` at which commit of
    `main` it was last written; `described` which comments and keys it was given (see `describing.py`).
    """

    content_id: str
    snapshot_id: int
    schema_id: int
    metadata_location: str
    rows: int
    checksum: str
    hash: str
    described: str = ""

    def shows(self, content: dict[str, Any]) -> bool:
        """Whether a Nessie content is the same version of the same table."""
        return (self.content_id, self.snapshot_id, self.schema_id) == (
            content["id"], content["snapshotId"], content["schemaId"],
        )  # fmt: skip


_BYTES = ("staged_bytes", "reencoded_bytes")


@dataclass(frozen=True)
class MartState:
    """One mart as the warehouse holds it: `hash` is the commit of `main` whose gold tables it was built from, `columns`
    are its columns' types by Spark SQL's names."""

    rows: int
    checksum: str
    hash: str
    columns: dict[str, str]


@dataclass(frozen=True)
class Entry:
    """One publication. `tables` holds every published table, `marts` every mart, `changed` what of both it wrote;
    `staged_bytes` says how much went into the warehouse's stage, `reencoded_bytes` how much of that could not go as
    it lay in the lake."""

    sequence: int
    publication_id: str
    hash: str
    runs: tuple[str, ...]
    published_at: datetime | None
    tables: dict[str, TableState]
    changed: tuple[str, ...]
    staged_bytes: int = 0
    reencoded_bytes: int = 0
    marts: dict[str, MartState] = field(default_factory=dict)

    def details(self) -> str:
        """The part that is kept as JSON."""
        kept = {name: {each: asdict(state) for each, state in getattr(self, name).items()} for name in ("tables", "marts")}
        counted = {key: getattr(self, key) for key in _BYTES}
        return json.dumps(kept | {"changed": list(self.changed)} | counted, sort_keys=True)

    @classmethod
    def read(cls, sequence: int, publication_id: str, hash: str, runs: str, published_at: datetime, details: str) -> Entry:
        """An entry from the columns of its row."""
        kept = json.loads(details)
        return cls(
            sequence=int(sequence),
            publication_id=publication_id,
            hash=hash,
            runs=tuple(json.loads(runs)),
            published_at=published_at,
            tables={dataset: TableState(**state) for dataset, state in kept["tables"].items()},
            changed=tuple(kept["changed"]),
            **{key: kept.get(key, 0) for key in _BYTES},
            marts={mart: MartState(**state) for mart, state in kept.get("marts", {}).items()},
        )

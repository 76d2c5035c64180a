"""From main's log: commits, what each did to which table, layers' scores, and versions of schemas.

A table's figures are those of its snapshots' summaries; no row is read, and no manifest. A version whose metadata file
somebody has removed is left out. Where the position is no ancestor of
main any more (main was moved to another history), what follows the newest commit that both share is taken out and made anew.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple, TypeGuard

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.history import STATE_OF
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, NO_ANCESTOR, Commit, Content, Nessie, Reference
from medallion.lakehouse.table import open_static
from medallion.ops.sources import Sources
from medallion.ops.writing import Connection, copy, forget_positions, position, put_position
from medallion.schema_log import Version, next_version
from medallion.settings import S3

TABLES = ("commits", "volumes", "layer_scores", "schema_versions")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "commits": ("main_hash", "n", "committed_at", "run_id", "kind", "logical_date", "message"),
    "volumes": ("main_hash", "dataset", "rows", "files", "bytes", "added_rows", "deleted_rows", "added_bytes"),
    "layer_scores": ("run_id", "layer", "score"),
    "schema_versions": (
        "dataset", "version", "main_hash", "committed_at", "run_id", "contract_version", "fingerprint", "changed", "columns",
    ),
}  # fmt: skip
SOURCE = "main"
_SCORE = "medallion.score."
_QUARANTINE = "__quarantine"
History = list[tuple[Commit, dict[str, Content | None]]]


def fill(connection: Connection, sources: Sources) -> None:
    """Fill in the commits since the position. Raises: ServiceUnavailable; psycopg.Error."""
    nessie = sources.lake.nessie
    head, at = nessie.reference(MAIN), position(connection, SOURCE)
    if head.hash == NO_ANCESTOR:  # main is empty
        _take_out(connection, 0)
        forget_positions(connection, [SOURCE])
    if head.hash in (at, NO_ANCESTOR):
        return
    base, number, new = _since(connection, nessie, head, at)
    if base is None or base != at:
        _take_out(connection, number)
        if at is not None:
            told = f"main@{base[:12]}" if base else "its beginning"
            sources.report(f"ops: main has another history than {at[:12]}; what follows {told} is made anew")
    walk = _Walk(sources.lake.settings.s3, nessie, new)
    walk.known = nessie.tables(Reference(MAIN, base)) if base else {}
    named = sorted({key for _, changed in new for key in changed})
    numbers = connection.execute(
        "SELECT dataset, max(version) AS n FROM ops.schema_versions WHERE dataset = ANY(%s) GROUP BY dataset", (named,)
    )
    walk.versions = {row["dataset"]: row["n"] for row in numbers}
    for commit, changed in new:
        number += 1
        walk.commit(number, commit, changed)
    rows_of = {"commits": walk.commits, "volumes": walk.volumes, "layer_scores": walk.scores, "schema_versions": walk.schemas}
    for table, rows in rows_of.items():
        copy(connection, table, _COLUMNS[table], rows)
    merged = [run_id for _, _, _, run_id, *_ in walk.commits if run_id]
    connection.execute("UPDATE ops.written SET merged = true WHERE run_id = ANY(%s) AND NOT merged", (merged,))
    put_position(connection, SOURCE, head.hash)


def _since(connection: Connection, nessie: Nessie, head: Reference, at: str | None) -> tuple[str | None, int, History]:
    """The newest commit that main and the projection share, its number (None and 0: there is none), and the commits after it,
    oldest first."""
    new = list(nessie.history(head, until=at))[::-1]
    if at is None:
        return None, 0, new
    hashes = [commit.hash for commit, _ in new]
    met = bool(new) and new[0][0].parent == at
    row = connection.execute(
        "SELECT main_hash, n FROM ops.commits WHERE main_hash = ANY(%s) ORDER BY n DESC LIMIT 1", ([at] if met else hashes,)
    ).fetchone()
    if row is None:  # nothing is shared, or somebody has emptied the table
        return None, 0, list(nessie.history(head))[::-1] if met else new
    return row["main_hash"], row["n"], new if met else new[hashes.index(row["main_hash"]) + 1 :]


def _take_out(connection: Connection, after: int) -> None:
    """Remove what commits with a number beyond this one have brought."""
    if not after:
        for table in reversed(TABLES):
            connection.execute(f"DELETE FROM ops.{table}")
        connection.execute("UPDATE ops.written SET merged = false WHERE merged")
        return
    gone = "(SELECT {} FROM ops.commits WHERE n > %s)"
    connection.execute(f"DELETE FROM ops.layer_scores WHERE run_id IN {gone.format('run_id')}", (after,))
    connection.execute(f"DELETE FROM ops.schema_versions WHERE main_hash IN {gone.format('main_hash')}", (after,))
    connection.execute(f"UPDATE ops.written SET merged = false WHERE merged AND run_id IN {gone.format('run_id')}", (after,))
    connection.execute("DELETE FROM ops.commits WHERE n > %s", (after,))


# ── a table's figures ─────────────────────────────────────────────────────────────────────────────
class _State(NamedTuple):
    """What a snapshot's summary says: the table as a whole after it, and what it added and deleted; `put_back` if it brought
    an earlier state back, which its summary does not count."""

    parent: int | None
    rows: int
    files: int
    bytes: int
    added_rows: int
    deleted_rows: int
    added_bytes: int
    put_back: bool


_NOTHING = _State(None, 0, 0, 0, 0, 0, 0, False)


def _state(snapshot: Snapshot) -> _State:
    summary = snapshot.summary.additional_properties if snapshot.summary else {}

    def figure(name: str) -> int:
        return int(summary.get(name) or 0)

    return _State(
        snapshot.parent_snapshot_id,
        # rows deleted in place stay in their files, and in the records that are counted
        figure("total-records") - figure("total-position-deletes"),
        figure("total-data-files"),
        figure("total-files-size"),
        figure("added-records"),
        figure("deleted-records") + figure("added-position-deletes") - figure("removed-position-deletes"),
        figure("added-files-size"),
        STATE_OF in summary,
    )


@dataclass
class _Walk:
    """Goes through commits of main, oldest first. `known` are the tables before the next one, `versions` how many schema
    versions each has had."""

    s3: S3
    nessie: Nessie
    history: History
    known: dict[str, Content] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    commits: list[tuple[Any, ...]] = field(default_factory=list)
    volumes: list[tuple[Any, ...]] = field(default_factory=list)
    schemas: list[tuple[Any, ...]] = field(default_factory=list)
    scores: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Of each table its newest version, whose metadata tell of the older ones as well."""
        self._newest = {c["id"]: c for _, changed in self.history for c in changed.values() if _is_table(c)}
        self._states: dict[str, dict[int, _State]] = {}
        self._dropped: dict[str, Content] = {}

    def commit(self, number: int, commit: Commit, changed: dict[str, Content | None]) -> None:
        """One commit, as rows of all four tables."""
        properties = commit.properties
        run_id, when = properties.get(RUN_PROPERTY), _date(properties.get("medallion.logical-date"))
        kind = properties.get("medallion.kind")
        self.commits.append((commit.hash, number, commit.time, run_id, kind, when, commit.message))
        if run_id:
            scores = {n.removeprefix(_SCORE): _number(points) for n, points in properties.items() if n.startswith(_SCORE)}
            self.scores += [(run_id, layer, points) for layer, points in scores.items() if points is not None]
        for key, content in sorted(changed.items()):
            if _is_table(content):
                self._put(commit, key, content)
            elif key in self.known:
                gone = self._dropped[key] = self.known.pop(key)
                self.volumes.append((commit.hash, key, 0, 0, 0, 0, (self._of(gone) or _NOTHING).rows, 0))

    def _put(self, commit: Commit, key: str, content: Content) -> None:
        before, now = self.known.get(key), self._of(content)
        if now is not None:
            self.volumes.append((commit.hash, key, now.rows, now.files, now.bytes, *self._between(before, content, now)))
        if not key.endswith(_QUARANTINE) and (before is None or _schema(before) != _schema(content)):
            n = self.versions.get(key, 0)
            last = before or (self._before_it_was_dropped(commit, key) if n else None)
            if self._metadata(content) is not None:
                known = self._metadata(last) if last else None
                self.schemas.append(_row(key, next_version(self.s3, commit, content, n, known.schema() if known else None)))
                self.versions[key] = n + 1
        self.known[key] = content

    def _before_it_was_dropped(self, commit: Commit, key: str) -> Content | None:
        older = self.nessie.versions(Reference(MAIN, commit.parent), key)
        return self._dropped.get(key) or next((content for _, content in older if _is_table(content)), None)

    def _between(self, before: Content | None, after: Content, new: _State) -> tuple[int, int, int]:
        """Rows added, rows deleted, bytes added from one version of a table to another."""
        since = before["snapshotId"] if before and before["id"] == after["id"] else None
        old = self._of(before) or _NOTHING
        added = deleted = size = 0
        snapshot: int | None = after["snapshotId"]
        state: _State | None = new
        while snapshot not in (since, None, -1) and state is not None:
            earlier = self._states[after["id"]].get(state.parent) if state.parent is not None else _NOTHING
            if state.put_back and earlier is not None:
                more, bigger = state.rows - earlier.rows, state.bytes - earlier.bytes
                added, deleted, size = added + max(more, 0), deleted + max(-more, 0), size + max(bigger, 0)
            elif not state.put_back:
                added, deleted, size = added + state.added_rows, deleted + state.deleted_rows, size + state.added_bytes
            snapshot, state = state.parent, earlier
        if old.rows + added - deleted == new.rows:
            return added, deleted, size
        # the table was made anew or rolled back, or its snapshots in between are forgotten
        return max(new.rows - old.rows, 0), max(old.rows - new.rows, 0), max(new.bytes - old.bytes, 0)

    def _of(self, content: Content | None) -> _State | None:
        """The state of a version of a table; None if its files are gone."""
        if content is None or content["snapshotId"] in (-1, None):
            return _NOTHING
        known, snapshot = self._states.setdefault(content["id"], {}), content["snapshotId"]
        for version in (self._newest.get(content["id"], content), content):
            if snapshot not in known and (metadata := self._metadata(version)) is not None:
                known |= {each.snapshot_id: _state(each) for each in metadata.snapshots}
        return known.get(snapshot)

    def _metadata(self, content: Content) -> TableMetadata | None:
        """A version's metadata; None if somebody has removed the file. Raises: ServiceUnavailable."""
        try:
            return open_static(self.s3, content).metadata
        except ServiceUnavailable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise


def _is_table(content: Content | None) -> TypeGuard[Content]:
    return content is not None and content["type"] == "ICEBERG_TABLE"


def _schema(content: Content) -> tuple[Any, ...]:
    return content["id"], content["schemaId"]


def _row(dataset: str, version: Version) -> tuple[Any, ...]:
    told = version.as_row()
    names = ("version", "hash", "time", "run", "contract_version", "fingerprint", "changed")
    columns = [{"name": name, "type": type_} for name, type_ in told["columns"].items()]  # JSON's objects have no order
    return (dataset, *(told[name] for name in names), columns)


def _number(text: str) -> float | None:
    """What a property says, which somebody else may have written."""
    with suppress(ValueError):
        return float(text)
    return None


def _date(text: str | None) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text) if text else None
    return None

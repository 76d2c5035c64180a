"""From the journal and the evidence: what runs that are at an end wrote, read and were delivered, and how they were judged.

The position is a time by the server's clock: whatever changes a run afterwards says so in `changed_at`. A statement that is
under way while we look has its time already, and is not seen yet; so the position is never later than the beginning of one
(a minute ago, where PostgreSQL does not tell us, as of another user's).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from medallion import evidence
from medallion.errors import InputError
from medallion.lakehouse.run import LIVE
from medallion.lakehouse.store import Store
from medallion.ops.sources import Sources
from medallion.ops.writing import Connection, copy, position, put_position

log = logging.getLogger(__name__)

TABLES = ("written", "rule_results", "anomalies", "deliveries", "reads")
SOURCE = "journal"
BEGINNING = "-infinity"
_AT_A_TIME = 200
"""So many runs' stories are held at once."""
_SAFE = """
SELECT coalesce(min(coalesce(a.xact_start, statement_timestamp() - interval '1 minute')), statement_timestamp())::text AS at
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation = 'ops.runs'::regclass AND l.mode = 'RowExclusiveLock' AND l.pid <> pg_backend_pid()
"""
_CHANGED = "FROM ops.runs WHERE changed_at >= %s::timestamptz AND state <> ALL(%s)"
_COLUMNS = {
    "written": (
        "run_id", "n", "dataset", "logical_date", "merged", "rows_in", "rows_out", "quarantined", "warned", "dropped", "seconds",
        "score", "reason",
    ),
    "rule_results": (
        "run_id", "n", "rule", "dataset", "logical_date", "severity", "passed", "bad", "judged", "tolerance", "decided_by",
        "description",
    ),
    "anomalies": (
        "run_id", "n", "dataset", "logical_date", "metric", "column", "bin", "value", "expected", "low", "high", "description",
    ),
    "deliveries": ("run_id", "dataset", "delivery", "logical_date", "uri", "sha256", "rows"),
    "reads": ("run_id", "dataset", "main_hash", "snapshot_id", "metadata_location"),
}  # fmt: skip
Found = dict[str, list[tuple[Any, ...]]]
Pointer = dict[str, Any] | None


def fill(connection: Connection, sources: Sources) -> None:
    """Fill in the runs that ended or changed since the position. Raises: ServiceUnavailable; psycopg.Error."""
    row = connection.execute(_SAFE).fetchone()
    since = position(connection, SOURCE)
    if since is None:
        for table in TABLES:
            connection.execute(f"DELETE FROM ops.{table}")
    for runs in _batches(connection, since or BEGINNING):
        ids = [run["run_id"] for run in runs]
        found = connection.execute("SELECT DISTINCT run_id FROM ops.commits WHERE run_id = ANY(%s)", (ids,))
        merged = {each["run_id"] for each in found}
        if since is not None:
            for table in TABLES:
                connection.execute(f"DELETE FROM ops.{table} WHERE run_id = ANY(%s)", (ids,))
        _put(connection, _rows(runs, merged, sources), sources)
    assert row is not None
    put_position(connection, SOURCE, row["at"])


def changed(connection: Connection, since: str | None) -> int:
    """How many runs ended or changed since a position."""
    row = connection.execute(f"SELECT count(*) AS n {_CHANGED}", (since or BEGINNING, list(LIVE))).fetchone()
    return int(row["n"]) if row else 0


def _put(connection: Connection, of_runs: dict[str, Found], sources: Sources) -> None:
    """Add the rows of runs. Where PostgreSQL refuses some, those of each run apart, so that one does not keep the others out."""
    try:
        with connection.transaction():
            for table in TABLES:
                copy(connection, table, _COLUMNS[table], [row for rows in of_runs.values() for row in rows[table]])
    except (psycopg.DataError, psycopg.IntegrityError):
        if len(of_runs) == 1:
            _left_out(next(iter(of_runs)), sources)
            return
        for run_id, rows in of_runs.items():
            _put(connection, {run_id: rows}, sources)


def _left_out(run_id: str, sources: Sources) -> None:
    log.exception("run %s is left out of the projection", run_id)
    sources.report(f"ops: the story of run {run_id} cannot be read, it is left out")


def _batches(connection: Connection, since: str) -> Iterator[list[dict[str, Any]]]:
    ids = [row["run_id"] for row in connection.execute(f"SELECT run_id {_CHANGED}", (since, list(LIVE)))]
    for first in range(0, len(ids), _AT_A_TIME):
        yield connection.execute(
            "SELECT run_id, logical_date, h0, judged_hash, story - 'request' AS story FROM ops.runs WHERE run_id = ANY(%s)",
            (ids[first : first + _AT_A_TIME],),
        ).fetchall()


def _rows(runs: list[dict[str, Any]], merged: set[str], sources: Sources) -> dict[str, Found]:
    """The rows of each run that can be read, by its id."""
    with ThreadPoolExecutor(min(8, len(runs))) as pool:
        pointers = list(pool.map(lambda run: _pointers(sources.lake.store, run), runs))
    found: dict[str, Found] = {}
    for run, (main_hash, read) in zip(runs, pointers, strict=True):
        of_run: Found = {table: [] for table in TABLES}
        try:
            _run(of_run, run, run["run_id"] in merged, main_hash, read)
        except (KeyError, TypeError, AttributeError):  # one that nobody can read must not keep the others out
            _left_out(run["run_id"], sources)
            continue
        found[run["run_id"]] = of_run
    return found


def _run(found: Found, run: dict[str, Any], merged: bool, main_hash: str, read: dict[str, Pointer]) -> None:
    run_id, story = run["run_id"], run["story"]
    for n, write in enumerate(story.get("writes", ()), start=1):
        if "rows_in" in write:  # else a table was made, empty
            _write(found, run, n, write, merged)
    deliveries = {(one["dataset"], one["delivery"]): one for one in story.get("deliveries", ())}
    for one in deliveries.values():
        found["deliveries"].append((run_id, *(one[name] for name in _COLUMNS["deliveries"][1:])))
    for dataset, pointer in read.items():
        at = pointer or {}
        snapshot = at.get("snapshotId")
        snapshot = None if snapshot == -1 else snapshot  # it had no rows yet
        found["reads"].append((run_id, dataset, main_hash, snapshot, at.get("metadataLocation")))


def _write(found: Found, run: dict[str, Any], n: int, write: dict[str, Any], merged: bool) -> None:
    key, dataset = (run["run_id"], n), write["dataset"]
    when = write.get("logical_date") or write.get("as_of") or run["logical_date"]
    counted = [write.get(name, 0) for name in ("rows_in", "rows_out", "quarantined", "warned")]
    told = (write.get("dropped", {}), write.get("seconds", 0.0), write.get("score"), write.get("reason"))
    found["written"].append((*key, dataset, when, merged, *counted, *told))
    for name, verdict in {each["rule"]: each for each in write.get("verdicts", ())}.items():
        figures = [verdict[column] for column in ("severity", "passed", "bad", "judged", "tolerance")]
        figures += [verdict.get("decided_by"), verdict["description"]]
        found["rule_results"].append((*key, name, dataset, when, *figures))
    for one in {(each["metric"], each["column"], each["bin"]): each for each in write.get("unusual", ())}.values():
        figures = [one[name] for name in ("metric", "column", "bin", "value", "expected", "low", "high", "text")]
        found["anomalies"].append((*key, dataset, when, *figures))


def _pointers(store: Store, run: dict[str, Any]) -> tuple[str, dict[str, Pointer]]:
    """The commit that a run read, and of each table that it read the version; which is known from the evidence that it left
    when it passed the gate."""
    story: dict[str, Any] = run["story"]
    if run["judged_hash"]:
        try:
            kept = evidence.read(store, run["run_id"])
            return str(kept["h0"]), dict(kept["read"])
        except (InputError, KeyError, TypeError, ValueError):  # it left none, or somebody has removed or damaged it
            pass
    return run["h0"], dict.fromkeys(story.get("reads", ()))

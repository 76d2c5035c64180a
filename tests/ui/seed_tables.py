"""The tables that `tests.ui.seed` fills, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from medallion.lakehouse import journal_sql
from medallion.ops import tables

COLUMNS = {
    "runs": ("run_id", "kind", "logical_date", "branch", "state", "h0", "judged_hash", "merged_hash", "retry_of", "opened_at",
             "changed_at", "error", "story", "ended_at"),
    "steps": ("run_id", "name", "began_at", "ended_at", "outcome", "detail"),
    "datasets": ("dataset", "domain", "layer", "name", "zone", "owner", "description", "contract_version", "rules"),
    "commits": ("main_hash", "n", "committed_at", "run_id", "kind", "logical_date", "message"),
    "volumes": ("main_hash", "dataset", "rows", "files", "bytes", "added_rows", "deleted_rows", "added_bytes"),
    "written": ("run_id", "n", "dataset", "logical_date", "merged", "rows_in", "rows_out", "quarantined", "warned", "dropped",
                "seconds", "score", "reason"),
    "rule_results": ("run_id", "n", "rule", "dataset", "logical_date", "severity", "passed", "bad", "judged", "tolerance",
                     "decided_by", "description"),
    "anomalies": ("run_id", "n", "dataset", "logical_date", "metric", "column", "bin", "value", "expected", "low", "high",
                  "description"),
    "layer_scores": ("run_id", "layer", "score"),
    "deliveries": ("run_id", "dataset", "delivery", "logical_date", "uri", "sha256", "rows"),
    "schema_versions": ("dataset", "version", "main_hash", "committed_at", "run_id", "contract_version", "fingerprint", "changed",
                        "columns"),
    "publications": ("target", "sequence", "publication_id", "main_hash", "published_at", "runs", "changed", "rows",
                     "staged_bytes", "reencoded_bytes"),
    "lineage": ("source_kind", "source", "source_column", "target_kind", "target", "target_column", "how"),
    "freshness": ("dataset", "newest_date", "merged_at", "next_date", "due_at"),
    "projected": ("source", "position", "projected_at"),
    "alerts": ("occurrence", "rule", "kind", "severity", "dataset", "run_id", "logical_date", "summary", "command", "detail",
               "opened_at", "acknowledged_at", "acknowledged_by", "resolved_at", "resolved_why", "silence_id"),
    "audit": ("sequence", "at", "who", "place", "action", "object", "outcome", "run_id", "detail", "previous", "hash"),
}  # fmt: skip
"""The tables that are filled, in an order that their references allow, and the columns in the order of their rows."""
_NOTHING = "~"


def make(connection: psycopg.Connection[Any]) -> None:
    """Make the tables of schema `ops`."""
    connection.execute(journal_sql.TABLES.replace("BEGIN;", "").replace("COMMIT;", ""))
    for statements in (tables.PROJECTION, tables.ALERTS, tables.AUDIT):
        connection.execute(statements)


def copy(connection: psycopg.Connection[Any], rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
    """Put rows into the tables. No value may have a tab, or be `~` alone."""
    for table, columns in COLUMNS.items():
        statement = sql.SQL("COPY ops.{} ({}) FROM STDIN (NULL {})").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Literal(_NOTHING)
        )
        lines = "".join("\t".join([_NOTHING if v is None else str(v) for v in row]) + "\n" for row in rows.get(table, ()))
        with connection.cursor() as cursor, cursor.copy(statement) as into:
            into.write(lines.replace("\\", "\\\\"))

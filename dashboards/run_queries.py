"""What the pages Run and Alerts ask of schema `ops`. See `dashboards.queries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from psycopg import Connection
from psycopg.rows import dict_row

from dashboards.database import frame

Database = Connection[Any]


@dataclass(frozen=True)
class Told:
    """A run as the journal has it; `story` is what it read, wrote and was given, see `medallion.lakehouse.run.Run.story`."""

    row: dict[str, Any]
    story: dict[str, Any]


def run(db: Database, run_id: str) -> Told | None:
    """A run by its id, or by a beginning that is only its own."""
    with db.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT *, extract(epoch FROM coalesce(ended_at, now()) - opened_at)::float8 AS seconds FROM ops.runs "
            "WHERE starts_with(run_id, %s) ORDER BY run_id <> %s LIMIT 2",
            (run_id, run_id),
        ).fetchall()
    if not rows or (len(rows) > 1 and rows[0]["run_id"] != run_id):
        return None
    return Told({k: v for k, v in rows[0].items() if k != "story"}, rows[0]["story"])


def retries(db: Database, run_id: str) -> pd.DataFrame:
    """The runs that ran this one again."""
    return frame(
        db,
        {"run_id": "text", "state": "text", "opened_at": "time"},
        "SELECT run_id, state, opened_at FROM ops.runs WHERE retry_of = %(run)s ORDER BY opened_at",
        {"run": run_id},
    )


def steps(db: Database, run_id: str) -> pd.DataFrame:
    """The steps of a run, in order; one that is under way ends now."""
    columns = {"step": "text", "began_at": "time", "ended_at": "time", "seconds": "float", "outcome": "text"}
    return frame(db, columns, """
        SELECT name, began_at, coalesce(ended_at, now()), extract(epoch FROM coalesce(ended_at, now()) - began_at), outcome
        FROM ops.steps WHERE run_id = %(run)s ORDER BY step_id""", {"run": run_id})  # fmt: skip


def rules(db: Database, run_id: str) -> pd.DataFrame:
    """The verdicts of a run as the projection has them; those that refused it first."""
    columns = {"n": "int", "dataset": "text", "logical_date": "date", "rule": "text", "severity": "text", "passed": "bool",
               "bad": "int", "judged": "int", "tolerance": "float", "description": "text", "decided_by": "text"}  # fmt: skip
    return frame(db, columns, """
        SELECT n, dataset, logical_date, rule, severity, passed, bad, judged, tolerance, description, decided_by
        FROM ops.rule_results WHERE run_id = %(run)s ORDER BY passed OR severity = 'warning', bad DESC, n, rule""",
        {"run": run_id})  # fmt: skip


def differences(db: Database, merged_hash: str) -> pd.DataFrame:
    """What a commit of main changed: rows before and after, added and deleted, of each table."""
    columns = {
        "dataset": "text",
        "before": "int",
        "after": "int",
        "added": "int",
        "deleted": "int",
        "bytes": "int",
        "files": "int",
    }
    return frame(db, columns, """
        SELECT v.dataset, coalesce(old.rows, 0), v.rows, v.added_rows, v.deleted_rows, v.bytes, v.files
        FROM ops.volumes v JOIN ops.commits c USING (main_hash) LEFT JOIN LATERAL (
          SELECT rows FROM ops.volumes o JOIN ops.commits oc USING (main_hash)
          WHERE o.dataset = v.dataset AND oc.n < c.n ORDER BY oc.n DESC LIMIT 1) old ON true
        WHERE v.main_hash = %(hash)s ORDER BY v.dataset""", {"hash": merged_hash})  # fmt: skip


def publications_of(db: Database, run_id: str) -> pd.DataFrame:
    """The publications that made a run visible."""
    return frame(db, {"target": "text", "sequence": "int", "published_at": "time", "changed": "int"}, """
        SELECT target, sequence, published_at, jsonb_array_length(changed) FROM ops.publications
        WHERE runs @> to_jsonb(%(run)s::text) ORDER BY published_at""", {"run": run_id})  # fmt: skip


def audit_of(db: Database, run_id: str) -> pd.DataFrame:
    """What the audit log has of a run."""
    return frame(db, {"sequence": "int", "at": "time", "who": "text", "action": "text", "object": "text", "outcome": "text"}, """
        SELECT sequence, at, who, action, object, outcome FROM ops.audit WHERE run_id = %(run)s ORDER BY sequence LIMIT 100""",
        {"run": run_id})  # fmt: skip


# ── alerts ────────────────────────────────────────────────────────────────────────────────────────
_ALERT = {"alert_id": "int", "rule": "text", "kind": "text", "severity": "text", "dataset": "text", "run_id": "text",
          "logical_date": "date", "summary": "text", "command": "text", "detail": "json", "opened_at": "time",
          "acknowledged_at": "time", "acknowledged_by": "text", "resolved_at": "time", "resolved_why": "text",
          "silence_id": "int", "silenced_until": "time", "silenced_why": "text"}  # fmt: skip
_ALERTS = """
  SELECT a.alert_id, a.rule, a.kind, a.severity, a.dataset, a.run_id, a.logical_date, a.summary, a.command, a.detail, a.opened_at,
    a.acknowledged_at, a.acknowledged_by, a.resolved_at, a.resolved_why, s.silence_id, s.until, s.why
  FROM ops.alerts a LEFT JOIN LATERAL (
    SELECT * FROM ops.silences s WHERE s.until > now() AND a.resolved_at IS NULL AND (s.silence_id = a.silence_id
      OR ((s.rule IS NULL OR s.rule = a.rule) AND (s.dataset IS NULL OR s.dataset = a.dataset)))
    ORDER BY s.until DESC LIMIT 1) s ON true
"""


def open_alerts(db: Database, limit: int = 200) -> pd.DataFrame:
    """Alerts that are not over; those that nobody knows of first, by severity, the newest first. An alert is silenced while
    a silence of its rule and dataset lasts."""
    return frame(db, _ALERT, f"""{_ALERTS} WHERE a.resolved_at IS NULL
        ORDER BY s.silence_id IS NOT NULL, a.acknowledged_at IS NOT NULL,
          array_position(ARRAY['critical', 'error', 'warning'], a.severity), a.opened_at DESC, a.alert_id
        LIMIT %(limit)s""", {"limit": limit})  # fmt: skip


def alerts_of(db: Database, *, run_id: str | None = None, dataset: str | None = None, limit: int = 20) -> pd.DataFrame:
    """Alerts of a run or a dataset, open or over, the newest first."""
    return frame(db, _ALERT, f"""{_ALERTS}
        WHERE a.run_id = %(run)s OR a.dataset = %(dataset)s
        ORDER BY a.resolved_at IS NOT NULL, a.opened_at DESC LIMIT %(limit)s""",
        {"run": run_id, "dataset": dataset, "limit": limit})  # fmt: skip


def over(db: Database, limit: int = 20) -> pd.DataFrame:
    """Alerts that are over, the newest first."""
    return frame(db, _ALERT, f"""{_ALERTS} WHERE a.resolved_at IS NOT NULL
        ORDER BY a.resolved_at DESC, a.alert_id DESC LIMIT %(limit)s""", {"limit": limit})  # fmt: skip


def silences(db: Database) -> pd.DataFrame:
    """Silences that last."""
    columns = {"silence_id": "int", "rule": "text", "dataset": "text", "until": "time", "who": "text", "why": "text"}
    return frame(
        db, columns, "SELECT silence_id, rule, dataset, until, who, why FROM ops.silences WHERE until > now() ORDER BY until"
    )


def unsent(db: Database) -> pd.DataFrame:
    """Per channel the messages that wait to be sent, or were set aside because the channel refuses them (`aside`); since when,
    why the last try failed, and their numbers."""
    columns = {"channel": "text", "messages": "int", "since": "time", "error": "text", "aside": "bool", "ids": "text"}
    return frame(db, columns, """
        SELECT channel, count(*), min(created_at), (array_agg(error ORDER BY next_try_at DESC))[1],
          set_aside_at IS NOT NULL AS aside, string_agg(message_id::text, ' ' ORDER BY message_id)
        FROM ops.alert_messages WHERE sent_at IS NULL AND tries > 0 GROUP BY 1, 5 ORDER BY 1, 5""")  # fmt: skip

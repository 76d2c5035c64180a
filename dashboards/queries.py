"""What Today, Quality, Operations and Alerts ask of schema `ops`. Each question returns a frame; see `database.frame`.

What a dataset is like now is what the newest write of it says that stands on `main`: merged, and not taken back since.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from psycopg import Connection

from dashboards.database import frame

Database = Connection[Any]
_ENDED_WELL = "('merged', 'published', 'unchanged')"
_STANDS = "w.merged AND r.reverted_by IS NULL AND (w.score IS NOT NULL OR w.rows_in > 0)"
"""Of a write `w` of a run `r`. What a revert or a restore only put back has neither rows nor a score: no write of a date."""
_COUNTS = "r.reverted_by IS NULL AND r.state <> 'conflicted'"
"""Of a run `r`: whether what it found is told. What a lost conflict found is found again by the run that takes its place."""
_SINCE = f"""(SELECT coalesce(max(w.logical_date) - %(days)s::int, '-infinity')
  FROM ops.written w JOIN ops.runs r USING (run_id) WHERE {_STANDS})"""
"""The dates after this one are the last days; all dates where nothing is on main."""
_NEWEST = f"""
  SELECT DISTINCT ON (w.dataset) w.dataset, w.logical_date, w.run_id, w.n, w.score, w.quarantined, w.rows_in
  FROM (
    SELECT w.dataset, max(w.logical_date) AS logical_date FROM ops.written w JOIN ops.runs r USING (run_id)
    WHERE {_STANDS} AND w.score IS NOT NULL GROUP BY 1) of
  JOIN ops.written w ON w.dataset = of.dataset AND (w.logical_date = of.logical_date OR
    (w.logical_date IS NULL AND of.logical_date IS NULL))
  JOIN ops.runs r USING (run_id)
  WHERE {_STANDS} AND w.score IS NOT NULL ORDER BY w.dataset, r.ended_at DESC, w.n DESC
"""
_PAST = f"""
  SELECT dataset, avg(score) AS score FROM (
    SELECT DISTINCT ON (w.dataset, w.logical_date) w.dataset, w.score
    FROM newest JOIN ops.written w ON w.dataset = newest.dataset AND w.logical_date < newest.logical_date
      AND w.logical_date >= newest.logical_date - 30
    JOIN ops.runs r ON r.run_id = w.run_id
    WHERE {_STANDS} AND w.score IS NOT NULL ORDER BY w.dataset, w.logical_date, r.ended_at DESC, w.n DESC) dates
  GROUP BY 1
"""
OPEN_ALERT = "resolved_at IS NULL"


# ── today ─────────────────────────────────────────────────────────────────────────────────────────
def is_empty(db: Database) -> bool:
    """Whether no run was ever opened."""
    return db.execute("SELECT 1 FROM ops.runs LIMIT 1").fetchone() is None


def ended_badly(db: Database, hours: int) -> pd.DataFrame:
    """Runs of the last hours that failed or lost a conflict, and that no later run made good that stands: one of the same
    kind, date (or none), layers, domain and dataset, or one that was their retry."""
    columns = {"run_id": "text", "kind": "text", "logical_date": "date", "state": "text", "opened_at": "time", "error": "text"}
    return frame(db, columns, f"""
        SELECT run_id, kind, logical_date, state, opened_at, error FROM ops.runs bad
        WHERE state IN ('failed', 'conflicted') AND opened_at > now() - make_interval(hours => %(hours)s)
          AND NOT EXISTS (
            SELECT 1 FROM ops.runs later WHERE later.opened_at > bad.opened_at AND later.state IN {_ENDED_WELL}
              AND (later.retry_of = bad.run_id OR (later.kind = bad.kind
                AND later.logical_date IS NOT DISTINCT FROM bad.logical_date
                AND {_same('layers')} AND {_same('domain')} AND {_same('dataset')})))
        ORDER BY opened_at DESC""", {"hours": hours})  # fmt: skip


def _same(option: str) -> str:
    return f"later.story->'options'->>'{option}' IS NOT DISTINCT FROM bad.story->'options'->>'{option}'"


def counted_runs(db: Database, hours: int) -> pd.DataFrame:
    """How many runs of the last hours are in each state."""
    return frame(db, {"state": "text", "runs": "int"}, """
        SELECT state, count(*) FROM ops.runs WHERE opened_at > now() - make_interval(hours => %(hours)s) GROUP BY 1""",
        {"hours": hours})  # fmt: skip


def layers_now(db: Database) -> pd.DataFrame:
    """Per layer the mean of its datasets' newest scores, and of their own means over the 30 days before."""
    columns = {"layer": "text", "datasets": "int", "score": "float", "before": "float"}
    return frame(db, columns, f"""
        WITH newest AS ({_NEWEST}), past AS ({_PAST})
        SELECT split_part(dataset, '.', 1), count(*), avg(newest.score), avg(past.score)
        FROM newest LEFT JOIN past USING (dataset) GROUP BY 1
        ORDER BY array_position(ARRAY['bronze', 'silver', 'gold'], split_part(dataset, '.', 1))""")  # fmt: skip


def late(db: Database, within_hours: int = 0) -> pd.DataFrame:
    """Datasets whose next date was due by now, or will be within some hours; the longest overdue first."""
    columns = {"dataset": "text", "newest_date": "date", "merged_at": "time", "next_date": "date", "due_at": "time",
               "hours_late": "float"}  # fmt: skip
    return frame(db, columns, """
        SELECT dataset, newest_date, merged_at, next_date, due_at, extract(epoch FROM now() - due_at) / 3600
        FROM ops.freshness WHERE due_at < now() + make_interval(hours => %(hours)s) ORDER BY due_at, dataset""",
        {"hours": within_hours})  # fmt: skip


def promised(db: Database) -> int:
    """How many datasets have an SLA on when their dates come."""
    row = db.execute("SELECT count(*) FROM ops.freshness WHERE due_at IS NOT NULL").fetchone()
    return int(row[0]) if row else 0


def unpublished(db: Database) -> pd.DataFrame:
    """Per warehouse: the newest publication, and how many commits of main came after the one that it shows and changed what
    is published; missing where main's log does not have that one. Published is what it holds, and what is to be copied into it
    by the contracts; marts are built there, whatever main has of them."""
    columns = {"target": "text", "sequence": "int", "published_at": "time", "main_hash": "text", "behind": "int"}
    return frame(
        db,
        columns,
        """
        SELECT target, sequence, published_at, main_hash, CASE WHEN shown.n IS NOT NULL THEN (
          SELECT count(*) FROM ops.commits later WHERE later.n > shown.n AND EXISTS (
            SELECT 1 FROM ops.volumes v WHERE v.main_hash = later.main_hash AND v.dataset NOT LIKE 'gold.marts.%%'
              AND v.dataset IN (SELECT jsonb_object_keys(p.rows)
                UNION ALL SELECT target FROM ops.lineage WHERE target_kind = 'warehouse' AND target_column = ''))) END
        FROM (SELECT DISTINCT ON (target) * FROM ops.publications ORDER BY target, sequence DESC) p
          LEFT JOIN ops.commits shown USING (main_hash) ORDER BY target""",
    )


def recent_runs(db: Database, limit: int = 12, like: str = "") -> pd.DataFrame:
    """The newest runs, those whose id has `like` in it."""
    columns = {"run_id": "text", "kind": "text", "logical_date": "date", "state": "text", "opened_at": "time", "seconds": "float",
               "error": "text"}  # fmt: skip
    return frame(db, columns, """
        SELECT run_id, kind, logical_date, state, opened_at, extract(epoch FROM ended_at - opened_at), error FROM ops.runs
        WHERE strpos(run_id, %(like)s) > 0 ORDER BY opened_at DESC, run_id DESC LIMIT %(limit)s""",
        {"limit": limit, "like": like})  # fmt: skip


# ── quality ───────────────────────────────────────────────────────────────────────────────────────
def scores_of_layers(db: Database, days: int) -> pd.DataFrame:
    """Per layer and date the mean of its datasets' scores: of each the newest write of the date that stands on main."""
    return frame(db, {"date": "date", "layer": "text", "score": "float", "datasets": "int"}, f"""
        SELECT logical_date, split_part(dataset, '.', 1), avg(score), count(*) FROM (
          SELECT DISTINCT ON (w.dataset, w.logical_date) w.dataset, w.logical_date, w.score
          FROM ops.written w JOIN ops.runs r USING (run_id)
          WHERE {_STANDS} AND w.score IS NOT NULL AND w.logical_date > {_SINCE}
          ORDER BY w.dataset, w.logical_date, r.ended_at DESC, w.n DESC) newest
        GROUP BY 1, 2 ORDER BY 1, 2""", {"days": days})  # fmt: skip


def scores_of_dataset(db: Database, dataset: str, days: int) -> pd.DataFrame:
    """Of each date of a dataset the newest write that stands on main, else the newest that was refused: score, rows and what
    went to quarantine."""
    columns = {"date": "date", "run_id": "text", "score": "float", "rows_in": "int", "rows_out": "int", "quarantined": "int",
               "warned": "int", "merged": "bool"}  # fmt: skip
    return frame(db, columns, f"""
        SELECT * FROM (
          SELECT DISTINCT ON (coalesce(w.logical_date, r.opened_at::date)) coalesce(w.logical_date, r.opened_at::date) AS date,
            w.run_id, w.score, w.rows_in, w.rows_out, w.quarantined, w.warned, w.merged
          FROM ops.written w JOIN ops.runs r USING (run_id)
          WHERE w.dataset = %(dataset)s AND {_COUNTS} AND (({_STANDS}) OR NOT w.merged)
          ORDER BY 1 DESC, w.merged DESC, r.ended_at DESC, w.n DESC LIMIT %(days)s) newest
        ORDER BY date""", {"dataset": dataset, "days": days})  # fmt: skip


def anomalies(db: Database, days: int, dataset: str | None = None, limit: int = 400) -> pd.DataFrame:
    """What was unusual in writes on main or refused, newest first."""
    columns = {"date": "date", "dataset": "text", "metric": "text", "column": "text", "value": "float", "expected": "float",
               "low": "float", "high": "float", "description": "text", "run_id": "text", "score": "float"}  # fmt: skip
    return frame(
        db,
        columns,
        f"""
        SELECT a.logical_date, a.dataset, a.metric, a."column", a.value, a.expected, a.low, a.high, a.description, a.run_id,
          w.score
        FROM ops.anomalies a JOIN ops.runs r USING (run_id) LEFT JOIN ops.written w USING (run_id, n)
        WHERE {_COUNTS} AND (%(dataset)s::text IS NULL OR a.dataset = %(dataset)s)
          AND (a.logical_date IS NULL OR a.logical_date > {_SINCE})
        ORDER BY a.logical_date DESC NULLS LAST, a.dataset LIMIT %(limit)s""",
        {"dataset": dataset, "days": days, "limit": limit},
    )


def datasets_now(db: Database) -> pd.DataFrame:
    """Every dataset as it is now: newest score and its run, the usual score (30 days before), quarantine, open alerts,
    freshness."""
    columns = {"dataset": "text", "domain": "text", "layer": "text", "owner": "text", "description": "text", "rules": "int",
               "score": "float", "usual": "float", "date": "date", "run_id": "text", "quarantined": "int", "rows_in": "int",
               "alerts": "int", "worst_alert": "text", "due_at": "time", "is_late": "bool", "failed_run": "text"}  # fmt: skip
    return frame(db, columns, f"""
        WITH newest AS ({_NEWEST}), past AS ({_PAST}), opened AS (
          SELECT dataset, count(*) AS alerts, min(severity) AS worst FROM ops.alerts
          WHERE {OPEN_ALERT} AND dataset IS NOT NULL GROUP BY 1
        ), refused AS (
          SELECT DISTINCT ON (w.dataset) w.dataset, w.run_id FROM ops.written w JOIN ops.runs r USING (run_id)
          JOIN ops.rule_results x ON x.run_id = w.run_id AND x.n = w.n AND NOT x.passed AND x.severity = 'error'
          WHERE r.state = 'failed' AND r.opened_at > now() - interval '1 day' ORDER BY w.dataset, r.opened_at DESC
        )
        SELECT d.dataset, d.domain, d.layer, d.owner, d.description, d.rules, newest.score, past.score, newest.logical_date,
          newest.run_id, newest.quarantined, newest.rows_in, coalesce(opened.alerts, 0), opened.worst, f.due_at,
          coalesce(f.due_at < now(), false), refused.run_id
        FROM ops.datasets d LEFT JOIN newest USING (dataset) LEFT JOIN past USING (dataset) LEFT JOIN opened USING (dataset)
          LEFT JOIN ops.freshness f USING (dataset) LEFT JOIN refused USING (dataset)
        ORDER BY array_position(ARRAY['bronze', 'silver', 'gold'], d.layer), d.dataset""")  # fmt: skip


def rules_of(db: Database, days: int, dataset: str | None = None, limit: int = 15) -> pd.DataFrame:
    """Rules and what they caught in writes on main or refused; those that caught most first."""
    columns = {"dataset": "text", "rule": "text", "severity": "text", "description": "text", "bad": "int", "judged": "int",
               "writes": "int", "refused": "int", "last_caught": "date", "last_run": "text"}  # fmt: skip
    return frame(db, columns, f"""
        SELECT x.dataset, x.rule, max(x.severity), max(x.description), sum(x.bad), sum(x.judged), count(*),
          count(*) FILTER (WHERE NOT x.passed AND x.severity = 'error'), max(x.logical_date) FILTER (WHERE x.bad > 0),
          (array_agg(x.run_id ORDER BY x.logical_date DESC NULLS LAST) FILTER (WHERE x.bad > 0))[1]
        FROM ops.rule_results x JOIN ops.runs r USING (run_id)
        WHERE {_COUNTS} AND (%(dataset)s::text IS NULL OR x.dataset = %(dataset)s)
          AND (%(dataset)s::text IS NOT NULL OR x.bad > 0)
          AND (x.logical_date IS NULL OR x.logical_date > {_SINCE})
        GROUP BY 1, 2 ORDER BY 5 DESC, 1, 2 LIMIT %(limit)s""", {"dataset": dataset, "days": days, "limit": limit})  # fmt: skip


def quarantine(db: Database, days: int, dataset: str | None = None, limit: int = 20) -> pd.DataFrame:
    """Writes on main or refused that put rows aside, newest first; most rows first where no dataset is chosen."""
    columns = {"date": "date", "dataset": "text", "run_id": "text", "quarantined": "int", "rows_in": "int", "merged": "bool"}
    order = "w.logical_date DESC NULLS LAST" if dataset else "w.quarantined DESC"
    return frame(db, columns, f"""
        SELECT w.logical_date, w.dataset, w.run_id, w.quarantined, w.rows_in, w.merged
        FROM ops.written w JOIN ops.runs r USING (run_id)
        WHERE w.quarantined > 0 AND {_COUNTS} AND (%(dataset)s::text IS NULL OR w.dataset = %(dataset)s)
          AND (w.logical_date IS NULL OR w.logical_date > {_SINCE})
        ORDER BY {order}, w.dataset LIMIT %(limit)s""", {"dataset": dataset, "days": days, "limit": limit})  # fmt: skip


def samples(db: Database, dataset: str, runs: list[str]) -> pd.DataFrame:
    """Some of the rows that broke rules in these runs, as JSON without personal columns."""
    return frame(db, {"run_id": "text", "date": "text", "rule": "text", "severity": "text", "sample": "text"}, """
        SELECT r.run_id, w->>'logical_date', v->>'rule', v->>'severity', s
        FROM ops.runs r, jsonb_array_elements(r.story->'writes') w, jsonb_array_elements(w->'verdicts') v,
          jsonb_array_elements_text(v->'samples') s
        WHERE r.run_id = ANY(%(runs)s) AND w->>'dataset' = %(dataset)s AND (v->>'bad')::bigint > 0
        ORDER BY r.opened_at DESC, 3 LIMIT 50""", {"runs": runs, "dataset": dataset})  # fmt: skip

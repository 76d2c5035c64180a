"""What the page Operations asks of schema `ops`. See `dashboards.queries`."""

from __future__ import annotations

from typing import Any

import pandas as pd
from psycopg import Connection

from dashboards.database import frame

Database = Connection[Any]
_NEWEST = """
  SELECT v.dataset, v.rows, v.files, v.bytes, c.committed_at
  FROM (SELECT dataset, max(n) AS n FROM ops.volumes JOIN ops.commits USING (main_hash) GROUP BY 1) newest
  JOIN ops.commits c USING (n) JOIN ops.volumes v ON v.dataset = newest.dataset AND v.main_hash = c.main_hash
"""
"""Every table as its newest commit left it."""
_LAYER = "CASE WHEN right(dataset, 12) = '__quarantine' THEN 'quarantine' ELSE split_part(dataset, '.', 1) END"


def runs_since(db: Database, hours: int, limit: int = 600) -> pd.DataFrame:
    """The runs of the last hours; those still open end now."""
    columns = {"run_id": "text", "kind": "text", "logical_date": "date", "state": "text", "opened_at": "time", "ended_at": "time",
               "seconds": "float", "domains": "text", "datasets": "int"}  # fmt: skip
    return frame(db, columns, """
        SELECT r.run_id, r.kind, r.logical_date, r.state, r.opened_at, coalesce(r.ended_at, now()),
          extract(epoch FROM coalesce(r.ended_at, now()) - r.opened_at), w.domains, w.datasets
        FROM (SELECT * FROM ops.runs WHERE opened_at > now() - make_interval(hours => %(hours)s)
              ORDER BY opened_at DESC LIMIT %(limit)s) r
        LEFT JOIN LATERAL (
          SELECT string_agg(DISTINCT split_part(dataset, '.', 2), ', ') AS domains, count(DISTINCT dataset) AS datasets
          FROM ops.written WHERE run_id = r.run_id) w ON true
        ORDER BY r.opened_at""", {"hours": hours, "limit": limit})  # fmt: skip


def outcomes(db: Database, days: int) -> pd.DataFrame:
    """How many runs of each day ended well, failed, or lost a conflict."""
    return frame(db, {"day": "date", "outcome": "text", "runs": "int"}, """
        SELECT (opened_at AT TIME ZONE 'UTC')::date, CASE WHEN state IN ('failed', 'conflicted') THEN state
          WHEN state IN ('open', 'written', 'validated', 'merging') THEN 'under way' ELSE 'ended well' END, count(*)
        FROM ops.runs WHERE opened_at > now() - make_interval(days => %(days)s) GROUP BY 1, 2 ORDER BY 1, 2""",
        {"days": days})  # fmt: skip


def step_times(db: Database, days: int) -> pd.DataFrame:
    """Per step, of runs that ended well: median and usual band (10th to 90th percentile) of what a run spends in it, and
    what the newest run that did it spent, in seconds."""
    columns = {"step": "text", "runs": "int", "low": "float", "median": "float", "high": "float", "newest": "float",
               "run_id": "text"}  # fmt: skip
    return frame(db, columns, """
        WITH spent AS (
          SELECT s.name, r.run_id, r.opened_at, sum(extract(epoch FROM s.ended_at - s.began_at))::float8 AS seconds
          FROM ops.runs r JOIN ops.steps s USING (run_id)
          WHERE r.opened_at > now() - make_interval(days => %(days)s) AND s.outcome = 'done'
            AND r.state IN ('merged', 'published', 'reverted')
          GROUP BY 1, 2, 3)
        SELECT name, count(*), percentile_cont(0.1) WITHIN GROUP (ORDER BY seconds),
          percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), percentile_cont(0.9) WITHIN GROUP (ORDER BY seconds),
          (array_agg(seconds ORDER BY opened_at DESC))[1], (array_agg(run_id ORDER BY opened_at DESC))[1]
        FROM spent GROUP BY 1 ORDER BY 4 DESC LIMIT 20""", {"days": days})  # fmt: skip


def volume(db: Database, days: int) -> pd.DataFrame:
    """Rows and bytes that each layer holds at the end of each day, of days on which it changed."""
    return frame(db, {"day": "date", "layer": "text", "rows": "float", "bytes": "float"}, f"""
        WITH range AS (SELECT now() - make_interval(days => %(days)s) AS begins), before AS (
          SELECT v.dataset, max(c.n) AS n FROM ops.volumes v JOIN ops.commits c USING (main_hash), range
          WHERE c.committed_at < begins GROUP BY 1
        ), kept AS (
          SELECT v.dataset, v.rows, v.bytes, c.n, c.committed_at FROM ops.volumes v JOIN ops.commits c USING (main_hash), range
          WHERE c.committed_at >= begins
          UNION ALL SELECT v.dataset, v.rows, v.bytes, c.n, begins FROM range, before b
            JOIN ops.commits c USING (n) JOIN ops.volumes v ON v.dataset = b.dataset AND v.main_hash = c.main_hash
        ), changes AS (
          SELECT committed_at::date AS day, dataset, rows - coalesce(lag(rows) OVER of_dataset, 0) AS rows,
            bytes - coalesce(lag(bytes) OVER of_dataset, 0) AS bytes
          FROM kept WINDOW of_dataset AS (PARTITION BY dataset ORDER BY n)
        ), by_day AS (
          SELECT day, {_LAYER} AS layer, sum(rows) AS rows, sum(bytes) AS bytes FROM changes GROUP BY 1, 2
        )
        SELECT day, layer, sum(rows) OVER so_far, sum(bytes) OVER so_far FROM by_day
        WINDOW so_far AS (PARTITION BY layer ORDER BY day) ORDER BY 1, 2""", {"days": days})  # fmt: skip


def storage(db: Database, limit: int = 12) -> pd.DataFrame:
    """The largest tables as they are now."""
    return frame(db, {"dataset": "text", "rows": "int", "files": "int", "bytes": "int", "committed_at": "time"}, f"""
        SELECT * FROM ({_NEWEST}) tables ORDER BY bytes DESC, dataset LIMIT %(limit)s""", {"limit": limit})  # fmt: skip


def storage_of_layers(db: Database) -> pd.DataFrame:
    """Per layer: tables, rows, files and bytes as they are now."""
    return frame(db, {"layer": "text", "tables": "int", "rows": "float", "files": "int", "bytes": "float"}, f"""
        SELECT {_LAYER}, count(*), sum(rows), sum(files), sum(bytes) FROM ({_NEWEST}) tables
        GROUP BY 1 ORDER BY min(array_position(ARRAY['bronze', 'silver', 'gold', 'quarantine'], {_LAYER}))""")  # fmt: skip


def publications(db: Database, limit: int = 10) -> pd.DataFrame:
    """The newest publications."""
    columns = {"target": "text", "sequence": "int", "published_at": "time", "main_hash": "text", "runs": "json", "changed": "int",
               "tables": "int", "rows": "float", "staged_bytes": "int", "reencoded_bytes": "int"}  # fmt: skip
    return frame(db, columns, """
        SELECT target, sequence, published_at, main_hash, runs, jsonb_array_length(changed),
          (SELECT count(*) FROM jsonb_each(rows)), (SELECT sum(value::numeric) FROM jsonb_each_text(rows)), staged_bytes,
          reencoded_bytes
        FROM ops.publications ORDER BY published_at DESC LIMIT %(limit)s""", {"limit": limit})  # fmt: skip

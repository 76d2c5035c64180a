"""The run journal's tables, and its longer questions, in SQL. See `medallion.lakehouse.journal`."""

from __future__ import annotations

import hashlib

from medallion.lakehouse import audit_sql

_MADE = (
    """
CREATE SCHEMA IF NOT EXISTS ops;
CREATE TABLE IF NOT EXISTS ops.runs (
  run_id text PRIMARY KEY,
  kind text NOT NULL,
  logical_date date,
  branch text NOT NULL,
  state text NOT NULL,
  h0 text NOT NULL,
  judged_hash text,
  merged_hash text,
  retry_of text REFERENCES ops.runs,
  opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  error text,
  story jsonb NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS ops.steps (
  step_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run_id text NOT NULL,
  name text NOT NULL,
  began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at timestamptz,
  outcome text,
  detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS steps_of_run ON ops.steps (run_id, step_id);
CREATE INDEX IF NOT EXISTS runs_by_opening ON ops.runs (opened_at DESC, run_id DESC);
ALTER TABLE ops.runs ADD COLUMN IF NOT EXISTS ended_at timestamptz;
ALTER TABLE ops.runs ADD COLUMN IF NOT EXISTS reverted_by text;
UPDATE ops.runs SET ended_at = changed_at WHERE ended_at IS NULL
  AND state IN ('merged', 'published', 'reverted', 'unchanged', 'failed', 'conflicted');
CREATE TABLE IF NOT EXISTS ops.writes (
  dataset text NOT NULL,
  logical_date text NOT NULL,
  run_id text NOT NULL REFERENCES ops.runs ON DELETE CASCADE,
  n int NOT NULL,
  PRIMARY KEY (dataset, logical_date, run_id, n)
);
CREATE OR REPLACE FUNCTION ops.find_writes(ops.runs) RETURNS SETOF ops.writes LANGUAGE sql STABLE AS $$
  SELECT w->>'dataset', coalesce(w->>'logical_date', w->>'as_of', ($1).logical_date::text), ($1).run_id, n::int
  FROM jsonb_array_elements(($1).story->'writes') WITH ORDINALITY AS one(w, n)
  WHERE w ? 'metrics' AND coalesce(w->>'logical_date', w->>'as_of', ($1).logical_date::text) IS NOT NULL
$$;
CREATE OR REPLACE FUNCTION ops.keep_writes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO ops.writes SELECT * FROM ops.find_writes(NEW) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER merged AFTER UPDATE OF state ON ops.runs FOR EACH ROW
  WHEN (NEW.state = 'merged' AND OLD.state <> 'merged') EXECUTE FUNCTION ops.keep_writes();
INSERT INTO ops.writes SELECT w.* FROM ops.runs r, ops.find_writes(r) w WHERE r.state IN ('merged', 'published')
  ON CONFLICT DO NOTHING;
"""
    + audit_sql.TABLE
    + audit_sql.CHAIN
    + audit_sql.RUNS
)
VERSION = f"medallion {hashlib.sha256(_MADE.encode()).hexdigest()[:16]}"
"""Of the tables, functions and triggers: the comment of schema `ops`. With another one they are all made again, which keeps
what is in the tables."""
TABLES = f"""
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('medallion.journal.schema'));
{_MADE}
COMMENT ON SCHEMA ops IS '{VERSION}';
COMMIT;
"""
BEGIN = f"""
SELECT set_config('medallion.actor', %s, false), set_config('lock_timeout', %s, false),
  obj_description(to_regnamespace('ops')::oid, 'pg_namespace') = '{VERSION}'
  AND to_regclass('ops.runs') IS NOT NULL AND to_regclass('ops.steps') IS NOT NULL AND to_regclass('ops.writes') IS NOT NULL
  AND to_regclass('ops.audit') IS NOT NULL AND to_regclass('ops.contracts_seen') IS NOT NULL AS is_there
"""
"""For each connection: says who acts, and how long to wait for locks; returns whether everything is
there, and as this version of medallion makes it."""
MERGED_METRICS = """
WITH newest AS (
  SELECT DISTINCT ON (w.logical_date) w.logical_date, w.run_id, w.n
  FROM ops.writes w JOIN ops.runs r USING (run_id)
  WHERE w.dataset = %(dataset)s AND w.logical_date < %(before)s AND r.state IN ('merged', 'published')
  ORDER BY w.logical_date DESC, r.ended_at DESC, w.n DESC LIMIT %(limit)s
)
SELECT logical_date, run_id, one->'metrics' AS metrics, (one->>'score')::float8 AS score, one->'verdicts' AS verdicts
FROM (SELECT newest.*, r.story->'writes'->(n - 1) AS one FROM newest JOIN ops.runs r USING (run_id) OFFSET 0) AS told
ORDER BY logical_date DESC
"""
"""Of stories, which are long, only those are opened that are asked for: `ops.writes` says where a dataset's writes stand."""


OUTLINES = """
SELECT run_id, kind, logical_date, jsonb_strip_nulls(jsonb_build_object(
  'reads', story->'reads', 'options', story->'options', 'writes', (
    SELECT jsonb_agg(jsonb_build_object('dataset', w->'dataset', 'logical_date', w->'logical_date', 'inputs', w->'inputs',
      'takes_back', w->'takes_back') ORDER BY n)
    FROM jsonb_array_elements(story->'writes') WITH ORDINALITY AS one(w, n))
)) AS story
FROM ops.runs WHERE run_id = ANY(%s)
"""
MERGED = """
WITH merged AS (
  UPDATE ops.runs SET {sets}, changed_at = clock_timestamp() WHERE run_id = %(run_id)s
  RETURNING run_id, story, reverted_by
), moved AS (
  SELECT run_id AS by, jsonb_array_elements_text(story->'options'->'reverts') AS id, 'reverted' AS state FROM merged
  WHERE reverted_by IS NULL
  UNION ALL SELECT NULL, jsonb_array_elements_text(story->'options'->'returns'), 'merged' FROM merged
  WHERE reverted_by IS NULL
)
UPDATE ops.runs r SET
  reverted_by = moved.by,
  state = CASE WHEN r.state IN ('merged', 'published', 'reverted') THEN moved.state ELSE r.state END,
  changed_at = clock_timestamp()
FROM moved WHERE r.run_id = moved.id
"""
"""A run is merged: the runs that it takes back are `reverted`, and those that it brings back are `merged` again. One
statement, so that there is nothing in between; a run whose own merge is not told yet hears of it when it is, and changes
nothing of others if it was itself taken back by then."""
UNSENT_RUNS = """
SELECT r.* FROM ops.runs r
WHERE r.state <> ALL(%(live)s) AND coalesce(r.ended_at, r.changed_at) >= coalesce(
  (SELECT min((detail->>'since')::timestamptz) FROM ops.steps WHERE name = %(step)s), %(since)s) AND NOT EXISTS (
  SELECT FROM ops.steps s WHERE s.run_id = r.run_id AND s.name = %(step)s AND s.outcome = 'done')
ORDER BY coalesce(r.ended_at, r.changed_at), r.run_id LIMIT %(limit)s
"""
UNSENT_PUBLICATIONS = """
SELECT c.detail->>'publication_id' AS publication_id, max(c.began_at) < clock_timestamp()
  - CASE WHEN bool_or(c.outcome = 'done') THEN interval '1 day' ELSE interval '1 hour' END AS over
FROM ops.steps c WHERE c.name = 'publish.commit' AND c.detail->>'publication_id' IS NOT NULL AND c.began_at >= coalesce(
  (SELECT min((detail->>'since')::timestamptz) FROM ops.steps WHERE name = %(step)s), %(since)s) AND NOT EXISTS (
  SELECT FROM ops.steps s WHERE s.run_id = c.detail->>'publication_id' AND s.name = %(step)s AND s.outcome = 'done')
GROUP BY 1 HAVING bool_and(c.ended_at IS NOT NULL OR c.began_at < clock_timestamp() - interval '1 hour')
ORDER BY max(c.ended_at), 1 LIMIT %(limit)s
"""
"""What came to an end since the `since` of the first of all sendings, and was not sent: runs, and publications whose COMMIT
was sent to the warehouse (whether it was done the ledger says). One whose COMMIT has no end yet is still under way, for an
hour. `over`: if no ledger has it by now, none will: an hour after one that failed, and a day after one that was done, which
is in a ledger that nobody looks at any more."""

"""What alerts ask of the run journal, in SQL. Stories are long: only those are opened that are needed."""

from __future__ import annotations

ON_MAIN = "('merged', 'published')"
ENDED_WELL = "('merged', 'published', 'unchanged')"
ENDED = "coalesce(r.ended_at, r.changed_at)"
"""When a run ended; runs of journals that are older than that column say when they were changed last."""

NEW_RUNS = """
SELECT r.run_id, r.kind, r.logical_date, r.state, r.ended_at, r.error
FROM ops.runs r
WHERE r.state IN ('merged', 'published', 'reverted', 'unchanged', 'failed', 'conflicted') AND r.ended_at IS NOT NULL
  AND r.ended_at > %(now)s - make_interval(hours => 1) * %(hours)s
  AND NOT EXISTS (SELECT 1 FROM ops.alert_runs a WHERE a.run_id = r.run_id)
  AND NOT (r.state = 'conflicted' AND EXISTS (SELECT 1 FROM ops.runs again WHERE again.retry_of = r.run_id))
ORDER BY r.ended_at, r.run_id
"""
"""Runs that ended and were not looked at. One that lost a conflict and was run again is spoken for by the other."""

STORY = "SELECT story - 'request' AS story FROM ops.runs WHERE run_id = %s"

NAMED = """
WITH run AS (SELECT story FROM ops.runs WHERE run_id = %s)
SELECT jsonb_array_elements_text(CASE WHEN jsonb_typeof(story->'reads') = 'array' THEN story->'reads' END) AS dataset FROM run
UNION SELECT jsonb_path_query(story, '$.writes[*].dataset') #>> '{}' FROM run
"""
"""The datasets that a run read or wrote."""

BROKEN_STEPS = """
SELECT name FROM ops.steps WHERE run_id = %s AND (outcome IS NULL OR outcome <> 'done') ORDER BY step_id DESC
"""

LEVEL = f"""
WITH newest AS (
  SELECT DISTINCT ON (w.logical_date) w.logical_date, w.run_id, w.n
  FROM ops.writes w JOIN ops.runs r USING (run_id)
  WHERE w.dataset = %(dataset)s AND w.logical_date < %(before)s AND r.state IN {ON_MAIN}
  ORDER BY w.logical_date DESC, r.ended_at DESC, w.n DESC LIMIT %(limit)s
)
SELECT (r.story->'writes'->(newest.n - 1)->>'score')::float8 AS score FROM newest JOIN ops.runs r USING (run_id)
"""
"""Scores of a dataset's last dates on main before one: of each date the write of the run that was merged last."""

LATER_WRITE = f"""
SELECT w.logical_date::date AS logical_date, r.run_id, r.story->'writes'->(w.n - 1) AS write
FROM ops.writes w JOIN ops.runs r USING (run_id)
WHERE w.dataset = %(dataset)s AND w.logical_date >= %(since)s AND r.state IN {ON_MAIN} AND r.ended_at > %(after)s
ORDER BY w.logical_date DESC, r.ended_at DESC, w.n DESC LIMIT 1
"""
"""A dataset's newest date on main, of those from one on, as a run made it that ended after a time."""

ASKED_FOR = """(
  EXISTS (SELECT 1 FROM jsonb_array_elements(r.story->'writes') AS made WHERE made->>'dataset' = %(dataset)s::text)
  OR (r.story->'reads' ? %(dataset)s::text AND CASE
    WHEN r.story->'options'->'layers' IS NULL THEN true
    WHEN r.story->'options'->>'dataset' IS NOT NULL THEN r.story->'options'->>'dataset' = %(dataset)s::text
    ELSE r.story->'options'->'layers' ? split_part(%(dataset)s::text, '.', 1)
      AND coalesce(r.story->'options'->>'domain' = split_part(%(dataset)s::text, '.', 2), true)
  END))"""
"""Whether a run wrote a dataset, or was asked for it: one that only read it was not. Runs whose parts were asked for one by
one do not say for which; they count where they read it."""

MADE_GOOD = f"""
SELECT r.run_id FROM ops.runs r
WHERE r.ended_at > %(after)s AND r.state IN {ENDED_WELL} AND (
  (r.logical_date IS NOT DISTINCT FROM %(date)s::date
    AND CASE WHEN %(dataset)s::text IS NULL OR %(date)s::date IS NULL THEN r.kind = %(kind)s
        ELSE {ASKED_FOR} END)
  OR EXISTS (SELECT 1 FROM ops.writes w WHERE w.run_id = r.run_id AND w.dataset = %(dataset)s AND w.logical_date = %(date)s::text)
) ORDER BY r.ended_at LIMIT 1
"""
"""The first run after a time that did well what another had failed at: the same dataset and date, or, where one of them is
not known, the same kind of run."""

PUBLICATIONS = """
SELECT DISTINCT ON (warehouse, what) detail->>'warehouse' AS warehouse, detail->>'of' AS what, outcome,
  coalesce(ended_at, began_at) AS ended_at
FROM ops.steps WHERE name = 'publish.whole' AND began_at > %(now)s - make_interval(hours => 1) * %(hours)s
  AND NOT (outcome IS NULL AND began_at > %(now)s - interval '1 hour') AND coalesce(outcome, '') NOT LIKE 'KeyboardInterrupt%%'
  AND NOT (detail->>'at' IS NOT NULL AND coalesce(outcome, '') ~ '^(UsageError|ConflictError):')
ORDER BY warehouse, what, coalesce(ended_at, began_at) DESC, step_id DESC
"""
"""The last publication of gold, and of marts, to each warehouse: one that has no end after an hour had its process killed. Those
that somebody interrupted, or asked for at a commit that cannot be shown, are left out."""

PUBLISHED = """
SELECT 1 FROM ops.steps WHERE name = 'publish.whole' AND outcome = 'done' AND ended_at > %(after)s
  AND detail->>'warehouse' = %(warehouse)s AND detail->>'of' = %(what)s LIMIT 1
"""

NEWEST = f"""
SELECT d.dataset, newest.logical_date::date AS logical_date, newest.ended_at
FROM unnest(%(datasets)s::text[]) AS d(dataset), LATERAL (
  SELECT w.logical_date, {ENDED} AS ended_at FROM ops.writes w JOIN ops.runs r USING (run_id)
  WHERE w.dataset = d.dataset AND r.state IN {ON_MAIN} ORDER BY w.logical_date DESC, {ENDED} DESC LIMIT 1
) AS newest
"""
"""The newest date of datasets on main, and when it came."""

CAME = f"""
SELECT w.logical_date::date AS logical_date, min({ENDED}) AS came_at
FROM ops.writes w JOIN ops.runs r USING (run_id)
WHERE w.dataset = %(dataset)s AND w.logical_date BETWEEN %(first)s::text AND %(last)s::text AND r.state IN {ON_MAIN}
GROUP BY 1
"""
"""A dataset's dates on main, and when each came first."""

ASKED = f"""
SELECT r.logical_date, min({ENDED}) AS came_at FROM ops.runs r
WHERE r.logical_date BETWEEN %(first)s AND %(last)s AND r.state IN {ENDED_WELL} AND {ASKED_FOR}
GROUP BY 1
"""
"""The dates for which a run ended well that asked for a dataset, whether something new came or not."""

LAST_ASKED = f"""
SELECT r.logical_date, {ENDED} AS ended_at FROM ops.runs r
WHERE r.logical_date >= %(since)s AND r.state IN {ENDED_WELL} AND {ASKED_FOR}
ORDER BY r.logical_date DESC, {ENDED} DESC LIMIT 1
"""
"""The newest date, of those from one on, for which a dataset was asked for. It is bounded by what came of the dataset itself:
runs of other datasets, however many, hide nothing."""

LAST_ENDED = f"""
SELECT {ENDED} AS ended_at FROM ops.runs r
WHERE {ENDED} > %(since)s AND r.state IN {ENDED_WELL} AND {ASKED_FOR} ORDER BY 1 DESC LIMIT 1
"""

OPEN = "SELECT * FROM ops.alerts WHERE resolved_at IS NULL ORDER BY alert_id"

KNOWN = """
SELECT count(*) AS known, coalesce(bool_or(resolved_at IS NULL), false) AS open,
  coalesce(bool_or(run_id = %(run_id)s::text), false) AS of_run FROM ops.alerts
WHERE occurrence = %(base)s OR starts_with(occurrence, %(base)s || '#')
"""

INSERT = """
INSERT INTO ops.alerts (occurrence, rule, kind, severity, dataset, run_id, logical_date, summary, command, detail, silence_id,
  opened_at)
VALUES (%(occurrence)s, %(rule)s, %(kind)s, %(severity)s, %(dataset)s, %(run_id)s, %(logical_date)s, %(summary)s, %(command)s,
  %(detail)s, %(silence_id)s, %(now)s)
RETURNING *
"""

RESOLVE = "UPDATE ops.alerts SET resolved_at = %(now)s, resolved_why = %(why)s WHERE alert_id = %(alert_id)s RETURNING *"

SILENCES = "SELECT * FROM ops.silences WHERE until > %s ORDER BY silence_id"

UNHEARD = """
UPDATE ops.alerts a SET silence_id = NULL FROM ops.silences s
WHERE a.silence_id = s.silence_id AND s.until <= %s AND a.resolved_at IS NULL RETURNING a.*
"""
"""Alerts that were silenced, and are open still now that the silence is over."""

UNTOLD = """
SELECT * FROM ops.alerts a WHERE a.resolved_at IS NULL AND a.silence_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM ops.alert_messages m WHERE a.alert_id = ANY(m.alert_ids))
ORDER BY a.alert_id
"""
"""Open alerts of which nothing was ever written to be sent: they are new, their silence is over, or whoever opened them had no
channel."""

UNTOLD_OVER = """
SELECT * FROM ops.alerts a WHERE a.resolved_at > %(now)s - make_interval(hours => 1) * %(hours)s
  AND EXISTS (SELECT 1 FROM ops.alert_messages m WHERE m.event = 'opened' AND a.alert_id = ANY(m.alert_ids))
  AND NOT EXISTS (SELECT 1 FROM ops.alert_messages m WHERE m.event = 'resolved' AND a.alert_id = ANY(m.alert_ids))
ORDER BY a.alert_id
"""
"""Alerts that were told and are over, which was not told yet."""

MESSAGE = "INSERT INTO ops.alert_messages (channel, event, alert_ids, created_at, next_try_at) VALUES (%s, %s, %s, %s, %s)"

FRESHNESS = """
INSERT INTO ops.freshness (dataset, newest_date, merged_at, next_date, due_at, seen_at)
SELECT dataset, newest_date, merged_at, next_date, due_at, %(now)s FROM jsonb_to_recordset(%(rows)s)
  AS f(dataset text, newest_date date, merged_at timestamptz, next_date date, due_at timestamptz)
ON CONFLICT (dataset) DO UPDATE SET newest_date = excluded.newest_date, merged_at = excluded.merged_at,
  next_date = excluded.next_date, due_at = excluded.due_at, seen_at = excluded.seen_at
"""

GONE = """
DELETE FROM ops.freshness WHERE dataset <> ALL(%(datasets)s)
  AND (split_part(dataset, '.', 2) = ANY(%(domains)s) OR seen_at < %(now)s - make_interval(days => %(days)s))
"""
"""Rows of datasets without a contract here: of a domain that is known here, or which nobody who knows it has seen for so many
days."""

"""The run journal: what every run set out to do, step by step, written before it is done.

It lives in PostgreSQL, schema `ops`. A run that was killed is finished or failed from what stands
here, in Nessie's log and in the warehouse's ledger. While a process works on a run it holds the
run's advisory lock, which dies with its connection: so another process knows whether it is alive.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from medallion import settings as settings_module
from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse import steps

log = logging.getLogger(__name__)

ENDED = ("merged", "unchanged", "failed", "conflicted")
"""States after which a run changes nothing in the lake any more."""

_TABLES = """
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('medallion.journal.schema'));
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
ALTER TABLE ops.runs ADD COLUMN IF NOT EXISTS ended_at timestamptz;
ALTER TABLE ops.runs ADD COLUMN IF NOT EXISTS reverted_by text;
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
COMMIT;
"""
_IS_THERE = """
SELECT 1 FROM information_schema.columns
WHERE table_schema = 'ops' AND table_name = 'runs' AND column_name = 'reverted_by' AND to_regclass('ops.steps') IS NOT NULL
  AND to_regclass('ops.writes') IS NOT NULL
"""
_MERGED_METRICS = """
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


_OUTLINES = """
SELECT run_id, kind, logical_date, jsonb_strip_nulls(jsonb_build_object(
  'reads', story->'reads', 'options', story->'options', 'writes', (
    SELECT jsonb_agg(jsonb_build_object('dataset', w->'dataset', 'logical_date', w->'logical_date', 'inputs', w->'inputs',
      'takes_back', w->'takes_back') ORDER BY n)
    FROM jsonb_array_elements(story->'writes') WITH ORDINALITY AS one(w, n))
)) AS story
FROM ops.runs WHERE run_id = ANY(%s)
"""
_MERGED = """
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


class Journal:
    """The journal of one PostgreSQL database; one connection, every statement durable at once."""

    def __init__(self, settings: settings_module.Postgres) -> None:
        """Connect, and create the tables if they are missing. Raises: ServiceUnavailable."""
        self.settings = settings
        try:
            self._connection = psycopg.connect(
                host=settings.host,
                port=settings.port,
                user=settings.user,
                password=settings.password.get_secret_value(),
                dbname=settings.database,
                connect_timeout=settings.connect_timeout_s,
                application_name="medallion",
                autocommit=True,
                row_factory=dict_row,
            )
            if not self._all(_IS_THERE):
                self._connection.execute(_TABLES)
        except psycopg.Error as error:
            raise self._down(error) from error

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── runs ──────────────────────────────────────────────────────────────────────────────────
    def open(self, run_id: str, kind: str, logical_date: date | None, branch: str, h0: str, retry_of: str | None) -> None:
        """Hold a run's lock, and write the run down, state `open`: whoever finds it there knows that it is alive."""
        self.hold(run_id)
        with steps.step("journal.open"):
            self._do(
                "INSERT INTO ops.runs (run_id, kind, logical_date, branch, h0, retry_of, state) "
                "VALUES (%s, %s, %s, %s, %s, %s, 'open')",
                (run_id, kind, logical_date, branch, h0, retry_of),
            )

    def update(self, run_id: str, **columns: Any) -> None:
        """Change columns of a run (`state`, `judged_hash`, `merged_hash`, `error`, `story`). Of a run that is `merged` by it
        and takes others back, these are `reverted`."""
        values = {k: Jsonb(v, dumps=_dumps) if isinstance(v, dict) else v for k, v in columns.items()}
        sets = ", ".join(f"{column} = %({column})s" for column in values)
        if columns.get("state") in ENDED:
            sets += ", ended_at = coalesce(ended_at, clock_timestamp())"
        statement = "UPDATE ops.runs SET {sets}, changed_at = clock_timestamp() WHERE run_id = %(run_id)s"
        if columns.get("state") == "merged":
            statement = _MERGED
            sets = sets.replace("%(state)s", "CASE WHEN reverted_by IS NULL THEN 'merged' ELSE 'reverted' END")
        self._state(statement.format(sets=sets), values | {"run_id": run_id})

    def published(self, run_id: str) -> None:
        """Note that the warehouse shows a merged run, unless it was reverted meanwhile."""
        self._state(
            "UPDATE ops.runs SET state = 'published', changed_at = clock_timestamp() "
            "WHERE run_id = %(run_id)s AND state = 'merged'",
            {"run_id": run_id},
        )

    def _state(self, sql: str, values: dict[str, Any]) -> None:
        with steps.step("journal.state"):
            self._do(sql, values)

    def run(self, run_id: str) -> dict[str, Any]:
        """One run's row. A unique beginning of the id will do. Raises: UsageError if there is none."""
        rows = self._all(
            "SELECT * FROM ops.runs WHERE run_id = %s OR starts_with(run_id, %s) ORDER BY run_id <> %s LIMIT 3",
            (run_id, run_id, run_id),
        )
        exact = [row for row in rows if row["run_id"] == run_id]
        if not rows or (not exact and len(rows) > 1):
            what = f"several runs begin with '{run_id}'" if rows else f"there is no run '{run_id}'"
            raise UsageError(what, hint="`medallion runs` lists them")
        return (exact or rows)[0]

    def newest(self, beginning: str) -> dict[str, Any]:
        """The newest run whose id begins so, e.g. with its date. Raises: UsageError if there is none."""
        rows = self._all(
            "SELECT run_id FROM ops.runs WHERE starts_with(run_id, %s) ORDER BY opened_at DESC LIMIT 1", (beginning,)
        )
        return self.run(rows[0]["run_id"] if rows else beginning)

    def runs(self, limit: int = 50, states: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
        """The newest runs first; those in `states` only, if given."""
        where = "WHERE state = ANY(%(states)s)" if states else ""
        return self._all(
            f"SELECT * FROM ops.runs {where} ORDER BY opened_at DESC, run_id DESC LIMIT %(limit)s",
            {"states": list(states or ()), "limit": limit},
        )

    def outlines(self, run_ids: list[str]) -> dict[str, dict[str, Any]]:
        """Of these runs, by their ids, as far as there are any: `run_id`, `kind`, `logical_date`, and of the story what was
        read and written (`reads`, `options`; of the writes `dataset`, `logical_date`, `inputs`, `takes_back`)."""
        return {row["run_id"]: row for row in self._all(_OUTLINES, (run_ids,))}

    def leaving(self, run_ids: list[str], days: int) -> list[dict[str, Any]]:
        """`run_id`, `branch` and `state` of those of these runs whose branch nobody needs: what it held is on main, or there
        was nothing; or the run failed or lost a conflict, and ended more than so many days ago."""
        return self._all(
            "SELECT run_id, branch, state FROM ops.runs WHERE run_id = ANY(%s) AND "
            "(state IN ('merged', 'published', 'reverted', 'unchanged') OR state IN ('failed', 'conflicted') "
            "AND coalesce(ended_at, changed_at) < clock_timestamp() - make_interval(days => %s))",
            (run_ids, days),
        )

    def merged(self, logical_date: date) -> bool:
        """Whether a run of this date is on main, or one that took others back and ran it again."""
        return bool(
            self._all(
                "SELECT 1 FROM ops.runs WHERE state IN ('merged', 'published') AND (logical_date = %(date)s OR (logical_date "
                "IS NULL AND run_id IN (SELECT run_id FROM ops.writes WHERE logical_date = %(date)s::text))) LIMIT 1",
                {"date": logical_date},
            )
        )

    def merged_metrics(self, dataset: str, before: date, limit: int) -> list[dict[str, Any]]:
        """`logical_date` (ISO), `run_id`, `metrics`, `score` and `verdicts` of a dataset's writes that are on main, newest
        date first: of each date before `before` the write of the run that was merged last."""
        return self._all(_MERGED_METRICS, {"dataset": dataset, "before": before.isoformat(), "limit": limit})

    # ── steps ─────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def step(self, run_id: str, name: str, **detail: Any) -> Iterator[dict[str, Any]]:
        """One effect outside the process: written down before it begins and when it has ended.

        Yields: a dictionary; what the caller puts in is kept with the outcome.
        """
        step_id = self._all(
            "INSERT INTO ops.steps (run_id, name, detail) VALUES (%s, %s, %s) RETURNING step_id",
            (run_id, name, Jsonb(detail, dumps=_dumps)),
        )[0]["step_id"]
        found: dict[str, Any] = {}
        try:
            with steps.step(name):
                yield found
        except BaseException as error:
            try:
                self._end(step_id, f"{type(error).__name__}: {error}"[:2000], found)
            except ServiceUnavailable:
                log.exception("the end of step %s of run %s could not be written", name, run_id)
            raise
        self._end(step_id, "done", found)

    def _end(self, step_id: int, outcome: str, found: dict[str, Any]) -> None:
        self._do(
            "UPDATE ops.steps SET ended_at = clock_timestamp(), outcome = %s, detail = detail || %s WHERE step_id = %s",
            (outcome, Jsonb(found, dumps=_dumps), step_id),
        )

    def steps(self, run_id: str) -> list[dict[str, Any]]:
        """The steps of a run, in order."""
        return self._all("SELECT * FROM ops.steps WHERE run_id = %s ORDER BY step_id", (run_id,))

    def did(self, step: str, logical_date: date, retry_of: str | None = None) -> bool:
        """Whether a run of this date that ended well, or the one that is retried, has done a step."""
        return bool(
            self._all(
                "SELECT 1 FROM ops.steps s JOIN ops.runs r USING (run_id) WHERE s.name = %s AND s.outcome = 'done' "
                "AND r.logical_date = %s "
                "AND (r.state IN ('merged', 'published', 'reverted', 'unchanged') OR r.run_id = %s) LIMIT 1",
                (step, logical_date, retry_of),
            )
        )

    def broke_off(self, step: str) -> bool:
        """Whether the newest attempt of a step, by any run, has failed or not ended."""
        newest = self._all("SELECT outcome FROM ops.steps WHERE name = %s ORDER BY step_id DESC LIMIT 1", (step,))
        return bool(newest) and newest[0]["outcome"] != "done"

    # ── locks ─────────────────────────────────────────────────────────────────────────────────
    def hold(self, run_id: str) -> bool:
        """Take a run's lock, without waiting. Returns: whether nobody else works on it."""
        return bool(self._all("SELECT pg_try_advisory_lock(hashtextextended(%s, 1)) AS got", (run_id,))[0]["got"])

    def release(self, run_id: str) -> None:
        """Give a run's lock back."""
        self._do("SELECT pg_advisory_unlock(hashtextextended(%s, 1))", (run_id,))

    @contextmanager
    def queue(self, names: list[str]) -> Iterator[None]:
        """Stand in line for some tables, first come first served, and leave the line at the end.

        Only runs that have lost a conflict queue, so that many of them do not starve one another.
        Always taken in sorted order, so that two of them cannot wait for each other.
        """
        held: list[str] = []
        try:
            for name in sorted(set(names)):
                self._do("SELECT pg_advisory_lock(hashtextextended(%s, 2))", (name,))
                held.append(name)
            yield
        finally:
            for name in held:
                self._do("SELECT pg_advisory_unlock(hashtextextended(%s, 2))", (name,))

    # ── plumbing ──────────────────────────────────────────────────────────────────────────────
    def _do(self, sql: str, parameters: Any = None) -> None:
        try:
            self._connection.execute(sql, parameters)
        except psycopg.OperationalError as error:
            raise self._down(error) from error

    def _all(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except psycopg.OperationalError as error:
            raise self._down(error) from error

    def _down(self, error: psycopg.Error) -> ServiceUnavailable:
        address = f"{self.settings.host}:{self.settings.port}/{self.settings.database}"
        if "password authentication" in str(error):
            return ServiceUnavailable(
                f"PostgreSQL at {address} refuses the user '{self.settings.user}'",
                hint="check the settings postgres.user and postgres.password",
            )
        return ServiceUnavailable(
            f"PostgreSQL at {address} does not answer: {str(error).strip().splitlines()[0] if str(error) else error!r}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        )


def _dumps(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return sorted(value)
    return str(value)

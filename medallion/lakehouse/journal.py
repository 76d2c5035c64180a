"""The run journal: what every run set out to do, step by step, written before it is done.

It lives in PostgreSQL, schema `ops`. A run that was killed is finished or failed from what stands
here, in Nessie's log and in the warehouse's ledger. While a process works on a run it holds the
run's advisory lock, which dies with its connection: so another process knows whether it is alive.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb

from medallion.errors import ConflictError, ServiceUnavailable, UsageError
from medallion.lakehouse import actor, audit_sql, journal_sql, steps
from medallion.lakehouse.journal_connection import JournalConnection, dumps

log = logging.getLogger(__name__)

ENDED = ("merged", "unchanged", "failed", "conflicted")
"""States after which a run changes nothing in the lake any more."""
LIVE = ("open", "written", "validated", "merging")
"""States in which a killed process may have left a run."""


class Journal(JournalConnection):
    """The journal of one PostgreSQL database; one connection, every statement durable at once."""

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
        values = {k: Jsonb(v, dumps=dumps) if isinstance(v, dict) else v for k, v in columns.items()}
        sets = ", ".join(f"{column} = %({column})s" for column in values)
        if columns.get("state") in ENDED:
            sets += ", ended_at = coalesce(ended_at, clock_timestamp())"
        statement = "UPDATE ops.runs SET {sets}, changed_at = clock_timestamp() WHERE run_id = %(run_id)s"
        if columns.get("state") == "merged":
            statement = journal_sql.MERGED
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
        return {row["run_id"]: row for row in self._all(journal_sql.OUTLINES, (run_ids,))}

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
        return self._all(journal_sql.MERGED_METRICS, {"dataset": dataset, "before": before.isoformat(), "limit": limit})

    # ── steps ─────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def step(self, run_id: str, name: str, **detail: Any) -> Iterator[dict[str, Any]]:
        """One effect outside the process: written down before it begins and when it has ended.

        Yields: a dictionary; what the caller puts in is kept with the outcome.
        """
        step_id = self._all(
            "INSERT INTO ops.steps (run_id, name, detail) VALUES (%s, %s, %s) RETURNING step_id",
            (run_id, name, Jsonb(detail, dumps=dumps)),
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
            (outcome, Jsonb(found, dumps=dumps), step_id),
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

    def now(self) -> datetime:
        """The time by the server's clock, which all times here are of."""
        found: datetime = self._all("SELECT clock_timestamp() AS now")[0]["now"]
        return found

    def unsent(self, step: str, since: datetime, limit: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What was never sent on by a step: rows of runs that are at an end, and of publications `publication_id` and `over`
        (if no ledger has it now, none will), oldest first. What ended before the earliest `since` that such a step has noted,
        or before this one if there is none, does not count."""
        values = {"step": step, "since": since, "limit": limit, "live": list(LIVE)}
        return self._all(journal_sql.UNSENT_RUNS, values), self._all(journal_sql.UNSENT_PUBLICATIONS, values)

    # ── locks ─────────────────────────────────────────────────────────────────────────────────
    def hold(self, run_id: str) -> bool:
        """Take a run's lock, without waiting. Returns: whether nobody else works on it."""
        return bool(self._all("SELECT pg_try_advisory_lock(hashtextextended(%s, 1)) AS got", (run_id,))[0]["got"])

    def release(self, run_id: str) -> None:
        """Give a run's lock back."""
        self._do("SELECT pg_advisory_unlock(hashtextextended(%s, 1))", (run_id,))

    @contextmanager
    def alone(self, doing: str) -> Iterator[bool]:
        """Do what one process at a time does, without waiting. Yields: whether nobody else is doing it."""
        got = bool(self._all("SELECT pg_try_advisory_lock(hashtextextended(%s, 3)) AS got", (doing,))[0]["got"])
        try:
            yield got
        finally:
            if got:
                self._do("SELECT pg_advisory_unlock(hashtextextended(%s, 3))", (doing,))

    @contextmanager
    def queue(self, names: list[str], wait_s: int = 0) -> Iterator[None]:
        """Stand in line for some tables, first come first served, and leave the line at the end.

        Only runs that have lost a conflict queue, so that many of them do not starve one another.
        Always taken in sorted order, so that two of them cannot wait for each other.

        Args:
            wait_s: the longest wait for one of them; 0: for ever.
        Raises: ConflictError if it takes longer; ServiceUnavailable.
        """
        held: list[str] = []
        try:
            for name in sorted(set(names)):
                self._wait_for(name, wait_s)
                held.append(name)
            yield
        finally:
            for name in held:
                self._do("SELECT pg_advisory_unlock(hashtextextended(%s, 2))", (name,))

    def _wait_for(self, name: str, wait_s: int) -> None:
        try:
            with self._connection.transaction():  # the lock is the session's, the limit the transaction's
                self._connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{wait_s}s",))
                self._connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 2))", (name,))
        except LockNotAvailable as error:
            what = f"another process has been at work on {name} for {wait_s} s and more"
            raise ConflictError(what, hint="wait for it, or end it; then run this again") from error
        except psycopg.OperationalError as error:
            raise self._down(error) from error

    # ── the audit log ─────────────────────────────────────────────────────────────────────────
    def record(
        self, action: str, on: str, outcome: str = "done", *, run_id: str | None = None, detail: dict[str, Any] | None = None
    ) -> int:
        """Append a record; what happens to runs, their branches and publications is recorded by itself, in the same
        transaction. Returns: its sequence."""
        with steps.step("audit.record"):
            return append(self._all, action, on, outcome, run_id, detail)

    def contracts_seen(self, run_id: str, contracts: Iterable[tuple[str, str, str]]) -> None:
        """Record those contracts (dataset, version, fingerprint) that are not as the runs before saw them."""
        told = [{"dataset": d, "version": v, "fingerprint": f} for d, v, f in contracts]
        with steps.step("audit.contracts"):
            self._do(audit_sql.CONTRACTS, {"run_id": run_id, "contracts": Jsonb(told)})

    def audit_head(self) -> tuple[int, str]:
        """The newest record's sequence and hash; 0 and the hash that the first record follows on, if there is none."""
        rows = self._all(audit_sql.HEAD)
        return (rows[0]["sequence"], rows[0]["hash"]) if rows else (0, audit_sql.GENESIS)

    def exported_through(self) -> int:
        """Up to which record of the audit log all were exported; those from before the first one that is there count."""
        return int(self._all(audit_sql.EXPORTED_THROUGH)[0]["through"])

    def prune_audit(self, through: int, told: dict[str, Any]) -> None:
        """Remove the records of the audit log up to one; a record says so, in the same transaction."""
        with steps.step("audit.prune"):
            self._do("SELECT ops.audit_prune(%s, %s)", (through, Jsonb(told)))


def append(
    ask: Callable[[str, Any], list[dict[str, Any]]],
    action: str,
    on: str,
    outcome: str,
    run_id: str | None,
    detail: dict[str, Any] | None,
) -> int:
    """Append a record to the audit log through what asks PostgreSQL. Returns: its sequence."""
    by = {"who": actor.who(), "place": actor.place()}
    what = Jsonb({"command": actor.command()} | (detail or {}), dumps=dumps)
    told = {"action": action, "object": on, "outcome": outcome, "run_id": run_id, "detail": what}
    return int(ask(audit_sql.APPEND, by | told)[0]["sequence"])

"""What keeps the log: its functions and triggers are as medallion makes them, and what they were to record is recorded."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import psycopg

from medallion.audit.chain import Problem, Record, Walk
from medallion.lakehouse.audit_sql import CHAIN, RUNS, TRIGGERS

_FUNCTIONS = dict(re.findall(r"CREATE OR REPLACE FUNCTION ops\.(\w+)\(.*?\$\$(.*?)\$\$;", CHAIN + RUNS, re.DOTALL))
"""The text of each function, by its name, as `pg_proc.prosrc` has it."""
_THERE = """
SELECT n.nspname || '.' || c.relname, t.tgname, t.tgenabled IN ('O', 'A'), pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'ops' AND NOT t.tgisinternal
"""
_SOURCES = """
SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'ops' AND p.proname = ANY(%s)
"""
_RULES = """
SELECT r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'ops' AND c.relname IN ('audit', 'runs', 'steps')
"""
_UNRECORDED = """
WITH told AS (
  SELECT DISTINCT ON (run_id) run_id, CASE
    WHEN action IN ('run.opened', 'run.opened-again') THEN coalesce(detail->>'state', 'open')
    WHEN action = 'run.returned' THEN 'merged' ELSE substr(action, 5) END AS state
  FROM ops.audit WHERE action = ANY(%(states)s) ORDER BY run_id, sequence DESC
)
SELECT r.run_id, r.state, told.state, EXISTS (
  SELECT FROM ops.audit a WHERE a.run_id = r.run_id AND a.action IN ('run.opened', 'run.opened-again'))
FROM ops.runs r LEFT JOIN told USING (run_id) WHERE r.opened_at > %(since)s ORDER BY r.opened_at, r.run_id
"""
_STATES = [
    "run.opened", "run.opened-again", "run.open", "run.merging", "run.merged", "run.published", "run.unchanged", "run.failed",
    "run.conflicted", "run.reverted", "run.returned",
]  # fmt: skip


def unguarded(connection: psycopg.Connection[Any]) -> list[Problem]:
    """Functions and triggers that are missing, off, or not as medallion makes them; and what else stands in their way."""
    there = {(table, name): (on, text) for table, name, on, text in connection.execute(_THERE).fetchall()}
    wanted = {(table, name): f"CREATE TRIGGER {name} {text}" for table, each in TRIGGERS.items() for name, text in each.items()}
    gone = [key for key in wanted if key not in there or not there[key][0]]
    other = [f"{table}.{name}" for (table, name), text in wanted.items() if there.get((table, name), (0, text))[1] != text]
    other += [f"{table}.{name}" for table, name in there if table == "ops.audit" and (table, name) not in wanted]
    other += [f"rule {name}" for (name,) in connection.execute(_RULES).fetchall()]
    sources = connection.execute(_SOURCES, (list(_FUNCTIONS),)).fetchall()
    other += [f"{name}()" for name, source in sources if source != _FUNCTIONS[name]]
    other += [f"{name}()" for name in _FUNCTIONS if name not in {found for found, _ in sources}]
    again = "`COMMENT ON SCHEMA ops IS NULL` has the next command make them again"
    found = []
    if gone:
        names = ", ".join(".".join(key) for key in gone)
        found.append(Problem(0, "unguarded", f"triggers that keep the log are missing or off: {names}; {again}"))
    if other:
        what = f"what keeps the log is not as medallion makes it: {', '.join(sorted(other))}; {again}"
        found.append(Problem(0, "unguarded", what))
    return found


def unrecorded(connection: psycopg.Connection[Any], walk: Walk, restored: list[tuple[int, datetime]]) -> list[Problem]:
    """Runs that the log does not know, or knows in another state; of those opened since it began, or since a restore."""
    if walk.first is None:
        return []
    since = max([datetime.fromisoformat(walk.first.at), *(at for _, at in restored)])
    wrong = []
    for run, state, told, opened in connection.execute(_UNRECORDED, {"states": _STATES, "since": since}).fetchall():
        if not opened:
            wrong.append(f"{run} was never opened")
        elif state != told and not (state in ("written", "validated") and told in ("open", "merging")):
            wrong.append(f"{run} is {told}, not {state}")
    if not wrong:
        return []
    more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    return [Problem(0, "unrecorded", f"what happened to runs is not in the log, which says: {'; '.join(wrong[:5])}{more}")]


def too_young(record: Record, told: dict[str, Any]) -> Problem | None:
    """Of a record of `medallion audit prune`: whether it removed what was younger than the days that it says."""
    days, newest = told.get("keep_days"), told.get("at")
    if isinstance(days, int) and isinstance(newest, str):
        if datetime.fromisoformat(newest) + timedelta(days=days) <= datetime.fromisoformat(record.at):
            return None
        what = f"records up to {newest} were removed, which a keep_days of {days} does not allow"
    else:
        what = "records were removed, and it is not said which were old enough (keep_days, at)"
    return Problem(record.sequence, "removed", what)

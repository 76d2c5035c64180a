"""The audit log's tables, functions and triggers: they reach databases that exist, cannot be passed, and are verified."""

from __future__ import annotations

from multiprocessing.connection import Connection

from medallion.lakehouse import journal_sql
from medallion.lakehouse.journal import Journal
from medallion.settings import Settings
from tests.audited import Audited, Commands
from tests.two_processes import processes

pytest_plugins = ["tests.audited"]


# ── made, and made again ──────────────────────────────────────────────────────────────────────────
def open_journal(pipe: Connection, settings: Settings) -> None:
    pipe.recv()
    for _ in range(5):
        with Journal(settings.postgres) as journal:
            journal.record("test.opened", "x")
    pipe.send("done")


def test_another_version_s_functions_and_triggers_are_made_again_by_whoever_comes_first(
    audited: Audited, medallion: Commands
) -> None:
    at = audited.last()
    audited.ask("INSERT INTO ops.runs (run_id, kind, branch, h0, state) VALUES ('old', 'test', 'b', '0', 'failed')")
    audited.ask("ALTER TABLE ops.runs DISABLE TRIGGER audit_changed; DROP TRIGGER audit_ended ON ops.steps")
    audited.ask("CREATE OR REPLACE FUNCTION ops.audit_stays() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    audited.ask("COMMENT ON SCHEMA ops IS 'medallion of last year'")
    with processes(open_journal, [(audited.settings,)] * 3) as three:
        for one in three:
            one.say("go")
        assert {one.hear() for one in three} == {"done"}
    assert audited.last() == at + 16
    assert audited.ask("SELECT obj_description('ops'::regnamespace, 'pg_namespace')") == [(journal_sql.VERSION,)]
    assert audited.ask("SELECT ended_at = changed_at FROM ops.runs WHERE run_id = 'old'") == [(True,)]
    assert medallion.json("audit", "verify")["whole"]

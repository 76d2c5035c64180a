"""The audit log's tables, functions and triggers: they reach databases that exist, cannot be passed, and are verified."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
import pytest

from medallion.audit import log, retention
from medallion.audit.record import record, recorded
from medallion.errors import ServiceUnavailable
from medallion.lakehouse import audit_sql, journal_sql
from medallion.lakehouse.journal import Journal
from medallion.services import postgres
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


# ── another transaction that does not end ─────────────────────────────────────────────────────────
def test_a_transaction_that_stays_open_is_not_waited_for_without_end(
    audited: Audited, medallion: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion.audit.record._SHORT_WAIT_S", 1)
    with postgres.connect(audited.settings.postgres) as connection, connection.transaction(force_rollback=True):
        record(connection, "test.open", "x")
        with Journal(audited.settings.postgres, wait_s=1) as journal, pytest.raises(ServiceUnavailable) as told:
            journal.record("test.waits", "x")
        assert "another transaction has been open for too long" in told.value.message
        assert "pg_terminate_backend" in (told.value.hint or "")
        err = medallion("demo", "--domain", "nosuch", code=2)[1]
        assert "not in the audit log (demo.played, refused): PostgreSQL at" in err
        short = audit_sql.CHAIN.partition("CREATE OR REPLACE FUNCTION ops.audit_chain")[0].replace("'30s'", "'1s'")
        with postgres.connect(audited.settings.postgres) as other, other.transaction(force_rollback=True):
            other.execute(short)  # a connection without a limit of its own
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("SELECT ops.audit_turn()")


# ── append-only ───────────────────────────────────────────────────────────────────────────────────
PASSES = "PL/pgSQL function ops.audit_prune(bigint,jsonb) line 9 at SQL statement"


@pytest.mark.parametrize(
    "statement",
    [
        "DO $$ BEGIN DELETE FROM ops.audit WHERE sequence < 3 /* function ops.audit_prune(bigint,jsonb) */; END $$",
        f"DO $$ BEGIN DELETE FROM ops.audit WHERE sequence < 3 /*\n{PASSES}\n*/; END $$",
        f'DO $$ DECLARE through int := 3; BEGIN DELETE FROM ops.audit WHERE sequence <= through /*"\n{PASSES}\n*/; END $$',
    ],
)
def test_the_name_of_what_prunes_does_not_let_anybody_delete(audited: Audited, statement: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=r"ops\.audit is append-only"):
        audited.ask(statement)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("{}", "not older than keep_days"),
        ('{"keep_days": 1, "not_exported": true}', "not older than keep_days"),
        ('{"keep_days": 0}', "not all exported"),
    ],
)
def test_what_is_young_or_not_exported_is_not_pruned(audited: Audited, told: str, why: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=why):
        audited.ask("SELECT ops.audit_prune(4, %s)", told)
    assert audited.ask("SELECT min(sequence) FROM ops.audit") == [(1,)]


def test_a_prune_that_removed_what_was_young_is_told(audited: Audited, medallion: Commands) -> None:
    source = audited.ask("SELECT pg_get_functiondef('ops.audit_prune'::regproc)")[0][0]
    with audited.tampered():
        audited.ask(source.replace("IS NOT TRUE", "IS NULL"))
        audited.ask("""SELECT ops.audit_prune(4, '{"keep_days": 400, "not_exported": true}')""")
        audited.ask(source)
        (problem,) = medallion.json("audit", "verify", code=1)["problems"]
        assert (problem["sequence"], problem["kind"]) == (audited.last(), "removed")
        assert "keep_days of 400" in problem["what"]


# ── a server that cannot be written to ────────────────────────────────────────────────────────────
def test_a_server_that_is_read_only_refuses_and_what_starts_it_goes_on(audited: Audited, medallion: Commands) -> None:
    audited.ask("ALTER DATABASE medallion SET default_transaction_read_only = on")
    try:
        out, err = medallion("sql", "SELECT 1", code=5)
        assert (out, "nothing was done, for it cannot be recorded" in err, "refuses to write" in err) == ("", True, True)
        assert "not in the audit log (demo.played, refused)" in medallion("demo", "--domain", "nosuch", code=2)[1]
    finally:
        with postgres.connect(audited.settings.postgres) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER DATABASE medallion RESET default_transaction_read_only")


def test_how_it_ended_is_told_where_the_log_refuses_the_record(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    with recorded(audited.settings.postgres, "test.refused", "x"):
        audited.ask("ALTER TABLE ops.audit ADD CONSTRAINT full_disk CHECK (action <> 'test.refused') NOT VALID")
    audited.ask("ALTER TABLE ops.audit DROP CONSTRAINT full_disk")
    assert "the audit log could not be told how this ended (done): new row" in capsys.readouterr().err


def test_a_statement_that_is_no_text_is_recorded_all_the_same(audited: Audited, medallion: Commands) -> None:
    at = audited.last()
    medallion.ended("sql", "SELECT '\udcff\0'")
    begun = log.search(audited.settings, action="sql.asked", limit=5)[-1]
    assert at < begun["sequence"]
    assert begun["detail"]["query"] == "SELECT '\\udcff\\x00'"


# ── verified ──────────────────────────────────────────────────────────────────────────────────────
MUTED = "CREATE OR REPLACE FUNCTION ops.audit_run() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
NEVER = (
    "CREATE OR REPLACE TRIGGER audit_opened AFTER INSERT ON ops.runs FOR EACH ROW WHEN (false) EXECUTE FUNCTION ops.audit_run()"
)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (MUTED, "audit_run()"),
        (NEVER, "ops.runs.audit_opened"),
        ("CREATE RULE muted AS ON INSERT TO ops.audit DO INSTEAD NOTHING", "rule muted"),
        ("CREATE TRIGGER a_first BEFORE INSERT ON ops.audit FOR EACH ROW EXECUTE FUNCTION ops.audit_run()", "ops.audit.a_first"),
        ("DROP FUNCTION ops.audit_step() CASCADE", "audit_step()"),
    ],
)
def test_a_log_that_is_muted_is_told_and_mended(audited: Audited, medallion: Commands, statement: str, named: str) -> None:
    audited.ask(statement)
    problems = medallion.json("audit", "verify", code=1)["problems"]
    assert {one["kind"] for one in problems} == {"unguarded"}
    assert any(named in one["what"] and "`COMMENT ON SCHEMA ops IS NULL`" in one["what"] for one in problems), problems
    audited.ask("DROP RULE IF EXISTS muted ON ops.audit; DROP TRIGGER IF EXISTS a_first ON ops.audit")
    audited.ask("COMMENT ON SCHEMA ops IS NULL")
    assert medallion.json("audit", "verify")["whole"]


def test_what_was_done_while_it_was_muted_is_told(audited: Audited, medallion: Commands) -> None:
    with Journal(audited.settings.postgres) as journal:
        journal.open("known", "test", None, "run/known", "0", None)
    audited.ask(MUTED)
    audited.ask("INSERT INTO ops.runs (run_id, kind, branch, h0, state) VALUES ('silent', 'test', 'b', '0', 'open')")
    audited.ask("UPDATE ops.runs SET state = 'failed' WHERE run_id = 'known'")
    audited.ask("COMMENT ON SCHEMA ops IS NULL")
    (problem,) = medallion.json("audit", "verify", code=1)["problems"]
    assert problem["kind"] == "unrecorded"
    assert problem["what"].endswith("which says: known is open, not failed; silent was never opened")
    audited.ask("DELETE FROM ops.runs WHERE run_id IN ('known', 'silent')")
    assert medallion.json("audit", "verify")["whole"]


def test_verify_does_not_depend_on_the_search_path(audited: Audited, medallion: Commands) -> None:
    audited.ask("ALTER DATABASE medallion SET search_path = ops, public")
    try:
        assert medallion.json("audit", "verify")["whole"]
    finally:
        audited.ask("ALTER DATABASE medallion RESET search_path")


# ── files and retention ───────────────────────────────────────────────────────────────────────────
def test_an_export_never_replaces_a_file_that_came_meanwhile(
    audited: Audited, medallion: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "all.jsonl"
    (tmp_path / ".all.jsonl.new").write_text("of one that was killed", "utf-8")
    synced = os.fsync

    def meanwhile(number: int) -> None:
        synced(number)
        path.write_text("mine", "utf-8")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", meanwhile)
        assert "exists already" in medallion("audit", "export", str(path), code=2)[1]
    assert path.read_text("utf-8") == "mine"
    path.unlink()
    medallion("audit", "export", str(path))
    assert sorted(each.name for each in tmp_path.iterdir()) == [".all.jsonl.new", "all.jsonl"]


def test_contracts_are_known_after_their_records_were_pruned(audited: Audited) -> None:
    def see(version: str) -> list[dict[str, str]]:
        at = audited.last()
        with Journal(audited.settings.postgres) as journal:
            journal.contracts_seen("a run", [("gold.audited.seen", version, f"of {version}")])
        return [row[0] for row in audited.ask("SELECT detail - 'command' FROM ops.audit WHERE sequence > %s", at)]

    assert see("1") == [{"version": "1", "fingerprint": "of 1"}]
    keep = audited.settings.audit.model_copy(update={"keep_days": 0})
    with audited.tampered():
        with Journal(audited.settings.postgres) as journal:
            journal.record("test.newest", "x")
        retention.prune(audited.settings.model_copy(update={"audit": keep}), not_exported=True)
        assert audited.ask("SELECT 1 FROM ops.audit WHERE action = 'contract.changed'") == []
        assert see("1") == []
        assert see("2") == [{"version": "2", "fingerprint": "of 2", "before": "1"}]


def test_a_commit_that_names_a_record_without_its_number_is_told(
    audited: Audited, medallion: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medallion.lakehouse.merge.AUDIT_SEQUENCE", "medallion.audit-number")
    commit = audited.merge(30)
    (problem,) = medallion.json("audit", "verify", code=1)["problems"]
    assert (problem["kind"], commit[:12] in problem["what"]) == ("changed", True)

"""The audit log: each kind of tampering is found; what happens to runs and its record are one transaction; files; retention."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
import pytest

from medallion import cli
from medallion.audit import log, retention
from medallion.audit.actions import Recorded, entry
from medallion.audit.export import exported_through
from medallion.audit.record import commands, record, recorded
from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse import audit_sql
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.run import fail
from medallion.services import postgres
from medallion.settings import Settings, load
from tests.audited import ANEW, MINE, SHIFTED, SUMMED, WALK, Audited, Commands, lines
from tests.postgres_proxy import PostgresProxy
from tests.protocol_runs import ProtocolRuns, another_value
from tests.two_processes import processes

pytest_plugins = ["tests.audited"]
COPY = (
    "INSERT INTO ops.audit SELECT {0}, at, 'nobody', place, action, object, outcome, run_id, detail, "
    "(SELECT hash FROM ops.audit WHERE sequence = {0} - 1), 'x' FROM ops.audit WHERE sequence = 1"
)


@pytest.fixture(scope="module", autouse=True)
def signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


# ── the chain ─────────────────────────────────────────────────────────────────────────────────────
def test_four_runs_are_a_chain_that_main_names(audited: Audited, medallion: Commands) -> None:
    found = medallion.json("audit", "verify")
    assert (found["whole"], found["records"], found["first"], found["last"], found["commits"]) == (True, 16, 1, 16, 4)
    assert "whole" in medallion("audit", "verify")[0]
    run = audited.ask("SELECT run_id FROM ops.runs ORDER BY opened_at LIMIT 1")[0][0]
    rows = medallion.json("audit", "list", "--run", run)
    assert [row["action"] for row in rows] == ["run.merged", "run.merging", "branch.created", "run.opened"]
    assert rows[0]["detail"]["datasets"] == ["gold.audited.mine"]
    assert all(row["place"].endswith(f" pid {os.getpid()}") for row in rows)
    assert [row["sequence"] for row in medallion.json("audit", "list", "--action", "run.op", "--limit", "2")] == [13, 9]
    assert medallion.json("audit", "list", "--who", "nobody at all") == []
    assert medallion.json("audit", "list", "--since", "2999-01-01") == []
    assert "is no time" in medallion("audit", "list", "--since", "soon", code=2)[1]
    assert run in medallion("audit", "list")[0]


@pytest.mark.parametrize(
    ("statements", "sequence", "kind"),
    [
        (["UPDATE ops.audit SET who = 'nobody' WHERE sequence = 5"], 5, "changed"),
        (["UPDATE ops.audit SET detail = detail - 'command' WHERE sequence = 5"], 5, "changed"),
        (["UPDATE ops.audit SET who = 'nobody' WHERE sequence = 5", SUMMED.format(5)], 5, "changed"),
        (["UPDATE ops.audit SET previous = 'x' WHERE sequence = 1", SUMMED.format(1)], 1, "changed"),
        (["DELETE FROM ops.audit WHERE sequence = 7"], 7, "removed"),
        (["DELETE FROM ops.audit WHERE sequence IN (7, 8)", SHIFTED.format(9, -2)], 7, "removed"),
        (["DELETE FROM ops.audit WHERE sequence <= 3"], 1, "removed"),
        ([SHIFTED.format(6, 1), COPY.format(6), SUMMED.format(6)], 6, "inserted"),
        ([COPY.format(17)], 17, "changed"),
        (["UPDATE ops.audit SET sequence = -6 WHERE sequence = 7", "UPDATE ops.audit SET sequence = 7 WHERE sequence = 6",
          "UPDATE ops.audit SET sequence = 6 WHERE sequence = -6"], 6, "reordered"),
        (["DELETE FROM ops.audit WHERE sequence >= 14"], 14, "cut off"),
        (["TRUNCATE ops.audit"], 1, "cut off"),
        ([ANEW.format(3)], 3, "rewritten"),
        ([ANEW.format(1).replace("who = 'nobody'", "action = 'run.fine'").replace("DO $$ DECLARE one record; before text;",
          f"DO $$ DECLARE one record; before text := '{audit_sql.GENESIS}';").replace(
          "SELECT hash INTO before FROM ops.audit WHERE sequence = 1 - 1;", "")], 1, "rewritten"),
    ],
)  # fmt: skip
def test_tampering_is_found_and_named(
    audited: Audited, medallion: Commands, statements: list[str], sequence: int, kind: str
) -> None:
    with audited.tampered(*statements):
        found = medallion.json("audit", "verify", code=1)
        assert (found["whole"], found["problems"][0]["sequence"], found["problems"][0]["kind"]) == (False, sequence, kind)
        out, err = medallion("audit", "verify", code=1)
        assert f"record {sequence}: {kind}: " in out
        assert f"the audit log is not whole, from record {sequence} on: {kind}" in err
    assert medallion.json("audit", "verify")["whole"]


def test_nothing_is_changed_without_switching_the_guard_off_and_that_is_found(audited: Audited, medallion: Commands) -> None:
    for statement in ("UPDATE ops.audit SET who = 'nobody'", "DELETE FROM ops.audit", "TRUNCATE ops.audit"):
        with pytest.raises(psycopg.errors.RaiseException, match=r"ops\.audit is append-only"):
            audited.ask(statement)
    with pytest.raises(psycopg.errors.RaiseException, match="at READ COMMITTED alone"):
        audited.ask(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO ops.audit (action, object, outcome) VALUES ('a', 'b', 'c')"
        )
    for table, trigger in (("ops.audit", "audit_stays"), ("ops.runs", "audit_changed")):
        audited.ask(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        (problem,) = medallion.json("audit", "verify", code=1)["problems"]
        assert (problem["kind"], f"{table}.{trigger}" in problem["what"]) == ("unguarded", True)
        audited.ask(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")


def test_what_is_made_up_at_the_insert_is_not_believed(audited: Audited) -> None:
    at = audited.last()
    audited.ask(
        "INSERT INTO ops.audit VALUES (99, '2000-01-01', 'ann', 'there', 'test.made-up', 'x', 'done', NULL, '{}', 'p', 'h'), "
        "(99, '2000-01-01', 'ann', 'there', 'test.made-up', 'y', 'done', NULL, '{}', 'p', 'h')"
    )
    rows = log.search(audited.settings, action="test.made-up")
    assert [(row["sequence"], row["object"]) for row in rows] == [(at + 2, "y"), (at + 1, "x")]
    assert rows[1]["at"] > "2020"
    assert not log.verify(audited.settings).problems


# ── at once, and killed ───────────────────────────────────────────────────────────────────────────
def append_many(pipe: Connection, settings: Settings, name: str, count: int) -> None:
    with Journal(settings.postgres) as journal:
        pipe.recv()
        for number in range(count):
            journal.record("test.at-once", f"{name} {number}")
    pipe.send("done")


def hold_the_head(pipe: Connection, settings: Settings) -> None:
    connection = postgres.connect(settings.postgres)
    connection.autocommit = False
    record(connection, "test.killed", "never there")
    pipe.send("appended")
    pipe.recv()


def test_two_at_once_follow_one_another_and_a_killed_one_leaves_no_gap(audited: Audited) -> None:
    at = audited.last()
    with processes(append_many, [(audited.settings, name, 50) for name in "ab"]) as (a, b):
        for one in (a, b):
            one.say("go")
        assert {a.hear(), b.hear()} == {"done"}
    with processes(hold_the_head, [(audited.settings,)]) as (killed,):
        assert killed.hear() == "appended"
        killed.kill()
    with Journal(audited.settings.postgres) as journal:
        assert journal.record("test.after", "x") == at + 101
    found = audited.since(at)
    assert [on for _, on, _, _ in found if on.startswith("a ")] == [f"a {n}" for n in range(50)]
    assert len(found) == 101
    assert not log.verify(audited.settings).problems


@pytest.mark.parametrize("there", [True, False])
def test_a_state_and_its_record_are_one_transaction_when_the_connection_breaks(audited: Audited, there: bool) -> None:
    server, run = audited.settings.postgres, f"broken-{there}"
    with Journal(server) as journal:
        journal.open(run, "test", None, f"run/{run}", "0", None)
    with PostgresProxy(server.host, server.port) as proxy:
        behind = server.model_copy(update={"port": proxy.port})
        (proxy.drop_reply if there else proxy.drop_request)("UPDATE ops.runs")
        with Journal(behind) as journal, pytest.raises(ServiceUnavailable):
            journal.update(run, state="failed", error="a test")
    states = audited.ask("SELECT state FROM ops.runs WHERE run_id = %s", run)
    actions = audited.ask("SELECT action FROM ops.audit WHERE run_id = %s ORDER BY sequence", run)
    assert (states, actions) == (
        ([("failed",)], [("run.opened",), ("run.failed",)]) if there else ([("open",)], [("run.opened",)])
    )


def test_a_state_that_cannot_be_recorded_does_not_change(audited: Audited) -> None:
    with Journal(audited.settings.postgres) as journal:
        journal.open("unrecorded", "test", None, "run/unrecorded", "0", None)
        audited.ask("ALTER TABLE ops.audit ADD CONSTRAINT full_disk CHECK (action <> 'run.failed') NOT VALID")
        try:
            with pytest.raises(psycopg.errors.CheckViolation):
                journal.update("unrecorded", state="failed")
            assert journal.run("unrecorded")["state"] == "open"
        finally:
            audited.ask("ALTER TABLE ops.audit DROP CONSTRAINT full_disk")
        journal.update("unrecorded", state="failed")


def test_a_change_by_hand_is_recorded_with_who_made_it(audited: Audited) -> None:
    at = audited.last()
    audited.ask("INSERT INTO ops.runs (run_id, kind, branch, h0, state) VALUES ('by-hand', 'test', 'b', '0', 'open')")
    audited.ask("UPDATE ops.runs SET state = 'merged' WHERE run_id = 'by-hand'")
    audited.ask("DELETE FROM ops.runs WHERE run_id = 'by-hand'")
    assert [action for action, *_ in audited.since(at)] == ["run.opened", "run.merged", "run.deleted"]
    assert log.search(audited.settings, run="by-hand")[0]["who"] == "medallion of PostgreSQL"


def test_a_record_is_committed_or_rolled_back_with_what_it_is_of(audited: Audited) -> None:
    at = audited.last()
    with postgres.connect(audited.settings.postgres) as connection:
        with connection.transaction(force_rollback=True):
            record(connection, "alert.acknowledged", "7")
        with connection.transaction():
            assert record(connection, "alert.acknowledged", "8", detail={"why": "known"}) == at + 1
    assert [on for _, on, _, _ in audited.since(at)] == ["8"]


def test_what_ends_while_postgresql_is_gone_stands_as_begun_and_is_told(
    audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    server, at = audited.settings.postgres, audited.last()
    with ExitStack() as closing:
        proxy = closing.enter_context(PostgresProxy(server.host, server.port))
        with recorded(server.model_copy(update={"port": proxy.port}), "test.told", "x"):
            closing.close()
    assert [(action, outcome) for action, _, outcome, _ in audited.since(at)] == [("test.told", "begun")]
    assert "the audit log could not be told how this ended (done)" in capsys.readouterr().err


# ── files, restores, retention ────────────────────────────────────────────────────────────────────
def test_a_file_is_verified_alone_and_the_log_against_it(audited: Audited, medallion: Commands, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    assert medallion.json("audit", "export", str(path), "--since", "2020-01-01")["first"] == 1
    whole = lines(path)
    assert medallion.json("audit", "verify", "--file", str(path))["records"] == len(whole) - 1
    assert "exists already" in medallion("audit", "export", str(path), code=2)[1]
    assert medallion.json("audit", "verify", "--against", str(path))["whole"]
    two = tmp_path / "until.jsonl"
    until = datetime.now(UTC).isoformat()
    assert medallion.json("audit", "export", str(two), "--until", until)["first"] == len(whole)
    assert medallion.json("audit", "verify", "--file", str(two))["whole"]
    for kind, text in {
        "changed": [*whole[:4], whole[4].replace("run.opened", "run.merged"), *whole[5:]],
        "removed": [*whole[:6], *whole[7:]],
        "reordered": [*whole[:6], whole[7], whole[6], *whole[8:]],
        "cut off": whole[:-1],
    }.items():
        path.write_text("\n".join(text) + "\n", "utf-8")
        (problem, *_) = medallion.json("audit", "verify", "--file", str(path), code=1)["problems"]
        assert problem["kind"] == ("removed" if kind == "reordered" else kind), problem
    for begin, end, kind in ((3, None, "removed"), (0, -2, "cut off")):
        path.write_text("\n".join([*whole[begin:end], *([whole[-1]] if end else [])]) + "\n", "utf-8")
        assert medallion.json("audit", "verify", "--file", str(path), code=1)["problems"][0]["kind"] == kind
    path.write_text("{}\n", "utf-8")
    assert "line 1, is no record" in medallion("audit", "verify", "--file", str(path), code=6)[1]
    assert "there is no file" in medallion("audit", "verify", "--file", str(tmp_path / "no"), code=2)[1]
    assert "give one of them" in medallion("audit", "verify", "--file", "a", "--against", "b", code=2)[1]
    after_main = audited.last() - 3  # no commit of main names it
    with audited.tampered(ANEW.format(after_main)):
        assert medallion.json("audit", "verify")["whole"], "main knows nothing of it"
        (problem,) = medallion.json("audit", "verify", "--against", str(two), code=1)["problems"]
        assert problem["kind"] == "rewritten"


def test_a_missing_end_is_accepted_only_where_a_restore_says_so(audited: Audited, medallion: Commands) -> None:
    with audited.tampered("DELETE FROM ops.audit WHERE sequence >= 9"):
        assert [p["kind"] for p in medallion.json("audit", "verify", code=1)["problems"]] == ["cut off"]
        medallion("audit", "restored", "--why", "a base backup of last night")
        found = medallion.json("audit", "verify")
        assert (found["whole"], found["restores"], found["excused"]) == (True, [9], 2)
        assert "restored, says record 9: 2 names" in medallion("audit", "verify")[0]
        audited.merge(9)
        assert medallion.json("audit", "verify")["commits"] >= 3
        audited.ask("ALTER TABLE ops.audit DISABLE TRIGGER USER; DELETE FROM ops.audit WHERE sequence > 9")
        audited.ask("ALTER TABLE ops.audit ENABLE TRIGGER USER")
        assert [p["kind"] for p in medallion.json("audit", "verify", code=1)["problems"]] == ["cut off"], "that came after it"


def test_what_is_old_goes_if_it_was_exported_and_the_rest_verifies(audited: Audited, medallion: Commands, tmp_path: Path) -> None:
    assert "0 records older than 400 days: nothing to remove" in medallion("audit", "prune")[0]
    assert medallion.json("audit", "prune", "--yes")["removed"] is False
    at_once = audited.settings.model_copy(update={"audit": audited.settings.audit.model_copy(update={"keep_days": 0})})
    with audited.tampered("DELETE FROM ops.audit WHERE action = 'audit.exported'", ANEW.format(15)):
        assert exported_through(audited.settings) == 0
    medallion("audit", "export", str(tmp_path / "1.jsonl"))
    through = exported_through(audited.settings)
    found = retention.old(at_once)
    assert (found.through, found.exported_through) == (audited.last() - 1, through)
    assert through < (found.through or 0)
    with pytest.raises(UsageError, match=f"records {through + 1} to {found.through} are older than 0 days"):
        retention.prune(at_once)
    last = audited.last()
    done = retention.prune(at_once, not_exported=True)
    assert (done.removed, done.through, done.records) == (True, last - 1, last - 1)
    assert [row["sequence"] for row in log.search(audited.settings)] == [last + 1, last]
    found_ = medallion.json("audit", "verify")
    assert (found_["whole"], found_["pruned"], found_["first"]) == (True, last - 1, last)
    assert f"records 1 to {last - 1} were removed" in medallion("audit", "verify")[0]
    audited.merge(5)
    assert medallion.json("audit", "verify")["commits"] == 1
    with audited.tampered(f"DELETE FROM ops.audit WHERE sequence <= {last}"):
        assert medallion.json("audit", "verify", code=1)["problems"][0]["kind"] == "removed"


# ── commands ──────────────────────────────────────────────────────────────────────────────────────
def test_whoever_cannot_be_recorded_does_nothing(audited: Audited, medallion: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    at = audited.last()
    monkeypatch.setenv("MEDALLION_POSTGRES__PORT", "1")
    load.cache_clear()
    try:
        for words in (["SELECT value FROM gold.audited.mine"], ["SELECT 1", "--warehouse"]):
            out, err = medallion("sql", *words, code=5)
            assert out == ""
            assert "nothing was done, for it cannot be recorded in the audit log: PostgreSQL at" in err
            assert "`medallion up`" in err
        assert "not in the audit log (demo.played, refused)" in medallion("demo", "--domain", "nosuch", code=2)[1]
    finally:
        monkeypatch.undo()
        load.cache_clear()
    assert audited.since(at) == []


def test_every_command_is_found_in_the_log(audited: Audited, medallion: Commands, tmp_path: Path) -> None:
    assert set(WALK) == set(commands(cli.app))
    before = audited.merge(20)
    with ProtocolRuns(audited.settings) as runs:
        given = {"{before}": before, "{file}": str(tmp_path / "walk.jsonl")}
        given["{handed over}"] = runs.handed_over({MINE: another_value(21)}).id
        old = runs.written({MINE: another_value(22)})[0]
        fail(runs.journal, old, "a test")
        audited.ask("UPDATE ops.runs SET ended_at = ended_at - interval '1 year' WHERE run_id = %s", old.id)
    secrets = [audited.settings.postgres.password, audited.settings.s3.secret_key]
    begun, otherwise = audited.last(), {}
    for name, (words, code, recorded_) in list(WALK.items())[:-2]:
        at, what = audited.last(), entry(name)
        ended, out, err = medallion.ended(*name.split(), *[given.get(word, word) for word in words])
        if name == "open":
            given["{opened}"] = out.strip()
        new = audited.since(at)
        found = {outcome if isinstance(what, Recorded) and action == what.action else action for action, _, outcome, _ in new}
        fits = recorded_ <= found if recorded_ and not isinstance(what, Recorded) else recorded_ == found - {"branch.dropped"}
        if not fits or {command for *_, command in new} - {f"medallion {name}"} or (code >= 0 and ended != code):
            otherwise[name] = (ended, err, new)
    assert otherwise == {}
    at = audited.last()
    assert list(WALK)[-2:] == ["down", "up"], "PostgreSQL is gone in between"
    medallion("down")
    medallion("up")
    assert audited.since(at) == [
        ("services.stopped", "embedded stack", "begun", "medallion down"),
        ("services.started", "embedded stack", "done", "medallion up"),
    ]
    text = str(audited.ask("SELECT detail FROM ops.audit WHERE sequence > %s", begun))
    assert "SELECT value FROM gold.audited.mine" in text
    for secret in secrets:
        assert secret.get_secret_value() not in text

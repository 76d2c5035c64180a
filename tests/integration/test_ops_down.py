"""A projection that is locked, lost, wrong, or whose process is killed: no run fails of it, and it is caught up."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import pytest
from pydantic import SecretStr

from medallion.commands import ops as commands
from medallion.errors import ServiceUnavailable
from medallion.evidence import uri
from medallion.lakehouse.journal import Journal
from medallion.ops import projection
from medallion.ops.projection import begin, prepare, project
from medallion.ops.rebuild import rebuild
from medallion.ops.status import status
from tests.crash.place import Place, nth_day
from tests.ops_tables import Ops
from tests.two_processes import processes

pytest_plugins = ("tests.ops_tables",)


# ── it is down, or wrong ──────────────────────────────────────────────────────────────────────────
def test_a_locked_table_fails_no_run_and_is_caught_up(ops: Ops, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "LOCK_WAIT_S", 0.2)
    with ops.holding("LOCK TABLE ops.written IN ACCESS EXCLUSIVE MODE"):
        told = run()
    assert told.code == 0
    assert "ops: what is new could not be filled in, the next run catches up: canceling statement due to lock timeout" in told.err
    with ops.sources() as sources:
        behind = {one.source: one.behind for one in status(sources)}
    assert (behind["main"], behind["journal"], behind["ledger.postgres"], behind["contracts"]) == (1, 1, 1, 0)
    assert run().code == 0
    assert ops.wrong() == []


def test_while_another_process_fills_it_a_run_does_not_wait_for_long(ops: Ops, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "LOCK_WAIT_S", 0.2)
    with ops.holding(projection._LOCK):
        told = run()
    assert told.code == 0
    assert "the next run catches up" in told.err
    assert ops.project()
    assert ops.wrong() == []


def test_tables_that_are_missing_are_made_and_filled_anew(ops: Ops, run: Any) -> None:
    before = ops.rows("SELECT count(*) AS n FROM ops.commits")[0]["n"]
    ops.do("DROP TABLE ops.commits, ops.volumes, ops.reads")
    with ops.sources() as sources:
        assert {one.behind for one in status(sources)} == {None}
        assert "tables or indexes are missing (ops.commits)" in status(sources)[0].note
    assert run().code == 0
    assert ops.wrong() == []
    assert ops.rows("SELECT count(*) AS n FROM ops.commits")[0]["n"] == before + 1


def test_without_privileges_a_run_goes_on_and_says_so(place: Place, ops: Ops) -> None:
    ops.do("CREATE ROLE weak LOGIN PASSWORD 'weak'")
    ops.do("GRANT USAGE ON SCHEMA ops TO weak")
    ops.do("GRANT ALL ON ops.runs, ops.steps, ops.writes, ops.audit TO weak")
    of_weak = place.settings.postgres.model_copy(update={"user": "weak", "password": SecretStr("weak")})
    weak = replace(place, settings=place.settings.model_copy(update={"postgres": of_weak}))
    told = weak.run(nth_day(600))
    assert told.code == 0, told.err
    assert "the next run catches up: permission denied for table" in told.err
    assert weak.run(nth_day(601), refused=True).code == 3, "the gate is told, not that"
    assert ops.project()
    assert ops.wrong() == []


def test_a_ledger_that_does_not_answer_keeps_its_rows_and_is_asked_again(place: Place, ops: Ops, run: Any) -> None:
    ops.do("CREATE TABLE ops.mark AS SELECT * FROM ops.projected")
    assert run().code == 0
    ops.do("UPDATE ops.projected p SET position = m.position FROM ops.mark m WHERE m.source = p.source AND p.source <> 'main'")
    ops.do("DROP TABLE ops.mark")
    ops.do("DELETE FROM ops.publications WHERE sequence = (SELECT max(sequence) FROM ops.publications)")
    known = ops.rows("SELECT * FROM ops.publications ORDER BY sequence")
    nobody = place.settings.warehouse_postgres.model_copy(update={"port": 1})
    with ops.sources() as sources:
        cut_off = replace(sources, warehouses=[place.settings.model_copy(update={"warehouse_postgres": nobody})])
        assert project(cut_off)
        (row,) = [one for one in status(cut_off) if one.source == "ledger.postgres"]
        assert (row.behind, "does not answer" in row.note) == (None, True)
    assert ops.told[-1].startswith("ops: the ledger in postgres cannot be read now: ")
    assert ops.rows("SELECT * FROM ops.publications ORDER BY sequence") == known
    assert ops.project()
    assert len(ops.rows("SELECT * FROM ops.publications")) == len(known) + 1
    assert ops.wrong() == []


def test_another_warehouse_s_ledger_takes_the_place_of_the_old_one(place: Place, ops: Ops) -> None:
    """As after its database was made anew: same numbers, other publications."""
    ops.do("UPDATE ops.projected SET position = '1:another' WHERE source = 'ledger.postgres'")
    ops.do("UPDATE ops.publications SET publication_id = 'another' WHERE sequence = 1")
    ops.do("UPDATE ops.projected SET position = '0' WHERE source = 'publications'")
    assert ops.project()
    assert ops.rows("SELECT 1 FROM ops.publications WHERE publication_id = 'another'") == []
    assert ops.wrong() == []


def test_a_story_that_nobody_can_read_keeps_no_other_out(ops: Ops, run: Any) -> None:
    ops.do("UPDATE ops.runs SET story = '{\"writes\": 7}', changed_at = clock_timestamp() WHERE kind = 'init'")
    run_id = run().json["run_id"]
    assert ops.rows("SELECT 1 FROM ops.written WHERE run_id = %s", run_id)
    ops.do("UPDATE ops.runs SET story = '{}', changed_at = clock_timestamp() WHERE kind = 'init'")
    assert ops.project()


def test_what_the_database_refuses_of_a_run_keeps_no_other_out(ops: Ops, run: Any) -> None:
    (bad,) = ops.rows(
        "SELECT run_id, story FROM ops.runs WHERE state = 'published' AND kind <> 'init' ORDER BY opened_at LIMIT 1"
    )
    change = "UPDATE ops.runs SET story = jsonb_set(story, '{{writes,0,rows_out}}', '{}'), changed_at = clock_timestamp() "
    change += f"WHERE run_id = '{bad['run_id']}'"
    ops.do(change.format("null"))
    ops.told.clear()
    run_id = run().json["run_id"]
    assert ops.rows("SELECT 1 FROM ops.written WHERE run_id = %s", run_id)
    assert ops.rows("SELECT 1 FROM ops.written WHERE run_id = %s", bad["run_id"]) == []
    ops.do(change.format(bad["story"]["writes"][0]["rows_out"]))
    assert ops.project()
    assert ops.wrong() == []


def test_evidence_that_is_no_evidence_keeps_no_run_out(ops: Ops, run: Any) -> None:
    with ops.sources() as sources:
        run_id = run().json["run_id"]
        kept = sources.lake.store.get(uri(run_id))
        read = ops.rows("SELECT * FROM ops.reads WHERE run_id = %s ORDER BY dataset", run_id)
        sources.lake.store.put(uri(run_id), b"[1]", "application/json")
        ops.do(f"UPDATE ops.runs SET changed_at = clock_timestamp() WHERE run_id = '{run_id}'")
        assert ops.project()
        names = ops.rows("SELECT dataset FROM ops.reads WHERE run_id = %s ORDER BY dataset", run_id)
        assert [row["dataset"] for row in names] == [row["dataset"] for row in read]
        sources.lake.store.put(uri(run_id), kept, "application/json")
        ops.do(f"UPDATE ops.runs SET changed_at = clock_timestamp() WHERE run_id = '{run_id}'")
        assert ops.project()
    assert ops.wrong() == []


def test_while_it_is_filled_the_first_time_no_run_waits_for_its_tables(ops: Ops) -> None:
    ops.do("DROP INDEX ops.runs_by_change")
    with Journal(ops.settings.postgres) as own:
        prepare(own, 5.0)
        with own.transaction() as connection, ops.holding("SET LOCAL lock_timeout = '1s'") as other:
            begin(connection, 5.0, 5.0)
            other.execute("UPDATE ops.runs SET changed_at = changed_at WHERE kind = 'init'")
    assert ops.rows("SELECT to_regclass('ops.runs_by_change') IS NOT NULL AS there") == [{"there": True}]
    assert ops.project()
    assert ops.wrong() == []


def test_a_statement_that_is_under_way_is_not_missed(ops: Ops) -> None:
    (row,) = ops.rows("SELECT run_id, story FROM ops.runs WHERE kind <> 'init' ORDER BY opened_at LIMIT 1")
    changes = "UPDATE ops.runs SET story = jsonb_set(story, '{{writes,0,rows_out}}', '{}'), "
    statement = changes + "changed_at = clock_timestamp() WHERE run_id = '{}'"
    before = row["story"]["writes"][0]["rows_out"]
    with ops.holding(statement.format(77, row["run_id"])):
        assert ops.project()
    assert ops.project()
    assert ops.rows("SELECT rows_out FROM ops.written WHERE run_id = %s AND n = 1", row["run_id"]) == [{"rows_out": 77}]
    ops.do(statement.format(before, row["run_id"]))
    assert ops.project()


# ── killed, and two at once ───────────────────────────────────────────────────────────────────────
def test_a_run_that_is_killed_while_it_fills_it_in_is_caught_up(place: Place, ops: Ops) -> None:
    with processes(_killed, [(place,)]) as (one,):
        assert one.hear() == "in the middle"
        with pytest.raises((EOFError, ConnectionResetError)):
            one.hear()
    (row,) = ops.rows("SELECT run_id, state FROM ops.runs WHERE logical_date = %s", nth_day(700))
    assert row["state"] == "published"
    assert ops.rows("SELECT 1 FROM ops.commits WHERE run_id = %s", row["run_id"]) == []
    assert ops.project()
    assert ops.rows("SELECT DISTINCT merged FROM ops.written WHERE run_id = %s", row["run_id"]) == [{"merged": True}]
    assert ops.wrong() == []


def _killed(pipe: Connection, place: Place) -> None:
    def die(connection: Any, sources: Any) -> None:
        assert connection.execute("SELECT 1 FROM ops.written WHERE logical_date = %s", (nth_day(700),)).fetchall()
        pipe.send("in the middle")
        os.kill(os.getpid(), signal.SIGKILL)

    projection.PARTS = (*projection.PARTS, projection.Part((), (), die))
    place.run(nth_day(700))


def test_several_at_once_do_no_harm(ops: Ops, run: Any) -> None:
    run()
    ops.do("DROP TABLE ops.schema_versions, ops.publications")
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(ops.project())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4
    assert ops.wrong() == []


# ── the commands ──────────────────────────────────────────────────────────────────────────────────
def test_rebuild_tells_what_was_wrong_and_mends_it(place: Place, ops: Ops) -> None:
    (row,) = ops.rows("SELECT run_id, n, rows_out FROM ops.written WHERE merged ORDER BY run_id, n LIMIT 1")
    ops.do(f"UPDATE ops.written SET rows_out = 999 WHERE run_id = '{row['run_id']}' AND n = 1")
    ops.do("DELETE FROM ops.volumes WHERE main_hash = (SELECT main_hash FROM ops.commits WHERE n = 2)")
    ops.do("INSERT INTO ops.layer_scores VALUES ('nobody', 'gold', 1)")
    known = {row["dataset"] for row in ops.rows("SELECT dataset FROM ops.freshness")}
    ops.do("INSERT INTO ops.freshness (dataset) VALUES ('gold.elsewhere.one')")

    checked = place.command(lambda: commands.rebuild(check=True, as_json=False))
    assert checked.code == 1
    assert f"ops.written: run_id {row['run_id']}, n 1: rows_out was 999, is {row['rows_out']}" in checked.out
    assert "ops.layer_scores: run_id nobody, layer gold: was there, and comes from no source" in checked.out
    assert ": was lacking (and " in checked.out
    assert "in ops.volumes, ops.layer_scores, ops.written; nothing was changed" in checked.err
    assert ops.rows("SELECT 1 FROM ops.written WHERE rows_out = 999")
    assert ops.rows("SELECT 1 FROM ops.freshness WHERE dataset = 'gold.elsewhere.one'")

    made = place.command(lambda: commands.rebuild(check=False, as_json=True))
    assert made.code == 0
    told = {one["table"]: one for one in made.json}
    assert (told["ops.written"]["differing"], told["ops.written"]["before"]["rows_out"]) == (1, 999)
    assert told["ops.commits"]["rows"] == told["ops.commits"]["rows_before"] > 0
    assert {row["dataset"] for row in ops.rows("SELECT dataset FROM ops.freshness")} == known, "of what has a contract here"
    again = place.command(lambda: commands.rebuild(check=True, as_json=False))
    assert (again.code, again.err) == (0, "")
    assert "the projection is equal to its sources" in again.out


def test_what_cannot_be_made_anew_stays(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ops.rows("SELECT * FROM ops.written ORDER BY run_id, n")
    ops.do("ALTER TABLE ops.written ADD CONSTRAINT none CHECK (rows_in > 1000000) NOT VALID")
    with ops.sources() as sources, pytest.raises(ServiceUnavailable, match=r"nothing of it has changed: .*\"none\""):
        rebuild(sources)
    ops.do("ALTER TABLE ops.written DROP CONSTRAINT none")
    assert ops.rows("SELECT * FROM ops.written ORDER BY run_id, n") == before


def test_who_may_not_read_the_tables_is_told_so(place: Place, ops: Ops) -> None:
    ops.do("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    ops.do("GRANT USAGE ON SCHEMA ops TO stranger")
    stranger = place.settings.postgres.model_copy(update={"user": "stranger", "password": SecretStr("stranger")})
    them = replace(place, settings=place.settings.model_copy(update={"postgres": stranger}))
    for command in (lambda: commands.status(as_json=False), lambda: commands.rebuild(check=True, as_json=True)):
        told = them.command(command)
        assert told.code == 5
        assert "permission denied" in told.err


def test_status_tells_what_is_behind(place: Place, ops: Ops) -> None:
    shown = place.command(lambda: commands.status(as_json=True))
    assert shown.code == 0
    assert {one["source"]: one["behind"] for one in shown.json} == {
        "main": 0, "journal": 0, "contracts": 0, "ledger.postgres": 0,
    }  # fmt: skip
    told = place.command(lambda: commands.status(as_json=False))
    assert "ledger.postgres" in told.out

"""The dashboards tell what stands now: not what was taken back, lost a conflict, has a wrong date, or nobody knows."""

from __future__ import annotations

from typing import Any

import pandas as pd
import psycopg
import pytest

from dashboards import database, lineage_queries, queries, run_queries
from dashboards.views import today
from tests.ops_histories import add_commit, add_publication, add_run, add_verdict, add_write

pytest_plugins = ["tests.ops_histories"]


def matters(own: psycopg.Connection[Any]) -> list[today.Matter]:
    """What Today says is not as it should be."""
    layers, behind = queries.layers_now(own), queries.unpublished(own)
    bad, late = queries.ended_badly(own, 24), queries.late(own)
    return list(today.matters(run_queries.open_alerts(own), bad, late, layers, behind, run_queries.unsent(own)))


# ── failed runs ───────────────────────────────────────────────────────────────────────────────────
def test_a_failed_run_without_a_date_is_made_good_too(own: psycopg.Connection[Any]) -> None:
    add_run(own, "a", "failed", hours=5, kind="marts", day=None, options={})
    add_run(own, "b", "failed", hours=5, kind="restore", day=None, options={"publish": True})
    add_run(own, "c", "merged", hours=4, kind="marts", day=None, options={})
    assert list(queries.ended_badly(own, 24)["run_id"]) == ["b"]


def test_a_failed_run_is_made_good_by_one_of_the_same_request(own: psycopg.Connection[Any]) -> None:
    asked = {"layers": ["gold"], "domain": "sales", "dataset": None}
    add_run(own, "a", "failed", hours=5, options=asked | {"publish": True, "returns": ["x"]})
    add_run(own, "other", "merged", hours=4, options=asked | {"layers": ["silver", "gold"]})
    add_run(own, "back", "reverted", hours=3, options=asked, reverted_by="r")
    assert list(queries.ended_badly(own, 24)["run_id"]) == ["a"], "none of these left on main what it was to bring"
    add_run(own, "b", "merged", hours=2, options={"layers": ["gold"], "domain": "sales", "publish": False})
    assert queries.ended_badly(own, 24).empty


# ── warehouses ────────────────────────────────────────────────────────────────────────────────────
def test_a_warehouse_lacks_only_what_is_to_be_published(own: psycopg.Connection[Any]) -> None:
    own.execute("INSERT INTO ops.lineage VALUES ('dataset', 'gold.sales.new', '', 'warehouse', 'gold.sales.new', '', 'copied')")
    for n, dataset in enumerate(("gold.sales.a", "gold.sales.a__quarantine", "gold.sales.kept_back", "gold.marts.m"), 1):
        add_commit(own, n, {dataset: 10})
    add_publication(own, "h1", ["gold.sales.a", "gold.marts.m"])
    assert list(queries.unpublished(own)["behind"]) == [0]
    add_commit(own, 5, {"gold.sales.new": 10, "gold.sales.a": 11})
    assert list(queries.unpublished(own)["behind"]) == [1]
    add_commit(own, 6, {"gold.sales.new": 12})
    assert list(queries.unpublished(own)["behind"]) == [2]


def test_how_far_a_warehouse_is_behind_what_main_does_not_have_is_not_known(own: psycopg.Connection[Any]) -> None:
    add_commit(own, 1, {"gold.sales.a": 10})
    add_publication(own, "0123456789abcdef", ["gold.sales.a"])
    (found,) = queries.unpublished(own).itertuples()
    assert found.behind is pd.NA
    assert today.how_far(found.behind) == "how far behind is not known"
    assert today.how_far(1) == "1 commit behind"
    ((level, _, what, _),) = matters(own)
    assert level == "warn"
    assert "how far snowflake is behind is not known" in what
    assert "0123456789ab" in what


# ── quality ───────────────────────────────────────────────────────────────────────────────────────
def test_a_run_that_was_taken_back_says_nothing_of_now(own: psycopg.Connection[Any]) -> None:
    own.execute("INSERT INTO ops.datasets VALUES ('gold.sales.a', 'sales', 'gold', 'a', 'analytics', 'o', 'd', '1', 2)")
    for run, hours, day, score in (
        ("past", 50, "2026-01-01", 97),
        ("good", 9, "2026-01-02", 99),
        ("spoiled", 2, "2026-01-02", 20),
    ):
        add_run(own, run, "merged", hours=hours)
        add_write(own, run, "gold.sales.a", day, True, score)
        add_verdict(own, run, "gold.sales.a", day)
        own.execute("INSERT INTO ops.deliveries VALUES (%s, 'gold.sales.a', 'd', %s, %s, 'x', 1)", (run, day, run))
    assert [one[1] for one in matters(own)] == ["quality"]
    assert list(queries.scores_of_layers(own, 10)["score"]) == [97, 20], "of a date the newest write"

    add_run(own, "revert", "merged", hours=0, kind="revert", day=None)
    add_write(own, "revert", "gold.sales.a", "2026-01-02", True, None, rows_in=0)
    own.execute("UPDATE ops.runs SET state = 'reverted', reverted_by = 'revert' WHERE run_id = 'spoiled'")
    assert matters(own) == []
    (layer,) = queries.layers_now(own).itertuples()
    assert (layer.score, layer.before) == (99, 97)
    (found,) = queries.datasets_now(own).itertuples()
    assert (found.score, found.usual, found.run_id) == (99, 97, "good")
    assert list(queries.scores_of_layers(own, 10)["score"]) == [97, 99]
    dates = queries.scores_of_dataset(own, "gold.sales.a", 10)
    assert list(dates["run_id"]) == ["past", "good"]
    assert list(dates["rows_in"]) == [10, 10]
    assert set(queries.quarantine(own, 10)["run_id"]) == {"past", "good"}
    assert set(queries.anomalies(own, 10)["run_id"]) == {"past", "good"}
    assert list(queries.rules_of(own, 10)["bad"]) == [10]
    assert list(lineage_queries.files_of(own, "gold.sales.a")["uri"]) == ["good", "past"]


def test_a_past_that_was_taken_back_or_made_anew_is_not_the_usual(own: psycopg.Connection[Any]) -> None:
    for run, hours, day, score in (
        ("first", 9, "2026-01-01", 20), ("again", 8, "2026-01-01", 90), ("x", 7, "2026-01-02", 10), ("now", 6, "2026-01-03", 91),
    ):  # fmt: skip
        add_run(own, run, "merged", hours=hours, reverted_by="r" if run == "x" else None)
        add_write(own, run, "gold.sales.a", day, True, score)
    (layer,) = queries.layers_now(own).itertuples()
    assert (layer.score, layer.before) == (91, 90)


def test_one_wrong_date_does_not_blank_what_is_shown(own: psycopg.Connection[Any]) -> None:
    for run, state, day, score, reverted_by in (
        ("good", "merged", "2026-01-02", 99, None), ("typing", "failed", "2099-01-02", 50, None),
        ("taken_back", "reverted", "2098-01-02", 50, "revert"), ("revert", "merged", "2098-01-02", None, None),
    ):  # fmt: skip
        add_run(own, run, state, hours=2, reverted_by=reverted_by)
        add_write(own, run, "gold.sales.a", day, state != "failed", score, rows_in=10 if score else 0)
        if score:
            add_verdict(own, run, "gold.sales.a", day)
    assert list(queries.scores_of_layers(own, 30)["score"]) == [99]
    for question in (queries.quarantine, queries.anomalies):
        assert set(question(own, 30)["run_id"]) == {"good", "typing"}
    assert list(queries.rules_of(own, 30)["writes"]) == [2]


def test_what_was_refused_is_shown_also_where_nothing_is_on_main(own: psycopg.Connection[Any]) -> None:
    add_run(own, "bad", "failed", hours=2)
    add_write(own, "bad", "gold.sales.a", "2026-01-02", False, 50)
    add_verdict(own, "bad", "gold.sales.a", "2026-01-02")
    assert [len(question(own, 30)) for question in (queries.quarantine, queries.anomalies, queries.rules_of)] == [1, 1, 1]


def test_a_run_that_lost_a_conflict_is_not_counted_beside_the_one_in_its_place(own: psycopg.Connection[Any]) -> None:
    for run, state in (("lost", "conflicted"), ("won", "merged")):
        add_run(own, run, state, hours=2)
        add_write(own, run, "gold.sales.a", "2026-01-02", state == "merged", 90)
        add_verdict(own, run, "gold.sales.a", "2026-01-02")
    own.execute("UPDATE ops.written SET logical_date = '2026-01-01' WHERE run_id = 'lost'")
    for found in (
        queries.quarantine(own, 30), queries.anomalies(own, 30), queries.scores_of_dataset(own, "gold.sales.a", 30),
    ):  # fmt: skip
        assert list(found["run_id"]) == ["won"]
    assert list(queries.rules_of(own, 30)["bad"]) == [5]


# ── messages ──────────────────────────────────────────────────────────────────────────────────────
def test_messages_that_wait_and_those_that_a_channel_refuses(own: psycopg.Connection[Any]) -> None:
    assert run_queries.unsent(own).empty
    own.execute(
        "INSERT INTO ops.alert_messages (channel, event, alert_ids, tries, error, sent_at, set_aside_at) VALUES "
        "('team', 'opened', '{1}', 1, NULL, now(), NULL), ('team', 'opened', '{2}', 5, 'refused', NULL, now()), "
        "('team', 'opened', '{3}', 6, 'refused', NULL, now()), ('team', 'opened', '{4}', 1, 'down', NULL, NULL)"
    )
    found = [(one.aside, one.messages, one.error, one.ids) for one in run_queries.unsent(own).itertuples()]
    assert found == [(False, 1, "down", "4"), (True, 2, "refused", "2 3")]
    assert [(kind, what) for kind, what, *_ in matters(own)] == [("warn", "not sent"), ("warn", "set aside")]


def test_tables_of_an_older_version_are_told_as_such(own: psycopg.Connection[Any]) -> None:
    own.execute("ALTER TABLE ops.alert_messages DROP COLUMN set_aside_at")
    own.commit()
    with pytest.raises(database.NothingYet), database.connected() as connection:
        run_queries.unsent(connection)

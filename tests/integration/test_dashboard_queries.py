"""What the dashboards ask of schema `ops`, compared with what stands in its tables, and with small histories made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from dashboards import actions, charts, database, lineage_queries, operations_queries, queries, run_queries
from dashboards.lineage_queries import Node
from medallion.errors import ServiceUnavailable
from medallion.settings import Settings
from tests.ops_databases import seeded
from tests.ops_histories import add_commit, add_publication, add_run, add_write

pytest_plugins = ["tests.ops_histories"]
GOLD = "gold.customers.orders_per_day"


@pytest.fixture(scope="module")
def ops(stack: Settings) -> Iterator[str]:
    with seeded(stack.postgres) as name:
        yield name


@pytest.fixture
def db(ops: str, of_database: Any) -> Iterator[psycopg.Connection[Any]]:
    of_database(ops)
    with database.connected() as connection:
        yield connection


def one(db: psycopg.Connection[Any], statement: str, *values: Any) -> Any:
    row = db.execute(statement, values).fetchone()
    assert row is not None
    return row[0]


# ── the connection ────────────────────────────────────────────────────────────────────────────────
def test_a_page_reads_and_cannot_write(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        db.execute("DELETE FROM ops.alerts")


def test_a_server_that_does_not_answer_is_named_with_the_way_out(of_database: Any) -> None:
    of_database("medallion", port=1)
    with pytest.raises(ServiceUnavailable) as told, database.connected():
        pass
    assert "127.0.0.1:1/medallion does not answer" in told.value.message
    assert "medallion up" in str(told.value.hint)


def test_a_question_that_takes_too_long_is_told_as_that(ops: str, of_database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    of_database(ops)
    monkeypatch.setattr(database, "STATEMENT_S", 1)
    with pytest.raises(database.TookTooLong) as told, database.connected() as connection:
        connection.execute("SELECT pg_sleep(60)")
    assert "took too long" in told.value.message
    assert "statement timeout" in told.value.message
    assert "does not answer" not in told.value.message
    assert "shorter span" in str(told.value.hint)


def test_the_seed_is_of_the_size_that_is_asked_for(db: psycopg.Connection[Any]) -> None:
    assert one(db, "SELECT count(*) FROM ops.runs") == 130
    assert one(db, "SELECT count(*) FROM ops.datasets") == 45
    assert one(db, "SELECT sum(rows_in) FROM ops.written WHERE dataset = %s", GOLD) > 0
    assert len(run_queries.open_alerts(db)) == 4


# ── today ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_failed_run_is_told_until_another_made_it_good(own: psycopg.Connection[Any]) -> None:
    add_run(own, "a", "failed", hours=5, domain="sales")
    add_run(own, "b", "failed", hours=4, domain="finance")
    add_run(own, "c", "published", hours=3, domain="finance")
    add_run(own, "d", "conflicted", hours=2, domain="fleet")
    add_run(own, "e", "merged", hours=1, domain="other", retry_of="d")
    add_run(own, "old", "failed", hours=30, domain="energy")
    assert list(queries.ended_badly(own, 24)["run_id"]) == ["a"]
    assert dict(queries.counted_runs(own, 24).itertuples(index=False)) == {
        "failed": 2,
        "published": 1,
        "conflicted": 1,
        "merged": 1,
    }


def test_what_is_late_is_known_by_the_clock(own: psycopg.Connection[Any]) -> None:
    for name, hours in (("late", -2), ("soon", 3), ("later", 30)):
        own.execute(
            "INSERT INTO ops.freshness VALUES (%s, '2026-01-01', now(), '2026-01-02', now() + make_interval(hours => %s))",
            (f"gold.sales.{name}", hours),
        )
    own.execute("INSERT INTO ops.freshness VALUES ('gold.sales.without_sla', '2026-01-01', now(), NULL, NULL)")
    assert list(queries.late(own)["dataset"]) == ["gold.sales.late"]
    assert list(queries.late(own, 12)["dataset"]) == ["gold.sales.late", "gold.sales.soon"]
    assert queries.promised(own) == 3


def test_a_warehouse_is_behind_by_the_commits_that_changed_gold(own: psycopg.Connection[Any]) -> None:
    for n, dataset in enumerate(("gold.sales.a", "gold.sales.a", "silver.sales.b", "gold.sales.a"), 1):
        add_commit(own, n, {dataset: 10 * n})
    add_publication(own, "h1", ["gold.sales.a"])
    (found,) = queries.unpublished(own).itertuples()
    assert (found.target, found.sequence, found.behind) == ("snowflake", 1, 2)


# ── quality ───────────────────────────────────────────────────────────────────────────────────────
def test_a_dataset_is_as_its_newest_date_on_main_says(own: psycopg.Connection[Any]) -> None:
    own.execute("INSERT INTO ops.datasets VALUES ('gold.sales.a', 'sales', 'gold', 'a', 'analytics', 'o', 'd', '1', 2)")
    for run, hours, state, day, score in (
        ("x", 9, "merged", "2026-01-02", 80), ("y", 8, "merged", "2026-01-03", 90),
        ("backfill", 1, "merged", "2026-01-01", 50), ("bad", 0, "failed", "2026-01-04", 10),
    ):  # fmt: skip
        add_run(own, run, state, hours=hours, domain="sales")
        add_write(own, run, "gold.sales.a", day, state == "merged", score)
    own.execute(
        "INSERT INTO ops.rule_results VALUES ('bad', 1, 'r', 'gold.sales.a', '2026-01-04', 'error', false, 5, 10, 0, 'pass', 'd')"
    )
    (found,) = queries.datasets_now(own).itertuples()
    assert (found.score, found.usual, found.run_id, found.failed_run) == (90, 65, "y", "bad")
    (layer,) = queries.layers_now(own).itertuples()
    assert (layer.layer, layer.datasets, layer.score, layer.before) == ("gold", 1, 90, 65)
    dates = queries.scores_of_dataset(own, "gold.sales.a", 10)
    assert list(dates["score"]) == [50, 80, 90, 10]
    assert list(dates["merged"]) == [True, True, True, False]


def test_scores_rules_and_quarantine_add_up(db: psycopg.Connection[Any]) -> None:
    scores = queries.scores_of_layers(db, 400)
    of_gold = "SELECT avg(score) FROM ops.written WHERE merged AND dataset LIKE 'gold.%%' AND logical_date = %s"
    expected = one(db, of_gold, scores["date"].iloc[0])
    assert scores[scores["layer"] == "gold"]["score"].iloc[0] == pytest.approx(expected)
    caught = queries.rules_of(db, 400, limit=1000)
    told = "JOIN ops.runs USING (run_id) WHERE state <> 'conflicted'"
    assert caught["bad"].sum() == one(db, f"SELECT sum(bad) FROM ops.rule_results {told}")
    refused = one(db, f"SELECT count(*) FROM ops.rule_results {told} AND NOT passed AND severity = 'error'")
    assert caught["refused"].sum() == refused
    aside = queries.quarantine(db, 400, limit=10_000)
    assert aside["quarantined"].sum() == one(db, f"SELECT sum(quarantined) FROM ops.written {told}")
    worst = aside.iloc[0]
    samples = queries.samples(db, worst["dataset"], [worst["run_id"]])
    assert len(samples) > 0
    assert samples["sample"].str.contains("amount").all()
    assert len(queries.anomalies(db, 400)) == one(db, f"SELECT count(*) FROM ops.anomalies {told}")


# ── operations ────────────────────────────────────────────────────────────────────────────────────
def test_volume_is_what_the_tables_hold_at_the_end_of_a_day(own: psycopg.Connection[Any]) -> None:
    add_commit(own, 1, {"gold.sales.a": 100, "gold.sales.b": 10}, days=40)
    add_commit(own, 2, {"gold.sales.a": 150}, days=3)
    add_commit(own, 3, {"gold.sales.a": 120, "gold.sales.a__quarantine": 4}, days=1)
    found = operations_queries.volume(own, 30)
    assert [(v.layer, v.rows) for v in found.itertuples()] == [("gold", 110), ("gold", 160), ("gold", 130), ("quarantine", 4)]
    assert [(s.layer, s.tables, s.rows) for s in operations_queries.storage_of_layers(own).itertuples()] == [
        ("gold", 2, 130), ("quarantine", 1, 4),
    ]  # fmt: skip
    assert list(operations_queries.storage(own)["dataset"]) == ["gold.sales.a", "gold.sales.b", "gold.sales.a__quarantine"]


def test_operations_are_counted_as_they_are(db: psycopg.Connection[Any]) -> None:
    assert operations_queries.outcomes(db, 400)["runs"].sum() == 130
    runs = operations_queries.runs_since(db, 400 * 24)
    assert set(runs["domains"].dropna()) == {"claims", "customers", "energy"}
    times = operations_queries.step_times(db, 400)
    assert {"merge.commit", "data.overwrite"} <= set(times["step"])
    assert (times["low"] <= times["median"]).all()
    assert (times["median"] <= times["high"]).all()
    (newest, *_) = operations_queries.publications(db).itertuples()
    assert newest.tables == 15
    assert newest.rows == one(db, "SELECT sum(value::bigint) FROM ops.publications, jsonb_each_text(rows) WHERE sequence = %s",
                              newest.sequence)  # fmt: skip


def test_runs_that_overlap_get_lanes_of_their_own(own: psycopg.Connection[Any]) -> None:
    for name, hours in (("a", 9), ("b", 8), ("c", 5)):
        add_run(own, name, "merged", hours=hours, domain=name)
    own.execute("UPDATE ops.runs SET ended_at = opened_at + interval '2 hours'")
    runs = operations_queries.runs_since(own, 24)
    assert charts.lanes(runs.assign(until=runs["ended_at"])) == [0, 1, 0]


# ── one run ───────────────────────────────────────────────────────────────────────────────────────
def test_a_run_is_told_with_what_it_changed(own: psycopg.Connection[Any]) -> None:
    add_run(own, "2026-01-01-a", "merged", hours=2, domain="sales")
    add_run(own, "2026-01-02-b", "merged", hours=1, domain="sales", retry_of="2026-01-01-a")
    add_commit(own, 1, {"gold.sales.a": 100})
    add_commit(own, 2, {"gold.sales.a": 160, "gold.sales.b": 5})
    assert run_queries.run(own, "2026-01-0") is None
    told = run_queries.run(own, "2026-01-02")
    assert told is not None
    assert (told.row["run_id"], told.story["options"]["domain"]) == ("2026-01-02-b", "sales")
    assert list(run_queries.retries(own, "2026-01-01-a")["run_id"]) == ["2026-01-02-b"]
    assert [(d.dataset, d.before, d.after) for d in run_queries.differences(own, "h2").itertuples()] == [
        ("gold.sales.a", 100, 160), ("gold.sales.b", 0, 5),
    ]  # fmt: skip


def test_a_refusal_is_the_first_verdict_of_its_run(db: psycopg.Connection[Any]) -> None:
    failed = one(db, "SELECT run_id FROM ops.runs WHERE error LIKE 'GateRefused%%' ORDER BY opened_at DESC LIMIT 1")
    first = run_queries.rules(db, failed).iloc[0]
    assert (bool(first["passed"]), first["severity"]) == (False, "error")
    assert len(run_queries.steps(db, failed)) == 6
    assert list(run_queries.alerts_of(db, run_id=failed)["rule"]) == ["run_failed"]
    kept = one(db, "SELECT count(*) FROM ops.audit WHERE run_id = %s", failed)
    assert len(run_queries.audit_of(db, failed)) == kept > 0


# ── alerts ────────────────────────────────────────────────────────────────────────────────────────
def test_an_alert_is_acknowledged_once_and_silenced_for_a_time(own: psycopg.Connection[Any]) -> None:
    for name in ("a", "b"):
        own.execute("INSERT INTO ops.alerts (occurrence, rule, kind, severity, dataset, summary, command) "
                    "VALUES (%s, 'gap', 'gap', 'error', %s, 's', 'c')", (name, f"gold.sales.{name}"))  # fmt: skip
    first, second = run_queries.open_alerts(own).sort_values("dataset")["alert_id"]
    assert actions.acknowledge(own, [first], "ann") == 1
    assert actions.acknowledge(own, [first], "bob") == 0
    assert list(run_queries.open_alerts(own)["alert_id"]) == [second, first], "what nobody knows of comes first"
    now = datetime.now(UTC)
    actions.silence(own, rule="gap", dataset="gold.sales.b", until=now + timedelta(hours=1), who="ann", why="moved")
    own.execute("INSERT INTO ops.silences (dataset, until, who, why) VALUES ('gold.sales.a', %s, 'ann', 'over')",
                (now - timedelta(hours=1),))  # fmt: skip
    found = run_queries.open_alerts(own).set_index("alert_id")
    assert found.loc[first, "acknowledged_by"] == "ann"
    assert found["silence_id"].isna().to_dict() == {first: True, second: False}
    assert list(run_queries.silences(own)["why"]) == ["moved"]


# ── lineage ───────────────────────────────────────────────────────────────────────────────────────
def test_a_neighbourhood_is_walked_step_by_step(own: psycopg.Connection[Any]) -> None:
    for source, target in (("a", "b"), ("b", "c"), ("c", "d"), ("x", "c"), ("c", "c")):
        own.execute("INSERT INTO ops.lineage VALUES ('dataset', %s, '', 'dataset', %s, '', 'read')", (source, target))
    own.execute("INSERT INTO ops.lineage VALUES ('landing', 's3://l/a', '', 'dataset', 'a', '', 'read')")
    own.execute("INSERT INTO ops.lineage VALUES ('dataset', 'b', 'n', 'dataset', 'c', 'm', 'expression')")
    own.execute("INSERT INTO ops.lineage VALUES ('dataset', 'b', 'k', 'dataset', 'c', 'm', 'condition')")

    def names(places: dict[Node, int]) -> dict[str, int]:
        return {node.name + node.column: step for node, step in places.items()}

    c = Node("dataset", "c")
    assert names(lineage_queries.around(own, c, 1, 1)[0]) == {"c": 0, "b": -1, "x": -1, "d": 1}
    assert names(lineage_queries.around(own, c, 9, 0)[0]) == {"c": 0, "b": -1, "x": -1, "a": -2, "s3://l/a": -3}
    places, edges = lineage_queries.around(own, Node("dataset", "c", "m"), 2, 2)
    assert names(places) == {"cm": 0, "bn": -1, "bk": -1}
    assert {(e.source.column, e.how) for e in edges} == {("n", "expression"), ("k", "condition")}
    assert lineage_queries.columns_of(own, c) == ["m"]
    assert lineage_queries.known(own, "s3://l/a") == Node("landing", "s3://l/a")
    assert lineage_queries.known(own, "nowhere") is None
    assert [node.name for node in lineage_queries.find(own, "L/A")] == ["s3://l/a"]


def test_lineage_of_the_year_reaches_from_files_to_reports(db: psycopg.Connection[Any]) -> None:
    places, _ = lineage_queries.around(db, Node("dataset", GOLD), 12, 12)
    assert {node.kind for node in places} == {"landing", "dataset", "warehouse", "mart", "exposure"}
    assert len(lineage_queries.domains(db)) == 9
    assert len(lineage_queries.files_of(db, "bronze.customers.orders")) == 15
    assert {e.source.name.split(".")[1] for e in lineage_queries.of_domain(db, "claims")} == {"claims"}

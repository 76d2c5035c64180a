"""The judge and the gate: what a rule rejects, what stays within its tolerance, what a person is told."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from typing import Any

import pytest
from pyspark.sql import DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

from medallion.contract import Contract, Rule, Severity
from medallion.errors import ContractError, GateRefused
from medallion.quality import gate, judge, table_rules
from medallion.quality.observation import observed_counts
from medallion.quality.rules import passes
from medallion.quality.verdict import Judged, Verdict
from tests.frames import frame_of
from tests.lake_tables import gold

DAY = date(2013, 1, 1)
INF = float("inf")
Kept = dict[str, list[Row]]


def rule(name: str, condition: str, tolerance: float = 0, severity: Severity = "error") -> Rule:
    return Rule(name, severity, tolerance, f"{name} holds", condition)


POSITIVE = rule("positive", "amount > 0")
SMALL = rule("small", "amount < 100", severity="warning")
UNIQUE = Rule("key_unique", "error", 0, "id is unique", unique=("id",))


def contract(*rules: Rule, **more: Any) -> Contract:
    return gold("amounts", {"id": "bigint", "amount": "int", "email": "string"}, rules=rules, **more)


def run(spark: SparkSession, of: Contract, rows: list[tuple], kept: Kept | None = None) -> Judged:
    """Judge rows; what is written and what is put aside stays in memory, in `kept`."""
    frame = frame_of(spark, [(*row, None)[:3] for row in rows], "id bigint, amount int, email string")
    kept = {} if kept is None else kept

    def keep(name: str, frame: DataFrame) -> DataFrame:
        kept[name] = frame.collect()
        return frame_of(spark, kept[name], frame.schema)

    def write(frame: DataFrame) -> int:
        keep("written", frame)
        kept["frame"] = frame
        return len(kept["written"])

    return judge.judge(
        frame, of, "run-1", DAY, write=write, quarantine=lambda bad: keep("quarantine", bad), written=lambda: kept["frame"],
        table=lambda: kept["frame"].union(kept.get("earlier", kept["frame"].limit(0))),
    )  # fmt: skip


def verdict(judged: Judged, name: str) -> Verdict:
    return next(each for each in judged.verdicts if each.rule == name)


# ── tolerance ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("tolerance", "bad", "judged", "allowed"),
    [
        (0, 0, 100, True),
        (0, 1, 10_000_000, False),
        (0, 0, 0, True),
        (0.01, 1, 100, True),
        (0.01, 1, 99, False),
        (0.01, 0, 0, True),
        (0.29, 29, 100, True),
        (0.29, 30, 100, False),
        (0.07, 7, 100, True),
        (0.999, 100, 100, False),
        (1, 1, 1, True),
        (1, 1, 1_000_000, True),
        (1, 2, 1_000_000, False),
        (5, 5, 5, True),
        (5, 6, 6, False),
    ],
)
def test_a_tolerance_below_1_is_a_share_and_from_1_on_a_number(tolerance: float, bad: int, judged: int, allowed: bool) -> None:
    assert dataclasses.replace(POSITIVE, tolerance=tolerance).allows(bad, judged) is allowed


# ── rules on rows ─────────────────────────────────────────────────────────────────────────────────
def test_a_rule_that_is_null_on_a_row_holds_and_every_rule_counts(spark: SparkSession) -> None:
    frame = frame_of(spark, [(1,), (-1,), (500,), (None,)], "amount int")
    rules = [POSITIVE, SMALL, rule("either", "amount IS NULL OR amount <> 7")]
    assert [row[0] for row in frame.select(passes(rules)).collect()] == [True, False, False, True]
    assert [row[0] for row in frame.select(passes([])).collect()] == [True] * 4
    mixed = rule("or_binds_less", "amount > 0 OR amount < -5")
    assert [row[0] for row in frame.select(passes([mixed, SMALL])).collect()] == [True, False, False, True]


def test_good_rows_are_written_and_bad_ones_put_aside_with_their_reasons(spark: SparkSession) -> None:
    kept: Kept = {}
    odd = rule("odd", "id % 2 = 1", tolerance=0.5)
    judged = run(spark, contract(POSITIVE, odd, SMALL), [(1, 5), (2, -5), (3, -1), (5, 500), (7, None)], kept)
    assert (judged.rows_in, judged.rows_out, judged.quarantined, judged.warned) == (5, 3, 2, 1)
    assert [row["id"] for row in kept["written"]] == [1, 5, 7]
    assert [(row["rules"], json.loads(row["record"])["id"]) for row in kept["quarantine"]] == [
        (["positive", "odd"], 2), (["positive"], 3)
    ]  # fmt: skip
    assert {(row["_run_id"], row["_logical_date"]) for row in kept["quarantine"]} == {("run-1", DAY)}
    found = {v.rule: (v.bad, v.judged, v.passed) for v in judged.verdicts}
    assert found == {"positive": (2, 5, False), "odd": (1, 5, True), "small": (1, 5, False)}
    assert [v.rule for v in judged.refusals] == ["positive"]
    assert json.loads(verdict(judged, "small").samples[0]) == {"amount": 500}


@pytest.mark.parametrize("bad", [True, False])
def test_all_rows_may_be_bad_or_good(spark: SparkSession, bad: bool) -> None:
    kept: Kept = {}
    judged = run(spark, contract(POSITIVE), [(n, -1 if bad else 1) for n in range(4)], kept)
    assert (judged.rows_out, judged.quarantined, len(kept["written"])) == ((0, 4, 0) if bad else (4, 0, 4))
    assert ("quarantine" in kept) is bad
    assert verdict(judged, "positive").passed is not bad


def test_no_rows_break_no_rule_but_a_bound(spark: SparkSession) -> None:
    some = Rule("some", "error", 0, "there are rows", rows=(1, INF))
    judged = run(spark, contract(POSITIVE, SMALL, UNIQUE, some), [])
    assert (judged.rows_in, judged.rows_out, judged.quarantined, judged.warned) == (0, 0, 0, 0)
    assert {v.rule: v.passed for v in judged.verdicts} == {"positive": True, "small": True, "key_unique": True, "some": False}


def test_samples_are_few_and_show_nothing_personal(spark: SparkSession) -> None:
    of = contract(rule("plausible", "amount > 0 AND email LIKE '%@%'"), Rule("email_unique", "error", 0, "", unique=("email",)))
    of = dataclasses.replace(of, columns=tuple(dataclasses.replace(c, personal=c.name == "email") for c in of.columns))
    kept: Kept = {}
    judged = run(spark, of, [(n, -n, "eve") for n in range(1, 9)] + [(n, 1, "a@b") for n in (10, 11)], kept)
    samples = verdict(judged, "plausible").samples + verdict(judged, "email_unique").samples
    assert [json.loads(sample) for sample in samples] == [{"amount": -1}, {"amount": -2}, {"amount": -3}, {"_rows": 2}]
    assert not any("eve" in row["record"] for row in kept["quarantine"])


@pytest.mark.parametrize("condition", ["amonut > 0", "amount >", "no_such_function(amount)"])
def test_a_rule_that_cannot_be_applied_is_named(spark: SparkSession, condition: str) -> None:
    with pytest.raises(ContractError, match=r"gold\.amounts\.odcs\.yaml: quality 'strange' cannot be applied") as refused:
        run(spark, contract(POSITIVE, rule("strange", condition)), [(1, 1)])
    assert refused.value.exit_code == 2


# ── rules on tables ───────────────────────────────────────────────────────────────────────────────
def test_a_key_counts_the_rows_too_many_of_those_written(spark: SparkSession) -> None:
    pair = dataclasses.replace(UNIQUE, name="pair_unique", unique=("id", "email"))
    rows = [(1, 1, "a"), (1, 1, "b"), (1, 1, None), (1, 1, None), (2, 1, "a"), (2, 1, "b"), (3, 1, "a"), (3, -1, "a")]
    judged = run(spark, contract(POSITIVE, UNIQUE, pair), rows)
    found = verdict(judged, "key_unique")
    assert (found.bad, found.judged, found.passed) == (4, 7, False)
    assert [json.loads(sample) for sample in found.samples] == [{"id": 1, "_rows": 4}, {"id": 2, "_rows": 2}]
    assert verdict(judged, "pair_unique").bad == 1


@pytest.mark.parametrize(
    ("rows", "passed"), [((2, 2), True), ((0, 2), True), ((2, INF), True), ((3, INF), False), ((0, 1), False)]
)
def test_a_bound_counts_what_was_written(rows: tuple[float, float], passed: bool) -> None:
    def no_read() -> DataFrame:
        raise AssertionError("a bound needs no second look at the rows")

    of = contract(POSITIVE, Rule("count", "error", 0, "", rows=rows))
    (found,) = table_rules.table_verdicts(of, 2, no_read, no_read)
    assert (found.passed, found.judged, bool(found.samples)) == (passed, 2, not passed)


def test_a_rule_of_the_table_looks_at_rows_of_earlier_writes_too(spark: SparkSession) -> None:
    few = Rule("few", "error", 0, "", rows=(0, 2))
    of_all = [dataclasses.replace(each, name=f"{each.name}_of_all", scope="table") for each in (UNIQUE, few)]
    earlier: Kept = {"earlier": frame_of(spark, [(2, 1, "x")], "id bigint, amount int, email string")}
    judged = run(spark, contract(POSITIVE, UNIQUE, few, *of_all), [(1, 1), (2, 1)], earlier)
    assert {v.rule: (v.bad, v.judged) for v in judged.verdicts} == {
        "positive": (0, 2), "key_unique": (0, 2), "few": (0, 2), "key_unique_of_all": (1, 3), "few_of_all": (1, 3)
    }  # fmt: skip
    assert [json.loads(sample) for sample in verdict(judged, "key_unique_of_all").samples] == [{"id": 2, "_rows": 2}]


# ── counters ──────────────────────────────────────────────────────────────────────────────────────
def test_counters_that_a_retried_task_doubled_or_lost_are_not_believed(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, rows = contract(dataclasses.replace(POSITIVE, tolerance=2), SMALL), [(1, 5), (2, -5), (3, 500)]
    original = judge.observed_counts
    right = run(spark, of, rows)
    assert (right.rows_in, right.quarantined, right.warned) == (3, 1, 1)
    monkeypatch.setattr(judge, "observed_counts", lambda _: None)
    assert run(spark, of, rows) == right
    monkeypatch.setattr(judge, "observed_counts", lambda o: {k: 2 * v for k, v in (original(o) or {}).items()})
    assert run(spark, of, rows) == right
    all_bad = run(spark, of, [(1, -5), (2, -6)])
    assert (all_bad.rows_in, all_bad.quarantined) == (2, 2), "nothing was added to compare with"


def test_counters_that_spark_has_not_told_in_time_are_none(spark: SparkSession) -> None:
    observation, rows = Observation(), spark.range(3)
    observed = rows.observe(observation, F.count(F.lit(1)).alias("judged"))
    assert observed_counts(observation) is None, "nothing was run yet"
    observed.collect()
    spark.sparkContext._jsc.sc().listenerBus().waitUntilEmpty()
    assert observed_counts(observation) == {"judged": 3}


# ── the gate ──────────────────────────────────────────────────────────────────────────────────────
def write(*verdicts: Verdict, dataset: str = "silver.shop.orders") -> dict[str, Any]:
    return {"dataset": dataset, "logical_date": DAY, "verdicts": [v.as_json() for v in verdicts]}


HELD = Verdict("held", "error", 1, 100, 0.01, True, "it holds")
WARNED = Verdict("warned", "warning", 100, 100, 0, False, "it should hold")
BROKEN = Verdict("broken", "error", 3, 100, 0.01, False, "it must hold", ('{"id":1}', '{"id":2}'))


def test_the_gate_lets_pass_what_held_and_what_only_warns() -> None:
    gate.check("run-1", "run/run-1", [])
    gate.check("run-1", "run/run-1", [{"dataset": "bronze.shop.orders"}, write(HELD, WARNED)])


def test_the_gate_names_rule_figures_samples_state_and_remedy() -> None:
    many = Verdict("many", "error", 7, 100, 5, False, "few are wrong")
    with pytest.raises(GateRefused) as refused:
        gate.check("run-1", "run/run-1", [write(HELD, BROKEN), write(many, WARNED, dataset="gold.shop.daily_totals")])
    told = str(refused.value)
    assert refused.value.exit_code == 3
    assert "the gate refused run run-1: 2 rules broken beyond their tolerance" in told
    assert "silver.shop.orders 2013-01-01: broken — 3 of 100 rows (3.00%; 1.00% allowed): it must hold" in told
    assert "gold.shop.daily_totals 2013-01-01: many — 7 of 100 rows (7.00%; 5 rows allowed): few are wrong" in told
    assert '{"id":1}' in told
    assert "main and the warehouse are unchanged; branch run/run-1 is kept, sealed" in told
    assert "medallion show run-1" in told
    assert not {"held", "warned —"} & set(told.split())


def test_a_broken_rule_of_nothing_is_told_without_dividing() -> None:
    nothing = Verdict("some", "error", 1, 0, 0, False, "there are rows")
    with pytest.raises(GateRefused, match=r"some — 1 of 0 rows"):
        gate.check("run-1", "run/run-1", [write(nothing)])

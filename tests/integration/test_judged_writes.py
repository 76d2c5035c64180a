"""Writes of many rows, judged by figures, dictionaries, one flag and one look: the rows, the reasons, and no trace."""

from __future__ import annotations

import dataclasses
import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from medallion.contract import Rule, Severity
from medallion.errors import ContractError
from medallion.lakehouse.counted import Counted
from medallion.lakehouse.history import DATE_PROPERTY, INPUTS_PROPERTY, made
from medallion.lakehouse.replay import writes
from medallion.lakehouse.staging import BROKEN, Staging, added
from medallion.lakehouse.table import open_static
from medallion.settings import Settings
from tests.judging import COLUMNS, DAY, Desk, Values, row

NEXT_DAY = date(2031, 3, 2)
NAN = float("nan")


def rule(name: str, condition: str, severity: Severity = "error", tolerance: float = 0.5) -> Rule:
    return Rule(name, severity, tolerance, f"{name} holds", condition)


GIVEN = rule("given", "`amount` IS NOT NULL")
KNOWN = rule("known", "`kind` RLIKE r'^[A-Z]{1,2}$'")
ORDER = rule("order", "low <= high")
LIGHT = rule("light", "weight < 5", "warning")
SHORT = rule("short", "length(kind) <= 1", "warning")


@pytest.fixture
def desk(stack: Settings) -> Iterator[Callable[..., Desk]]:
    desks: list[Desk] = []

    def make(*rules: Rule) -> Desk:
        desks.append(Desk(stack, *rules))
        return desks[-1]

    yield make
    for each in desks:
        each.nessie.close()


def test_sound_rows_are_proven_and_go_straight_into_the_table(desk: Callable[..., Desk]) -> None:
    of = desk(GIVEN, KNOWN, LIGHT, SHORT)
    judged = of.write([row(n, "ABN"[n % 3]) for n in range(9)])
    assert {v.rule: v.decided_by for v in judged.verdicts} == {
        "given": "figures", "known": "dictionary", "light": "figures", "short": "dictionary"
    }  # fmt: skip
    assert all(v.passed and v.bad == 0 and v.judged == 9 for v in judged.verdicts)
    assert (judged.rows_in, judged.rows_out, judged.quarantined, judged.warned, of.ids()) == (9, 9, 0, 0, list(range(9)))
    assert of.tables() == {of.contract.dataset, of.contract.quarantine}


def test_rows_that_break_a_rule_in_the_pass_never_reach_the_table(desk: Callable[..., Desk], stack: Settings) -> None:
    of = desk(GIVEN, ORDER, KNOWN)
    of.write([row(1)], NEXT_DAY)
    before = of.branch.content(of.contract.dataset)
    judged = of.write([row(2), row(3, low=3), row(4, low=None), row(5, low=9, kind="AB")])
    assert (judged.rows_in, judged.rows_out, judged.quarantined) == (4, 2, 2)
    assert {v.rule: (v.bad, v.passed, v.decided_by) for v in judged.verdicts} == {
        "given": (0, True, "figures"), "order": (2, True, "pass"), "known": (0, True, "dictionary")
    }  # fmt: skip
    assert (of.ids(), of.ids(NEXT_DAY)) == ([2, 4], [1])
    kept = of.kept().collect()
    assert sorted((json.loads(r["record"])["id"], r["rules"]) for r in kept) == [(3, ["order"]), (5, ["order"])]
    assert list(json.loads(kept[0]["record"])) == list(COLUMNS)
    # nothing of how it was done is left: no table, no column, no snapshot with the rows; and the notes are those of the write
    assert of.tables() == {of.contract.dataset, of.contract.quarantine}
    after = of.branch.content(of.contract.dataset)
    table = open_static(stack.s3, after)
    assert BROKEN not in table.schema().column_names
    assert [len(file.partition) for file in added(stack.s3, after).good] == [1]
    (write,) = writes(stack.s3, before, after)
    assert (write.logical_date, write.notes[INPUTS_PROPERTY], write.notes[DATE_PROPERTY]) == (DAY, "inputs 2", DAY.isoformat())
    assert made(stack.s3, after)[DAY].inputs == "inputs 2"
    assert not write.changes.removed
    again = of.write([row(6), row(7, low=3)])
    assert (of.ids(), of.ids(NEXT_DAY), again.quarantined) == ([6], [1], 1), "the day's rows are replaced, and they alone"
    assert [json.loads(r["record"])["id"] for r in of.kept().collect()] == [7]


def test_a_rule_found_broken_late_costs_its_rows_and_is_in_the_pass_from_then_on(desk: Callable[..., Desk]) -> None:
    of = desk(GIVEN, KNOWN)
    shuffled = of.frame([row(1), row(2, amount=None), row(3, "abc"), row(4, "abc", None)]).repartition(1)
    judged = of.write(shuffled)  # whose first rows are not to be had without the others
    assert {v.rule: (v.bad, v.decided_by) for v in judged.verdicts} == {"given": (2, "aggregate"), "known": (2, "aggregate")}
    assert (judged.rows_in, judged.rows_out, judged.quarantined, of.ids()) == (4, 1, 3, [1])
    reasons = {json.loads(r["record"])["id"]: r["rules"] for r in of.kept().collect()}
    assert reasons == {2: ["given"], 3: ["known"], 4: ["given", "known"]}
    table = open_static(of.settings.s3, of.branch.content(of.contract.dataset))
    assert [s.summary and s.summary["added-records"] for s in table.metadata.snapshots] == ["1"], "no version ever had them"
    judged = of.write([row(1), row(2, amount=None)])
    assert {v.rule: (v.bad, v.decided_by) for v in judged.verdicts} == {"given": (1, "pass"), "known": (0, "pass")}
    assert of.ids() == [1]


def test_a_first_write_is_told_by_its_first_rows_what_it_is_like(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rules are judged, and never what comes of it: what the sample misses is found late, as without it."""
    rows = [row(1), row(2), row(3, amount=None), row(4, "abc"), row(5, "abc", None)]
    for looked_at, way in ((5, {"given": "pass", "known": "pass"}), (3, {"given": "pass", "known": "aggregate"}),
                           (2, {"given": "aggregate", "known": "aggregate"})):  # fmt: skip
        for name in ("FIRST_ROWS", "ROWS"):
            monkeypatch.setattr(f"medallion.quality.sample.{name}", looked_at)
        of = desk(GIVEN, KNOWN)
        judged = of.write(rows)
        assert {v.rule: v.decided_by for v in judged.verdicts} == way
        assert ({v.rule: v.bad for v in judged.verdicts}, of.ids()) == ({"given": 2, "known": 2}, [1, 2])
        reasons = {json.loads(r["record"])["id"]: r["rules"] for r in of.kept().collect()}
        assert reasons == {3: ["given"], 4: ["known"], 5: ["given", "known"]}
    of = desk(GIVEN, KNOWN)
    judged = of.write([row(n, chr(65 + n)) for n in range(9)])
    assert {v.rule: v.decided_by for v in judged.verdicts} == {"given": "figures", "known": "pass"}, (
        "too many values for a dictionary"
    )


def stored(of: Desk, folder: Path, *rows: Values) -> DataFrame:
    """Rows as a file has them."""
    path = folder / f"{uuid.uuid4().hex}.parquet"
    pq.write_table(of.arrow(rows), path)
    return of.spark.read.parquet(str(path))


def test_rows_that_history_or_their_first_say_are_sound_are_written_without_a_place_aside(
    desk: Callable[..., Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside: list[str] = []
    staged = Staging.write
    monkeypatch.setattr(Staging, "write", lambda self, *more: (aside.append("aside"), staged(self, *more))[1])
    of = desk(GIVEN, ORDER)
    for rows in ([row(1), row(2)], [row(3), row(4, low=None)]):
        judged = of.write(stored(of, tmp_path, *rows))
        assert {v.rule: (v.bad, v.decided_by) for v in judged.verdicts} == {"given": (0, "figures"), "order": (0, "pass")}
        assert (judged.rows_in, judged.rows_out, of.ids(), aside) == (2, 2, [r[0] for r in rows], [])
    judged = of.write(stored(of, tmp_path, row(5), row(6, low=9), row(7, amount=None)))
    assert aside, "a row was left out, which only a place aside can name"
    assert {v.rule: v.bad for v in judged.verdicts} == {"given": 1, "order": 1}
    assert (judged.rows_in, judged.rows_out, judged.quarantined, of.ids()) == (3, 1, 2, [5])
    assert {json.loads(r["record"])["id"]: r["rules"] for r in of.kept().collect()} == {6: ["order"], 7: ["given"]}
    table = open_static(of.settings.s3, of.branch.content(of.contract.dataset))
    assert [s.summary and s.summary["added-records"] for s in table.metadata.snapshots] == ["2", "2", "1"]
    monkeypatch.setattr(Staging, "write_all", lambda *_: pytest.fail("the history has broken rows"))
    assert of.write(stored(of, tmp_path, row(8), row(9, low=9))).quarantined == 1
    assert of.ids() == [8]


def test_a_rule_found_broken_late_in_rows_written_without_a_place_aside(desk: Callable[..., Desk], tmp_path: Path) -> None:
    """Though they came with a column that the dataset has not."""
    of = desk(GIVEN, ORDER, rule("parsed", "_unparsed IS NULL"))
    for rows in ([row(1)], [row(2), row(3, amount=None), row(4)]):
        judged = of.write(stored(of, tmp_path, *rows).withColumn("_unparsed", F.lit(None).cast("string")))
    assert {v.rule: (v.bad, v.decided_by) for v in judged.verdicts} == {
        "given": (1, "aggregate"), "order": (0, "pass"), "parsed": (0, "pass")
    }  # fmt: skip
    assert (judged.rows_in, judged.rows_out, judged.quarantined, of.ids()) == (3, 2, 1, [2, 4])
    assert [(json.loads(r["record"])["id"], r["rules"]) for r in of.kept().collect()] == [(3, ["given"])]


def test_rows_that_are_read_from_the_dataset_too_are_written_again_as_if_for_the_first_time(
    desk: Callable[..., Desk], tmp_path: Path
) -> None:
    of = desk(GIVEN, ORDER)
    of.write(stored(of, tmp_path, row(1)))
    there = of.branch.read(of.contract.dataset).select("id")
    new = stored(of, tmp_path, row(1), row(5), row(6, low=9)).join(there, "id", "left_anti").select(*COLUMNS)
    judged = of.write(new.withColumn("day", F.lit(NEXT_DAY)), NEXT_DAY)
    assert (judged.rows_in, judged.rows_out, judged.quarantined, of.ids(NEXT_DAY)) == (2, 1, 1, [5])


def test_rows_are_counted_where_they_come_by(desk: Callable[..., Desk], tmp_path: Path) -> None:
    of = desk()
    rows = stored(of, tmp_path, *[row(n, low=n) for n in range(9)])
    counted, never, empty = Counted(rows.filter("id > 2")), Counted(rows), Counted(rows.filter("false"))
    assert [r["id"] for r in counted.frame.filter("low > 5").collect()] == [6, 7, 8]
    assert (counted.rows(), never.rows()) == (6, None), "also if a later filter would fit into the scan"
    assert (empty.frame.collect(), empty.rows()) == ([], None)
    twice = Counted(rows)
    assert twice.frame.union(twice.frame).count() == 18
    assert twice.rows() is None


def test_rows_of_another_date_are_found_where_they_were_written(desk: Callable[..., Desk]) -> None:
    of = desk(rule("of_its_date", f"`day` IS NOT NULL AND `day` = DATE '{DAY}'"))
    other = desk()
    other.contract, other.branch = dataclasses.replace(of.contract, rules=()), of.branch
    other.write([row(1)], NEXT_DAY)
    judged = of.write(of.frame([row(2)]).union(of.frame([row(3)], NEXT_DAY)).union(of.frame([row(4)], None)))
    assert [(v.rule, v.bad, v.decided_by) for v in judged.verdicts] == [("of_its_date", 2, "aggregate")]
    assert (of.ids(), of.ids(NEXT_DAY), of.branch.read(of.contract.dataset).count()) == ([2], [1], 2)
    assert sorted(json.loads(r["record"])["id"] for r in of.kept().collect()) == [3, 4]


def test_warnings_that_nothing_proves_are_counted_at_once_over_what_was_written(desk: Callable[..., Desk]) -> None:
    of = desk(ORDER, LIGHT, SHORT)
    judged = of.write([row(1), row(2, weight=NAN), row(3, "AB", weight=7), row(4, "AB", low=9, weight=7), row(5, weight=None)])
    assert {v.rule: (v.bad, v.decided_by) for v in judged.verdicts} == {
        "order": (1, "pass"), "light": (2, "aggregate"), "short": (1, "aggregate")
    }  # fmt: skip
    assert (judged.warned, of.ids()) == (2, [1, 2, 3, 5])
    samples = next(v.samples for v in judged.verdicts if v.rule == "short")
    assert [json.loads(sample) for sample in samples] == [{"kind": "AB"}]


@pytest.mark.parametrize("bad", [True, False])
def test_all_rows_may_be_bad_and_there_may_be_none(desk: Callable[..., Desk], bad: bool, stack: Settings) -> None:
    of = desk(GIVEN, ORDER, LIGHT)
    of.write([row(1)])
    judged = of.write([row(n, low=5) for n in range(3)] if bad else of.frame([row(1)]).filter("id > 1"))
    assert (judged.rows_in, judged.rows_out, of.ids()) == ((3, 0, []) if bad else (0, 0, []))
    assert made(stack.s3, of.branch.content(of.contract.dataset))[DAY].inputs == "inputs 2"
    assert [v.bad for v in judged.verdicts] == [0, 3 if bad else 0, 0]


def test_a_rule_that_fails_is_named_and_leaves_nothing_aside(desk: Callable[..., Desk]) -> None:
    for condition in ("low / (high - 2) > 0 AND low > 0", "length(kind) / 0 > 1", "NOT (amount)", "nothing > 1"):
        of = desk(ORDER, rule("the_rule", condition))
        with pytest.raises(ContractError, match="quality 'the_rule'"):
            of.write([row(1), row(2)])
        assert of.tables() == {of.contract.dataset, of.contract.quarantine}


def test_a_key_is_unique_by_plan_or_by_a_look(desk: Callable[..., Desk]) -> None:
    unique = Rule("key_unique", "error", 0, "id is unique", unique=("id",))
    of, without = desk(unique), desk()
    frame = of.frame([row(1), row(2)])
    grouped = frame.groupBy("id").agg(*[F.min(name).alias(name) for name in COLUMNS if name != "id"]).select(*COLUMNS)
    for rows, verdict, more in ((frame, ("aggregate", 0), True), (grouped, ("plan", 0), False)):
        plain = jobs(of, lambda rows=rows: without.write(rows))
        told: list[Any] = []
        looked = jobs(of, lambda rows=rows, told=told: told.append(of.write(rows)))
        assert [(v.decided_by, v.bad) for v in told[0].verdicts] == [verdict]
        assert (looked > plain) is more, "a look is a job, and a plan that tells needs none"
    assert [v.bad for v in of.write(grouped.withColumn("id", F.lit(7).cast("bigint"))).verdicts] == [1]


def jobs(of: Desk, work: Callable[[], Any]) -> int:
    """How many of Spark's jobs some work takes."""
    context = of.spark.sparkContext._jsc.sc()

    def done() -> int:
        context.listenerBus().waitUntilEmpty()
        return int(context.statusStore().jobsList(None).length())

    before = done()
    work()
    return done() - before


# ── as a person would judge, row by row ───────────────────────────────────────────────────────────
RULES: dict[str, Callable[[dict[str, Any]], bool | None]] = {
    "amount >= 0": lambda r: None if r["amount"] is None else r["amount"] >= 0,
    "`amount` IS NOT NULL": lambda r: r["amount"] is not None,
    "weight <= 5": lambda r: None if r["weight"] is None else r["weight"] <= 5,
    "NOT (weight > 5)": lambda r: None if r["weight"] is None else r["weight"] <= 5,
    "kind IN ('A', 'é', '')": lambda r: None if r["kind"] is None else r["kind"] in ("A", "é", ""),
    "kind RLIKE r'^.{0,1}$'": lambda r: None if r["kind"] is None else len(r["kind"]) <= 1,
    "low <= high": lambda r: None if None in (r["low"], r["high"]) else r["low"] <= r["high"],
    "low IS NULL OR low % 2 = 1": lambda r: r["low"] is None or r["low"] % 2 == 1,
}


def test_verdicts_and_rows_are_those_of_a_plain_judge(desk: Callable[..., Desk]) -> None:
    chance = random.Random(5)
    for _ in range(3):
        conditions = chance.sample(sorted(RULES), 5)
        rules = [rule(f"r{i}", c, "warning" if i == 4 else "error") for i, c in enumerate(conditions)]
        of = desk(*rules)
        for _ in range(2):
            rows: list[Values] = [
                row(
                    n,
                    chance.choice(["A", "é", "", None, "AB"][: chance.choice([3, 5])]),
                    chance.choice([0, 5, None, -1]),
                    chance.choice([1, 3, None, 2]),
                    chance.choice([3, 3, None, 0]),
                    weight=chance.choice([0.5, 5.0, None, NAN]),
                )
                for n in range(12)
            ]
            judged = of.write(rows)
            plain = [dict(zip(COLUMNS, r, strict=False)) for r in rows]
            broke = {r["id"]: [u.name for u in rules if RULES[str(u.passes)](_as_spark(r)) is False] for r in plain}
            bad = {n: [name for name in names if name != "r4"] for n, names in broke.items() if set(names) - {"r4"}}
            assert of.ids() == [n for n in broke if n not in bad]
            kept = of.kept().collect() if bad else []
            assert {json.loads(r["record"])["id"]: r["rules"] for r in kept} == bad
            counted = {name: sum(name in names for names in bad.values()) for name in ("r0", "r1", "r2", "r3")}
            counted["r4"] = sum("r4" in names for n, names in broke.items() if n not in bad)
            assert {v.rule: v.bad for v in judged.verdicts} == counted, conditions
            assert (judged.rows_in, judged.quarantined, judged.warned) == (12, len(bad), counted["r4"])


def _as_spark(r: dict[str, Any]) -> dict[str, Any]:
    """NaN is greater than every number."""
    return r | {"weight": float("inf")} if r["weight"] is not None and r["weight"] != r["weight"] else r

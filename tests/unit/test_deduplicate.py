"""What is there twice is dropped as the contract says, counted by reason, and nothing else is lost."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from medallion.contract import Contract, Deduplication, Rule
from medallion.errors import MedallionError
from medallion.quality import deduplicate
from medallion.quality.deduplicate import Deduplicated
from medallion.quality.verdict import Judged
from tests.frames import frame_of
from tests.lake_tables import gold

SCHEMA = "id int, value string, at double, _delivery string, _source_row bigint, _unparsed string"
Rows = list[tuple[Any, ...]]


def contract(**wanted: Any) -> Contract:
    columns = {"id": "int", "value": "string", "at": "double"}
    return gold("things", columns, layer="silver", key=("id",), deduplicate=Deduplication(**wanted))


def once(spark: SparkSession, rows: Rows, **wanted: Any) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """(delivery, source row) of the rows that stay, and the dropped ones by reason."""
    found = Deduplicated(frame_of(spark, [(*row, None)[:6] for row in rows], SCHEMA), contract(**wanted))
    kept: list[Row] = found.frame.collect()
    return sorted((row._delivery, row._source_row) for row in kept), found.dropped(Judged(len(kept), len(kept), 0, 0))


ROWS: Rows = [
    (1, "a", 1.0, "d1", 1),
    (1, "a", 1.0, "d1", 2),  # a copy in the same delivery
    (1, "b", 2.0, "d1", 3),  # newer
    (1, "a", 1.0, "d2", 1),  # a copy that comes again, late
    (2, "x", 5.0, "d2", 2),
    (2, "y", 5.0, "d1", 4),  # of the same instant, delivered before
    (2, "z", None, "d3", 1),  # of no instant: the oldest
    (3, "c", 1.0, "d1", 5),
    (3, "d", 1.0, "d1", 6),  # of the same instant and delivery, further down
    (None, "n", 1.0, "d1", 7),
    (None, "n", 2.0, "d1", 8),  # without a key the same as no other
    (1, "a", 1.0, "d1", 9, "value"),  # does not parse
    (1, "a", 1.0, "d1", 10, "value"),
]
ALONE = [("d1", 7), ("d1", 8), ("d1", 9), ("d1", 10)]


def test_without_a_word_in_the_contract_nothing_is_dropped(spark: SparkSession) -> None:
    found = once(spark, ROWS)
    assert (len(found[0]), found[1]) == (13, {})


def test_of_exact_copies_the_first_delivered_stays(spark: SparkSession) -> None:
    nulls: Rows = [(None, None, None, "d2", 1), (None, None, None, "d1", 1)]
    kept, dropped = once(spark, ROWS, exact=True)
    assert set(ALONE) <= set(kept)
    assert {("d1", 2), ("d2", 1)}.isdisjoint(kept)
    assert dropped == {"exact_copy": 2}
    assert once(spark, nulls, exact=True) == ([("d1", 1)], {"exact_copy": 1})


@pytest.mark.parametrize(
    ("exact", "dropped"), [(False, {"older": 6}), (True, {"exact_copy": 2, "older": 4})], ids=["older", "and copies"]
)
def test_of_a_key_the_latest_stays_then_the_last_delivered_then_the_last_row(
    spark: SparkSession, exact: bool, dropped: dict[str, int]
) -> None:
    expected = sorted([("d1", 3), ("d2", 2), ("d1", 6), *ALONE])
    for seed in range(2):
        rows = random.Random(seed).sample(ROWS, len(ROWS))
        assert once(spark, rows, exact=exact, latest_by="at") == (expected, dropped)


def test_the_latest_of_each_key_alone(spark: SparkSession) -> None:
    """For a table that holds one row of each key: without what does not parse or has no key."""
    frame = frame_of(spark, [(*row, None)[:6] for row in ROWS], SCHEMA)
    found = deduplicate.latest(frame, contract(latest_by="at"))
    assert found.columns == frame.columns
    assert sorted((row._delivery, row._source_row) for row in found.collect()) == [("d1", 3), ("d1", 6), ("d2", 2)]


def test_the_last_delivery_counts_even_if_it_says_what_an_earlier_one_said(spark: SparkSession) -> None:
    rows: Rows = [(1, "a", 1.0, "d1", 1), (1, "b", 1.0, "d2", 1), (1, "a", 1.0, "d3", 1)]
    assert once(spark, rows, exact=True, latest_by="at") == ([("d3", 1)], {"exact_copy": 1, "older": 1})


def test_one_exchange_is_enough(spark: SparkSession) -> None:
    """By the key; so the same exchange can prove that the key is unique."""
    frame = frame_of(spark, [(*row, None)[:6] for row in ROWS], SCHEMA)
    marked = deduplicate._marked(frame, contract(exact=True, latest_by="at"))
    plan = marked._jdf.queryExecution().executedPlan().toString()
    assert plan.count("Exchange hashpartitioning(id#") == plan.count("Exchange ") == 1


def test_counters_that_a_retried_task_doubled_are_not_believed(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    original = deduplicate.observed_counts
    monkeypatch.setattr(deduplicate, "observed_counts", lambda o: {k: 2 * v for k, v in (original(o) or {}).items()})
    assert once(spark, ROWS, exact=True)[1] == {"exact_copy": 2}
    monkeypatch.setattr(deduplicate, "observed_counts", lambda o: None)
    assert once(spark, ROWS, exact=True)[1] == {"exact_copy": 2}
    assert once(spark, [], exact=True, latest_by="at") == ([], {"exact_copy": 0, "older": 0})


def test_rows_that_do_not_add_up_are_an_error(spark: SparkSession) -> None:
    found = Deduplicated(frame_of(spark, [(*row, None)[:6] for row in ROWS], SCHEMA), contract(exact=True))
    found.frame.collect()
    with pytest.raises(
        MedallionError, match=r"silver\.operations\.things: 13 rows came in, and 8 were written, 1 quarantined, 2"
    ):
        found.dropped(Judged(9, 8, 1, 0))
    with pytest.raises(MedallionError, match=r"11 rows came in, and 8 were written, 1 quarantined: that is not the same") as told:
        found.dropped(Judged(11, 8, 1, 0))
    assert "does the transform give the same rows each time" in str(told.value)


def test_a_key_is_settled_where_what_is_left_alone_is_put_aside(spark: SparkSession) -> None:
    parses = Rule("parses", "error", 0, "", "_unparsed IS NULL")
    given = Rule("id_required", "error", 0, "", "id IS NOT NULL")
    unique, wider = (Rule("key", "error", 0, "", unique=columns) for columns in (("id",), ("value", "id")))
    other, in_all = Rule("other", "error", 0, "", unique=("value",)), replace(unique, scope="table")

    def settled(*rules: Rule, **wanted: Any) -> tuple[Rule, ...]:
        of = replace(contract(**wanted), rules=(*rules, unique, wider, other, in_all))
        return Deduplicated(frame_of(spark, [], SCHEMA), of).settled()

    assert settled(parses, given, latest_by="at") == settled(parses, given, latest_by="at", exact=True) == (unique, wider)
    assert settled(parses, given, exact=True) == settled(parses, given) == ()
    for stays in ({"quarantine": False}, {"severity": "warning"}):
        assert settled(parses, replace(given, **stays), latest_by="at") == ()
        assert settled(replace(parses, **stays), given, latest_by="at") == ()

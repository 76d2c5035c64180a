"""Every kind of rule on the values where rules go wrong: null, NaN, '', Unicode, the ends of time."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from medallion.contract import Rule
from medallion.quality.references import flagged
from medallion.quality.rules import passes
from medallion.quality.table_rules import verdicts_over
from medallion.rule_kinds import FLAG, Freshness, Reference
from tests.rule_values import VALUES, contract, frame, properties

ALL = {column: set(named) for column, named in VALUES.items()}


def options(**named: Any) -> dict[str, Any]:
    return {"logicalTypeOptions": named}


def metric(name: str, **arguments: Any) -> dict[str, Any]:
    return {"quality": [{"name": "it", "metric": name, "mustBe": 0, "arguments": arguments}]}


SQL = {"quality": [{"name": "it", "type": "sql", "query": "SELECT COUNT(*) FROM {object} WHERE {property} > 1", "mustBe": 0}]}
BREAK: dict[str, tuple[str, dict[str, Any], set[str]]] = {  # case -> (column, what the contract says, values that break it)
    "required, text": ("text", {"required": True}, {"null"}),
    "required, number": ("number", {"required": True}, {"null"}),
    "nullValues": ("text", metric("nullValues"), {"null"}),
    "missingValues": ("text", metric("missingValues", missingValues=["", "NA", "é"]), {"null", "empty", "NA", "composed"}),
    "missingValues, only null": ("text", metric("missingValues", missingValues=[None]), {"null"}),
    "missingValues, NaN": ("number", metric("missingValues", missingValues=[float("nan"), 0]), {"null", "NaN", "0", "-0"}),
    "missingValues, a date": ("day", metric("missingValues", missingValues=["9999-12-31"]), {"null", "last"}),
    "minLength in code points": ("text", options(minLength=2), {"empty", "blank", "composed", "plane"}),
    "maxLength in code points": ("text", options(maxLength=3), {"newline", "pilot", "quote"}),
    "pattern": ("text", options(pattern="^[A-Z]{3}$"), ALL["text"] - {"null", "ABC", "newline"}),
    "pattern to the very end": ("text", options(pattern=r"^[A-Z]{3}\z"), ALL["text"] - {"null", "ABC"}),
    "pattern found anywhere": ("text", options(pattern="b"), ALL["text"] - {"null", "abc", "backslash"}),
    "pattern of a backslash": ("text", options(pattern=r"\\"), ALL["text"] - {"null", "backslash"}),
    "pattern of one character": ("text", options(pattern="^.$"), ALL["text"] - {"null", "blank", "composed", "plane"}),
    "pattern of digits": ("text", options(pattern=r"^\d*$"), ALL["text"] - {"null", "empty", "zeros"}),
    "one of": ("text", metric("invalidValues", validValues=["", "it's", "🛫", "a\\b"]), ALL["text"] - {
        "null", "empty", "quote", "plane", "backslash"
    }),
    "one of, by pattern": ("text", metric("invalidValues", pattern="^N"), ALL["text"] - {"null", "NA"}),
    "one of, by both": ("text", metric("invalidValues", validValues=["NA", "abc"], pattern="^N"), ALL["text"] - {"null", "NA"}),
    "one of, numbers": ("number", metric("invalidValues", validValues=[0, 0.1]), {"NaN", "inf", "-inf", "1.5", "tiny"}),
    "one of many numbers": (
        "number", metric("invalidValues", validValues=[0, *range(2, 20)]), {"NaN", "inf", "-inf", "1.5", "tiny", "tenth"}
    ),
    "one of, singles": ("single", metric("invalidValues", validValues=[-0.0, 0.1]), {"NaN", "1.5"}),
    "one of, truth": ("flag", metric("invalidValues", validValues=[True]), {"no"}),
    "one of, days": ("day", metric("invalidValues", validValues=["0001-01-01", "2013-01-01"]), {"last", "1582"}),
    "minimum": ("number", options(minimum=0), {"NaN", "-inf"}),
    "maximum": ("number", options(maximum=0.1), {"NaN", "inf", "1.5"}),
    "exclusiveMinimum": ("number", options(exclusiveMinimum=0), {"NaN", "-inf", "0", "-0"}),
    "exclusiveMaximum": ("number", options(exclusiveMaximum=0.1), {"NaN", "inf", "tenth", "1.5"}),
    "minimum, single": ("single", options(minimum=0.1), {"NaN", "0", "-0"}),
    "maximum, single": ("single", options(maximum=0.1), {"NaN", "1.5"}),
    "minimum, decimal": ("money", options(minimum=0), {"-cent"}),
    "maximum, decimal": ("money", options(maximum=0.01), {"most"}),
    "minimum, whole": ("whole", options(minimum=-0.5), {"-1", "least"}),
    "maximum, whole": ("whole", options(maximum=2147483646), {"most"}),
    "multipleOf": ("whole", options(multipleOf=5), {"-1", "most", "least"}),
    "minimum, day": ("day", options(minimum="1582-10-15"), {"first"}),
    "maximum, day": ("day", options(maximum="9999-12-30"), {"last"}),
    "minimum, clock": ("wall", options(minimum="0001-01-01 00:00:01"), {"first"}),
    "maximum, clock": ("wall", options(maximum="9999-12-31 23:59:59"), {"last"}),
    "sql on whole numbers": ("whole", SQL, {"5", "most"}),
    "sql, where NaN is Spark's largest": ("number", SQL, {"NaN", "inf", "1.5"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def found(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Case -> the values that break its rule: one job for all."""
    rows = [{column: value} for column, named in VALUES.items() for value in named.values()]
    called = [(column, name) for column, named in VALUES.items() for name in named]
    conditions = {}
    for case, (column, said, _) in BREAK.items():
        of = contract(tmp_path_factory.mktemp("rules"), properties(**{column: said}))
        (rule,) = [rule for rule in of.row_rules if rule.name != "id_required"]
        conditions[case] = F.when(F.expr(f"NOT coalesce(({rule.passes}), true)"), F.lit(case))
    judged = frame(spark, rows).select("id", F.array_compact(F.array(*conditions.values()))).collect()
    return {
        case: {called[i][1] for i, cases in judged if case in cases and called[i][0] == column}
        for case, (column, _, _) in BREAK.items()
    }


@pytest.mark.parametrize("case", BREAK)
def test_a_rule_refuses_exactly_these_values(found: dict[str, set[str]], case: str) -> None:
    assert found[case] == BREAK[case][2]


FIGURES: dict[str, tuple[str, dict[str, Any], int]] = {  # case -> (column, metric, how many of 14 rows it counts)
    "nulls": ("text", {"metric": "nullValues"}, 1),
    "missing": ("text", {"metric": "missingValues", "arguments": {"missingValues": ["", "NA"]}}, 3),
    "missing NaN": ("number", {"metric": "missingValues", "arguments": {"missingValues": [float("nan")]}}, 2),
    "invalid": ("text", {"metric": "invalidValues", "arguments": {"pattern": "^[A-Z]{3}$"}}, 11),
    "invalid NaN": ("single", {"metric": "invalidValues", "arguments": {"validValues": [0]}}, 14 - 3),
    "repeated, -0.0 as 0.0, null and NaN like others": ("number", {"metric": "duplicateValues"}, 14 - 8),
    "repeated text, composed not as decomposed": ("text", {"metric": "duplicateValues"}, 0),
    "repeated days": ("day", {"metric": "duplicateValues"}, 14 - 5),
}


def test_figures_count_what_they_say(spark: SparkSession, tmp_path: Path) -> None:
    fill = {"text": "", "number": 1.5, "single": 1.5, "day": date(2013, 1, 1)}  # up to 14 rows
    columns = {column: [*VALUES[column].values(), *[value] * 14][:14] for column, value in fill.items()}
    rows = [{column: values[i] for column, values in columns.items()} for i in range(14)]
    said: dict[str, dict[str, Any]] = {column: {"quality": []} for column in columns}
    for case, (column, metric_, _) in FIGURES.items():
        said[column]["quality"].append({"name": case, "mustBeLessThan": 0.5, **metric_})
    of = contract(tmp_path, properties(**said))
    found = verdicts_over([rule for rule in of.table_rules if rule.measure], of, lambda: frame(spark, rows))
    assert {verdict.rule: verdict.bad for verdict in found} == {case: expected for case, (_, _, expected) in FIGURES.items()}


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ({"mustBeLessThan": 25, "unit": "percent"}, False),
        ({"mustBeLessOrEqualTo": 25, "unit": "percent"}, True),
        ({"mustBeBetween": [25, 26], "unit": "percent"}, True),
        ({"mustNotBeBetween": [1, 2], "unit": "rows"}, False),
        ({"mustNotBeBetween": [2, 3]}, True),
        ({"mustBe": 1}, True),
        ({"mustNotBe": 1}, False),
        ({"mustBeGreaterThan": 1}, False),
        ({"mustBeGreaterOrEqualTo": 1}, True),
        ({"mustBeGreaterThan": 0, "mustBeLessThan": 1.5}, True),
    ],
)
def test_one_null_of_four_against_every_operator(spark: SparkSession, tmp_path: Path, said: dict, passed: bool) -> None:
    of = contract(tmp_path, properties(text={"quality": [{"name": "it", "metric": "nullValues", **said}]}))
    (rule,) = [rule for rule in of.table_rules if rule.measure]
    rows = frame(spark, [{"text": text} for text in ("a", "", "b", None)])
    (found,) = verdicts_over([rule], of, lambda: rows)
    assert (found.passed, found.judged) == (passed, 4)
    if not passed:
        assert json.loads(found.samples[0])["counted"] == 1
        assert found.allowed.startswith("must be ")


def test_of_no_rows_there_is_no_share_but_a_number(spark: SparkSession, tmp_path: Path) -> None:
    said = [
        {"name": name, "metric": "nullValues", "mustBeGreaterThan": 10, **unit}
        for name, unit in {"share": {"unit": "percent"}, "number": {}}.items()
    ]
    of = contract(tmp_path, properties(text={"quality": said}))
    found = verdicts_over([rule for rule in of.table_rules if rule.measure], of, lambda: frame(spark, []))
    assert {verdict.rule: verdict.passed for verdict in found} == {"share": True, "number": False}


# ── freshness ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("column", "newest", "days", "hours"),
    [
        ("day", "2013", 0, 0), ("day", "first", 734868, 0), ("day", "last", 0, 0),
        ("wall", "2013", 0, 18), ("wall", "last", 0, 0),
    ],
)  # fmt: skip
def test_a_value_is_as_old_as_it_is_at_the_end_of_the_logical_date(
    spark: SparkSession, tmp_path: Path, column: str, newest: str, days: int, hours: int
) -> None:
    of, age = contract(tmp_path, properties()), (days * 24 + hours) * 3600
    rules = [Rule(f"r{i}", "error", 0, "", fresh=Freshness(column, age + i, "")) for i in (0, -1)]
    rows = frame(spark, [{column: VALUES[column][newest]}, {column: None}])
    in_time, late = verdicts_over(rules, of, lambda: rows, as_of=date(2013, 1, 1))
    assert in_time.passed
    assert late.passed is (newest == "last"), "what is of the future is fresh"


def test_nothing_at_all_is_not_fresh(spark: SparkSession, tmp_path: Path) -> None:
    of, rule = contract(tmp_path, properties()), Rule("fresh", "error", 0, "", fresh=Freshness("day", 86400, "1 d"))
    for rows in ([], [{"day": None}]):
        (found,) = verdicts_over([rule], of, lambda rows=rows: frame(spark, rows), as_of=date(2013, 1, 1))
        assert not found.passed
        assert json.loads(found.samples[0])["newest"] is None


# ── several columns ───────────────────────────────────────────────────────────────────────────────
TOGETHER: list[tuple[dict[str, Any], set[str]]] = [  # a row, and the conditions on several columns that it breaks
    ({"number": float("nan"), "whole": 2**31 - 1}, {"number > whole"}),  # NaN is Spark's largest
    ({"number": None, "whole": -(2**31)}, set()),
    ({"number": -0.0, "whole": 0}, set()),
    ({"number": 0.1, "single": VALUES["single"]["tenth"]}, {"number <> single"}),
    ({"number": float("nan"), "single": float("nan")}, set()),
    ({"text": "é", "day": date(9999, 12, 31)}, {"text = 'é' AND day > DATE '2013-01-01'"}),
    ({"text": "e\u0301", "day": date(9999, 12, 31)}, set()),
    ({"text": "é", "day": None}, set()),
    ({"text": "", "day": date(1, 1, 1)}, {"length(text) = 0 AND day < DATE '1582-10-15'"}),
    ({"text": None, "day": date(1, 1, 1)}, set()),
    ({"text": "🛫", "whole": 1}, {"length(text) = whole"}),
    ({"text": "👩‍✈️", "whole": 1}, set()),
    ({"day": date(1, 1, 1), "wall": VALUES["wall"]["first"]}, set()),
    ({"day": date(9999, 12, 31), "wall": VALUES["wall"]["last"]}, {"wall > day"}),
]


def test_a_condition_over_several_columns_refuses_exactly_these_rows(spark: SparkSession, tmp_path: Path) -> None:
    conditions = sorted(set().union(*(broken for _, broken in TOGETHER)))
    said = [
        {"name": f"r{i}", "type": "sql", "query": f"SELECT COUNT(*) FROM {{object}} WHERE {where}", "mustBe": 0}
        for i, where in enumerate(conditions)
    ]
    of = contract(tmp_path, properties(), said)
    rules = {rule.name: rule for rule in of.row_rules if rule.name != "id_required"}
    broken = [F.when(~passes([rules[f"r{i}"]]), F.lit(where)) for i, where in enumerate(conditions)]
    found = frame(spark, [row for row, _ in TOGETHER]).select("id", F.array_compact(F.array(*broken))).orderBy("id").collect()
    assert [set(row[1]) for row in found] == [expected for _, expected in TOGETHER]


def test_a_key_is_there_twice_and_a_reference_is_there_as_values_are_equal(spark: SparkSession, tmp_path: Path) -> None:
    """Null and NaN are like themselves in a key; -0.0 is 0.0; é in one letter is not é in two; null points nowhere."""
    there = [
        {"number": float("nan"), "text": "", "day": date(1, 1, 1)}, {"number": 0.0, "text": "é", "day": date(9999, 12, 31)},
    ]  # fmt: skip
    rows = [
        *there, {"number": -0.0, "text": "é", "day": date(9999, 12, 31)},
        {"number": float("nan"), "text": "", "day": date(1, 1, 1)},
        {"number": None, "text": "🛫", "day": None}, {"number": None, "text": "🛫", "day": None},
        {"number": 0.0, "text": "e\u0301", "day": date(9999, 12, 31)}, {"number": 1.5, "text": "é", "day": date(1582, 10, 15)},
    ]  # fmt: skip
    key = ("number", "text", "day")
    of = dataclasses.replace(
        contract(tmp_path, properties()),
        rules=(
            Rule("all", "error", 0, "", unique=key),
            *(Rule(c, "error", 0, "", reference=Reference((c,), "there", (c,))) for c in key),
        ),
    )
    (found,) = verdicts_over([of.rules[0]], of, lambda: frame(spark, rows))
    assert (found.bad, found.judged) == (3, 8)
    refers = flagged(frame(spark, rows), of, lambda _: frame(spark, there)).orderBy("id").collect()
    assert [tuple(row[f"{FLAG}{c}"] for c in key) for row in refers] == [
        *[(True, True, True)] * 4, *[(False, False, False)] * 2, (True, False, True), (False, True, False)
    ]  # fmt: skip

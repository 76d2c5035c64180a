"""For random rows and random rules, what the engine says is what a plain judge in Python says, row by row.

One example holds many rows and rules, because a job costs more than a row. It runs without compiled code, as small runs
do; what is compiled, test_rule_edges.py looks at.
"""

from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from medallion.quality.judge import judge
from tests import plain_judge
from tests.frames import frame_of
from tests.rule_values import COLUMNS, VALUES, contract, frame, properties

ROWS = st.lists(
    st.fixed_dictionaries({column: st.sampled_from(list(named.values())) for column, named in VALUES.items()}),
    min_size=8,
    max_size=40,
)
LIMITS: dict[str, list[Any]] = {
    "number": [0, 0.1, -1.5, 5e-324], "single": [0, 0.1, 1.5], "money": [0, 0.01, -0.01], "whole": [0, -1, 5, 2147483647],
    "day": ["0001-01-01", "1582-10-15", "9999-12-31"], "wall": ["0001-01-01 00:00:00", "2013-01-01 06:00:00"],
}  # fmt: skip
LISTED: dict[str, list[Any]] = LIMITS | {
    "number": [*LIMITS["number"], *range(10, 22)], "text": ["", "NA", "ABC", "é", "🛫", "it's", "a\\b"], "flag": [True, False]
}  # fmt: skip
PATTERNS = ["^[A-Z]{2,3}$", "^.$", r"\\", r"^\d+$", "é", "^$", "b|N"]
OPERATORS = ["mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan", "mustBeLessOrEqualTo"]


def options(column: str) -> st.SearchStrategy[dict[str, Any]]:
    if column in LIMITS:
        limit = st.sampled_from(LIMITS[column])
        names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        return st.fixed_dictionaries({}, optional=dict.fromkeys(names, limit))
    if column == "text":
        lengths = {"minLength": st.integers(0, 3), "maxLength": st.integers(0, 4)}
        return st.fixed_dictionaries({}, optional=lengths | {"pattern": st.sampled_from(PATTERNS)})
    return st.just({})


@st.composite
def qualities(draw: st.DrawFn, column: str) -> dict[str, Any]:
    """A rule on a column; some name no figure but 0, and are judged row by row."""
    metric = draw(st.sampled_from(["nullValues", "missingValues", "invalidValues", "duplicateValues"]))
    listed = st.lists(st.sampled_from(LISTED[column]), min_size=1, max_size=15, unique_by=str)
    rule: dict[str, Any] = {"metric": metric, "severity": draw(st.sampled_from(["error", "warning"]))}
    if metric == "missingValues":
        nan = [float("nan")] if column in ("number", "single") and draw(st.booleans()) else []
        rule["arguments"] = {"missingValues": [None, *draw(listed), *nan]}
    if metric == "invalidValues":
        rule["arguments"] = {"validValues": draw(listed)}
        if column == "text" and draw(st.booleans()):
            rule["arguments"]["pattern"] = draw(st.sampled_from(PATTERNS))
    if metric != "duplicateValues" and draw(st.booleans()):
        rule["mustBe"] = 0
        if rule["severity"] == "error":
            rule["customProperties"] = [
                {"property": "tolerance", "value": draw(st.sampled_from([0, 0.5, 3]))},
                {"property": "quarantine", "value": draw(st.booleans())},
            ]
        return rule
    rule["unit"] = draw(st.sampled_from(["rows", "percent"]))
    if draw(st.booleans()):
        name = draw(st.sampled_from(["mustBeBetween", "mustNotBeBetween"]))
        return rule | {name: sorted(draw(st.lists(st.integers(0, 60), min_size=2, max_size=2, unique=True)))}
    name = draw(st.sampled_from(OPERATORS))
    # 0 exactly would be another kind of rule; 0 to 0 and less than 0 are refused
    return rule | {name: draw(st.integers(1, 60))}


@st.composite
def contracts(draw: st.DrawFn) -> list[dict[str, Any]]:
    columns = properties()
    for item in columns:
        item["logicalTypeOptions"] = draw(options(item["name"]))
        item["required"] = draw(st.sampled_from([False, False, False, True]))
        item["quality"] = draw(st.lists(qualities(item["name"]), max_size=4))
        # errors would leave few rows for the rules on figures
        if draw(st.booleans()):
            item["customProperties"] = [{"property": "severity", "value": "warning"}]
        for i, rule in enumerate(item["quality"]):
            rule["name"] = f"{item['name']}_{i}"
    return columns


def engine(spark: SparkSession, folder: Path, columns: list[dict[str, Any]], rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Verdicts by rule; the rules that each row in quarantine broke; the rows that were written."""
    kept: dict[str, Any] = {"aside": {}}

    def write(good: DataFrame) -> int:
        kept["written"] = sorted(row[0] for row in good.select("id").collect())
        return len(kept["written"])

    def aside(bad: DataFrame) -> DataFrame:
        found = bad.selectExpr("get_json_object(record, '$.id') AS id", "rules", "record").collect()
        kept["aside"] = {int(row["id"]): set(row["rules"]) for row in found}
        return frame_of(spark, [(row["rules"], row["record"]) for row in found], "rules array<string>, record string")

    def written() -> DataFrame:
        return frame(spark, rows).filter(f"id IN ({', '.join(map(str, [-1, *kept['written']]))})")

    judged = judge(
        frame(spark, rows), contract(folder, columns), "run-1", date(2013, 1, 1),
        write=write, quarantine=aside, written=written, table=written,
    )  # fmt: skip
    return {v.rule: (v.bad, v.passed) for v in judged.verdicts}, kept["aside"], kept["written"]


def plain(columns: list[dict[str, Any]], rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    """The same, by the plain judge."""
    breaks = [plain_judge.broken(columns, row) for row in rows]
    rules: dict[str, tuple[str, float, bool]] = {}  # rule on rows -> severity, tolerance, whether rows are put aside
    for item in columns:
        own = {p["property"]: p["value"] for p in item.get("customProperties", ())}
        severity = own.get("severity", "error")
        implied = [*(["required"] if item["required"] else []), *item["logicalTypeOptions"]]
        rules |= {f"{item['name']}_{kind}": (severity, 0, severity == "error") for kind in implied}
        for rule in filter(plain_judge.on_rows, item["quality"]):
            own = {p["property"]: p["value"] for p in rule.get("customProperties", ())}
            stays = rule["severity"] == "warning" or not own.get("quarantine", True)
            rules[rule["name"]] = (rule["severity"], own.get("tolerance", 0), not stays)
    hard = {name for name, (_, _, aside) in rules.items() if aside}
    aside = {i: found & hard for i, found in enumerate(breaks) if found & hard}
    written = [i for i in range(len(rows)) if i not in aside]
    verdicts = {}
    for name, (_, tolerance, puts_aside) in rules.items():
        bad = sum(name in breaks[i] for i in (range(len(rows)) if puts_aside else written))
        verdicts[name] = (bad, bad == 0 or (bad <= tolerance * len(rows) if tolerance < 1 else bad <= tolerance))
    for item in columns:
        for rule in item["quality"]:
            if not plain_judge.on_rows(rule):
                verdicts[rule["name"]] = plain_judge.holds(rule, [rows[i][item["name"]] for i in written], item["physicalType"])
    return verdicts, aside, written


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rules")


@settings(
    max_examples=4, deadline=None, derandomize=True, database=None,
    suppress_health_check=[each for each in HealthCheck if each is not HealthCheck.filter_too_much],
)  # fmt: skip
@given(columns=contracts(), rows=ROWS)
def test_the_engine_says_what_a_plain_judge_says(
    spark: SparkSession, folder: Path, columns: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    said, aside, written = engine(spark, folder, copy.deepcopy(columns), rows)
    verdicts, plain_aside, plain_written = plain(columns, rows)
    assert aside == plain_aside
    assert written == plain_written
    engine_says = {name: verdict for name, verdict in said.items() if name not in ("id_required", "key_unique")}
    assert {name: passed for name, (_, passed) in engine_says.items()} == {name: passed for name, (_, passed) in verdicts.items()}
    on_rows = {name for item in columns for name in verdicts if name.startswith(item["name"])} & set(_row_rules(columns))
    assert {name: said[name][0] for name in on_rows} == {name: verdicts[name][0] for name in on_rows}


def _row_rules(columns: list[dict[str, Any]]) -> list[str]:
    implied = [f"{item['name']}_{kind}" for item in columns for kind in ("required", *item["logicalTypeOptions"])]
    return implied + [rule["name"] for item in columns for rule in item["quality"] if plain_judge.on_rows(rule)]


def test_every_column_is_drawn() -> None:
    assert set(VALUES) == set(COLUMNS) == {*LIMITS, "text", "flag"}

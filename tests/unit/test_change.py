"""Rules on change: what is usual, what is too far from it, and what is said while too little is known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from medallion.contract import Rule
from medallion.errors import ContractError
from medallion.quality import change
from medallion.quality.table_rules import verdicts_over
from medallion.rule_kinds import Change
from tests.rule_values import COLUMNS, VALUES, contract, frame, properties


def rule(metric: str, column: str | None = None, runs: int = 3, within: float = 0.5) -> Rule:
    return Rule("usual", "warning", 0, "as usual", change=Change(metric, column, runs, within))


def rows(*counts: int) -> list[dict[str, Any]]:
    return [{"rows": count} for count in counts]


@pytest.mark.parametrize(
    ("now", "previous", "passed"),
    [
        (150, rows(100, 100, 100), True),
        (151, rows(100, 100, 100), False),
        (50, rows(100, 100, 100), True),
        (49, rows(100, 100, 100), False),
        (100, rows(100, 1, 100), True),  # a median: one odd run does not count
        (100, rows(7, 7, 7, 100, 100, 100), True),  # only the last three
        (0, rows(0, 0, 0), True),
        (1, rows(0, 0, 0), False),
        (1, rows(100, 100), True),  # too few to tell
    ],
)
def test_volume_against_the_median_of_the_last_runs(now: int, previous: list[dict[str, Any]], passed: bool) -> None:
    assert change.verdict(rule("volume"), {"rows": now}, previous).passed is passed


def test_without_enough_history_it_passes_and_says_so() -> None:
    found = change.verdict(rule("volume"), {"rows": 5}, rows(100))
    assert (found.passed, found.bad) == (True, 0)
    assert json.loads(found.samples[0])["not judged"] == "1 of 3 earlier runs are known"
    assert change.merged({"rows": 5}, [found]) == {"rows": 5}


@pytest.mark.parametrize("figure", [{}, {"mean": {}}, {"mean": {"x": math.nan}}])
def test_where_there_are_no_values_there_is_no_mean(figure: dict[str, Any]) -> None:
    past = [{"rows": 1, "mean": {"x": 5.0}}] * 3
    found = change.verdict(rule("mean", "x"), {"rows": 1} | figure, past)
    assert (found.passed, "no values" in found.samples[0]) == (True, True)
    unknown = change.verdict(rule("mean", "x"), {"rows": 1, "mean": {"x": 50.0}}, [*past[:2], {"rows": 1} | figure])
    assert (unknown.passed, "2 of 3" in unknown.samples[0]) == (True, True)


def test_a_mean_may_be_below_zero() -> None:
    past = [{"rows": 1, "mean": {"x": mean}} for mean in (-4.0, -5.0, -6.0)]
    assert change.verdict(rule("mean", "x"), {"rows": 1, "mean": {"x": -7.5}}, past).passed
    assert not change.verdict(rule("mean", "x"), {"rows": 1, "mean": {"x": -7.6}}, past).passed
    assert not change.verdict(rule("mean", "x"), {"rows": 1, "mean": {"x": 5.0}}, past).passed


def test_the_index_of_two_distributions() -> None:
    """By hand, of large counts: (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5) = 0.04055."""
    assert change.psi({"a": 600_000, "b": 400_000}, {"a": 500_000, "b": 500_000}) == pytest.approx(0.04055, abs=1e-5)
    assert change.psi({"a": 7, "b": 3}, {"a": 7, "b": 3}) == 0
    assert change.psi({"a": 100, "b": 0}, {"a": 0, "b": 100}) > 5, "an empty bin has a logarithm"


def test_a_distribution_against_those_of_the_last_runs_together() -> None:
    past = [{"rows": 1000, "distribution": {"x": {"low": 500 + odd, "high": 500 - odd}}} for odd in (-20, 0, 20)]
    shifted = {"rows": 1000, "distribution": {"x": {"low": 800, "high": 200}}}
    usual = {"rows": 1000, "distribution": {"x": {"low": 520, "high": 480}}}
    of = rule("distribution", "x", within=0.25)
    assert change.verdict(of, usual, past).passed
    refused = change.verdict(of, shifted, past)
    assert not refused.passed
    assert json.loads(refused.samples[0])["psi"] == pytest.approx(0.3 * math.log(1.6) - 0.3 * math.log(0.4), abs=0.01)
    other_edges = [{"rows": 1000, "distribution": {"x": {"all": 1000}}}] * 3
    assert "not judged" in change.verdict(of, shifted, other_edges).samples[0], "bins of other edges say nothing"


def custom(**implementation: Any) -> dict[str, Any]:
    name = "_".join(map(str, implementation.values()))
    return {"name": name, "type": "custom", "engine": "medallion", "implementation": {"runs": 3, "within": 0.5} | implementation}


def test_the_figures_of_a_write_come_from_one_aggregate(spark: SparkSession, tmp_path: Path) -> None:
    said: dict[str, dict[str, Any]] = {
        column: {"quality": [custom(change="distinct") | {"name": f"{column}_distinct"}]} for column in COLUMNS
    }
    for column in ("number", "money", "whole"):
        said[column]["quality"].append(custom(change="mean") | {"name": f"{column}_mean"})
    for column in ("number", "text", "flag", "whole"):
        said[column]["quality"].append(custom(change="distribution") | {"name": f"{column}_distribution"})
    said["whole"]["quality"][-1]["implementation"]["edges"] = [0, 10]
    of = contract(tmp_path, properties(**said), [custom(change="volume")])
    rules = [rule for rule in of.table_rules if rule.change]
    reads = []

    def read() -> Any:
        reads.append(1)
        values = [list(named.values()) for named in VALUES.values()]
        return frame(spark, [dict(zip(VALUES, (v[i % len(v)] for v in values), strict=True)) for i in range(90)])

    verdicts = verdicts_over(rules, of, read, 90)
    figures = change.merged({"rows": 90}, verdicts)
    assert not any("figures" in verdict.as_json() for verdict in verdicts)
    assert (len(reads), figures["rows"], figures["distinct"]["flag"], figures["distinct"]["money"]) == (1, 90, 2, 4)
    assert {name: figures["distinct"][name] for name in ("text", "day", "wall")} == {"text": 13, "day": 4, "wall": 3}
    assert figures["mean"]["whole"] == pytest.approx((0 - 1 + 5 + 2**31 - 1 - 2**31) / 5)
    assert figures["mean"]["money"] == pytest.approx(99999999.99 / 4)
    assert "number" not in figures["mean"] or math.isnan(figures["mean"]["number"]), "inf and -inf have no mean"
    bins = figures["distribution"]
    assert all(sum(counted.values()) == 90 for counted in bins.values()), "each row is in one bin"
    assert bins["whole"] == {"null": 15, "below 0": 30, "from 0": 30, "from 10": 15}
    assert (bins["number"]["nan"], bins["number"]["null"], bins["number"]["from 0"]) == (10, 10, 40)
    assert sum(1 for name in bins["text"] if name.startswith("#")) == change.HASHED
    assert bins["text"]["null"] == 6, "an empty text is no null"


@pytest.mark.parametrize(
    ("column", "said", "told"),
    [
        (None, {"engine": "soda"}, "engine: 'soda' is not judged here"),
        (None, {"implementation": "a: [1"}, "implementation: is no YAML"),
        (None, {"implementation": "change"}, "is no rule of ours"),
        (None, {"implementation": {"change": "volume", "runs": 3}}, "is no rule of ours"),
        (None, custom(change="volume", above=1), "unknown key 'above'"),
        (None, custom(change="colour"), "'colour' is unknown"),
        (None, custom(change="volume", runs=0), "0 is no number of runs"),
        (None, custom(change="volume", within="half"), "'half' is no share"),
        (None, custom(change="mean"), "'mean' does not belong here"),
        ("text", custom(change="volume"), "'volume' does not belong here"),
        ("text", custom(change="mean"), "there is no mean of a string"),
        ("day", custom(change="distribution"), "there is no distribution of a date"),
        ("text", custom(change="distribution", edges=[1]), "do not cut numbers"),
        ("whole", custom(change="distribution", edges=[2, 1]), "do not cut numbers"),
        (
            None,
            custom(change="volume") | {"customProperties": [{"property": "tolerance", "value": 1}]},
            "tolerance means nothing",
        ),
        (
            None,
            custom(change="volume") | {"customProperties": [{"property": "scope", "value": "table"}]},
            "scope 'table' is none",
        ),
        (None, custom(change="volume") | {"customProperties": [{"property": "quarantine", "value": False}]}, "quarantine means"),
    ],
)
def test_a_rule_on_change_that_makes_no_sense_is_refused(
    tmp_path: Path, column: str | None, said: dict[str, Any], told: str
) -> None:
    quality = [{"name": "odd", "type": "custom", "engine": "medallion"} | said | {"name": "odd"}]
    with pytest.raises(ContractError, match=told) as refused:
        contract(tmp_path, properties(**({column: {"quality": quality}} if column else {})), None if column else quality)
    assert refused.value.hint


def test_its_text_may_be_yaml_in_a_string(tmp_path: Path) -> None:
    said = custom(change="volume") | {"implementation": "change: volume\nruns: 7\nwithin: 0.25"}
    of = contract(tmp_path, properties(), [said])
    assert [rule.change for rule in of.table_rules if rule.change] == [Change("volume", None, 7, 0.25)]
    assert (change.runs(of), change.runs(contract(tmp_path, properties()))) == (7, 0)

"""A rule that cannot be judged is refused by file, place and remedy: operators, units, values, what is beside them."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion.contract import Contract, Rule
from medallion.errors import ContractError
from medallion.odcs import reader
from medallion.rule_kinds import Figure, Freshness, Must
from tests.rule_values import contract, properties
from tests.small_domain import SILVER, Document


def of(folder: Path, column: str | None, rule: Document) -> Rule:
    """The rule `it` of a contract that has it on a column or on the table."""
    quality = [{"name": "it", **rule}]
    found = contract(folder, properties(**({column: {"quality": quality}} if column else {})), None if column else quality)
    return next(rule for rule in found.rules if rule.name == "it")


def custom(**named: Any) -> list[Document]:
    return [{"property": name, "value": value} for name, value in named.items()]


NULLS, MISSING, INVALID = {"metric": "nullValues"}, {"metric": "missingValues"}, {"metric": "invalidValues"}
ROWS, ZERO = {"metric": "rowCount"}, {"mustBe": 0}
QUERY = "SELECT COUNT(*) FROM {object} WHERE {property} > 1"


def one_of(*values: Any) -> Document:
    return INVALID | ZERO | {"arguments": {"validValues": list(values)}}


def missing(*values: Any) -> Document:
    return MISSING | ZERO | {"arguments": {"missingValues": list(values)}}


def few(metric: Document, **more: Any) -> Document:
    return metric | {"mustBeLessThan": 5, "customProperties": custom(**more)}


REFUSED: dict[str, tuple[str | None, Document, str]] = {
    "no operator": ("text", NULLS, "has no bound"),
    "a unit": ("text", NULLS | ZERO | {"unit": "dozens"}, "unit 'dozens' is unknown"),
    "less than nothing": ("text", NULLS | {"mustBeLessThan": 0}, "no figure is < 0"),
    "a gap": ("text", NULLS | {"mustBeGreaterThan": 5, "mustBeLessThan": 6}, "no figure is > 5 and < 6"),
    "below 0": ("text", NULLS | {"mustNotBe": -1}, "mustNotBe: -1 is out of reach"),
    "above 100 percent": ("text", NULLS | {"mustBeLessThan": 101, "unit": "percent"}, "101 is out of reach"),
    "all shares": ("text", NULLS | {"mustNotBeBetween": [0, 100], "unit": "percent"}, "no figure is outside 0 to 100"),
    "no number": ("text", NULLS | {"mustNotBe": "many"}, "mustNotBe: 'many' is no number"),
    "truth": ("text", NULLS | {"mustBe": False}, "mustBe: False is no number"),
    "infinity": ("text", NULLS | {"mustBeLessThan": float("inf")}, "inf is no number"),
    "the wrong way round": ("text", NULLS | {"mustBeBetween": [6, 5]}, "6 is more than 5"),
    "a share of a count": (None, ROWS | {"mustBeLessThan": 5, "unit": "percent"}, "a number of rows is no share"),
    "rows of a column": ("text", ROWS | {"mustBe": 5}, "metric 'rowCount' is not a rule"),
    "text": ("text", {"type": "text", "description": "good"}, "type 'text', metric 'None' is not a rule"),
    "missing without a list": ("text", MISSING | ZERO, "does not list what counts as missing"),
    "missing, no text": ("text", missing(0), "0 is no string"),
    "missing NaN of whole numbers": ("whole", missing(float("nan")), "int has no NaN"),
    "NO is false": ("text", one_of(False), "False is no string"),
    "a date in a list of texts": ("text", one_of("a", 7), "7 is no string"),
    "words for numbers": ("number", one_of("one"), "'one' is no number"),
    "words for truth": ("flag", one_of("yes"), "'yes' is no boolean"),
    "no day": ("day", one_of("2013-02-30"), "'2013-02-30' is no date"),
    "an hour of a day": ("day", one_of("2013-01-01 05:00"), "is no date"),
    "an offset of a wall clock": ("wall", one_of("2013-01-01T05:00+01:00"), "is no timestamp"),
    "a pattern of 7": ("text", INVALID | ZERO | {"arguments": {"pattern": 7}}, "7 is no pattern"),
    "nothing is valid": ("text", one_of(), "metric 'invalidValues' is not a rule"),
    "a property of the table": (None, {"type": "sql", "query": QUERY} | ZERO, "none here"),
    "tolerance of a figure": ("text", few(NULLS, tolerance=3), "tolerance means nothing"),
    "tolerance of a count": (None, few(ROWS, tolerance=3), "tolerance means nothing"),
    "quarantine of a figure": ("text", few(NULLS, quarantine=False), "quarantine means nothing"),
    "quarantine of a warning": (
        "text", NULLS | ZERO | {"severity": "warning", "customProperties": custom(quarantine=True)}, "a warning puts no row aside"
    ),
    "quarantine perhaps": ("text", NULLS | ZERO | {"customProperties": custom(quarantine="perhaps")}, "neither yes nor no"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_rule_that_cannot_be_judged_is_refused(tmp_path: Path, case: str) -> None:
    column, rule, told = REFUSED[case]
    with pytest.raises(ContractError, match=told) as refused:
        of(tmp_path, column, rule)
    assert refused.value.hint
    assert re.search(r"gold\.daily_totals\.odcs\.yaml:\d+:\d+: quality 'it'", refused.value.message)


@pytest.mark.parametrize(
    ("column", "said", "told"),
    [
        ("text", {"minimum": 1}, "text.logicalTypeOptions.minimum: says nothing of string"),
        ("number", {"maxLength": 1}, "says nothing of double"),
        ("number", {"multipleOf": 2}, "says nothing of double"),
        ("whole", {"multipleOf": 0}, "nothing is a multiple of 0"),
        ("whole", {"minimum": True}, "True is no number"),
        ("day", {"minimum": "soon"}, "'soon' is no date"),
        ("text", {"pattern": 7}, "7 is no pattern"),
        ("text", {"minLength": "one"}, "'one' is no number"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(tmp_path: Path, column: str, said: Document, told: str) -> None:
    with pytest.raises(ContractError, match=told) as refused:
        contract(tmp_path, properties(**{column: {"logicalTypeOptions": said}}))
    assert refused.value.hint


@pytest.mark.parametrize(
    ("column", "said", "measure"),
    [
        ("text", NULLS | {"mustBeLessThan": 5, "unit": "percent"}, Figure(Must((("<", 5.0),)), "`text` IS NULL", percent=True)),
        ("text", NULLS | {"mustBeBetween": [1, 2]}, Figure(Must(((">=", 1.0), ("<=", 2.0))), "`text` IS NULL")),
        ("text", {"metric": "duplicateValues", "mustNotBe": 3}, Figure(Must((("<>", 3.0),)), repeated=("text",))),
        (None, ROWS | {"mustNotBeBetween": [1, 2]}, Figure(Must(outside=(1.0, 2.0)))),
        (None, ROWS | {"mustNotBe": 7}, Figure(Must((("<>", 7.0),)))),
    ],
)
def test_what_a_figure_must_be(tmp_path: Path, column: str | None, said: Document, measure: Figure) -> None:
    found = of(tmp_path, column, said)
    assert (found.measure, found.passes, found.rows) == (measure, None, None)


@pytest.mark.parametrize(
    ("said", "rows"),
    [({"mustBeGreaterThan": 0.5}, (1, float("inf"))), ({"mustBeLessThan": 2.5}, (0, 2)), ({"mustBeBetween": [0.5, 2.5]}, (1, 2))],
)
def test_between_whole_numbers(tmp_path: Path, said: Document, rows: tuple[float, float]) -> None:
    assert of(tmp_path, None, ROWS | said).rows == rows


def test_rows_that_break_an_error_stay_where_the_contract_says_so(tmp_path: Path) -> None:
    for value, stays in ((True, False), ("yes", False), (False, True), ("no", True)):
        found = of(tmp_path, "text", NULLS | ZERO | {"customProperties": custom(quarantine=value)})
        assert (found.severity, found.puts_aside) == ("error", not stays)
    said = {"minLength": 1}
    both = contract(tmp_path, properties(text={"logicalTypeOptions": said, "customProperties": custom(quarantine=False)}))
    assert [rule.puts_aside for rule in both.rules if rule.name == "text_minLength"] == [False]


def latency(folder: Path, freshness: Any = None, **said: Any) -> Contract:
    document = copy.deepcopy(SILVER)
    if freshness is not None:
        document["customProperties"].append({"property": "freshness", "value": freshness})
    document["slaProperties"].append({"property": "latency", "value": 2, "unit": "d", "element": "orders.ordered_on"} | said)
    path = folder / "silver.orders.odcs.yaml"
    path.write_text(yaml.safe_dump(document))
    return reader.read(path)


def test_latency_is_a_rule(tmp_path: Path) -> None:
    (found,) = [rule for rule in latency(tmp_path).rules if rule.fresh]
    assert (found.name, found.fresh, found.severity) == ("ordered_on_fresh", Freshness("ordered_on", 172_800, "2 d"), "error")
    said = {"property": "Freshness", "value": 1.5, "unit": "h", "element": "ordered_on", "id": "in_time"}
    (found,) = [rule for rule in latency(tmp_path, {"severity": "warning", "scope": "table"}, **said).rules if rule.fresh]
    assert (found.name, found.severity, found.scope) == ("in_time", "warning", "table")
    assert found.fresh == Freshness("ordered_on", 5_400, "1.5 h")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"element": None}, r"slaProperties\[1\].element: 'None' is no column"),
        ({"element": "orders.shipped"}, "'orders.shipped' is no column"),
        ({"element": "orders.amount"}, r"'amount' is a decimal\(10,2\)"),
        ({"unit": "moons"}, "'moons' is no unit of time"),
        ({"value": "soon"}, "'soon' is no time"),
        ({"value": -1}, "-1 is no time"),
        ({"freshness": {"scope": "lake"}}, "scope 'lake' is unknown"),
        ({"freshness": {"severity": "fatal"}}, "severity 'fatal' is unknown"),
        ({"freshness": "late"}, "'late' says nothing of freshness"),
        ({"customProperties": custom(severity="warning")}, r"slaProperties\[1\]: ODCS has no customProperties here"),
    ],
)
def test_a_latency_that_cannot_be_judged_is_refused(tmp_path: Path, said: Document, told: str) -> None:
    with pytest.raises(ContractError, match=told) as refused:
        latency(tmp_path, **said)
    assert refused.value.hint

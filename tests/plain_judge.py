"""The rules of a contract judged row by row in plain Python, written without a look at the engine's code.

It reads what a contract file says, not what the engine makes of it, and shares nothing with it but this text: null passes
whatever speaks of a value; NaN compares with nothing, so that every bound and every list refuses it; -0.0 is 0.0; a
length counts code points; a pattern is found anywhere. Figures are of the rows that stay.
"""

from __future__ import annotations

import math
import operator
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]
Property = Mapping[str, Any]

COMPARE = {
    "minimum": operator.ge, "maximum": operator.le, "exclusiveMinimum": operator.gt, "exclusiveMaximum": operator.lt,
    "minLength": operator.ge, "maxLength": operator.le,
    "mustBe": operator.eq, "mustNotBe": operator.ne, "mustBeGreaterThan": operator.gt, "mustBeGreaterOrEqualTo": operator.ge,
    "mustBeLessThan": operator.lt, "mustBeLessOrEqualTo": operator.le,
}  # fmt: skip


def broken(properties: Iterable[Property], row: Row) -> set[str]:
    """The names of the rules on rows that a row breaks."""
    found = set()
    for item in properties:
        value, of = row[item["name"]], item["physicalType"]
        if item.get("required") and value is None:
            found.add(f"{item['name']}_required")
        for option, limit in item.get("logicalTypeOptions", {}).items():
            if value is not None and not _option(option, value, limit, of):
                found.add(f"{item['name']}_{option}")
        found |= {rule["name"] for rule in item.get("quality", ()) if on_rows(rule) and counts(rule, value, of)}
    return found


def on_rows(rule: Mapping[str, Any]) -> bool:
    return rule.get("mustBe") == 0 and rule["metric"] in ("nullValues", "missingValues", "invalidValues")


def counts(rule: Mapping[str, Any], value: Any, of: str) -> bool:
    """Whether a metric of values counts this one."""
    arguments = rule.get("arguments", {})
    if rule["metric"] == "nullValues":
        return value is None
    if rule["metric"] == "missingValues":
        return value is None or any(_same(value, each, of) for each in arguments["missingValues"] if each is not None)
    if value is None:
        return False
    listed, pattern = arguments.get("validValues"), arguments.get("pattern")
    return (listed is not None and not any(_same_number(value, each, of) for each in listed)) or (
        pattern is not None and not re.search(pattern, value, re.ASCII)
    )


def holds(rule: Mapping[str, Any], values: list[Any], of: str) -> tuple[int, bool]:
    """For a metric with operators: how many values it counts, and whether that is as it must be."""
    if rule["metric"] == "rowCount":
        counted = len(values)
    elif rule["metric"] == "duplicateValues":
        counted = len(values) - len({"nan" if _nan(value) else value for value in values})
    else:
        counted = sum(counts(rule, value, of) for value in values)
    if rule.get("unit") == "percent" and not values:
        return counted, True
    figure = Fraction(100 * counted, len(values)) if rule.get("unit") == "percent" else Fraction(counted)
    passed = all(compare(figure, Fraction(rule[name])) for name, compare in COMPARE.items() if name in rule)
    if between := rule.get("mustBeBetween"):
        passed = passed and Fraction(between[0]) <= figure <= Fraction(between[1])
    if outside := rule.get("mustNotBeBetween"):
        passed = passed and not Fraction(outside[0]) <= figure <= Fraction(outside[1])
    return counted, passed


def _option(option: str, value: Any, limit: Any, of: str) -> bool:
    if option == "pattern":
        return bool(re.search(limit, value, re.ASCII))
    compare: Callable[[Any, Any], bool] = COMPARE[option]
    return compare(len(value), limit) if option.endswith("Length") else compare(value, _as(limit, of))


def _nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _same(value: Any, listed: Any, of: str) -> bool:
    return (_nan(value) and _nan(listed)) or _same_number(value, listed, of)


def _same_number(value: Any, listed: Any, of: str) -> bool:
    return bool(value == _as(listed, of))


def _as(written: Any, of: str) -> Any:
    """A value of a contract as a column of this type has it."""
    if of == "float":
        return struct.unpack("f", struct.pack("f", written))[0]
    if of.startswith("decimal"):
        return Decimal(repr(written))
    if of == "date":
        return date.fromisoformat(str(written))
    if of == "timestamp_ntz":
        return datetime.fromisoformat(str(written))
    return written

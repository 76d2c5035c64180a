"""What a column's rules mean, as conditions in Spark SQL.

Decided here, once for all rules: null passes whatever speaks of a value; NaN is no number, so that every bound and
every list refuses it; -0.0 is 0.0; an empty string is a value, of length 0; lengths count Unicode's code points;
patterns are Java's, found anywhere in the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from medallion.errors import ContractError

Refuse = Callable[[str, str, str], ContractError]

WHOLE = {"tinyint", "smallint", "int", "bigint"}
BINARY = {"float": "F", "double": ""}
"""Binary floating point: the suffix of its literals. A double needs none: Spark compares it with 0.1 as doubles."""
NUMBERS = WHOLE | {"float", "double", "decimal"}
MOMENTS = {"date", "timestamp", "timestamp_ntz"}
_BOUNDS = {"minimum": ">=", "maximum": "<=", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
_LENGTHS = {"minLength": ">=", "maxLength": "<="}
_SILENT = {"format", "timezone", "defaultTimezone"}
"""Options that say how a value is written, not which are allowed."""


def kind(type_: str) -> str:
    """The name of a Spark SQL type without its parameters."""
    return re.split(r"[<(]", type_)[0]


def of_options(column: str, type_: str, options: dict[str, Any], place: str, refuse: Refuse) -> dict[str, str]:
    """What `logicalTypeOptions` say of a column: option -> condition, true or null where a value is allowed.

    Raises: ContractError for an option that is unknown, does not fit the type, or is none of its values.
    """
    found = {}
    for option, value in options.items():
        where = f"{place}.logicalTypeOptions.{option}"
        if option in _BOUNDS and kind(type_) in NUMBERS | MOMENTS:
            condition = f"`{column}` {_BOUNDS[option]} {literal(value, type_, where, refuse)}"
            # Spark orders NaN above all numbers: only what bounds from below would let it pass
            found[option] = f"{condition} AND NOT isnan(`{column}`)" if ">" in condition and kind(type_) in BINARY else condition
        elif option in _LENGTHS and kind(type_) == "string":
            found[option] = f"length(`{column}`) {_LENGTHS[option]} {literal(value, 'int', where, refuse)}"
        elif option == "pattern" and kind(type_) == "string":
            found[option] = matches(column, value, where, refuse)
        elif option == "multipleOf" and kind(type_) in WHOLE | {"decimal"}:
            if not (step := literal(value, type_, where, refuse)).strip("-0."):
                raise refuse(where, "nothing is a multiple of 0", "write another number")
            found[option] = f"`{column}` % {step} = 0"
        elif option in {*_BOUNDS, *_LENGTHS, "pattern", "multipleOf"}:
            raise refuse(where, f"says nothing of {type_}", "see ODCS 3.1 on the options of each logicalType")
        elif option not in _SILENT:
            raise refuse(where, f"unknown option '{option}'", "see ODCS 3.1")
    return found


def matches(column: str, pattern: Any, place: str, refuse: Refuse) -> str:
    """That a pattern of java.util.regex is found somewhere in a text."""
    if not isinstance(pattern, str):
        raise refuse(place, f"{pattern!r} is no pattern", "write it in quotes")
    return f"`{column}` RLIKE {text(pattern)}"


def one_of(column: str, type_: str, values: Sequence[Any], place: str, refuse: Refuse) -> str:
    """That a value is one of these."""
    listed = ", ".join(literal(value, type_, place, refuse) for value in values)
    return f"`{column}` IN ({listed})"


def missing(column: str, type_: str, values: Any, place: str, refuse: Refuse) -> str:
    """That a value is missing: null, or one of these; `.nan` stands for NaN. It is never null."""
    if not isinstance(values, list):
        raise refuse(
            place, "does not list what counts as missing", "write arguments: {missingValues: ['', NA]}; null always does"
        )
    named = [value for value in values if value is not None]
    nan = [value for value in named if isinstance(value, float) and math.isnan(value)]
    if nan and kind(type_) not in BINARY:
        raise refuse(place, f"{type_} has no NaN", "remove .nan")
    rest = [value for value in named if value not in nan]
    conditions = [f"`{column}` IS NULL"]
    conditions += [one_of(column, type_, rest, place, refuse)] if rest else []
    conditions += [f"isnan(`{column}`)"] if nan else []
    return " OR ".join(conditions)


def literal(value: Any, type_: str, place: str, refuse: Refuse) -> str:
    """A value of a contract as a Spark SQL literal of a column's type.

    Raises: ContractError for a value that is none of that type.
    """
    of = kind(type_)
    if of in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise refuse(place, f"{value!r} is no number", "write a number")
        return f"{value + 0.0!r}{BINARY[of]}" if of in BINARY else format(Decimal(repr(value)), "f")
    if of in MOMENTS:
        return _moment(value, of, place, refuse)
    if of == "boolean" and isinstance(value, bool):
        return str(value).lower()
    if of == "string" and isinstance(value, str):
        return text(value)
    hint = "put it in quotes: YAML reads NO, 007 and 2013-01-01 as other things" if of == "string" else "write true or false"
    raise refuse(place, f"{value!r} is no {of}", hint)


def _moment(value: Any, of: str, place: str, refuse: Refuse) -> str:
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        when = None
    if isinstance(when, date) and not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    if (
        not isinstance(when, datetime)
        or (of != "timestamp" and when.tzinfo)
        or (of == "date" and when.time() != datetime.min.time())
    ):
        raise refuse(place, f"{value!r} is no {of}", "write 2013-01-31, or '2013-01-31 18:30:00'")
    if of == "date":
        return f"DATE '{when.date().isoformat()}'"
    if of == "timestamp_ntz":
        return f"TIMESTAMP_NTZ '{when.isoformat(' ')}'"
    return f"TIMESTAMP '{when.replace(tzinfo=when.tzinfo or UTC).isoformat(' ')}'"


def text(value: str) -> str:
    """A string literal; raw where it can be, so that patterns keep their backslashes."""
    if "'" in value:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"r'{value}'"

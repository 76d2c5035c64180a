"""Rules' conditions, as far as a file's figures can decide them exactly.

A condition is read as a person would who knows Spark SQL and no more: comparisons of a column with a
literal or another column, IN, BETWEEN, IS NULL, isnan, AND, OR, NOT. A rule is proven for a file if false is not
among its possible outcomes over the file's figures. What cannot be read, or whose types Spark would convert
in a way that loses something, is not decided here: `read` gives None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from medallion.quality.figures import Outcomes, Range, Truth, both, either, in_outcomes, joined, opposite, relations

_EPOCH = date(1970, 1, 1).toordinal()
_DIGITS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 20}
_FAMILIES = {"float": "double", "double": "double", "date": "date", "timestamp": "timestamp", "string": "string",
             "boolean": "boolean"}  # fmt: skip
_SIGNS = {"=": "e", "==": "e", "<>": "lg", "!=": "lg", "<": "l", "<=": "le", ">": "g", ">=": "ge"}
"""Comparison -> the relations of left to right (less, equal, greater) for which it is true."""
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<raw>[rR]'[^']*')|(?P<text>'[^'\\]*')|(?P<quoted>`[^`]+`)|(?P<word>[A-Za-z_]\w*)|(?P<sign><=>|<>|!=|==|<=|>=|[=<>(),-]))"
)
_NAMES = re.compile(r"[rR]?'(?:[^'\\]|\\.)*'|[rR]?\"(?:[^\"\\]|\\.)*\"|`(?P<quoted>[^`]+)`|(?P<word>[A-Za-z_]\w*)")


class _NotDecided(Exception):
    """A condition, or a part of it, that figures say nothing exact about."""


@dataclass(frozen=True)
class Decidable:
    """A condition that figures can decide: which `columns` (as the schema has them) it looks at."""

    columns: frozenset[str]
    outcomes: Truth

    def proven(self, ranges: Mapping[str, Range]) -> bool:
        """Whether no row within these ranges makes the condition false; null passes."""
        return False not in self.outcomes(ranges)


def read(condition: str, types: Mapping[str, str]) -> Decidable | None:
    """A condition as figures can decide it, or None.

    Args:
        types: column -> Spark SQL type.
    """
    try:
        reader = _Reader(_tokens(condition), types)
        outcomes = _truth(reader.any_of())
        if reader.rest:
            return None
    except (_NotDecided, IndexError):
        return None
    return Decidable(frozenset(reader.columns), outcomes)


def names(condition: str, columns: Sequence[str]) -> set[str]:
    """The columns that a condition may name: every word of it, outside of texts, that is one's name."""
    known = {column.lower(): column for column in columns}
    words = {(match["quoted"] or match["word"] or "").lower() for match in _NAMES.finditer(condition)}
    return {known[word] for word in words if word in known}


@dataclass(frozen=True)
class _Value:
    """A column (by name) or a literal, with its family of types that compare without loss."""

    family: str
    column: str | None = None
    literal: Any = None
    type: str = ""

    def range(self, known: Mapping[str, Range]) -> Range:
        if self.column is not None:
            return known.get(self.column, Range(nans=self.family == "double"))
        return Range(self.literal, self.literal, nulls=False, nans=False)


class _Reader:
    """Reads a condition by descent, in the order in which SQL's words bind."""

    def __init__(self, tokens: list[tuple[str, str]], types: Mapping[str, str]) -> None:
        self.rest = tokens
        self.types = {name.lower(): (name, type_.replace(" ", "").lower()) for name, type_ in types.items()}
        self.columns: set[str] = set()

    def next(self, *wanted: str) -> bool:
        """Take the next token, if it is one of these words or signs."""
        if self.rest and self.rest[0][0] in ("word", "sign") and self.rest[0][1].upper() in wanted:
            self.rest = self.rest[1:]
            return True
        return False

    def must(self, wanted: str) -> None:
        if not self.next(wanted):
            raise _NotDecided

    def any_of(self) -> _Value | Truth:
        left = self.all_of()
        while self.next("OR"):
            left = joined(_truth(left), _truth(self.all_of()), either)
        return left

    def all_of(self) -> _Value | Truth:
        left = self.negated()
        while self.next("AND"):
            left = joined(_truth(left), _truth(self.negated()), both)
        return left

    def negated(self) -> _Value | Truth:
        return opposite(_truth(self.negated())) if self.next("NOT") else self.predicate()

    def predicate(self) -> _Value | Truth:
        left = self.operand()
        if not isinstance(left, _Value):
            return left
        if self.next("IS"):
            negated = self.next("NOT")
            self.must("NULL")
            found = _is_null(left)
            return opposite(found) if negated else found
        negated = self.next("NOT")
        if self.next("BETWEEN"):
            low = self.value()
            self.must("AND")
            found = joined(_compared(left, ">=", low), _compared(left, "<=", self.value()), both)
        elif self.next("IN"):
            found = _one_of(left, self.several())
        elif negated:
            raise _NotDecided
        elif self.rest and self.rest[0][0] == "sign" and self.rest[0][1] in _SIGNS:
            sign, self.rest = self.rest[0][1], self.rest[1:]
            return _compared(left, sign, self.value())
        else:
            return left
        return opposite(found) if negated else found

    def several(self) -> list[_Value]:
        self.must("(")
        found = [self.value()]
        while self.next(","):
            found.append(self.value())
        self.must(")")
        return found

    def value(self) -> _Value:
        found = self.operand()
        if not isinstance(found, _Value):
            raise _NotDecided
        return found

    def operand(self) -> _Value | Truth:
        if self.next("("):
            inner = self.any_of()
            self.must(")")
            return inner
        minus = self.next("-")
        (kind, text), self.rest = self.rest[0], self.rest[1:]
        if kind == "number":
            return _number(text, minus)
        if minus:
            raise _NotDecided
        if kind in ("text", "raw"):
            if self.rest and self.rest[0][0] in ("text", "raw"):
                raise _NotDecided  # Spark joins texts that stand side by side
            return _Value("text", literal=text.lstrip("rR")[1:-1])
        if kind == "word" and text.upper() in ("TRUE", "FALSE"):
            return _Value("boolean", literal=text.upper() == "TRUE")
        if kind == "word" and text.upper() == "DATE" and self.rest and self.rest[0][0] == "text":
            (_, text), self.rest = self.rest[0], self.rest[1:]
            return _Value("date", literal=_days(text[1:-1]))
        if kind == "word" and text.upper() == "ISNAN" and self.next("("):
            found = _is_nan(self.value())
            self.must(")")
            return found
        if kind in ("word", "quoted") and not (self.rest and self.rest[0][1] == "("):
            return self.column(text.strip("`"))
        raise _NotDecided

    def column(self, name: str) -> _Value:
        if name.lower() not in self.types:
            raise _NotDecided
        name, type_ = self.types[name.lower()]
        number = type_ in _DIGITS or type_.startswith("decimal(")
        family = "number" if number else _FAMILIES.get(type_, type_)
        self.columns.add(name)
        return _Value(family, column=name, type=type_)


def _tokens(condition: str) -> list[tuple[str, str]]:
    found, at = [], 0
    condition = condition.rstrip()
    while at < len(condition):
        match = _TOKEN.match(condition, at)
        if match is None:
            raise _NotDecided
        found.append((str(match.lastgroup), match[match.lastgroup or 0]))
        at = match.end()
    return found


def _number(text: str, minus: bool) -> _Value:
    sign = "-" if minus else ""
    if "e" in text.lower():
        return _Value("double", literal=float(sign + text))
    whole, _, part = text.partition(".")
    return _Value(
        "number", literal=Decimal(sign + text), type=f"decimal({max(len((whole + part).lstrip('0')), len(part), 1)},{len(part)})"
    )


def _days(text: str) -> int:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise _NotDecided
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH
    except ValueError:
        raise _NotDecided from None


def _together(one: _Value, other: _Value) -> tuple[_Value, _Value]:
    """Two values in one family, where Spark compares them as they are. Raises: _NotDecided."""
    if one.column is None and other.column is not None:
        right, left = _together(other, one)
        return left, right
    if other.family == "text" and other.column is None:
        if one.family == "string":
            return one, _Value("string", literal=other.literal.encode())
        if one.family == "date":
            return one, _Value("date", literal=_days(other.literal))
    if one.family == "double" and other.family == "number" and other.column is None:
        if one.type == "float" and "." not in str(other.literal) and abs(other.literal) > 2**24:
            raise _NotDecided
        return one, _Value("double", literal=float(other.literal))
    if one.family != other.family or one.family not in ("number", "double", "date", "timestamp", "string", "boolean"):
        raise _NotDecided
    if one.family == "number":
        (p1, s1), (p2, s2) = _precision(one.type), _precision(other.type)
        if max(p1 - s1, p2 - s2) + max(s1, s2) > 38:
            raise _NotDecided  # Spark rounds
    return one, other


def _precision(type_: str) -> tuple[int, int]:
    if type_ in _DIGITS:
        return _DIGITS[type_], 0
    precision, _, scale = type_.removeprefix("decimal(").rstrip(")").partition(",")
    return int(precision), int(scale)


def _truth(of: _Value | Truth) -> Truth:
    """A boolean column as a condition."""
    return _compared(of, "=", _Value("boolean", literal=True)) if isinstance(of, _Value) else of


def _is_null(of: _Value) -> Truth:
    def outcomes(known: Mapping[str, Range]) -> Outcomes:
        found = of.range(known)
        return frozenset([True] * found.nulls + [False] * (found.values or found.nans))

    return outcomes


def _is_nan(of: _Value) -> Truth:
    """Null is no NaN, and not unknown either."""
    if of.column is None or of.family != "double":
        raise _NotDecided

    def outcomes(known: Mapping[str, Range]) -> Outcomes:
        found = of.range(known)
        return frozenset([True] * found.nans + [False] * (found.values or found.nulls))

    return outcomes


def _compared(left: _Value, sign: str, right: _Value) -> Truth:
    left, right = _together(left, right)

    def outcomes(known: Mapping[str, Range]) -> Outcomes:
        a, b = left.range(known), right.range(known)
        found: set[bool | None] = {relation in _SIGNS[sign] for relation in relations(a, b)}
        return frozenset(found | ({None} if a.nulls or b.nulls else set()))

    return outcomes


def _one_of(left: _Value, several: list[_Value]) -> Truth:
    if left.column is None or any(value.column is not None for value in several):
        raise _NotDecided
    if len({value.family for value in several}) > 1:
        raise _NotDecided  # Spark brings all of them to one type
    if left.family == "number":
        digits = [_precision(one.type) for one in (left, *several) if one.family == "number"]
        if max(p - s for p, s in digits) + max(s for _, s in digits) > 38:
            raise _NotDecided
    literals = [_together(left, value)[1].literal for value in several]
    counted = left.type in _DIGITS or left.family == "date"

    return lambda known: in_outcomes(left.range(known), set(literals), counted)

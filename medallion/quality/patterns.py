"""Patterns of java.util.regex, said so that the same texts are found in less time.

A range within a class is a test of its own for every character of a text, while single characters of Latin-1 are one
look into a table (`BitClass` in java.util.regex.Pattern of Java 17): so `[0-9]` becomes `[0123456789]`. Several patterns
on one column become one with lookaheads, so that the text is decoded, and a matcher made, once. A pattern that is
plain text needs no regular expression. What is not read with certainty stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_RANGES = ("0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ESCAPED = re.compile(r"\\(?:[dDsSwWbBtnrf]|[^A-Za-z0-9])")
_CLASS = re.compile(r"\[\^?(?:\\(?:[dDsSwWtnrf]|[^A-Za-z0-9])|[^\\\[\]&])+\]")
_IN_CLASS = re.compile(r"\\.|[^\\]", re.S)
_PLAIN = re.compile(r"[A-Za-z0-9 _,:;@%=/<>~\"-]+")
_CONDITION = re.compile(r"(`[^`]+`) RLIKE (?:r'([^']*)'|'((?:[^'\\]|\\[\\'])*)')", re.S)
"""A condition as `medallion.odcs.conditions.matches` writes it."""


def quick(pattern: str) -> str:
    """A pattern that finds the same texts.

    Args, returns: as java.util.regex writes them.
    """
    parts = _parts(pattern)
    return pattern if parts is None else "".join(map(_expanded, parts))


def together(patterns: Sequence[str]) -> str | None:
    """One pattern that is found in the texts in which all of these are found; None where that cannot be said for certain."""
    found = []
    for pattern in patterns:
        parts = _parts(pattern)
        if parts is None:
            return None
        at_start = parts[:1] == ["^"] and "|" not in parts and parts[1:2] not in (["?"], ["*"], ["{"])
        found.append(("" if at_start else "(?s:.)*?") + f"(?:{''.join(map(_expanded, parts))})")
    return "^" + "".join(f"(?={one})" for one in found)


def as_condition(conditions: Sequence[str]) -> list[str]:
    """Conditions of rules, each true or null where its rule holds; patterns on the same column are brought together.

    Returns: as many conditions or fewer; all of them hold (true or null) on the rows on which all that were given do.
    """
    patterns: dict[str, list[str]] = {}
    kept: list[str | tuple[str]] = []
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None:
            kept.append(condition)
            continue
        if match[1] not in patterns:
            kept.append((match[1],))
        patterns.setdefault(match[1], []).append(_unquoted(match[2], match[3]))
    found: list[str] = []
    for one in kept:
        found += [one] if isinstance(one, str) else _on_column(one[0], patterns[one[0]])
    return found


def _on_column(column: str, patterns: Sequence[str]) -> list[str]:
    simple = [(pattern, found) for pattern in patterns if (found := _without_regex(column, pattern))]
    rest = [pattern for pattern in patterns if pattern not in dict(simple)]
    one = together(rest) if len(rest) > 1 else None
    matched = [one] if one else [quick(pattern) for pattern in rest]
    return [condition for _, condition in simple] + [f"{column} RLIKE {_quoted(each)}" for each in matched]


def _without_regex(column: str, pattern: str) -> str | None:
    """The condition that a text contains, or begins with, another."""
    anchored = pattern.startswith("^")
    text = pattern[anchored:]
    if _PLAIN.fullmatch(text) is None:
        return None
    return f"{'startswith' if anchored else 'contains'}({column}, '{text}')"


def _parts(pattern: str) -> list[str] | None:
    """A pattern's classes, escapes and single characters; None if it has what other parts may change the meaning of:
    flags, quotations, references to groups, names, classes within classes."""
    found, at = [], 0
    while at < len(pattern):
        if pattern[at] == "[":
            match = _CLASS.match(pattern, at)
        elif pattern[at] == "\\":
            match = _ESCAPED.match(pattern, at)
        elif pattern.startswith("(?", at):
            match = re.compile(r"\(\?:").match(pattern, at)
        else:
            match = _IN_CLASS.match(pattern, at)
        if match is None:
            return None
        found.append(match[0])
        at = match.end()
    return found if _balanced(found) else None


def _balanced(parts: Sequence[str]) -> bool:
    """Whether every group that is opened is closed: a pattern that is none must not become one within another."""
    depth = 0
    for part in parts:
        depth += (part in ("(", "(?:")) - (part == ")")
        if depth < 0:
            return False
    return depth == 0


def _expanded(part: str) -> str:
    """A class with its ranges of digits and letters spelt out."""
    if not (part.startswith("[") and len(part) > 1):
        return part
    negated = part.startswith("[^")
    items = _IN_CLASS.findall(part[2 if negated else 1 : -1])
    found, at = [], 0
    while at < len(items):
        spelt = _range(items[at], items[at + 2]) if items[at + 1 : at + 2] == ["-"] and at + 2 < len(items) else ""
        if spelt is None:
            return part
        found.append(spelt or ("\\-" if items[at] == "-" else items[at]))
        at += 3 if spelt else 1
    return f"[{'^' if negated else ''}{''.join(found)}]"


def _range(first: str, last: str) -> str | None:
    """All characters of a range of digits or of letters; None if it is another."""
    for letters in _RANGES:
        if first in letters and last in letters and letters.index(first) <= letters.index(last):
            return letters[letters.index(first) : letters.index(last) + 1]
    return None


def _unquoted(raw: str | None, text: str | None) -> str:
    return raw if raw is not None else re.sub(r"\\(.)", r"\1", text or "", flags=re.S)


def _quoted(pattern: str) -> str:
    if "'" not in pattern:
        return f"r'{pattern}'"
    return "'" + pattern.replace("\\", "\\\\").replace("'", "\\'") + "'"

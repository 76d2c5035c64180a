"""Patterns said otherwise find the same texts: Java itself is asked."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.errors import IllegalArgumentException

from medallion.odcs.conditions import matches
from medallion.quality.patterns import as_condition, quick, together

_SINGLE = st.sampled_from([*"aZ5 _-.,<{'\n", "é", "ß", "日", "\\.", "\\-", "\\d", "\\w", "\\b", ".", "\\\\", "😀", "&"])
_ITEM = st.one_of(
    st.sampled_from(
        ["a-z", "A-Z", "0-9", "c-f", "3-7", "-", "^", "\\]", "\\d", "\\s", " -~", "a-a", "é", "'", "à-ÿ", "日", "😀", "z-"]
    ),
    st.sampled_from([*"aZ5 _<{.$"]),
)
_CLASS = st.builds(
    lambda no, items: f"[{no}{''.join(items)}]", st.sampled_from(["", "^"]), st.lists(_ITEM, min_size=1, max_size=4)
)
_ATOM = st.one_of(_SINGLE, _CLASS)
_REPEATED = st.builds(str.__add__, _ATOM, st.sampled_from(["", "", "*", "+", "?", "{2}", "*?", "*+"]))
_SEQUENCE = st.builds("".join, st.lists(_REPEATED, min_size=1, max_size=4))
_GROUP = st.builds(
    lambda open_, a, b, times: f"{open_}{a}|{b}){times}",
    st.sampled_from(["(", "(?:"]),
    _SEQUENCE,
    _SEQUENCE,
    st.sampled_from(["", "?", "+"]),
)
_PATTERN = st.builds(
    lambda start, body, end: f"{start}{''.join(body)}{end}",
    st.sampled_from(["", "^"]),
    st.lists(st.one_of(_SEQUENCE, _GROUP), min_size=1, max_size=3),
    st.sampled_from(["", "$", "|x$"]),
)
_LETTERS = [*"abcdfzAZ03579 _-.,<{'^$&]|\n\r", "é", "ß", "日", "😀", "\u2028"]
_TEXTS = st.lists(
    st.text(st.sampled_from(_LETTERS), max_size=8),
    min_size=1,
    max_size=12,
)


class Java:
    """Java's own patterns. An exchange with the JVM costs more than what is asked for: texts go there once, and come back
    as one."""

    def __init__(self, spark: Any) -> None:
        util = spark.sparkContext._jvm.java.util
        self.compile, self.list, self.joining = util.regex.Pattern.compile, util.ArrayList, util.stream.Collectors.joining("\0")
        self.letters = self.list(_LETTERS)

    def texts(self, more: list[str]) -> Any:
        """Every letter by itself, and more texts, as a list there."""
        there = self.list(self.letters)
        there.addAll(more)
        return there

    def found(self, pattern: str, texts: Any) -> list[str]:
        """Those of `texts`, a list there, in which the pattern is found; none of them has a NUL."""
        good = self.compile(pattern).asPredicate()
        joined = texts.stream().filter(good).collect(self.joining)
        # nothing, or the empty text alone?
        return joined.split("\0") if joined else [""] * texts.stream().filter(good).count()


@pytest.fixture(scope="module")
def java(spark: Any) -> Java:
    return Java(spark)


def _valid(java: Java, pattern: str) -> bool:
    try:
        java.compile(pattern)
    except IllegalArgumentException:  # Spark's, for Java's PatternSyntaxException
        return False
    return True


@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(patterns=st.lists(_PATTERN, min_size=1, max_size=3), texts=_TEXTS)
def test_the_same_texts_are_found(java: Java, patterns: list[str], texts: list[str]) -> None:
    good, there = [pattern for pattern in patterns if _valid(java, pattern)], java.texts(texts)
    expected = [java.found(pattern, there) for pattern in good]
    for pattern, found in zip(good, expected, strict=True):
        if (quicker := quick(pattern)) != pattern:
            assert java.found(quicker, there) == found, pattern
    one = together(good)
    if one is not None and good:
        assert java.found(one, there) == [t for t in (*_LETTERS, *texts) if all(t in found for found in expected)], good


@pytest.mark.parametrize(
    ("pattern", "quicker"),
    [
        ("^[^<>{}0-9]*$", "^[^<>{}0123456789]*$"),
        ("[c-f-]{3}", r"[cdef\-]{3}"),
        (r"[a-c-e\d]", r"[abc\-e\d]"),
        ("[ -~]", "[ -~]"),
        ("[+--]", "[+--]"),
        ("^?[a-c]", "^?[abc]"),
    ],
)
def test_ranges_of_letters_and_digits_are_spelt_out(pattern: str, quicker: str) -> None:
    assert quick(pattern) == quicker


@pytest.mark.parametrize(
    "pattern",
    ["(?i)[a-c]", "[a-c&&[^b]]", r"\Q[a-c]\E", r"(a)\1[a-c]", r"\p{L}[a-c]", "(?<name>[a-c])", "(?=[a-c])",
     "[]a-c]", "[a-c", "[a-c]\\", "[a-c])(x", "([a-c]", r"\x41[a-c]"],
)  # fmt: skip
def test_what_is_not_read_with_certainty_stays_as_it_is(pattern: str) -> None:
    assert quick(pattern) == pattern
    assert together([pattern, "a"]) is None


def test_patterns_on_one_column_are_judged_at_once_and_plain_texts_without_a_pattern() -> None:
    def rule(column: str, pattern: str) -> str:
        return matches(column, pattern, "here", lambda *_: pytest.fail("refused"))

    given_ = [rule("a", "^[0-9]"), "b > 1", rule("b", "x"), rule("a", "[a-c]'"), rule("a", "^https://"), rule("a", "(?i)z")]
    assert as_condition(given_[:4]) == [
        r"`a` RLIKE '^(?=(?:^[0123456789]))(?=(?s:.)*?(?:[abc]\'))'",
        "b > 1",
        "contains(`b`, 'x')",
    ]
    assert as_condition(given_[3:]) == [
        "startswith(`a`, 'https://')",
        r"`a` RLIKE '[abc]\''",
        "`a` RLIKE r'(?i)z'",
    ]


def test_spark_finds_the_same_rows(spark: Any) -> None:
    from medallion.contract import Rule
    from medallion.quality.rules import passes

    texts = [
        "plain",
        "",
        None,
        "it's 5",
        "tab\there",
        "back\\slash",
        "<b>",
        "line\n",
        "line\nmore",
        "é",
        "日本",
        "https://x",
        "ab'c1",
    ]
    patterns = ["^[^<>{}0-9]*$", "[a-z]{3}", r"\\", "'", "^https://", "s", r"^[^\t]*$", "[à-ÿa-z]+$", "(?i)^[A-C]"]
    rules = [
        Rule(f"r{i}", "error", 0, p, matches("t", p, "here", lambda *_: pytest.fail("refused"))) for i, p in enumerate(patterns)
    ]
    frame = spark.createDataFrame([(t,) for t in texts], "t string")
    pairs = [*pairwise(rules), *zip(rules, rules[3:], strict=False)]
    plain = [[coalesced(a), coalesced(b)] for a, b in pairs]
    rows = frame.select(*[passes([a, b]) for a, b in pairs]).collect()
    expected = frame.selectExpr(*[f"{a} AND {b}" for a, b in plain]).collect()
    assert [tuple(row) for row in rows] == [tuple(row) for row in expected]
    assert {value for row in rows for value in tuple(row)} == {True, False}


def coalesced(rule: Any) -> str:
    """A rule as it stands in the contract."""
    return f"coalesce(({rule.passes}), true)"

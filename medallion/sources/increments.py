"""Names for deliveries that hold a span of versions: `versions-3-7.parquet` holds what 3 to 7 brought."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(r"versions-(\d+)-(\d+)\.")
NONE = -1
"""The last version of a table of which nothing is held."""


def name(first: int, upto: int) -> str:
    """The file name of the delivery that holds these versions, both included."""
    return f"versions-{first}-{upto}.parquet"


def span(name: str) -> tuple[int, int]:
    """The versions that a file name stands for; `(-1, -1)` for a file that is no increment."""
    match = _NAME.match(name)
    return (int(match[1]), int(match[2])) if match else (NONE, NONE)


def last(names: Iterable[str]) -> int:
    """The newest version that any of the deliveries holds; -1 if there is none."""
    return max((span(one)[1] for one in names), default=NONE)


def following(last: int, names: Iterable[str]) -> list[str]:
    """The files that continue after a version without a gap and without holding any version twice.

    Two runs may have fetched overlapping spans; of those that begin alike, the longest is taken.
    """
    longest: dict[int, tuple[int, str]] = {}
    for one in sorted(names, reverse=True):
        first, upto = span(one)
        if upto >= first > NONE and upto > longest.get(first, (NONE, ""))[0]:
            longest[first] = (upto, one)
    chain: list[str] = []
    while last + 1 in longest:
        last, one = longest[last + 1]
        chain.append(one)
    return chain

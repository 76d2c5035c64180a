"""What a rule can be about, beyond a condition on one row."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Literal

Operator = Literal["=", "<>", ">", ">=", "<", "<="]
Changing = Literal["volume", "mean", "distinct", "distribution"]
FLAG = "_refers_"
"""Before a rule's name: the column that says of a row whether what it points to is there."""

_COMPARE = {
    "=": operator.eq, "<>": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


@dataclass(frozen=True)
class Must:
    """What a figure must be, in ODCS's operators: `(">=", 5.0)`, all of them at once, and not within `outside`."""

    each: tuple[tuple[Operator, float], ...] = ()
    outside: tuple[float, float] | None = None

    def allows(self, figure: float) -> bool:
        """Whether a figure is as it must be."""
        if self.outside is not None and self.outside[0] <= figure <= self.outside[1]:
            return False
        return all(_COMPARE[sign](figure, value) for sign, value in self.each)

    def __str__(self) -> str:
        told = [f"{sign} {value:g}" for sign, value in self.each]
        if self.outside:
            told.append(f"outside {self.outside[0]:g} to {self.outside[1]:g}")
        return " and ".join(told)

    def rows(self) -> tuple[float, float] | None:
        """The whole numbers that are allowed, if they are all those from one to another; else None."""
        low, high = 0.0, math.inf
        for sign, value in self.each:
            if sign == "<>":
                return None
            if sign in ("=", ">=", ">"):
                low = max(low, math.floor(value) + 1 if sign == ">" else math.ceil(value))
            if sign in ("=", "<=", "<"):
                high = min(high, math.ceil(value) - 1 if sign == "<" else math.floor(value))
        return None if self.outside else (low, high)


@dataclass(frozen=True)
class Figure:
    """A figure over rows that must lie where `must` says: how many there are, how many of them meet `counted` (a Spark
    SQL condition), or how many repeat earlier values of `repeated`; in `percent` of all of them, if it says so. Of no
    rows there is no share: such a rule holds then."""

    must: Must
    counted: str | None = None
    repeated: tuple[str, ...] = ()
    percent: bool = False


@dataclass(frozen=True)
class Reference:
    """Values of `columns` that, where none of them is null, must stand in `to_columns` of the dataset `to`."""

    columns: tuple[str, ...]
    to: str
    to_columns: tuple[str, ...]


@dataclass(frozen=True)
class Freshness:
    """How long before the end of the logical date the newest value of `column` may lie. A date stands for its end."""

    column: str
    seconds: int
    text: str


@dataclass(frozen=True)
class Change:
    """How far a figure may be from what it was in the last `runs` runs.

    `volume` (rows), `mean` and `distinct` of a column: `within` is the share by which it may differ from the median of
    these runs. `distribution`: the most that the population stability index against these runs together may be; numbers
    are counted between `edges`.
    """

    metric: Changing
    column: str | None
    runs: int
    within: float
    edges: tuple[float, ...] = ()

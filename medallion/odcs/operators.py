"""What a metric of a contract must be: ODCS's operators."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from open_data_contract_standard.model import DataQuality

from medallion.odcs.conditions import Refuse
from medallion.rule_kinds import Must, Operator

_OPERATORS: dict[str, Operator] = {
    "mustBe": "=", "mustNotBe": "<>", "mustBeGreaterThan": ">", "mustBeGreaterOrEqualTo": ">=",
    "mustBeLessThan": "<", "mustBeLessOrEqualTo": "<=",
}  # fmt: skip
_UNITS = {None: False, "rows": False, "percent": True}


def in_percent(rule: DataQuality, place: str, refuse: Refuse) -> bool:
    """Whether a metric is a share. Raises: ContractError for another unit than rows and percent."""
    if rule.unit not in _UNITS:
        raise refuse(place, f"unit '{rule.unit}' is unknown", "use rows (as without a unit) or percent")
    return _UNITS[rule.unit]


def read(rule: DataQuality, place: str, refuse: Refuse, *, percent: bool) -> Must:
    """The operators of a rule, all of which must hold. `mustBeBetween` includes both its ends.

    Raises: ContractError where there is none, for one that is not about a number of rows (or a share), and for those
        that no number satisfies.
    """

    def number(value: Any, operator: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise refuse(place, f"{operator}: {value!r} is no number", "write a number")
        if value < 0 or (percent and value > 100):
            most = " to 100" if percent else ""
            raise refuse(place, f"{operator}: {value:g} is out of reach", f"the figure goes from 0{most}")
        return float(value)

    each = [(sign, number(value, name)) for name, sign in _OPERATORS.items() if (value := getattr(rule, name)) is not None]
    outside = None
    for name in ("mustBeBetween", "mustNotBeBetween"):
        if (pair := getattr(rule, name)) is not None:
            low, high = (number(end, name) for end in pair)
            if low > high:
                raise refuse(place, f"{name}: {low:g} is more than {high:g}", "write the smaller number first")
            if name == "mustBeBetween":
                each += [(">=", low), ("<=", high)]
            else:
                outside = (low, high)
    if not each and outside is None:
        raise refuse(place, "has no bound", "add mustBeGreaterThan, mustBeBetween, …")
    must = Must(tuple(each), outside)
    if not any(must.allows(figure) for figure in _candidates(must, percent=percent)):
        raise refuse(place, f"no figure is {must}", "mend the operators")
    return must


def _candidates(must: Must, *, percent: bool) -> list[float]:
    """Figures of which one is allowed, if any is: the ends of what the operators speak of, and what lies beside them."""
    ends = {0.0, *(value for _, value in must.each), *(must.outside or ())}
    if percent:
        ordered = sorted({*ends, 100.0})
        return ordered + [(low + high) / 2 for low, high in pairwise(ordered)]
    return [float(figure) for end in ends for figure in range(max(0, math.floor(end) - 1), math.ceil(end) + 2)]

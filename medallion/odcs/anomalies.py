"""What a contract says of a dataset's metrics and of anomalies in them, as its custom properties say it.

On the contract: `anomalies: {severity: error, metrics: [volume, mean], sensitivity: high, minimumHistory: 28, holidays: US}`,
or `anomalies: none`; without it, datasets that come daily are watched, with warnings. On a property:
`metrics: [mean, distinct]`, `metrics: [values]`, `metrics: [mean, {edges: [0, 15, 60]}]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medallion.contract import METRICS, Column, Delivery, Materialisation, Measure, Watch
from medallion.errors import ContractError

_PLACE = "customProperties.anomalies"
_KEYS = ("severity", "metrics", "sensitivity", "minimumHistory", "holidays")
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")
SENSITIVITIES = ("low", "normal", "high")
CALENDARS = ("US",)

Refuse = Callable[[str, str, str], ContractError]


def comes_daily(layer: str, materialisation: Materialisation, delivery: Delivery | None) -> bool:
    """Whether each date brings rows of its own, so that a date can be compared with those before it."""
    if layer == "bronze":
        return delivery is not None and delivery.expected == "daily"
    return materialisation.kind != "full"


def read(value: Any, daily: bool, refuse: Refuse) -> Watch | None:
    """Read the contract's property. Returns: None if the dataset is not watched.

    Args:
        daily: whether it comes daily: then it is watched unless the contract says `none`.
        refuse: makes the error from (place, problem, hint).
    Raises: ContractError naming the key.
    """
    if value is None:
        return Watch() if daily else None
    if value == "none":
        return None
    if not isinstance(value, dict):
        raise refuse(_PLACE, f"{value!r} is neither a mapping nor none", f"write none, or the keys {', '.join(_KEYS)}")
    if unknown := sorted(set(value) - {*_KEYS}):
        raise refuse(_PLACE, f"unknown key '{unknown[0]}'", f"use {', '.join(_KEYS)}")
    metrics = value.get("metrics", list(METRICS))
    if not isinstance(metrics, list) or not metrics or any(metric not in METRICS for metric in metrics):
        raise refuse(f"{_PLACE}.metrics", f"{metrics!r} are no metrics", f"list some of {', '.join(METRICS)}")
    least = value.get("minimumHistory", Watch.minimum_history)
    if isinstance(least, bool) or not isinstance(least, int) or not 7 <= least <= 90:
        raise refuse(f"{_PLACE}.minimumHistory", f"{least!r} is no number of dates", "write a whole number from 7 to 90")
    for key, allowed in (("severity", ("error", "warning")), ("sensitivity", SENSITIVITIES), ("holidays", CALENDARS)):
        if key in value and value[key] not in allowed:
            raise refuse(f"{_PLACE}.{key}", f"{value[key]!r} is unknown", f"use one of {', '.join(allowed)}")
    return Watch(
        value.get("severity", "warning"),
        tuple(metrics),
        value.get("sensitivity", "normal"),
        least,
        value.get("holidays"),
    )


def measures(asked: Mapping[Column, Any], refuse: Refuse) -> tuple[Measure, ...]:
    """What is asked for of the columns, each by its property `metrics`, None where it has none.

    Raises: ContractError naming the column.
    """
    return tuple(_measure(column, value, refuse) for column, value in asked.items() if value is not None)


def _measure(column: Column, value: Any, refuse: Refuse) -> Measure:
    place = f"schema[0].properties.{column.name}.metrics"
    if not isinstance(value, list) or not value:
        raise refuse(place, f"{value!r} is no list", "write some of mean, distinct, values, {edges: [0, 10]}")
    numeric = column.type.split("(")[0] in _NUMBERS
    edges: tuple[float, ...] = ()
    for one in value:
        if isinstance(one, dict) and set(one) == {"edges"}:
            edges = _edges(one["edges"], place, refuse)
        elif one not in ("mean", "distinct", "values"):
            raise refuse(place, f"{one!r} is no metric", "use mean, distinct, values, {edges: [0, 10]}")
    if not numeric and ("mean" in value or edges):
        raise refuse(place, f"{column.name} is a {column.type}", "mean and edges are for numbers")
    if "values" in value and edges:
        raise refuse(place, "values and edges together", "a column has one distribution")
    if "values" in value and column.personal:
        raise refuse(place, "its values are personal", "they would be kept with every run: ask for distinct instead")
    if "<" in column.type:
        raise refuse(place, f"{column.name} is a {column.type}", "metrics are for single values")
    return Measure(column.name, "mean" in value, "distinct" in value, "values" in value, edges)


def _edges(value: Any, place: str, refuse: Refuse) -> tuple[float, ...]:
    numbers = isinstance(value, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
    if not numbers or not value or sorted({*value}) != value or len(value) > 50:
        raise refuse(f"{place}.edges", f"{value!r} are no edges", "write up to 50 numbers, each greater than the one before")
    return tuple(float(n) for n in value)

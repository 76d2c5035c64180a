"""What one logical date touches of a dataset, as its contract's custom property `materialisation` says it.

materialisation: {kind: full} | {kind: date, column: day} | {kind: window, column: day, days: 3}
materialisation: {kind: upsert, latestBy: updated_at}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medallion.contract import Column, Layer, Materialisation, Rule
from medallion.odcs.deduplicate import Refuse, comparable, latest
from medallion.odcs.problems import Problems

_PLACE = "customProperties.materialisation"
_KINDS = ("full", "date", "window", "upsert")


def read(
    value: Any,
    layer: Layer,
    names: Sequence[str],
    columns: Sequence[Column],
    key: Sequence[str],
    rules: Sequence[Rule],
    problems: Problems,
) -> Materialisation:
    """Read the property. Bronze has none: it is kept by its date.

    Args:
        names, columns: of the dataset; a column that cannot be read has only a name.
        key, rules: the names of the columns in its primary key, and its rules.
    Raises: ContractError naming the key; what does not stand in the way of reading on is noted.
    """
    if layer == "bronze":
        return Materialisation("date", "_logical_date")
    if not isinstance(value, dict) or value.get("kind") not in _KINDS:
        hint = "write {kind: full}, {kind: date, column: …}, {kind: upsert, latestBy: …} or window"
        raise problems.refuse(_PLACE, "missing or of unknown kind", hint)
    kind = value["kind"]
    known = ("kind", "latestBy") if kind == "upsert" else ("kind", "column", "days")
    for unknown in sorted(set(value) - {*known}):
        problems.note(f"{_PLACE}.{unknown}", f"unknown key '{unknown}'", f"use {', '.join(known)}")
    if kind == "upsert":
        return Materialisation("upsert", latest_by=_upsert(value, layer, columns, key, rules, problems.refuse))
    column = "_logical_date" if layer == "silver" else value.get("column")
    if kind != "full" and layer == "gold" and column not in names:
        problems.note(f"{_PLACE}.column", f"column '{column}' is not in the schema", "name the date column")
    period = days(value.get("days", 1), _PLACE, problems.refuse)
    return Materialisation(kind, column if kind != "full" else None, period)


def days(value: Any, place: str, refuse: Refuse) -> int:
    """A number of days. Raises: ContractError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refuse(place, f"{value!r} is no number of days", "write a whole number from 1")
    return value


def _upsert(
    value: dict[str, Any], layer: Layer, columns: Sequence[Column], key: Sequence[str], rules: Sequence[Rule], refuse: Refuse
) -> str:
    """The column that tells which row of a key is the latest."""
    if layer != "silver":
        raise refuse(_PLACE, f"{layer} is not upserted", "gold is made of silver: say it there, and make this `full` or `date`")
    if "latestBy" not in value:
        raise refuse(_PLACE, "does not say which row of a key is the latest", "write {kind: upsert, latestBy: updated_at}")
    found = latest(value["latestBy"], f"{_PLACE}.latestBy", columns, key, refuse)
    comparable(columns, _PLACE, refuse)
    for name in key:
        if any(rule.name == f"{name}_required" and not rule.puts_aside for rule in rules):
            raise refuse(
                f"schema[0].properties.{name}", "is part of an upserted key, and rows without it would stay in the table",
                "remove `severity` and `quarantine` there: such rows go to quarantine, up to the `tolerance`",
            )  # fmt: skip
    return found

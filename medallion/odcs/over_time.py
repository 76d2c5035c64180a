"""Rules that compare a write with a date or with earlier runs.

Freshness stands under `slaProperties`, where ODCS has `latency` ("preferred to freshness") with `value`, `unit` and
`element`. For a change against earlier runs ODCS has no word: it stands in a quality rule of `type: custom`,
`engine: medallion`, whose `implementation` ODCS leaves to the engine.
See https://bitol-io.github.io/open-data-contract-standard/v3.1.0/service-level-agreement/.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml
from open_data_contract_standard.model import DataQuality, ServiceLevelAgreementProperty

from medallion.odcs import yaml_lines
from medallion.odcs.conditions import MOMENTS, NUMBERS, Refuse, kind
from medallion.rule_kinds import Change, Freshness

FRESHNESS = {"latency", "ly", "freshness"}
"""Names of the property, in lower case; ODCS takes them in any."""
_SECONDS = {
    "m": 60, "min": 60, "minute": 60, "minutes": 60, "h": 3600, "hr": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip
_KEYS = {"change", "runs", "within", "edges"}


def freshness(sla: ServiceLevelAgreementProperty, table: str, types: Mapping[str, str], place: str, refuse: Refuse) -> Freshness:
    """How old the newest value of a column may be. Raises: ContractError."""
    column = (sla.element or "").removeprefix(f"{table}.")
    if column not in types:
        raise refuse(
            f"{place}.element", f"'{sla.element}' is no column", f"write {table}.<column>, one that is a date or a timestamp"
        )
    if kind(types[column]) not in MOMENTS:
        raise refuse(f"{place}.element", f"'{column}' is a {types[column]}", "name a date or a timestamp")
    if sla.unit not in _SECONDS:
        raise refuse(f"{place}.unit", f"'{sla.unit}' is no unit of time", "use d, h or min")
    if isinstance(sla.value, bool) or not isinstance(sla.value, int | float) or not 0 <= sla.value < math.inf:
        raise refuse(f"{place}.value", f"{sla.value!r} is no time", "write a number")
    return Freshness(column, round(sla.value * _SECONDS[sla.unit]), f"{sla.value:g} {sla.unit}")


def change(rule: DataQuality, column: str | None, types: Mapping[str, str], place: str, refuse: Refuse) -> Change:
    """What may change between runs, and by how much. Raises: ContractError."""
    if rule.engine != "medallion":
        raise refuse(f"{place}.engine", f"'{rule.engine}' is not judged here", "write engine: medallion, or use a metric of ODCS")
    found: Any = rule.implementation
    if isinstance(found, str):
        try:
            found = yaml_lines.parse(found)
        except (yaml.YAMLError, yaml_lines.RepeatedKey) as error:
            raise refuse(f"{place}.implementation", f"is no YAML: {error}", "mend it") from error
    place = f"{place}.implementation"
    if not isinstance(found, dict) or not {"change", "runs", "within"} <= set(found):
        raise refuse(place, "is no rule of ours", "write {change: volume, runs: 7, within: 0.5}")
    if unknown := sorted(set(found) - _KEYS):
        raise refuse(place, f"unknown key '{unknown[0]}'", f"use some of {sorted(_KEYS)}")
    metric, runs, within = found["change"], found["runs"], found["within"]
    if metric not in ("volume", "mean", "distinct", "distribution"):
        raise refuse(f"{place}.change", f"'{metric}' is unknown", "use volume, mean, distinct or distribution")
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 1:
        raise refuse(f"{place}.runs", f"{runs!r} is no number of runs", "write a whole number from 1")
    if isinstance(within, bool) or not isinstance(within, int | float) or not 0 <= within < math.inf:
        raise refuse(f"{place}.within", f"{within!r} is no share", "write 0.5 for a half")
    if (column is None) is not (metric == "volume"):
        raise refuse(place, f"'{metric}' does not belong here", "volume is of the table, the others are of a column")
    of = kind(types[column]) if column else ""
    fits = {"mean": NUMBERS, "distribution": NUMBERS | {"string", "boolean"}}.get(metric)
    if fits and of not in fits:
        raise refuse(f"{place}.change", f"there is no {metric} of a {of}", f"it goes with {', '.join(sorted(fits))}")
    if metric == "distinct" and of in ("map", "struct", "array"):
        raise refuse(f"{place}.change", f"distinct values of a {of} are not counted", "use a column of a simple type")
    edges = found.get("edges", [])
    numbers = isinstance(edges, list) and all(
        isinstance(edge, int | float) and not isinstance(edge, bool) and math.isfinite(edge) for edge in edges
    )
    if not numbers or edges != sorted(set(edges)) or (edges and (metric != "distribution" or of not in NUMBERS)):
        raise refuse(
            f"{place}.edges",
            f"{edges!r} do not cut numbers into bins",
            "list numbers in rising order, for a distribution of numbers",
        )
    return Change(metric, column, runs, float(within), tuple(map(float, edges)))

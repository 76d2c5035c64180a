"""The rules of an Open Data Contract Standard file: those it writes out, and those its columns imply."""

from __future__ import annotations

import math
import re
from typing import Any

from open_data_contract_standard.model import CustomProperty, DataQuality, SchemaObject, SchemaProperty

from medallion.contract import UNPARSED, Rule, Severity
from medallion.contract_problems import Problems

_ROW_QUERY = re.compile(r"\s*select\s+count\(\*\)\s+from\s+\$?\{object\}\s+where\s+(.+)", re.I | re.S)


class RuleReader(Problems):
    """Reads rules; what cannot be judged is a problem, told by the file and the place in it."""

    def custom(self, properties: list[CustomProperty] | None, place: str, allowed: set[str]) -> dict[str, Any]:
        found = {str(item.property): item.value for item in properties or []}
        if len(found) < len(properties or []):
            self.note(f"{place}.customProperties", "a property stands twice", "remove one")
        for unknown in sorted(set(found) - allowed):
            known = f"use one of {sorted(allowed)}"
            self.note(f"{place}.customProperties.{unknown}", f"unknown property '{unknown}'", known)
        return found

    def rules(self, table: SchemaObject, layer: str) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        if layer == "silver":
            rules.append(
                Rule("parses", "error", self.parse_tolerance(table), "every value parses as its type", f"{UNPARSED} IS NULL")
            )
        for item in table.properties or []:
            rules += self.implied(item)
        written = [(rule, item.name) for item in table.properties or [] for rule in item.quality or []]
        for rule, column in [*written, *((rule, None) for rule in table.quality or [])]:
            with self.going_on():
                rules.append(self.quality(rule, column))
        key = sorted((i.primaryKeyPosition or 1, str(i.name)) for i in table.properties or [] if i.primaryKey)
        if key:
            columns = tuple(name for _, name in key)
            rules.append(Rule("key_unique", "error", 0, f"({', '.join(columns)}) is unique", unique=columns))
        return tuple(rules)

    def parse_tolerance(self, table: SchemaObject) -> float:
        custom = self.custom(table.customProperties, "schema[0]", {"parseTolerance"})
        return self.tolerance(custom.get("parseTolerance", 0), "schema[0]")

    def tolerance(self, value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            what = f"tolerance {value!r} is neither a share nor a number of rows"
            self.note(f"{place}.customProperties.tolerance", what, "write 0.01 or 5")
            return 0.0
        return float(value)

    def severity(self, value: Any, place: str) -> Severity:
        if value not in ("error", "warning"):
            self.note(place, f"severity '{value}' is unknown", "use error or warning")
        return "error" if value == "error" else "warning"

    def implied(self, item: SchemaProperty) -> list[Rule]:
        name, place = str(item.name), f"schema[0].properties.{item.name}"
        custom = self.custom(item.customProperties, place, {"tolerance", "severity"})
        severity = self.severity(custom.get("severity", "error"), place)
        tolerance = self.tolerance(custom.get("tolerance", 0), place)
        quoted = f"`{name}`"
        options = dict(item.logicalTypeOptions or {})
        conditions: dict[str, str] = {}
        if item.required or item.primaryKey:
            conditions["required"] = f"{quoted} IS NOT NULL"
        for option, condition in {
            "minimum": "{c} >= {v}", "maximum": "{c} <= {v}",
            "exclusiveMinimum": "{c} > {v}", "exclusiveMaximum": "{c} < {v}",
            "minLength": "length({c}) >= {v}", "maxLength": "length({c}) <= {v}",
            "pattern": "{c} RLIKE {v}",
        }.items():  # fmt: skip
            if option in options:
                value, numeric = options.pop(option), option.endswith("Length") or item.logicalType in ("integer", "number")
                if numeric and (isinstance(value, bool) or not isinstance(value, int | float)):
                    self.note(f"{place}.logicalTypeOptions.{option}", f"{value!r} is no number", "write a number")
                    continue
                conditions[option] = condition.format(c=quoted, v=_literal(value))
        for unknown in sorted(set(options) - {"format", "timezone", "defaultTimezone"}):
            self.note(f"{place}.logicalTypeOptions.{unknown}", f"unknown option '{unknown}'", "see ODCS 3.1")
        rules = [
            Rule(f"{name}_{kind}", severity, tolerance, condition.replace("`", ""), condition)
            for kind, condition in conditions.items()
        ]
        if item.unique:
            rules.append(Rule(f"{name}_unique", severity, tolerance, f"{name} is unique", unique=(name,)))
        return rules

    def quality(self, rule: DataQuality, column: str | None) -> Rule:
        place = f"quality '{rule.name or rule.metric or rule.type}'" + (f" of {column}" if column else "")
        custom = self.custom(rule.customProperties, place, {"tolerance", "scope"})
        if not rule.name:
            self.note(place, "has no name", "give the rule a name: people will read it in the quarantine")
        arguments = rule.arguments or {}
        passes: str | None = None
        unique: tuple[str, ...] = ()
        rows: tuple[float, float] | None = None
        if rule.type == "sql":
            match = _ROW_QUERY.fullmatch(rule.query or "")
            if not match or rule.mustBe != 0:
                raise self.refuse(
                    place,
                    "is not of the form that we judge row by row",
                    "write `query: SELECT COUNT(*) FROM {object} WHERE <what a bad row looks like>` and `mustBe: 0`",
                )
            passes = f"NOT ({match[1].strip().rstrip(';')})"
        elif rule.metric == "rowCount":
            rows = self.bounds(rule, place)
        elif rule.mustBe == 0 and column and rule.metric == "nullValues":
            passes = f"`{column}` IS NOT NULL"
        elif rule.mustBe == 0 and column and rule.metric == "invalidValues" and arguments.get("validValues"):
            passes = f"`{column}` IN ({', '.join(_literal(v) for v in arguments['validValues'])})"
        elif rule.mustBe == 0 and column and rule.metric == "invalidValues" and arguments.get("pattern"):
            passes = f"`{column}` RLIKE {_literal(arguments['pattern'])}"
        elif rule.mustBe == 0 and rule.metric == "duplicateValues":
            unique = tuple(arguments.get("properties") or ([column] if column else ()))
        if passes is None and not unique and rows is None:
            raise self.refuse(
                place,
                f"type '{rule.type}', metric '{rule.metric}' is not a rule that we can judge",
                "use type sql, or metric nullValues, invalidValues, duplicateValues (mustBe: 0) or rowCount",
            )
        scope = custom.get("scope", "write")
        if scope not in ("write", "table") or (passes is not None and "scope" in custom):
            raise self.refuse(
                place,
                f"scope {scope!r} is none for this rule",
                "duplicateValues and rowCount take `scope: write` (what was written) or `scope: table` (all rows); others none",
            )
        return Rule(
            name=rule.name or "",
            severity=self.severity(rule.severity or "error", place),
            tolerance=self.tolerance(custom.get("tolerance", 0), place),
            description=(rule.description or rule.name or "").strip(),
            passes=passes,
            unique=unique,
            rows=rows,
            scope=scope,
        )

    def bounds(self, rule: DataQuality, place: str) -> tuple[float, float]:
        between = rule.mustBeBetween if rule.mustBe is None else [rule.mustBe] * 2
        if between:
            if len(between) != 2 or not all(isinstance(n, int | float) for n in between):
                raise self.refuse(place, f"{between} are not two numbers", "write mustBeBetween: [low, high]")
            return float(between[0]), float(between[1])
        low = rule.mustBeGreaterOrEqualTo
        high = rule.mustBeLessOrEqualTo
        if rule.mustBeGreaterThan is not None:
            low = rule.mustBeGreaterThan + 1
        if rule.mustBeLessThan is not None:
            high = rule.mustBeLessThan - 1
        if low is None and high is None:
            raise self.refuse(place, "has no bound", "add mustBeGreaterThan, mustBeBetween, …")
        return float(low if low is not None else 0), float(high if high is not None else "inf")


def _literal(value: Any) -> str:
    """A Spark SQL literal; strings as raw literals, so that patterns keep their backslashes."""
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    text = str(value)
    if "'" in text:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"r'{text}'"

"""The rules of an Open Data Contract Standard file: those it writes out, and those its columns imply."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    Relationship,
    SchemaObject,
    SchemaProperty,
    ServiceLevelAgreementProperty,
)

from medallion.contract import UNPARSED, Rule, Severity
from medallion.odcs import conditions, operators, over_time, references
from medallion.odcs.problems import Problems
from medallion.rule_kinds import Figure, Must

_ROW_QUERY = re.compile(r"\s*select\s+count\(\*\)\s+from\s+\$?\{object\}\s+where\s+(.+)", re.I | re.S)
_PROPERTY = re.compile(r"\$?\{property\}")
_NONE = Must((("=", 0.0),))


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

    def rules(
        self,
        table: SchemaObject,
        dataset: str,
        types: Mapping[str, str],
        sla: list[ServiceLevelAgreementProperty] | None = None,
        freshness: Any = None,
    ) -> tuple[Rule, ...]:
        """All rules of a dataset, whose columns have these Spark SQL types."""
        rules: list[Rule] = []
        if dataset.startswith("silver."):
            rules.append(
                Rule("parses", "error", self.parse_tolerance(table), "every value parses as its type", f"{UNPARSED} IS NULL")
            )
        for item in table.properties or []:
            if str(item.name) not in types:
                continue  # it cannot be read, which is a problem already
            with self.going_on():
                rules += self.implied(item, types[str(item.name)])
            for rule in item.quality or []:
                with self.going_on():
                    rules.append(self.quality(rule, item.name, types))
            for i, each in enumerate(item.relationships or []):
                with self.going_on():
                    place = f"schema[0].properties.{item.name}.relationships[{i}]"
                    rules.append(self.reference(each, dataset, types, item.name, place))
        for rule in table.quality or []:
            with self.going_on():
                rules.append(self.quality(rule, None, types))
        for i, each in enumerate(table.relationships or []):
            with self.going_on():
                rules.append(self.reference(each, dataset, types, None, f"schema[0].relationships[{i}]"))
        for i, promise in enumerate(sla or []):
            if (promise.property or "").lower() in over_time.FRESHNESS:
                with self.going_on():
                    rules.append(self.freshness(promise, str(table.name), types, freshness, f"slaProperties[{i}]"))
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

    def quarantine(self, custom: Mapping[str, Any], severity: Severity, place: str) -> bool:
        value = {"yes": True, "no": False}.get(str(custom.get("quarantine", True)).lower(), custom.get("quarantine", True))
        if not isinstance(value, bool):
            raise self.refuse(place, f"quarantine {value!r} is neither yes nor no", "write yes or no")
        if "quarantine" in custom and severity != "error":
            raise self.refuse(place, "a warning puts no row aside", "remove quarantine, or make it an error")
        return value

    def implied(self, item: SchemaProperty, type_: str) -> list[Rule]:
        name, place = str(item.name), f"schema[0].properties.{item.name}"
        custom = self.custom(item.customProperties, place, {"tolerance", "severity", "quarantine", "metrics"})
        severity = self.severity(custom.get("severity", "error"), place)
        tolerance = self.tolerance(custom.get("tolerance", 0), place)
        quarantine = self.quarantine(custom, severity, place)
        implied = {"required": f"`{name}` IS NOT NULL"} if item.required or item.primaryKey else {}
        for option in dict(item.logicalTypeOptions or {}).items():
            with self.going_on():
                implied |= conditions.of_options(name, type_, dict([option]), place, self.refuse)
        rules = [
            Rule(f"{name}_{kind}", severity, tolerance, condition.replace("`", ""), condition, quarantine=quarantine)
            for kind, condition in implied.items()
        ]
        if item.unique:
            rules.append(Rule(f"{name}_unique", severity, tolerance, f"{name} is unique", unique=(name,)))
        return rules

    def quality(self, rule: DataQuality, column: str | None, types: Mapping[str, str]) -> Rule:
        place = f"quality '{rule.name or rule.metric or rule.type}'" + (f" of {column}" if column else "")
        custom = self.custom(rule.customProperties, place, {"tolerance", "scope", "quarantine"})
        if not rule.name:
            self.note(place, "has no name", "give the rule a name: people will read it in the quarantine")
        about = self.about(rule, column, types, place)
        on_rows = "passes" in about
        scope = custom.get("scope", "write")
        if scope not in ("write", "table") or ("scope" in custom and (on_rows or "change" in about)):
            raise self.refuse(
                place,
                f"scope {scope!r} is none for this rule",
                "rules on figures take `scope: write` (what was written) or `scope: table` (all rows); others none",
            )
        if "quarantine" in custom and not on_rows:
            raise self.refuse(place, "quarantine means nothing here", "only a rule on rows puts rows aside")
        if "tolerance" in custom and not on_rows and "unique" not in about:
            raise self.refuse(place, "tolerance means nothing here", "say with the operator, or `within`, what is allowed")
        severity = self.severity(rule.severity or "error", place)
        return Rule(
            name=rule.name or "",
            severity=severity,
            tolerance=self.tolerance(custom.get("tolerance", 0), place),
            description=(rule.description or rule.name or "").strip(),
            scope=scope,
            quarantine=self.quarantine(custom, severity, place),
            **about,
        )

    def about(self, rule: DataQuality, column: str | None, types: Mapping[str, str], place: str) -> dict[str, Any]:
        """What a rule judges: the fields of `Rule` that say so."""
        if rule.type == "custom":
            return {"change": over_time.change(rule, column, types, place, self.refuse)}
        if rule.type == "sql":
            return {"passes": self.query(rule, column, place)}
        counted = self.counted(rule, column, types[column] if column else "", place)
        repeated = tuple((rule.arguments or {}).get("properties") or ([column] if column else ()))
        if rule.type not in (None, "library") or not (
            counted or (rule.metric == "duplicateValues" and repeated) or (rule.metric == "rowCount" and not column)
        ):
            raise self.refuse(
                place,
                f"type '{rule.type}', metric '{rule.metric}' is not a rule that we can judge",
                "use type sql, or a metric: nullValues, missingValues, invalidValues of a column, duplicateValues, rowCount",
            )
        percent = operators.in_percent(rule, place, self.refuse)
        must = operators.read(rule, place, self.refuse, percent=percent)
        if rule.metric == "rowCount":
            if percent:
                raise self.refuse(place, "a number of rows is no share", "remove `unit: percent`")
            rows = must.rows()
            return {"rows": rows} if rows else {"measure": Figure(must)}
        if counted:
            # no such row at all: each can be judged, and put aside, by itself
            passes, bad = counted
            return {"passes": passes} if must == _NONE else {"measure": Figure(must, bad, percent=percent)}
        if must == _NONE:
            return {"unique": repeated}
        return {"measure": Figure(must, repeated=repeated, percent=percent)}

    def counted(self, rule: DataQuality, column: str | None, type_: str, place: str) -> tuple[str, str] | None:
        """For a metric that counts rows by one column: what holds on a row that it does not count, and on one that it does."""
        arguments = rule.arguments or {}
        if column is None:
            return None
        if rule.metric == "nullValues":
            return f"`{column}` IS NOT NULL", f"`{column}` IS NULL"
        if rule.metric == "missingValues":
            bad = conditions.missing(column, type_, arguments.get("missingValues"), place, self.refuse)
            return f"NOT ({bad})", bad
        if rule.metric == "invalidValues":
            passing = []
            if valid := [value for value in arguments.get("validValues") or [] if value is not None]:
                passing.append(conditions.one_of(column, type_, valid, place, self.refuse))
            if pattern := arguments.get("pattern"):
                passing.append(conditions.matches(column, pattern, place, self.refuse))
            passes = " AND ".join(passing)
            return (passes, f"NOT ({passes})") if passes else None
        return None

    def query(self, rule: DataQuality, column: str | None, place: str) -> str:
        match = _ROW_QUERY.fullmatch(rule.query or "")
        if not match or rule.mustBe != 0 or isinstance(rule.mustBe, bool):
            raise self.refuse(
                place,
                "is not of the form that we judge row by row",
                "write `query: SELECT COUNT(*) FROM {object} WHERE <what a bad row looks like>` and `mustBe: 0`",
            )
        condition = match[1].strip().rstrip(";")
        if _PROPERTY.search(condition) and not column:
            raise self.refuse(place, "{property} is none here", "name the column, or put the rule on a property")
        return f"NOT ({_PROPERTY.sub(f'`{column}`', condition)})"

    def reference(self, each: Relationship, dataset: str, types: Mapping[str, str], column: str | None, place: str) -> Rule:
        custom = self.custom(each.customProperties, place, references.CUSTOM)
        name, reference, passes = references.read(each, dataset, types, column, place, self.refuse)
        severity = self.severity(custom.get("severity", "error"), place)
        told = f"{', '.join(reference.columns)} stands in {', '.join(reference.to_columns)} of {reference.to}"
        return Rule(
            name=name,
            severity=severity,
            tolerance=self.tolerance(custom.get("tolerance", 0), place),
            description=str(custom.get("description") or told),
            passes=passes,
            quarantine=self.quarantine(custom, severity, place),
            reference=reference,
        )

    def freshness(
        self, sla: ServiceLevelAgreementProperty, table: str, types: Mapping[str, str], custom: Any, place: str
    ) -> Rule:
        """The rule of an SLA property, with `severity` and `scope` of the contract's custom property `freshness`: the
        standard's schema has no place for them in the SLA itself."""
        if sla.customProperties:
            raise self.refuse(place, "ODCS has no customProperties here", "write them in the contract's property `freshness`")
        fresh = over_time.freshness(sla, table, types, place, self.refuse)
        custom, of_it = {} if custom is None else custom, "customProperties.freshness"
        if not isinstance(custom, dict) or set(custom) - {"severity", "scope"}:
            raise self.refuse(of_it, f"{custom!r} says nothing of freshness", "write {severity: warning, scope: table}")
        scope = custom.get("scope", "write")
        if scope not in ("write", "table"):
            raise self.refuse(of_it, f"scope {scope!r} is unknown", "use write (what was written) or table (all rows)")
        return Rule(
            name=sla.id or f"{fresh.column}_fresh",
            severity=self.severity(custom.get("severity", "error"), of_it),
            tolerance=0,
            description=sla.description or f"{fresh.column} is at most {fresh.text} old",
            scope=scope,
            fresh=fresh,
        )

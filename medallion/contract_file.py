"""An Open Data Contract Standard 3.1 file, read into a `Contract`.

The schema is written there and nowhere else. What ODCS has no word for stands under
`customProperties`: on the contract `layer`, `zone`, `materialisation`, `delivery`, `published`; on a
property or a quality rule `tolerance` (and `severity` on a property); on the table `parseTolerance`.
See https://bitol-io.github.io/open-data-contract-standard/v3.1.0/.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml
from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)
from pydantic import ValidationError

from medallion.contract import (
    BRONZE_COLUMNS,
    LAYERS,
    UNPARSED,
    Column,
    Contract,
    Delivery,
    Materialisation,
    Rule,
    Severity,
)
from medallion.errors import ContractError
from medallion.settings import BUCKETS

_TYPES = {
    "string": {"string", "binary"},
    "integer": {"tinyint", "smallint", "int", "bigint"},
    "number": {"float", "double", "decimal"},
    "boolean": {"boolean"},
    "date": {"date"},
    "timestamp": {"timestamp", "timestamp_ntz"},
    "array": {"array"},
    "object": {"struct", "map"},
}
_DEFAULT_TYPES = {
    "string": "string", "integer": "bigint", "number": "double", "boolean": "boolean",
    "date": "date", "timestamp": "timestamp",
}  # fmt: skip
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_ROW_QUERY = re.compile(r"\s*select\s+count\(\*\)\s+from\s+\$?\{object\}\s+where\s+(.+)", re.I | re.S)


def read(path: Path) -> Contract:
    """Read one contract file.

    Raises: ContractError naming the file, the place in it and what to do.
    """
    try:
        text = path.read_text("utf-8")
        raw = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ContractError(f"{path}: cannot be read as YAML: {error}", hint="mend the file") from error
    return _Reader(path).contract(raw, hashlib.sha256(text.encode()).hexdigest())


def _unknown_keys(raw: Any, known: Any, place: str = "") -> list[str]:
    if isinstance(raw, dict) and isinstance(known, dict):
        return [
            problem
            for key, value in raw.items()
            for problem in (
                _unknown_keys(value, known[key], f"{place}.{key}".lstrip(".")) if key in known else [f"{place}.{key}".lstrip(".")]
            )
        ]
    if isinstance(raw, list) and isinstance(known, list):
        return [
            problem for i, (r, k) in enumerate(zip(raw, known, strict=False)) for problem in _unknown_keys(r, k, f"{place}[{i}]")
        ]
    return []


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse(self, place: str, problem: str, hint: str) -> ContractError:
        return ContractError(f"{self.path}: {place}: {problem}", hint=hint)

    def custom(self, properties: list[CustomProperty] | None, place: str, allowed: set[str]) -> dict[str, Any]:
        found = {str(item.property): item.value for item in properties or []}
        if unknown := sorted(set(found) - allowed):
            raise self.refuse(f"{place}.customProperties", f"unknown property '{unknown[0]}'", f"use one of {sorted(allowed)}")
        return found

    def contract(self, raw: Any, fingerprint: str) -> Contract:
        if not isinstance(raw, dict):
            raise self.refuse("the file", "is not a mapping", "start from a contract beside it")
        try:
            odcs = OpenDataContractStandard(**raw)
        except (ValidationError, TypeError) as error:
            where, what = "the file", str(error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
            raise self.refuse(where, what, "see the Open Data Contract Standard 3.1") from error
        if unknown := _unknown_keys(raw, odcs.model_dump(by_alias=True, exclude_unset=True)):
            raise self.refuse(unknown[0], "unknown key", "see the Open Data Contract Standard 3.1")
        custom = self.custom(odcs.customProperties, "contract", {"layer", "zone", "materialisation", "delivery", "published"})
        layer, domain, name = custom.get("layer"), odcs.domain, odcs.name
        if layer not in LAYERS:
            raise self.refuse("customProperties.layer", f"'{layer}' is no layer", f"use one of {LAYERS}")
        for what, value in (("domain", domain), ("name", name)):
            if not value or not _NAME.fullmatch(value):
                raise self.refuse(what, f"'{value}' is no name", "use lower case letters, digits and _")
        zones = [bucket.removeprefix(f"{layer}-") for bucket in BUCKETS if bucket.startswith(f"{layer}-")]
        if custom.get("zone") not in zones:
            raise self.refuse("customProperties.zone", f"'{custom.get('zone')}' is no zone of {layer}", f"use one of {zones}")
        if odcs.id != f"{layer}.{domain}.{name}":
            raise self.refuse("id", f"'{odcs.id}' is not the dataset's name", f"write {layer}.{domain}.{name}")
        if len(odcs.schema_ or []) != 1:
            raise self.refuse("schema", "must hold exactly one table", "one contract, one dataset")
        table = (odcs.schema_ or [])[0]
        columns = tuple(self.column(item) for item in table.properties or [])
        if not columns:
            raise self.refuse("schema[0].properties", "no column", "name the dataset's columns")
        names = [column.name for column in columns]
        if repeated := {n for n in names if names.count(n) > 1}:
            raise self.refuse("schema[0].properties", f"{sorted(repeated)} stand twice", "remove one")
        rules = self.rules(table, layer)
        if len(rules) == (1 if layer == "silver" else 0):
            raise self.refuse("schema[0]", "no rule", "a dataset without rules cannot be judged: add `quality`")
        rule_names = [rule.name for rule in rules]
        if doubled := {n for n in rule_names if rule_names.count(n) > 1}:
            raise self.refuse("quality", f"two rules are called {sorted(doubled)}", "give each a name of its own")
        keyed = sorted((item.primaryKeyPosition or 1, str(item.name)) for item in table.properties or [] if item.primaryKey)
        retention = next((p.value for p in odcs.slaProperties or [] if p.property == "retention"), None)
        team = odcs.team if isinstance(odcs.team, list) else (odcs.team.members or [] if odcs.team else [])
        return Contract(
            layer=layer,
            domain=str(domain),
            name=str(name),
            zone=str(custom["zone"]),
            version=odcs.version or "0",
            owner=next((str(member.username) for member in team if member.role == "owner"), ""),
            description=(odcs.description.purpose or "" if odcs.description else "").strip(),
            columns=columns,
            key=tuple(name for _, name in keyed),
            rules=rules,
            materialisation=self.materialisation(custom.get("materialisation"), layer, names),
            delivery=self.delivery(custom.get("delivery"), layer),
            published=layer == "gold" and custom.get("published", True) is True,
            retention_days=int(retention) if retention is not None else None,
            path=self.path,
            fingerprint=fingerprint,
        )

    def column(self, item: SchemaProperty) -> Column:
        name, logical = item.name or "", item.logicalType or ""
        place = f"schema[0].properties.{name}"
        if not name or name in BRONZE_COLUMNS or name == UNPARSED:
            raise self.refuse(place, f"'{name}' cannot be a column's name", "names with _ in front are the engine's")
        if logical not in _TYPES:
            raise self.refuse(place, f"logicalType '{logical}' is no type", f"use one of {sorted(_TYPES)}")
        physical = (item.physicalType or _DEFAULT_TYPES.get(logical, "")).lower()
        if re.split(r"[<(]", physical)[0] not in _TYPES[logical] or physical == "decimal":
            raise self.refuse(
                place, f"physicalType '{item.physicalType}' does not fit logicalType '{logical}'",
                f"use one of {sorted(_TYPES[logical])}, decimal with (precision,scale)",
            )  # fmt: skip
        return Column(
            name=name,
            type=physical,
            required=bool(item.required or item.primaryKey),
            description=(item.description or "").strip(),
            personal=(item.classification or "").lower() in {"personal", "pii", "restricted", "confidential"},
        )

    def rules(self, table: SchemaObject, layer: str) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        if layer == "silver":
            rules.append(
                Rule("parses", "error", self.parse_tolerance(table), "every value parses as its type", f"{UNPARSED} IS NULL")
            )
        for item in table.properties or []:
            rules += self.implied(item)
            rules += [self.quality(rule, item.name) for rule in item.quality or []]
        rules += [self.quality(rule, None) for rule in table.quality or []]
        key = sorted((i.primaryKeyPosition or 1, str(i.name)) for i in table.properties or [] if i.primaryKey)
        if key:
            columns = tuple(name for _, name in key)
            rules.append(Rule("key_unique", "error", 0, f"({', '.join(columns)}) is unique", unique=columns))
        return tuple(rules)

    def parse_tolerance(self, table: SchemaObject) -> float:
        custom = self.custom(table.customProperties, "schema[0]", {"parseTolerance"})
        return self.tolerance(custom.get("parseTolerance", 0), "schema[0]")

    def tolerance(self, value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise self.refuse(place, f"tolerance {value!r} is neither a share nor a number of rows", "write 0.01 or 5")
        return float(value)

    def severity(self, value: Any, place: str) -> Severity:
        if value not in ("error", "warning"):
            raise self.refuse(place, f"severity '{value}' is unknown", "use error or warning")
        return "error" if value == "error" else "warning"

    def implied(self, item: SchemaProperty) -> list[Rule]:
        name, place = str(item.name), f"schema[0].properties.{item.name}"
        custom = self.custom(item.customProperties, place, {"tolerance", "severity", "source"})
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
                conditions[option] = condition.format(c=quoted, v=_literal(options.pop(option)))
        if unknown := sorted(set(options) - {"format", "timezone", "defaultTimezone"}):
            raise self.refuse(f"{place}.logicalTypeOptions", f"unknown option '{unknown[0]}'", "see ODCS 3.1")
        rules = [
            Rule(f"{name}_{kind}", severity, tolerance, condition.replace("`", ""), condition)
            for kind, condition in conditions.items()
        ]
        if item.unique:
            rules.append(Rule(f"{name}_unique", severity, tolerance, f"{name} is unique", unique=(name,)))
        return rules

    def quality(self, rule: DataQuality, column: str | None) -> Rule:
        place = f"quality '{rule.name or rule.metric or rule.type}'" + (f" of {column}" if column else "")
        custom = self.custom(rule.customProperties, place, {"tolerance"})
        if not rule.name:
            raise self.refuse(place, "has no name", "give the rule a name: people will read it in the quarantine")
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
        return Rule(
            name=rule.name,
            severity=self.severity(rule.severity or "error", place),
            tolerance=self.tolerance(custom.get("tolerance", 0), place),
            description=(rule.description or rule.name).strip(),
            passes=passes,
            unique=unique,
            rows=rows,
        )

    def bounds(self, rule: DataQuality, place: str) -> tuple[float, float]:
        if rule.mustBeBetween:
            return float(rule.mustBeBetween[0]), float(rule.mustBeBetween[1])
        if rule.mustBe is not None:
            return float(rule.mustBe), float(rule.mustBe)
        low = rule.mustBeGreaterOrEqualTo
        high = rule.mustBeLessOrEqualTo
        if rule.mustBeGreaterThan is not None:
            low = rule.mustBeGreaterThan + 1
        if rule.mustBeLessThan is not None:
            high = rule.mustBeLessThan - 1
        if low is None and high is None:
            raise self.refuse(place, "has no bound", "add mustBeGreaterThan, mustBeBetween, …")
        return float(low if low is not None else 0), float(high if high is not None else "inf")

    def materialisation(self, value: Any, layer: str, columns: list[str]) -> Materialisation:
        place = "customProperties.materialisation"
        if layer == "bronze":
            return Materialisation("date", "_logical_date")
        if not isinstance(value, dict) or value.get("kind") not in ("full", "date", "window"):
            raise self.refuse(place, "missing or of unknown kind", "write {kind: full}, {kind: date, column: …} or window")
        if unknown := sorted(set(value) - {"kind", "column", "days"}):
            raise self.refuse(place, f"unknown key '{unknown[0]}'", "use kind, column, days")
        column = "_logical_date" if layer == "silver" else value.get("column")
        if value["kind"] != "full" and layer == "gold" and column not in columns:
            raise self.refuse(place, f"column '{column}' is not in the schema", "name the date column")
        return Materialisation(value["kind"], column if value["kind"] != "full" else None, int(value.get("days", 1)))

    def delivery(self, value: Any, layer: str) -> Delivery | None:
        if layer != "bronze":
            return None
        place = "customProperties.delivery"
        if not isinstance(value, dict) or not {"format", "path", "expected"} <= set(value):
            raise self.refuse(place, "missing", "a bronze dataset says its format, path and when it is expected")
        if unknown := sorted(set(value) - {"format", "path", "expected", "nullText", "repeats"}):
            raise self.refuse(place, f"unknown key '{unknown[0]}'", "use format, path, expected, nullText, repeats")
        for key, allowed in (("format", ("csv",)), ("expected", ("daily", "initial"))):
            if value[key] not in allowed:
                raise self.refuse(f"{place}.{key}", f"'{value[key]}' is unknown", f"use one of {allowed}")
        if missing := [part for part in ("{year}", "{month}", "{day}") if part not in str(value["path"])]:
            raise self.refuse(f"{place}.path", f"lacks {', '.join(missing)}", "a day's delivery has a folder of its own")
        return Delivery(
            format=value["format"],
            path=str(value["path"]),
            expected=value["expected"],
            null_text=str(value.get("nullText", "")),
            repeats="file" if value.get("repeats") == "file" else "history",
        )


def _literal(value: Any) -> str:
    """A Spark SQL literal; strings as raw literals, so that patterns keep their backslashes."""
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    text = str(value)
    if "'" in text:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"r'{text}'"

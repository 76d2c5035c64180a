"""An Open Data Contract Standard 3.1 file, read into a `Contract`.

The schema is written there and nowhere else. What ODCS has no word for stands under
`customProperties`: on the contract `layer`, `zone`, `materialisation`, `delivery`, `layout`, `deduplicate`, `published`; on a
property or a quality rule `tolerance` (and `severity` on a property); on the table `parseTolerance`.
A bronze property's `physicalName` is what deliveries call the column, where that is not its name.
See https://bitol-io.github.io/open-data-contract-standard/v3.1.0/.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty
from pydantic import ValidationError

from medallion import contract_deduplicate, contract_delivery, contract_layout, contract_yaml
from medallion.contract import (
    BRONZE_COLUMNS,
    LAYERS,
    UNPARSED,
    Column,
    Contract,
    Delivery,
    Materialisation,
)
from medallion.contract_rules import RuleReader
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
_CUSTOM = {"layer", "zone", "materialisation", "delivery", "layout", "deduplicate", "published"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def read(path: Path) -> Contract:
    """Read one contract file.

    Raises: ContractError naming the file, the place in it and what to do.
    """
    try:
        text = path.read_text("utf-8")
        raw = contract_yaml.parse(text)
    except contract_yaml.RepeatedKey as error:
        raise ContractError(f"{path}: {error}", hint="remove one of the two") from error
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


class _Reader(RuleReader):
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
        custom = self.custom(odcs.customProperties, "contract", _CUSTOM)
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
        columns = tuple(self.column(item, layer) for item in table.properties or [])
        if not columns:
            raise self.refuse("schema[0].properties", "no column", "name the dataset's columns")
        names = [column.name for column in columns]
        if repeated := {n for n in names if names.count(n) > 1}:
            raise self.refuse("schema[0].properties", f"{sorted(repeated)} stand twice", "remove one")
        sources = [column.source for column in columns]
        if repeated := {n for n in sources if sources.count(n) > 1}:
            raise self.refuse("schema[0].properties", f"two columns are read from {sorted(repeated)}", "mend a physicalName")
        rules = self.rules(table, layer)
        if len(rules) == (1 if layer == "silver" else 0):
            raise self.refuse("schema[0]", "no rule", "a dataset without rules cannot be judged: add `quality`")
        rule_names = [rule.name for rule in rules]
        if doubled := {n for n in rule_names if rule_names.count(n) > 1}:
            raise self.refuse("quality", f"two rules are called {sorted(doubled)}", "give each a name of its own")
        for rule in rules:
            if strange := sorted(set(rule.unique) - {*names, *BRONZE_COLUMNS}):
                raise self.refuse(f"quality '{rule.name}'", f"there is no column '{strange[0]}'", f"use some of {names}")
        published = custom.get("published", True)
        if not isinstance(published, bool):
            raise self.refuse("customProperties.published", f"{published!r} is neither true nor false", "write true or false")
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
            layout=contract_layout.read(custom.get("layout"), names, self.refuse),
            published=layer == "gold" and published,
            retention_days=None if retention is None else self.days(retention, "slaProperties.retention"),
            path=self.path,
            fingerprint=fingerprint,
            deduplicate=contract_deduplicate.read(
                custom.get("deduplicate"), layer, columns, [name for _, name in keyed], self.refuse
            ),
        )

    def column(self, item: SchemaProperty, layer: str) -> Column:
        name, logical = item.name or "", item.logicalType or ""
        place = f"schema[0].properties.{name}"
        if not name or name in BRONZE_COLUMNS or name == UNPARSED:
            raise self.refuse(place, f"'{name}' cannot be a column's name", "names with _ in front are the engine's")
        if item.physicalName is not None and (layer != "bronze" or not item.physicalName):
            raise self.refuse(f"{place}.physicalName", "means nothing here", "in bronze it is what deliveries call the column")
        if logical not in _TYPES:
            raise self.refuse(place, f"logicalType '{logical}' is no type", f"use one of {sorted(_TYPES)}")
        physical = (item.physicalType or _DEFAULT_TYPES.get(logical, "")).lower()
        if re.split(r"[<(]", physical)[0] not in _TYPES[logical] or physical == "decimal":
            raise self.refuse(
                place, f"physicalType '{item.physicalType}' does not fit logicalType '{logical}'",
                f"use one of {sorted(_TYPES[logical])}, decimal with (precision,scale)",
            )  # fmt: skip
        if set(physical) & set("(<"):
            self.compound(physical, place)
        return Column(
            name=name,
            type=physical,
            required=bool(item.required or item.primaryKey),
            description=(item.description or "").strip(),
            personal=(item.classification or "").lower() in {"personal", "pii", "restricted", "confidential"},
            physical_name=item.physicalName,
        )

    def compound(self, physical: str, place: str) -> None:
        from medallion.lakehouse.table import iceberg_type  # not at the top: most contracts do without

        try:
            iceberg_type(physical, iter(range(1, 10_000)))
        except ContractError as error:
            raise self.refuse(place, f"physicalType '{physical}' is no type", "as in decimal(10,2), array<string>") from error

    def days(self, value: Any, place: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.refuse(place, f"{value!r} is no number of days", "write a whole number from 1")
        return value

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
        return Materialisation(value["kind"], column if value["kind"] != "full" else None, self.days(value.get("days", 1), place))

    def delivery(self, value: Any, layer: str) -> Delivery | None:
        if layer != "bronze":
            return None
        return contract_delivery.read(value, self.refuse)

"""An Open Data Contract Standard 3.1 file, read into a `Contract`.

The schema is written there and nowhere else. What ODCS has no word for stands under `customProperties`: on the
contract `layer`, `zone`, `materialisation`, `delivery`, `layout`, `deduplicate`, `published`, `publication`,
`anomalies`, `freshness`, `calendar`, `critical`; on a property, a relationship or a quality rule `tolerance` and
`quarantine` (and `severity` where ODCS has no word for it), on a property `metrics`, on a quality rule `scope`; on the
table `parseTolerance`. A bronze property's `physicalName` is what deliveries call the column, where that is not its name.
See https://bitol-io.github.io/open-data-contract-standard/v3.1.0/.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from open_data_contract_standard.model import (
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    ServiceLevelAgreementProperty,
)
from pydantic import ValidationError

from medallion.contract import (
    BRONZE_COLUMNS,
    LAYERS,
    UNPARSED,
    Column,
    Contract,
    Deduplication,
    Layout,
    Materialisation,
    Measure,
    PublishedAs,
    Rule,
)
from medallion.errors import ContractError, Problem
from medallion.odcs import anomalies as anomalies_of
from medallion.odcs import deduplicate as deduplicate_of
from medallion.odcs import delivery as delivery_of
from medallion.odcs import layout as layout_of
from medallion.odcs import materialisation as materialisation_of
from medallion.odcs import promise as promise_of
from medallion.odcs import publication as publication_of
from medallion.odcs import yaml_lines
from medallion.odcs.rules import RuleReader
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
_CUSTOM = {
    "layer", "zone", "materialisation", "delivery", "layout", "deduplicate", "published", "publication", "anomalies", "freshness",
    "calendar", "critical",
}  # fmt: skip
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_STANDARD = "see the Open Data Contract Standard 3.1"


def read(path: Path) -> Contract:
    """Read one contract file.

    Raises: ContractError naming the file, the place in it with line and column, and what to do; its
        `problems` are all that are wrong with the file.
    """
    try:
        text = path.read_text("utf-8")
        document = yaml_lines.read(text)
    except yaml_lines.RepeatedKey as error:
        raise ContractError.of(
            [Problem(str(path), one.line, one.column, "", one.text, "remove one of the two") for one in error.repeated]
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        told = ", ".join(filter(None, [getattr(error, "context", None), getattr(error, "problem", None)])) if mark else str(error)
        what = f"cannot be read as YAML: {told}"
        raise ContractError.of([Problem(str(path), line, column, "", what, "mend the file")]) from error
    return _Reader(path, document).contract(hashlib.sha256(text.encode()).hexdigest())


def named_by(path: Path) -> Contract | None:
    """What stands for a contract that cannot be read: only its dataset is known, by the file's name and its
    `domain`; None if not even that is."""
    layer, _, name = path.name.removesuffix(".odcs.yaml").partition(".")
    domain = re.search(r"^domain:\s*[\"']?([a-z][a-z0-9_]*)", path.read_text("utf-8", "replace"), re.M)
    if layer not in LAYERS or not _NAME.fullmatch(name) or not domain:
        return None
    return Contract(
        layer=layer, domain=domain[1], name=name, zone="", version="", owner="", description="", columns=(), key=(), rules=(),
        materialisation=Materialisation("full"), delivery=None, layout=Layout(), published=False, retention_days=None,
        path=path, fingerprint="",
    )  # fmt: skip


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
    def contract(self, fingerprint: str) -> Contract:
        odcs = self.odcs()
        custom = self.custom(odcs.customProperties, "contract", _CUSTOM)
        layer, domain, name = custom.get("layer"), odcs.domain, odcs.name
        self.names(odcs, custom)
        if len(odcs.schema_ or []) != 1:
            self.note("schema", "must hold exactly one table", "one contract, one dataset")
        table = (odcs.schema_ or [SchemaObject()])[0]
        columns = []
        for item in table.properties or []:
            with self.going_on():
                columns.append(self.column(item, str(layer)))
        if not table.properties:
            self.note("schema[0].properties", "no column", "name the dataset's columns")
        names = [item.name or "" for item in table.properties or []]
        if repeated := {n for n in names if names.count(n) > 1}:
            self.note("schema[0].properties", f"{sorted(repeated)} stand twice", "remove one")
        sources = [column.source for column in columns]
        if repeated := {n for n in sources if sources.count(n) > 1} - repeated:
            self.note("schema[0].properties", f"two columns are read from {sorted(repeated)}", "mend a physicalName")
        rules = self.checked_rules(table, str(odcs.id), columns, odcs.slaProperties, custom.get("freshness"))
        published = custom.get("published", True)
        if not isinstance(published, bool):
            self.note("customProperties.published", f"{published!r} is neither true nor false", "write true or false")
        critical = custom.get("critical", False)
        if not isinstance(critical, bool):
            self.note("customProperties.critical", f"{critical!r} is neither true nor false", "write true or false")
        keyed = sorted((item.primaryKeyPosition or 1, str(item.name)) for item in table.properties or [] if item.primaryKey)
        retention = next((p.value for p in odcs.slaProperties or [] if p.property == "retention"), None)
        team = odcs.team if isinstance(odcs.team, list) else (odcs.team.members or [] if odcs.team else [])
        key = [name for _, name in keyed]
        materialisation, delivery, layout = Materialisation("full"), None, Layout()
        if layer in LAYERS:  # else nobody knows which of them it has
            with self.going_on():
                told = custom.get("materialisation")
                materialisation = materialisation_of.read(told, layer, names, columns, key, rules, self)
            with self.going_on():
                delivery = delivery_of.read(custom.get("delivery"), self) if layer == "bronze" else None
        with self.going_on():
            layout = layout_of.read(custom.get("layout"), names, self)
        days = None
        with self.going_on():
            days = None if retention is None else materialisation_of.days(retention, "slaProperties.retention", self.refuse)
        measures: tuple[Measure, ...] = ()
        with self.going_on():
            by_name = {item.name: item for item in table.properties or []}
            measures = anomalies_of.measures({c: self.custom_metrics(by_name[c.name]) for c in columns}, self.refuse)
        anomalies = None
        with self.going_on():
            daily = anomalies_of.comes_daily(str(layer), materialisation, delivery)
            anomalies = anomalies_of.read(custom.get("anomalies"), daily, self.refuse)
        deduplicate = Deduplication()
        with self.going_on():
            by = materialisation.latest_by
            deduplicate = deduplicate_of.read(custom.get("deduplicate"), str(layer), columns, key, self.refuse, by)
        publication: PublishedAs = "replace"
        if layer in LAYERS and isinstance(published, bool):
            with self.going_on():
                told = custom.get("publication")
                publication = publication_of.read(told, layer, published, materialisation, layout, self)
        promise = promise_of.read(odcs.slaProperties, custom.get("calendar"), self)
        if self.found:
            raise ContractError.of(self.found)
        assert layer in LAYERS
        return Contract(
            layer=layer,
            domain=str(domain),
            name=str(name),
            zone=str(custom["zone"]),
            version=odcs.version or "0",
            owner=next((str(member.username) for member in team if member.role == "owner"), ""),
            description=(odcs.description.purpose or "" if odcs.description else "").strip(),
            columns=tuple(columns),
            key=tuple(key),
            rules=rules,
            materialisation=materialisation,
            delivery=delivery,
            layout=layout,
            published=layer == "gold" and published,
            retention_days=days,
            path=self.path,
            fingerprint=fingerprint,
            measures=measures,
            anomalies=anomalies,
            deduplicate=deduplicate,
            publication=publication,
            promise=promise,
            critical=critical,
        )

    def odcs(self) -> OpenDataContractStandard:
        """The file as the standard's model has it, without what does not fit it, which is noted."""
        raw = copy.deepcopy(self.document.value)
        if not isinstance(raw, dict):
            raise self.refuse("the file", "is not a mapping", "start from a contract beside it")
        while True:
            try:
                odcs = OpenDataContractStandard(**raw)
                break
            except (ValidationError, TypeError) as error:
                if not isinstance(error, ValidationError):
                    raise self.refuse("the file", str(error), _STANDARD) from error
                for one in error.errors():
                    where = _dotted(_path(raw, one["loc"])) or ".".join(str(part) for part in one["loc"])
                    what = "unknown key" if one["type"] == "extra_forbidden" else one["msg"]
                    self.keep(self.refuse(where, what, _STANDARD))
                out = [self.leave_out(raw, one["loc"]) for one in error.errors()]
                if not all(out):
                    raise ContractError.of(self.found) from error
        for place in _unknown_keys(raw, odcs.model_dump(by_alias=True, exclude_unset=True)):
            self.note(place, "unknown key", _STANDARD)
        return odcs

    def leave_out(self, raw: Any, loc: tuple[int | str, ...]) -> bool:
        """Remove what stands at a place that the model does not take. Returns: whether there is such."""
        path = _path(raw, loc)
        while path and isinstance(path[-1], int):
            path = path[:-1]  # a list whose items move would have its later problems told at wrong places
        if not path:
            return any(_dotted(_path(self.document.value, loc)).startswith(place) for place in self.left_out)
        holder = raw
        for part in path[:-1]:
            holder = holder[part]
        self.left_out.add(_dotted(path))
        holder.pop(path[-1], None)
        return True

    def names(self, odcs: OpenDataContractStandard, custom: dict[str, Any]) -> None:
        """Note what is wrong with the dataset's name, layer and zone."""
        layer, domain, name = custom.get("layer"), odcs.domain, odcs.name
        if layer not in LAYERS:
            self.note("customProperties.layer", f"'{layer}' is no layer", f"use one of {LAYERS}")
        strange = [(what, value) for what, value in (("domain", domain), ("name", name)) if not _NAME.fullmatch(value or "")]
        for what, value in strange:
            self.note(what, f"'{value}' is no name", "use lower case letters, digits and _")
        if layer not in LAYERS:
            return
        zones = [bucket.removeprefix(f"{layer}-") for bucket in BUCKETS if bucket.startswith(f"{layer}-")]
        if custom.get("zone") not in zones:
            self.note("customProperties.zone", f"'{custom.get('zone')}' is no zone of {layer}", f"use one of {zones}")
        if not strange and odcs.id != f"{layer}.{domain}.{name}":
            self.note("id", f"'{odcs.id}' is not the dataset's name", f"write {layer}.{domain}.{name}")

    def checked_rules(
        self,
        table: SchemaObject,
        dataset: str,
        known: Sequence[Column],
        sla: list[ServiceLevelAgreementProperty] | None,
        freshness: Any,
    ) -> tuple[Rule, ...]:
        """All rules; that there are any, that each has a name of its own and columns that exist."""
        before, columns = len(self.found), [item.name or "" for item in table.properties or []]
        rules = self.rules(table, dataset, {column.name: column.type for column in known}, sla, freshness)
        if len(rules) == (1 if dataset.startswith("silver.") else 0) and len(self.found) == before:
            self.note("schema[0]", "no rule", "a dataset without rules cannot be judged: add `quality`")
        rule_names = [rule.name for rule in rules]
        for doubled in sorted({n for n in rule_names if n and rule_names.count(n) > 1}):
            self.note(f"quality '{doubled}'", f"two rules are called ['{doubled}']", "give each a name of its own")
        for rule in rules:
            told = {*rule.unique, *(rule.measure.repeated if rule.measure else ())}
            for strange in sorted(told - {*columns, *BRONZE_COLUMNS}):
                self.note(f"quality '{rule.name}'", f"there is no column '{strange}'", f"use some of {columns}")
        return rules

    def column(self, item: SchemaProperty, layer: str) -> Column:
        name, logical = item.name or "", item.logicalType or ""
        place = f"schema[0].properties.{name}"
        if not name or name in BRONZE_COLUMNS or name == UNPARSED:
            raise self.refuse(place, f"'{name}' cannot be a column's name", "names with _ in front are the engine's")
        if item.physicalName is not None and (layer != "bronze" or not item.physicalName):
            self.note(f"{place}.physicalName", "means nothing here", "in bronze it is what deliveries call the column")
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

    def custom_metrics(self, item: SchemaProperty) -> Any:
        return next((custom.value for custom in item.customProperties or [] if custom.property == "metrics"), None)

    def compound(self, physical: str, place: str) -> None:
        from medallion.lakehouse.table import iceberg_type  # not at the top: most contracts do without

        try:
            iceberg_type(physical, iter(range(1, 10_000)))
        except ContractError as error:
            raise self.refuse(place, f"physicalType '{physical}' is no type", "as in decimal(10,2), array<string>") from error


def _path(raw: Any, loc: tuple[int | str, ...]) -> list[int | str]:
    """As much of a model's place as is in the file: it also names the kinds that it tried."""
    path: list[int | str] = []
    for part in loc:
        within = isinstance(raw, dict) or (isinstance(raw, list) and isinstance(part, int))
        if within and part in (raw if isinstance(raw, dict) else range(len(raw))):
            raw = raw[part]
            path.append(part)
    return path


def _dotted(path: list[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")

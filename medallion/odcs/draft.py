"""`medallion contract new`: a contract drafted from data, whose rules hold on them and leave tomorrow's some room.

The room: numbers may lie half of their range beyond it (half of the largest, where they are few), and above
0 from 0 on; dates may be
from the year before the first on; texts half as long again; sets, shapes and counts of rows only warn; up to
TOLERANCE of the rows may break an error rule of a column, and go to quarantine.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medallion.contract import BRONZE_COLUMNS, LAYERS, SILVER_COLUMNS, Layer
from medallion.errors import UsageError
from medallion.odcs.profile import Profile, Profiles, profile
from medallion.odcs.source import Origin, of_file, of_table, snake
from medallion.settings import BUCKETS, Settings

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = 0.01
_ZONES = {"bronze": "raw-data", "silver": "validated", "gold": "reporting"}
_LOGICAL = {
    "string": "string", "int": "integer", "bigint": "integer", "float": "number", "double": "number", "boolean": "boolean",
    "date": "date", "timestamp": "timestamp", "timestamp_ntz": "timestamp", "binary": "string",
    "array": "array", "map": "object", "struct": "object", "decimal": "number",
}  # fmt: skip
_PERSONAL = re.compile(
    r"(^|_)(e_?mail|phone|mobile|fax|first_?name|last_?name|sur_?name|full_?name|maiden|birth\w*|dob|ssn|iban|passport|street"
    r"|address|ip|gender|sex|religion|salary|(customer|user|person|patient|employee|passenger|contact|client|member)(_?name)?)(_|$)"
)


def draft(settings: Settings, source: str, *, layer: str | None, domain: str | None, zone: str | None) -> tuple[str, str]:
    """Draft a contract.

    Args:
        source: a CSV, JSON or Parquet file, perhaps gzipped; or a table of the lake, `layer.domain.name`.
        layer: of the new dataset; else bronze for a file, the table's own for a table.
        domain: its domain; a table's own, if not given.
        zone: of the layer; else the usual one.
    Returns: the name of the file that it belongs in, and its text.
    Raises: UsageError, InputError, ServiceUnavailable.
    """
    path = Path(source)
    if layer is not None and layer not in LAYERS:
        raise UsageError(f"'{layer}' is no layer", hint=f"use one of {', '.join(LAYERS)}")
    if path.is_file():
        origin = of_file(path)
    elif re.fullmatch(rf"({'|'.join(LAYERS)})\.\w+\.\w+", source):
        origin = of_table(settings, source)
    else:
        raise UsageError(f"'{source}' is neither a file nor a table", hint="name a file, or a table as layer.domain.name")
    into = next(one for one in LAYERS if one == (layer or origin.layer))
    domain = domain or origin.domain
    if not domain or not re.fullmatch("[a-z][a-z0-9_]*", domain):
        raise UsageError(f"'{domain or ''}' is no domain", hint="say whose data this is: --domain NAME")
    zone = zone or _ZONES[into]
    if f"{into}-{zone}" not in BUCKETS:
        zones = [bucket.removeprefix(f"{into}-") for bucket in BUCKETS if bucket.startswith(f"{into}-")]
        raise UsageError(f"'{zone}' is no zone of {into}", hint=f"use one of {', '.join(zones)}")
    rows: pa.Table = origin.rows
    rows = rows.select([name for name in rows.column_names if name not in {**BRONZE_COLUMNS, **SILVER_COLUMNS}])
    if rows.num_rows == 0 or rows.num_columns == 0:
        raise UsageError(f"{origin.what} has no row", hint="draft from data that have some")
    found = profile(rows, typed_from_text=into != "bronze" and not origin.typed)
    document = _document(origin, found, into, domain, zone)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return f"{into}.{origin.name}.odcs.yaml", f"# {_HOW}\n{text}"


_HOW = (
    "A draft of `medallion contract new`: it says what the data look like, not what they mean. Say that, and tighten the rules."
)


def write(text: str, name: str, output: Path) -> Path:
    """Write a draft into a file, or into a folder under its own name. Never over a file that exists.

    Raises: UsageError.
    """
    path = output / name if output.is_dir() else output
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", hint="name another file; a draft never replaces one") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name a folder that exists") from error
    return path


def _document(origin: Origin, found: Profiles, layer: Layer, domain: str, zone: str) -> dict[str, Any]:
    names = _names(found)
    key = () if layer == "bronze" or not found.keys else found.keys[0]
    custom: dict[str, Any] = {"layer": layer, "zone": zone}
    if layer == "bronze":
        path = f"domain={domain}/{origin.name}/year={{year}}/month={{month}}/day={{day}}/"
        missing = {"nullText": found.null_text} if found.null_text and not origin.typed else {}
        custom["delivery"] = {**origin.delivery, "path": path, "expected": "daily", **missing}
    else:
        custom["materialisation"] = {"kind": "date" if layer == "silver" else "full"}
    purpose = f"Say in a sentence what one row is and who relies on it. Drafted from {origin.what}: {found.rows} rows."
    if origin.malformed:
        purpose += f" {origin.malformed} lines of it do not fit the header."
    if found.null_text:
        purpose += f" '{found.null_text}' stands for a missing value."
    if found.keys:
        purpose += " Unique there: " + "; ".join(" and ".join(names[c] for c in some) for some in found.keys[:5]) + "."
    counted = {
        "name": "fewer_than_usual", "description": "Half of the rows that the draft was made from; say how many there must be.",
        "metric": "rowCount", "mustBeGreaterOrEqualTo": max(1, found.rows // 2), "severity": "warning",
    } | ({"customProperties": [{"property": "scope", "value": "table"}]} if origin.of_table else {})  # fmt: skip
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"{layer}.{domain}.{origin.name}",
        "name": origin.name,
        "domain": domain,
        "version": "0.1.0",
        "status": "draft",
        "description": {"purpose": purpose},
        "team": {"members": [{"username": "say-which-team", "role": "owner"}]},
        "slaProperties": [{"property": "retention", "value": 730, "unit": "d"}],
        "customProperties": [{"property": name, "value": value} for name, value in custom.items()],
        "schema": [
            {
                "name": origin.name,
                "physicalName": f"{layer}.{domain}.{origin.name}",
                "logicalType": "object",
                **({"customProperties": [{"property": "parseTolerance", "value": TOLERANCE}]} if layer == "silver" else {}),
                "properties": [_property(c, names[c.source], layer, key) for c in found.columns],
                "quality": [counted],
            }
        ],
    }


def _names(found: Profiles) -> dict[str, str]:
    names: dict[str, str] = {}
    for column in found.columns:
        name, number = snake(column.source), 2
        while name in names.values():
            name, number = f"{snake(column.source)}_{number}", number + 1
        names[column.source] = name
    return names


def _property(column: Profile, name: str, layer: Layer, key: tuple[str, ...]) -> dict[str, Any]:
    kind = re.split(r"[<(]", column.type)[0]
    personal = bool(_PERSONAL.search(snake(column.source)))
    made: dict[str, Any] = {"name": name, "logicalType": _LOGICAL[kind]}
    if layer == "bronze" and name != column.source:
        made["physicalName"] = column.source
    if column.type not in ("string", "bigint", "double", "boolean", "date", "timestamp"):
        made["physicalType"] = column.type
    if column.source in key:
        made |= {"primaryKey": True, "primaryKeyPosition": key.index(column.source) + 1}
    elif column.nulls == 0 and (layer != "bronze" or column.type != "string"):
        made["required"] = True
    if personal:
        made["classification"] = "personal"
    made["description"] = _description(column, personal)
    rules = layer != "bronze"
    options, quality = (_options(column), _quality(column, name, personal)) if rules else ({}, [])
    if options:
        made["logicalTypeOptions"] = options
    if quality:
        made["quality"] = quality
    if options or made.get("required") or made.get("primaryKey"):
        slack = {"tolerance": TOLERANCE} if layer != "bronze" else {"severity": "warning"}
        made["customProperties"] = [{"property": k, "value": v} for k, v in slack.items()]
    return made


def _description(column: Profile, personal: bool) -> str:
    share = column.nulls / column.rows
    missing = "never empty" if not column.nulls else f"{share:.1%} empty" if share >= 0.001 else f"{column.nulls} empty"
    told = ["Say what this is, its unit, and what an empty value means." if column.nulls else "Say what this is, and its unit."]
    seen = [missing] + ([f"{column.distinct} distinct value{'' if column.distinct == 1 else 's'}"] if column.distinct else [])
    if column.low is not None and not personal:
        seen.append(f"from {column.low} to {column.high}")
    if column.lengths:
        short, long = column.lengths
        seen.append(f"{long} characters" if short == long else f"{short} to {long} characters")
    told += [f"Found: {', '.join(seen)}.", column.note]
    if personal:
        told.append("By its name it may be personal data: confirm that, or remove the classification.")
    return " ".join(part for part in told if part)


def _options(column: Profile) -> dict[str, Any]:
    """Bounds with room."""
    if column.lengths:
        return {"maxLength": max(column.lengths[1] * 3 // 2, column.lengths[1] + 5)}
    low, high = column.low, column.high
    if isinstance(low, date | datetime):
        return {"minimum": f"{low.year - 1:04d}-01-01"} if low.year > 1 else {}
    if not isinstance(low, int | float | Decimal) or not (math.isfinite(low) and math.isfinite(high)):
        return {}
    few = column.distinct < 20  # they say little about how far numbers go
    room = max((float(high) - float(low)) / 2, abs(float(high)) / 2 if few else 0)
    found: dict[str, Any] = {"minimum": 0 if low >= 0 else _rounded(float(low) - room, down=True)}
    if not column.unique and low < high:  # numbers that only count grow
        found["maximum"] = _rounded(float(high) + room, down=False)
    if column.type in ("int", "bigint"):
        found = {bound: (math.floor if bound == "minimum" else math.ceil)(value) for bound, value in found.items()}
    return found


def _rounded(value: float, *, down: bool) -> int | float:
    """Away from the data, to two digits."""
    if value == 0:
        return 0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    found = (math.floor if down else math.ceil)(value / unit) * unit
    return int(found) if unit >= 1 or found == int(found) else float(f"{found:.6g}")


def _quality(column: Profile, name: str, personal: bool) -> list[dict[str, Any]]:
    """Rules that only warn: tomorrow may bring a value that is right and new."""
    found: list[dict[str, Any]] = []
    warn = {"mustBe": 0, "severity": "warning"}
    if column.values and not personal:
        known = {"description": "Known values; add new ones that are right.", "metric": "invalidValues"}
        found.append({"name": f"{name}_known", **known, "arguments": {"validValues": list(column.values)}, **warn})
    elif column.shape:
        shape = {"description": "How all values were written.", "metric": "invalidValues"}
        found.append({"name": f"{name}_shape", **shape, "arguments": {"pattern": column.shape}, **warn})
    share = column.nulls / column.rows
    if 0 < share < 0.5:
        more = {"description": f"More empty values than usual ({share:.1%}).", "metric": "nullValues"}
        room = math.ceil(min(share * 1.5 + 0.01, 0.99) * 1000) / 1000
        found.append({"name": f"{name}_present", **more, **warn, "customProperties": [{"property": "tolerance", "value": room}]})
    return found

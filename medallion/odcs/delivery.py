"""How a bronze dataset is handed over, as its contract's custom property `delivery` says it."""

from __future__ import annotations

from typing import Any, get_args

from medallion.contract import Arrives, Delivery, Format, Origin
from medallion.odcs.problems import Problems
from medallion.sources.kinds import KINDS

_PLACE = "customProperties.delivery"
_KEYS = ("format", "compression", "records", "path", "expected", "nullText", "repeats", "parts", "source")
_PARTS_OF_A_DATE = ("{year}", "{month}", "{day}")


def read(value: Any, problems: Problems) -> Delivery:
    """Read the property, noting what is wrong with it. Raises: ContractError if it cannot be read at all."""
    if not isinstance(value, dict) or not {"format", "path", "expected"} <= set(value):
        raise problems.refuse(_PLACE, "missing", "a bronze dataset says its format, path and when it is expected")
    _known(value, _KEYS, _PLACE, problems)
    format_ = _one_of(value["format"], get_args(Format), f"{_PLACE}.format", problems)
    compression = _one_of(value.get("compression", "none"), ("none", "gzip"), f"{_PLACE}.compression", problems)
    expected = _one_of(value["expected"], get_args(Arrives), f"{_PLACE}.expected", problems)
    if missing := [part for part in _PARTS_OF_A_DATE if part not in str(value["path"])]:
        problems.note(f"{_PLACE}.path", f"lacks {', '.join(missing)}", "a day's delivery has a folder of its own")
    if "records" in value and format_ != "json":
        problems.note(f"{_PLACE}.records", f"means nothing in {format_}", "it names the list within a JSON document")
    parts = value.get("parts", [])
    if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts) or len({*parts}) < len(parts):
        problems.note(f"{_PLACE}.parts", f"{parts!r} are no file names", "list the files that make up one delivery")
        parts = []
    if parts and expected != "initial":
        problems.note(f"{_PLACE}.parts", f"does not go with expected: {expected}", "only reference data comes in parts")
    source = _origin(value["source"], problems) if "source" in value else None
    if source and KINDS[source.kind].rows and format_ != "parquet":
        problems.note(f"{_PLACE}.format", f"'{format_}' is not how {source.kind} is kept", "write parquet")
    if expected == "increments" and not (source and KINDS[source.kind].increments):
        able = ", ".join(name for name, kind in KINDS.items() if kind.increments)
        problems.note(f"{_PLACE}.expected", "'increments' does not fit the source", f"only {able} sources bring increments")
    return Delivery(
        format=format_,
        compression=compression,
        records=str(value.get("records", "")),
        path=str(value["path"]),
        expected=expected,
        null_text=str(value.get("nullText", "")),
        repeats=_one_of(value.get("repeats", "history"), ("history", "file"), f"{_PLACE}.repeats", problems),
        parts=tuple(parts),
        source=source,
    )


def _origin(value: Any, problems: Problems) -> Origin | None:
    place = f"{_PLACE}.source"
    if not isinstance(value, dict):
        problems.note(place, f"{value!r} is no source", "write {kind: http, endpoint: …, path: …}")
        return None
    kind: Any = value.get("kind")
    if kind not in KINDS:
        problems.note(f"{place}.kind", f"'{kind}' is unknown", f"use one of {tuple(KINDS)}")
        return None
    address = KINDS[kind].address
    _known(value, ("kind", "endpoint", address), place, problems)
    for key in ("endpoint", address):
        if not isinstance(value.get(key), str) or not value[key]:
            problems.note(f"{place}.{key}", "missing", f"a source of kind {kind} names its endpoint and its {address}")
            return None
    return Origin(kind=kind, endpoint=value["endpoint"], address=value[address])


def _known(value: dict[str, Any], known: tuple[str, ...], place: str, problems: Problems) -> None:
    for unknown in sorted(set(value) - {*known}):
        problems.note(f"{place}.{unknown}", f"unknown key '{unknown}'", f"use {', '.join(known)}")


def _one_of(value: Any, allowed: tuple[Any, ...], place: str, problems: Problems) -> Any:
    if value not in allowed:
        problems.note(place, f"'{value}' is unknown", f"use one of {allowed}")
        return allowed[0]
    return value

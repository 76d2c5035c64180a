"""A JSON document (RFC 8259) that holds a list of records, every value as the text that stands there."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from medallion.contract import Contract
from medallion.errors import SchemaViolation
from medallion.lakehouse.history import Delivered
from medallion.sources.arrival import EXTRA, Arrival, arrived, refuse


class _Number(str):
    """A number as it is written: 1.10 stays 1.10."""


def parse(contract: Contract, delivered: Delivered, data: bytes) -> Arrival:
    """Read a document: a list of objects, or an object that has the list under the contract's `records`.

    Numbers keep their digits, `null` and absent values are null, true and false are text, nested
    values are JSON. A record that is no object is malformed.
    Raises: InputError for what is no JSON (with line and column; HTML is called by its name; a name
        that stands twice in one object counts as none), no list, an empty list; SchemaViolation for a column that no
        record has.
    """
    rows = _records(contract, delivered, data)
    wanted = [column.source for column in contract.columns]
    malformed = {n: _text(row) or "null" for n, row in enumerate(rows, 1) if not isinstance(row, dict)}
    good = {n: row for n, row in enumerate(rows, 1) if isinstance(row, dict)}
    keys = dict.fromkeys(key for row in good.values() for key in row)
    extra = tuple(key for key in keys if key not in wanted)
    if lost := [name for name in wanted if name not in keys]:
        also = f"; they have {', '.join(map(repr, extra))} instead" if extra else ""
        raise refuse(contract, delivered, f"no record has {', '.join(map(repr, lost))}{also}", SchemaViolation)
    extras = [[(key, _text(row[key])) for key in extra if key in row] or None for row in good.values()]
    try:
        table = pa.table(
            {c.name: pa.array([_text(row.get(c.source)) for row in good.values()], pa.string()) for c in contract.columns}
            | {"_source_row": pa.array(list(good), pa.int64()), "_extra": pa.array(extras, EXTRA)}
        )
    except UnicodeEncodeError as error:
        raise refuse(contract, delivered, f"a text holds half a character ({error})") from error
    return arrived(contract, delivered, table, extra, malformed)


def _records(contract: Contract, delivered: Delivered, data: bytes) -> list[Any]:
    if not data.strip():
        raise refuse(contract, delivered, "the document is empty")
    if data.lstrip()[:1] == b"<":
        begins = " ".join(data.strip()[:80].decode("utf-8", "replace").split())
        raise refuse(contract, delivered, f"holds HTML or XML where JSON was expected: {begins}")
    try:
        document = json.loads(
            data.decode("utf-8-sig"),
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_no_number,
            object_pairs_hook=_once_each,
        )
    except (ValueError, RecursionError) as error:  # the errors of decoding are ValueErrors
        raise refuse(contract, delivered, f"is no JSON: {error}") from error
    assert contract.delivery is not None  # bronze contracts have one
    path = contract.delivery.records
    records = document
    for key in filter(None, path.split(".")):
        records = records.get(key) if isinstance(records, dict) else None
    if not isinstance(records, list):
        raise refuse(contract, delivered, f"has no list of records{f' under {path!r}' if path else ''}")
    if not records:
        raise refuse(contract, delivered, "the list of records is empty")
    return records


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")


def _once_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        twice = next(name for name in found if sum(name == one for one, _ in members) > 1)
        raise ValueError(f"an object has {twice!r} twice")
    return found


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return str(value)
    return _json(value)


def _json(value: Any) -> str:
    """Nested values as JSON, with numbers as they were written."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)

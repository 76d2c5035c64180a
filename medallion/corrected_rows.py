"""A delivery's bytes with some of its rows replaced, and every other byte as it was."""

from __future__ import annotations

import csv
import gzip
import io
import re
from dataclasses import dataclass

from medallion.contract import Contract
from medallion.errors import InputError, UsageError
from medallion.lakehouse.history import Delivered
from medallion.sources.formats import delivery_of, parse

ROW, DELIVERY = "_source_row", "_delivery"
_RECORD = re.compile(r'(?:[^"\n\r]++|"[^"]*+")*+(?:\r\n|\n|\r|$)', re.S)


@dataclass(frozen=True)
class Corrections:
    """Rows that a person has corrected. `rows`: the values of each by the source's column names, columns that stay as they
    are left out; `places`: their numbers in the delivery, if they are named so; `deliveries`: what they were corrected in."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    places: tuple[int, ...] | None
    deliveries: frozenset[str]


def read(name: str, data: bytes) -> Corrections:
    """Read a CSV file (UTF-8, with a header) of corrected rows.

    Raises: InputError naming the file and the line.
    """
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refuse(name, f"cannot be read as CSV: {error}") from error
    if len(lines) < 2:
        raise _refuse(name, "holds no row below a header")
    header, *rows = lines
    if doubled := sorted({column for column in header if header.count(column) > 1}):
        raise _refuse(name, f"the header has {', '.join(map(repr, doubled))} twice")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise _refuse(name, f"row {number} has {len(row)} values under {len(header)} columns")
    named = [dict(zip(header, row, strict=True)) for row in rows]
    places = None
    if ROW in header:
        if strange := next((row[ROW] for row in named if not row[ROW].isdecimal() or int(row[ROW]) < 1), None):
            raise _refuse(name, f"{ROW} '{strange}' is no number of a row")
        places = tuple(int(row[ROW]) for row in named)
        if twice := sorted({place for place in places if places.count(place) > 1}):
            raise _refuse(name, f"row {twice[0]} stands twice")
    columns = tuple(column for column in header if column not in (ROW, DELIVERY))
    if not columns:
        raise _refuse(name, "has no column of the source")
    return Corrections(
        name,
        columns,
        tuple({c: row[c] for c in columns} for row in named),
        places,
        frozenset(r[DELIVERY] for r in named if DELIVERY in r),
    )


def apply(contract: Contract, delivered: Delivered, data: bytes, corrected: Corrections) -> tuple[bytes, list[int]]:
    """Replace rows of a CSV delivery.

    Args:
        data: the delivery's bytes, as they lie in the bucket.
    Returns: the new bytes (the same object where no row changes), and the numbers of the rows named.
    Raises: UsageError for a format or column that cannot be replaced so; InputError for a row that is not there, is
        there more than once, or where the delivery cannot be taken apart into exactly the rows that a run reads.
    """
    delivery = delivery_of(contract)
    if delivery.format != "csv":
        raise UsageError(
            f"{contract.dataset}: rows of {delivery.format} files cannot be replaced one by one",
            hint=f"hand the file over corrected: `medallion deliver {contract.dataset} FILE --date {delivered.logical_date}`",
        )
    packed = delivery.compression == "gzip"
    plain = gzip.decompress(data) if packed else data
    before = parse(contract, delivered, data)
    text = plain.decode("utf-8")
    head, *records = _records(text)
    header = next(csv.reader([head.removeprefix("\ufeff")], strict=True))
    if strange := [column for column in corrected.columns if column not in header]:
        raise UsageError(
            f"{corrected.name}: {delivered.name} has no column {', '.join(map(repr, strange))}",
            hint=f"its header is {', '.join(header)}; say with {ROW} which row a line replaces",
        )
    if len(records) != before.rows.num_rows or "".join([head, *records]) != text:
        raise _refuse(corrected.name, f"{delivered.uri} cannot be taken apart into its {before.rows.num_rows} rows")
    places = corrected.places or _places(contract, delivered, header, records, corrected)
    for place, values in zip(places, corrected.rows, strict=True):
        if place > len(records):
            raise _refuse(corrected.name, f"{delivered.uri} has {len(records)} rows and no row {place}")
        records[place - 1] = _replaced(corrected, header, place, records[place - 1], values)
    joined = "".join([head, *records])
    if joined == text:
        return data, list(places)
    bare = joined.encode()
    new = gzip.compress(bare, mtime=0) if packed else bare
    _check(contract, delivered, before.rows.to_pylist(), parse(contract, delivered, new).rows.to_pylist(), places, corrected)
    return new, list(places)


def _records(text: str) -> list[str]:
    """The lines of a CSV text, each with its end; a quoted value may hold several, and empty lines are no rows."""
    found: list[str] = []
    for match in _RECORD.finditer(text):
        if match[0].strip("\r\n") or not found:
            found.append(match[0])
        else:
            found[-1] += match[0]
    return found


def _places(
    contract: Contract, delivered: Delivered, header: list[str], records: list[str], corrected: Corrections
) -> tuple[int, ...]:
    """The rows that have the same key as the corrected ones."""
    sources = {column.name: column.source for column in contract.columns}
    key = [sources[name] for name in contract.key]
    if not key or not set(key) <= set(corrected.columns):
        needs = f"{ROW} or the key {', '.join(key)}" if key else ROW
        raise UsageError(f"{corrected.name} does not say which rows it replaces", hint=f"add {needs} to its header")
    there: dict[tuple[str, ...], list[int]] = {}
    for place, record in enumerate(records, 1):
        values = next(csv.reader([record]), [])
        if len(values) == len(header):
            row = dict(zip(header, values, strict=True))
            there.setdefault(tuple(row[name] for name in key), []).append(place)
    places = []
    for row in corrected.rows:
        wanted = tuple(row[name] for name in key)
        found = there.get(wanted, [])
        if len(found) != 1:
            said = ", ".join(f"{name}={value}" for name, value in zip(key, wanted, strict=True))
            raise _refuse(corrected.name, f"{delivered.uri} has {len(found)} rows of {said}; say {ROW} instead")
        places += found
    return tuple(places)


def _replaced(corrected: Corrections, header: list[str], place: int, record: str, values: dict[str, str]) -> str:
    bare = record.rstrip("\r\n")
    old = next(csv.reader([bare]), [])
    if len(old) != len(header):
        if lacking := [column for column in header if column not in values]:
            raise _refuse(
                corrected.name, f"row {place} does not fit its header, so it must be given whole: {lacking} are missing"
            )
        old = [""] * len(header)
    new = [values.get(column, was) for column, was in zip(header, old, strict=True)]
    if new == next(csv.reader([bare]), []):
        return record
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerow(new)  # it quotes values that hold what ends a line
    return out.getvalue().removesuffix("\r\n") + record[len(bare) :]


def _check(contract: Contract, delivered: Delivered, before: list[dict[str, object]], after: list[dict[str, object]],
           places: tuple[int, ...], corrected: Corrections) -> None:  # fmt: skip
    """See that a run reads what was asked for, and of all other rows what it read before."""
    sources = {column.name: column.source for column in contract.columns}
    asked = dict(zip(places, corrected.rows, strict=True))
    for old, new in zip(before, after, strict=False):
        wanted = asked.get(int(str(new[ROW])), {})
        right = [new[name] == wanted.get(source, old[name]) for name, source in sources.items()]
        if new[ROW] != old[ROW] or not all(right) or (new != old and not wanted):
            raise _refuse(corrected.name, f"replacing rows in {delivered.uri} would change row {new[ROW]}")
    if len(before) != len(after):
        raise _refuse(corrected.name, f"replacing rows in {delivered.uri} would make {len(after)} of {len(before)} rows")


def _refuse(name: str, problem: str) -> InputError:
    return InputError(
        f"{name}: {problem}", hint="nothing was delivered; mend the file of corrected rows, or deliver the whole file corrected"
    )

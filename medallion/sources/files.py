"""Files that a source laid into its bronze bucket: found, checked, parsed. No rules here.

The object stays as it came; the bucket is versioned, so an overwritten file is still there. What is
parsed is exactly the bytes whose SHA-256 is recorded: they are fetched once, by version.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa
import pyarrow.csv as pc

from medallion.contract import Contract, Delivery
from medallion.errors import InputError
from medallion.lakehouse.history import Delivered
from medallion.lakehouse.store import Object, Store

_EXTRA = pa.map_(pa.string(), pa.string())
_END = "\x04 end of the file \x04"


@dataclass(frozen=True)
class Arrival:
    """A delivery that bronze does not hold yet.

    `rows` has the contract's source columns as text, then `_source_row` (bigint, from 1), `_extra`
    (map<string,string>: columns that the contract does not know) and `_malformed` (the raw text of a
    line that does not fit the header; its source columns are empty).
    """

    delivered: Delivered
    rows: pa.Table = field(repr=False)
    extra_columns: tuple[str, ...] = ()
    malformed: int = 0


@dataclass(frozen=True)
class Found:
    """What lies in the bucket for one dataset: new deliveries, and those that were here before."""

    new: list[Arrival]
    known: list[str]
    notes: list[str]


def discover(store: Store, contract: Contract, logical_date: date, held: list[Delivered]) -> Found:
    """Look for a dataset's deliveries up to a date and read the new ones.

    Args:
        held: what bronze holds of this dataset: of this date if it is delivered daily, else of all.
    Raises: InputError if an expected delivery is missing or the newest one cannot be read.
    """
    delivery = _delivery(contract)
    prefix = delivery.path.split("{")[0] if delivery.expected == "initial" else _path(delivery, logical_date)
    pattern = re.compile(_date_pattern(delivery.path))
    found = Found([], [], [])
    of_date: dict[date, list[Object]] = {}
    for item in store.versions(contract.bucket, prefix):
        match = pattern.match(item.uri.partition("?")[0].removeprefix(f"s3://{contract.bucket}/"))
        if match and (when := _date_of(match)) is not None and when <= logical_date:
            of_date.setdefault(when, []).append(item)
    if delivery.expected == "daily":
        of_date = {when: items for when, items in of_date.items() if when == logical_date}
    for when, items in sorted(of_date.items()):
        _of_one_date(store, contract, when, items, [d for d in held if d.logical_date == when], found)
    if not found.new and not held:
        where = f"s3://{contract.bucket}/{_path(delivery, logical_date)}"
        raise InputError(
            f"{contract.dataset}: no delivery for {logical_date}: nothing lies in {where}"
            + ("" if delivery.expected == "daily" else " nor in that of any earlier day"),
            hint="ask its owner for the file and run again; with the demo's data: "
            f"`medallion landing --date {logical_date if delivery.expected == 'daily' else '2013-01-01'}`",
            dataset=contract.dataset,
        )
    return found


def _of_one_date(store: Store, contract: Contract, when: date, items: list[Object], held: list[Delivered], found: Found) -> None:
    """Go through the versions of one date, oldest first; each may be new, known, or broken."""
    known_uris = {d.uri for d in held}
    came = list(held)
    for position, item in enumerate(items):
        if item.uri in known_uris:
            found.known.append(item.uri)
            continue
        data = store.get(item.uri)
        sha256 = hashlib.sha256(data).hexdigest()
        id_ = f"{item.modified:%Y%m%dT%H%M%S.%fZ}-{sha256[:12]}"
        delivered = Delivered(when, id_, item.uri, sha256)
        before = max((d for d in came if d < delivered), default=None)
        if before and (before.name, before.sha256) == (delivered.name, sha256):
            found.known.append(item.uri)
            found.notes.append(f"{contract.dataset}: {item.uri}: the same bytes again (sha256 {sha256[:12]}…), skipped")
            continue
        try:
            arrival = parse(contract, delivered, data)
        except InputError as error:
            if position == len(items) - 1:
                raise
            found.notes.append(f"{error.message}; a later delivery replaces it, skipped")
            continue
        if arrival.extra_columns:
            found.notes.append(
                f"{contract.dataset}: {item.uri}: unknown columns {', '.join(arrival.extra_columns)} kept in `_extra`"
            )
        if before:
            found.notes.append(f"{contract.dataset}: {item.uri}: a correction of {before.name} for {when}")
        found.new.append(arrival)
        came.append(arrival.delivered)


def parse(contract: Contract, delivered: Delivered, data: bytes) -> Arrival:
    """Read a CSV file (RFC 4180, UTF-8, with a header), every column as text.

    Raises: InputError for an empty file, bytes that are not UTF-8 (with the line), a header that lost,
        doubled or renamed a column, or a quote that is never closed.
    """

    def refuse(problem: str, hint: str) -> InputError:
        return InputError(f"{contract.dataset}: {delivered.uri}: {problem}", hint=hint, dataset=contract.dataset)

    again = "ask its owner for a corrected file: new bytes for the same day are a correction"
    if not data.strip():
        raise refuse("the file is empty", again)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.start + len(data) - len(error.object)  # a byte order mark is cut off before
        line = data.count(b"\n", 0, byte) + 1
        raise refuse(f"line {line} is not UTF-8 (byte {byte}: 0x{data[byte]:02x})", again) from error
    try:
        header = next(csv.reader(text.splitlines()[:1], strict=True))
    except (csv.Error, StopIteration) as error:
        raise refuse(f"line 1 is no header: {error}", again) from error
    wanted = [column.name for column in contract.columns]
    lost = [name for name in wanted if name not in header]
    extra = [name for name in header if name not in wanted]
    if lost:
        also = f"; it has {', '.join(map(repr, extra))} instead" if extra else ""
        raise refuse(f"the header lacks {', '.join(map(repr, lost))}{also}", again)
    if doubled := sorted({name for name in header if header.count(name) > 1}):
        raise refuse(f"the header has {', '.join(map(repr, doubled))} twice", again)
    malformed: list[tuple[int, str]] = []

    def keep(row: pc.InvalidRow) -> str:
        malformed.append((row.number, row.text))
        return "skip"

    ended = f"{text}\n{','.join([_END] * len(header))}\n".encode()
    try:
        rows = pc.read_csv(
            pa.py_buffer(ended),
            read_options=pc.ReadOptions(use_threads=False, block_size=max(1 << 20, len(ended) + 1)),
            parse_options=pc.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        raise refuse(f"cannot be read as CSV: {error}", again) from error
    if rows.num_rows == 0 or rows[0][-1].as_py() != _END:  # the end was swallowed as part of a value
        raise refuse(f"data row {rows.num_rows + len(malformed)} opens a quote that is never closed", again)
    rows = rows.slice(0, rows.num_rows - 1)
    if rows.num_rows + len(malformed) == 0:
        raise refuse("the file has a header and no row", again)
    return Arrival(
        Delivered(delivered.logical_date, delivered.delivery, delivered.uri, delivered.sha256, rows.num_rows + len(malformed)),
        _with_positions(rows, wanted, extra, malformed),
        tuple(extra),
        len(malformed),
    )


def _with_positions(rows: pa.Table, wanted: list[str], extra: list[str], malformed: list[tuple[int, str]]) -> pa.Table:
    """Add `_source_row`, `_extra`, `_malformed`. A malformed row's number counts the header as 1."""
    gaps = {number - 1 for number, _ in malformed}
    total = rows.num_rows + len(malformed)
    positions = [n for n in range(1, total + 1) if n not in gaps]
    extras = [list(zip(extra, values, strict=True)) for values in zip(*(rows[name].to_pylist() for name in extra), strict=True)]
    good = pa.table(
        {name: rows[name].combine_chunks().cast(pa.string()) for name in wanted}
        | {
            "_source_row": pa.array(positions, pa.int64()),
            "_extra": pa.array(extras, _EXTRA) if extra else pa.nulls(rows.num_rows, _EXTRA),
            "_malformed": pa.nulls(rows.num_rows, pa.string()),
        }
    )
    if not malformed:
        return good
    bad = pa.table(
        {name: pa.array([""] * len(malformed), pa.string()) for name in wanted}
        | {
            "_source_row": pa.array([number - 1 for number, _ in malformed], pa.int64()),
            "_extra": pa.nulls(len(malformed), _EXTRA),
            "_malformed": pa.array([text for _, text in malformed], pa.string()),
        }
    )
    return pa.concat_tables([good, bad]).sort_by("_source_row")


def _delivery(contract: Contract) -> Delivery:
    if contract.delivery is None:
        raise InputError(f"{contract.dataset} is not delivered by anyone", hint="only bronze datasets are")
    return contract.delivery


def _path(delivery: Delivery, when: date) -> str:
    return delivery.path.format(year=f"{when:%Y}", month=f"{when:%m}", day=f"{when:%d}")


def _date_pattern(path: str) -> str:
    return re.sub(r"\\\{(year|month|day)\\\}", r"(?P<\1>\\d+)", re.escape(path))


def _date_of(match: re.Match[str]) -> date | None:
    try:
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return None

"""The data that a contract is drafted from: a file as a source would deliver it, or a table of the lake."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from medallion.contract import LAYERS, Column, Contract, Delivery, Layer, Layout, Materialisation
from medallion.errors import InputError, UsageError
from medallion.lakehouse.history import Delivered
from medallion.settings import Settings
from medallion.sources import formats

_FORMATS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Origin:
    """Where the data come from: `what` names it for people; `delivery` is how a bronze contract says it is read."""

    what: str
    name: str
    domain: str | None
    layer: Layer
    rows: Any
    delivery: dict[str, Any]
    malformed: int = 0
    typed: bool = False
    of_table: bool = False


def of_file(path: Path) -> Origin:
    """A file, read as bronze reads deliveries.

    Raises: UsageError for another kind of file; InputError for one that cannot be read.
    """
    data, suffixes = path.read_bytes(), [suffix.lower() for suffix in path.suffixes]
    gzipped = bool(suffixes) and suffixes[-1] == ".gz"
    kind = _FORMATS.get((suffixes[:-1] if gzipped else suffixes or [""])[-1] if suffixes[:-1] or not gzipped else "")
    if kind is None:
        raise UsageError(f"{path} is no csv, json or parquet file by its name", hint="as in orders.csv or orders.json.gz")
    try:
        plain = gzip.decompress(data) if gzipped else data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is no whole gzip file: {error}", hint="ask for the file again") from error
    names, records = _COLUMNS[kind](plain, path)
    delivery = {"format": kind} | ({"compression": "gzip"} if gzipped else {}) | ({"records": records} if records else {})
    contract = _for_readers(path, names, str(kind), records)
    arrival = formats.parse(contract, Delivered(date.min, "draft", str(path), ""), plain)
    rows = arrival.rows
    if arrival.malformed:
        import pyarrow.compute as pc

        rows = rows.filter(pc.is_null(rows["_malformed"]))
    rows = rows.select(names)
    while "." in path.name and path.suffix:
        path = path.with_suffix("")
    return Origin(f"the file {Path(contract.path).name}", snake(path.name), None, "bronze", rows, delivery, arrival.malformed)


def of_table(settings: Settings, dataset: str) -> Origin:
    """All rows of a table on `main`. Raises: UsageError if there is none; ServiceUnavailable."""
    from medallion import query

    layer, domain, name = dataset.split(".")
    rows = query.lake(settings, f'FROM {layer}."{domain}"."{name}"')
    of = next(one for one in LAYERS if one == layer)
    delivery = {"format": "parquet"}
    return Origin(f"the table {dataset}", name, domain, of, rows, delivery, typed=of != "bronze", of_table=True)


def _for_readers(path: Path, names: list[str], kind: str, records: str) -> Contract:
    """As much of a contract as the readers of sources need; of Parquet, they need the columns' types too."""
    format_ = next(one for one in ("csv", "json", "parquet") if one == kind)
    types = "string" if kind != "parquet" else "as it comes"
    return Contract(
        layer="bronze", domain="draft", name="draft", zone="", version="0", owner="", description="",
        columns=tuple(Column(name, types, False, "", False) for name in names), key=(), rules=(),
        materialisation=Materialisation("full"), layout=Layout(), published=False, retention_days=None, path=path, fingerprint="",
        delivery=Delivery(format_, "none", records, "", "daily", "", "file"),
    )  # fmt: skip


def _of_csv(data: bytes, path: Path) -> tuple[list[str], str]:
    try:
        header = next(csv.reader(data.decode("utf-8-sig").splitlines()[:1], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return [], ""  # the reader says what is wrong
    return list(dict.fromkeys(header)), ""


def _of_json(data: bytes, path: Path) -> tuple[list[str], str]:
    try:
        document = json.loads(data)
    except ValueError:
        return [], ""
    place, found = _records(document)
    if found is None:
        raise InputError(f"{path} holds no list of records", hint="a list of objects, or one under a key")
    return list(dict.fromkeys(key for row in found if isinstance(row, dict) for key in row)), place


def _records(document: Any, place: str = "") -> tuple[str, list[Any] | None]:
    """Where the first list of objects stands in a document."""
    if isinstance(document, list) and any(isinstance(row, dict) for row in document):
        return place, document
    for key, value in document.items() if isinstance(document, dict) else ():
        found = _records(value, f"{place}.{key}".lstrip("."))
        if found[1] is not None:
            return found
    return place, None


def _of_parquet(data: bytes, path: Path) -> tuple[list[str], str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(io.BytesIO(data)).names), ""
    except pa.ArrowInvalid:
        return [], ""


_COLUMNS = {"csv": _of_csv, "json": _of_json, "parquet": _of_parquet}


def snake(name: str) -> str:
    """A name as contracts write it: `DepTime (local)` is dep_time_local."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    plain = re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"c_{plain}".rstrip("_")

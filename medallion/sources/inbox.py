"""What lies in the bronze bucket for a dataset: its owner put it there, or a run fetched it.

An object stays as it came; the bucket is versioned, so an overwritten one is still there. What is
parsed is exactly the bytes whose SHA-256 is recorded: they are fetched once, by version.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date

from medallion.contract import Contract, Delivery
from medallion.errors import InputError
from medallion.lakehouse.history import Delivered
from medallion.lakehouse.store import Object, Store
from medallion.sources import increments
from medallion.sources.arrival import Arrival
from medallion.sources.formats import delivery_of, parse


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
    delivery = delivery_of(contract)
    found = Found([], [], [])
    of_date = objects(store, contract, logical_date)
    if delivery.expected == "increments":
        _increments(store, contract, of_date, held, found)
        return found
    for part in delivery.parts or ("",):
        came = [one for one in held if part in ("", one.name)]
        for when, items in sorted(of_date.items()):
            own = [one for one in came if one.logical_date == when]  # what another date brought may yet be corrected
            _of_one_date(store, contract, when, [item for item in items if part in ("", item.name)], own, found)
    here = {one.name for one in held} | {one.delivered.name for one in found.new}
    missing = [part for part in delivery.parts if part not in here]
    if missing or not here:
        raise _missing(contract, delivery, logical_date, missing)
    return found


def objects(store: Store, contract: Contract, logical_date: date) -> dict[date, list[Object]]:
    """The objects that lie where the contract expects deliveries up to a date, by logical date, oldest first."""
    delivery = delivery_of(contract)
    daily = delivery.expected == "daily"
    prefix = delivery.folder(logical_date) if daily else delivery.path.split("{")[0]
    pattern = re.compile(re.sub(r"\\\{(year|month|day)\\\}", r"(?P<\1>\\d+)", re.escape(delivery.path)))
    of_date: dict[date, list[Object]] = {}
    for item in store.versions(contract.bucket, prefix):
        match = pattern.match(item.uri.partition("?")[0].removeprefix(f"s3://{contract.bucket}/"))
        when = _date_of(match) if match else None
        if when is not None and (when == logical_date if daily else when <= logical_date):
            of_date.setdefault(when, []).append(item)
    return of_date


def _of_one_date(store: Store, contract: Contract, when: date, items: list[Object], came: list[Delivered], found: Found) -> None:
    """Go through the versions of one date, oldest first; each may be new, known, or broken.

    `came` is what a repeated delivery repeats: what was there before it. New ones are added to it.
    """
    known = {one.uri for one in came}
    for position, item in enumerate(items):
        if item.uri in known:
            found.known.append(item.uri)
            continue
        data = store.get(item.uri)
        delivered = delivered_as(when, item, data)
        before = max((d for d in came if d < delivered), default=None)
        if before and (before.name, before.sha256) == (delivered.name, delivered.sha256):
            found.known.append(item.uri)
            found.notes.append(f"{contract.dataset}: {item.uri}: the same bytes again (sha256 {delivered.sha256[:12]}…), skipped")
            continue
        try:
            arrival = parse(contract, delivered, data)
        except InputError as error:
            if position == len(items) - 1:
                raise
            found.notes.append(f"{error.message}; a later delivery replaces it, skipped")
            continue
        _note_extra(contract, arrival, found)
        if before and before.logical_date == when:
            found.notes.append(f"{contract.dataset}: {item.uri}: a correction of {before.name} for {when}")
        found.new.append(arrival)
        came.append(arrival.delivered)


def _increments(store: Store, contract: Contract, of_date: dict[date, list[Object]], held: list[Delivered], found: Found) -> None:
    """Take the spans that follow on what is held; two runs may have fetched the same versions."""
    newest = {item.name: (when, item) for when in sorted(of_date) for item in of_date[when]}
    for name in increments.following(increments.last(d.name for d in held), newest):
        when, item = newest.pop(name)
        data = store.get(item.uri)
        arrival = parse(contract, delivered_as(when, item, data), data)
        _note_extra(contract, arrival, found)
        found.new.append(arrival)
    found.known.extend(item.uri for _, item in newest.values())


def delivered_as(when: date, item: Object, data: bytes) -> Delivered:
    """The delivery that an object is. Its id orders deliveries by when they arrived in the bucket."""
    sha256 = hashlib.sha256(data).hexdigest()
    return Delivered(when, f"{item.modified:%Y%m%dT%H%M%S.%fZ}-{sha256[:12]}", item.uri, sha256)


def _note_extra(contract: Contract, arrival: Arrival, found: Found) -> None:
    if arrival.extra_columns:
        found.notes.append(
            f"{contract.dataset}: {arrival.delivered.uri}: unknown columns {', '.join(arrival.extra_columns)} kept in `_extra`"
        )


def _missing(contract: Contract, delivery: Delivery, logical_date: date, parts: list[str]) -> InputError:
    where = f"s3://{contract.bucket}/{delivery.folder(logical_date)}"
    what = f"no delivery of {', '.join(parts)}" if parts else "no delivery"
    if delivery.source:  # it was asked for before, or this run would have asked; nobody delivers it
        again = (
            f"what its source '{delivery.source.endpoint}' gave is no longer there; ask it again: "
            f"`medallion run --date {logical_date} --dataset {contract.dataset} --refetch`"
        )
    else:
        again = (
            f"ask its owner for the file, `medallion deliver {contract.dataset} FILE --date {logical_date}`, and run again; with "
            f"the demo's data: `medallion landing --date {logical_date if delivery.expected == 'daily' else '2013-01-01'}`"
        )
    return InputError(
        f"{contract.dataset}: {what} for {logical_date}: nothing lies in {where}"
        + ("" if delivery.expected == "daily" else " nor in that of any earlier day"),
        hint=again,
        dataset=contract.dataset,
    )


def _date_of(match: re.Match[str]) -> date | None:
    try:
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    except ValueError:
        return None

"""Ask the source that a contract names for a delivery, and lay what it gives into the bucket.

What a source gives is held in memory until all of it is there, in all its parts, and has been read
once: then it is put into the bucket, a part an object. So a source that dies in the middle lands
nothing, and what lies there can be read. A store has no transaction over objects: if it dies between
two parts, or we do, one of them lies there. That run has not looked into the bucket yet and fails; to
put several parts is a step of the journal, and while the newest one has not ended well, a run asks
again before it looks there, whatever was asked for its date before. So `main` never gets half.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract
from medallion.lakehouse.history import Delivered
from medallion.lakehouse.store import Store
from medallion.settings import Source
from medallion.sources import increments
from medallion.sources.asking import Asked, endpoint
from medallion.sources.formats import delivery_of, parse
from medallion.sources.inbox import objects
from medallion.sources.kinds import KINDS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Session = Callable[[], "SparkSession"]


def fetch(
    store: Store,
    sources: dict[str, Source],
    contract: Contract,
    logical_date: date,
    held: list[Delivered],
    session: Session,
    landing: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> list[str]:
    """Fetch what a dataset's source has for a date.

    Args:
        held: what bronze holds of the dataset.
        session: gives a Spark session, for the kinds that need one.
        landing: entered while several parts are put, one after the other.
    Returns: what happened, for people. Raises: SettingsError if the endpoint is not set;
        ServiceUnavailable if the source does not answer or refuses us; InputError for what it does
        not have or what cannot be read.
    """
    delivery = delivery_of(contract)
    if delivery.source is None:
        return []
    source = endpoint(sources, contract, delivery.source)
    last = _last(store, contract, logical_date, held) if delivery.expected == "increments" else increments.NONE
    notes, whole = [], []
    for parcel in KINDS[delivery.source.kind].fetch(Asked(source, contract, delivery.source, logical_date, last, session)):
        sha256 = hashlib.sha256(parcel.data).hexdigest()
        before = max((d for d in held if d.name == parcel.name and d.logical_date <= logical_date), default=None)
        if before and before.sha256 == sha256:
            notes.append(f"{contract.dataset}: {parcel.uri}: the same bytes again (sha256 {sha256[:12]}…), skipped")
            continue
        parse(contract, Delivered(logical_date, "", parcel.uri, sha256), parcel.data)
        whole.append(parcel)
    with landing() if len(whole) > 1 else nullcontext():
        for parcel in whole:  # only now that all of it is here
            uri = f"s3://{contract.bucket}/{delivery.folder(logical_date)}{parcel.name}"
            if not _lies_there(store, contract, uri, parcel.data):
                store.put(uri, parcel.data, parcel.content_type)
            notes.append(f"{contract.dataset}: {parcel.uri}: {len(parcel.data)} bytes fetched into {uri}")
    return notes


def _last(store: Store, contract: Contract, logical_date: date, held: list[Delivered]) -> int:
    """The newest version that is held, or lies there and will be: a run may have failed after it fetched."""
    merged = increments.last(d.name for d in held)
    lying = (item.name for items in objects(store, contract, logical_date).values() for item in items)
    return max(merged, increments.last(increments.following(merged, lying)))


def _lies_there(store: Store, contract: Contract, uri: str, data: bytes) -> bool:
    """Whether the newest object of that name has these bytes: an earlier run took it, but did not merge."""
    latest = [o for o in store.versions(contract.bucket, uri.removeprefix(f"s3://{contract.bucket}/")) if o.latest]
    same_name = [o for o in latest if o.uri.partition("?")[0] == uri and o.bytes == len(data)]
    return any(store.get(o.uri) == data for o in same_name)

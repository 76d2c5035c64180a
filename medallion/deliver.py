"""Hand a file over: put its bytes, unchanged, to where a dataset's contract expects them.

Nothing here judges what the file holds: that a run does. The bucket is versioned, so a correction
hides nothing.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from medallion import domain
from medallion.contract import Contract, Delivery
from medallion.errors import InputError, UsageError
from medallion.lakehouse.store import Store
from medallion.settings import Settings


@dataclass(frozen=True)
class HandedOver:
    """One file in its bronze bucket. `state` is `corrected` if another delivery of that date was there,
    `already there` if the newest one has this name and these bytes, so that nothing was written."""

    dataset: str
    logical_date: date
    uri: str
    bytes: int
    sha256: str
    state: Literal["delivered", "corrected", "already there"]


def deliver(settings: Settings, dataset: str, file: Path, logical_date: date) -> HandedOver:
    """Put a file into the bucket as the dataset's delivery for a date.

    Raises: UsageError for a dataset that is none, or to which nobody brings files; InputError for a
        file that cannot be read or whose name does not fit; ServiceUnavailable if the object store
        does not answer.
    """
    contract = domain.load(settings).contract(dataset)
    delivery = _pushed(contract)
    _check_name(contract, delivery, file.name)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}", hint="name a file", dataset=dataset) from error
    sha256 = hashlib.sha256(data).hexdigest()
    folder = f"s3://{contract.bucket}/{delivery.folder(logical_date)}"
    uri = folder + file.name
    store = Store(settings.s3)
    before = store.versions(contract.bucket, delivery.folder(logical_date))
    newest = before[-1] if before else None
    # the same question as a run asks: are these the name and bytes of the newest delivery of the date?
    if newest and newest.uri.partition("?")[0] == uri and hashlib.sha256(store.get(newest.uri)).hexdigest() == sha256:
        return HandedOver(dataset, logical_date, uri, len(data), sha256, "already there")
    store.put(uri, data, mimetypes.guess_type(file.name)[0] or "application/octet-stream")
    part = any(one.uri.partition("?")[0] == uri for one in before) if delivery.parts else bool(before)
    return HandedOver(dataset, logical_date, uri, len(data), sha256, "corrected" if part else "delivered")


def _pushed(contract: Contract) -> Delivery:
    if contract.delivery is None:
        raise UsageError(
            f"{contract.dataset} is made, not delivered: it is {contract.layer}",
            hint="deliver to the bronze dataset it is made from",
        )
    if contract.delivery.source:
        raise UsageError(
            f"{contract.dataset}: a run fetches it itself, over {contract.delivery.source.kind}; nobody delivers it",
            hint=f"change what the endpoint '{contract.delivery.source.endpoint}' offers, and run",
        )
    return contract.delivery


def _check_name(contract: Contract, delivery: Delivery, name: str) -> None:
    if delivery.parts and name not in delivery.parts:
        raise InputError(
            f"{contract.dataset}: '{name}' is none of its parts",
            hint=f"use {', '.join(delivery.parts)}",
            dataset=contract.dataset,
        )
    if not name or "?" in name or not name.isprintable():
        raise InputError(f"{contract.dataset}: '{name}' cannot be the name of a delivery", hint="rename the file")

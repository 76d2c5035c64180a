"""Read a delivery's bytes as its contract says they are written."""

from __future__ import annotations

import gzip
import zlib

from medallion.contract import Contract, Delivery
from medallion.errors import UsageError
from medallion.lakehouse.history import Delivered
from medallion.sources import csv_format, json_format, parquet_format
from medallion.sources.arrival import Arrival, refuse

_PARSERS = {"csv": csv_format.parse, "json": json_format.parse, "parquet": parquet_format.parse}


def parse(contract: Contract, delivered: Delivered, data: bytes) -> Arrival:
    """Read a delivery. Raises: InputError, as the format does, and for a damaged compression."""
    delivery = delivery_of(contract)
    if delivery.compression == "gzip":
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise refuse(contract, delivered, f"is no whole gzip file: {error}") from error
    return _PARSERS[delivery.format](contract, delivered, data)


def delivery_of(contract: Contract) -> Delivery:
    """How a dataset is handed over. Raises: UsageError for one that is made, not delivered."""
    if contract.delivery is None:
        raise UsageError(f"{contract.dataset} is not delivered by anyone", hint="only bronze datasets are")
    return contract.delivery

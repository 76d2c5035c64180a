"""From the contracts: the datasets. They are written again only if something of them has changed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from medallion.domain import Domains
from medallion.ops.sources import Sources
from medallion.ops.writing import Connection, copy, position, put_position

TABLES = ("datasets",)
SOURCE = "contracts"
_COLUMNS = ("dataset", "domain", "layer", "name", "zone", "owner", "description", "contract_version", "rules")


def fill(connection: Connection, sources: Sources) -> None:
    """Fill in the contracts as they are now, if the position is of others. Raises: psycopg.Error."""
    at = at_now(sources.domains)
    if position(connection, SOURCE) == at:
        return
    connection.execute("DELETE FROM ops.datasets")
    copy(connection, "datasets", _COLUMNS, _rows(sources.domains))
    put_position(connection, SOURCE, at)


def at_now(domains: Domains) -> str:
    """What the contracts are now, as a position: a SHA-256."""
    return hashlib.sha256(json.dumps(_rows(domains)).encode()).hexdigest()


def _rows(domains: Domains) -> list[tuple[Any, ...]]:
    return [
        (c.dataset, c.domain, c.layer, c.name, c.zone, c.owner, c.description, c.version, len(c.rules))
        for _, c in sorted(domains.contracts.items())
    ]

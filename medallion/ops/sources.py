"""What the projection is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medallion.domain import Domains
from medallion.lake import Lake
from medallion.settings import Settings

Report = Callable[[str], None]


@dataclass(frozen=True)
class Sources:
    """A lake with its journal, catalog and object store; the contracts; the settings of each warehouse that has a ledger;
    and who is told what a person should know."""

    lake: Lake
    domains: Domains
    warehouses: Sequence[Settings]
    report: Report

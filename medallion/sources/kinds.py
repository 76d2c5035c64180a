"""The kinds of sources that can be asked: of each, its module, and what a contract says of it.

A new kind is a module with a `fetch` (`asking.Fetcher`) and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from medallion.sources.asking import Fetcher


@dataclass(frozen=True)
class Kind:
    """One kind. `address` is the contract's key for what to ask for; `rows`: it gives rows, kept as
    Parquet, not a file's bytes; `increments`: it can give only what is new."""

    module: str
    address: str
    rows: bool = False
    increments: bool = False

    @property
    def fetch(self) -> Fetcher:
        """What asks a source of this kind. Its module is imported now: contracts are read without it."""
        return cast("Fetcher", import_module(self.module).fetch)


KINDS: Mapping[str, Kind] = {
    "http": Kind("medallion.sources.http", address="path"),
    "ftp": Kind("medallion.sources.ftp", address="path"),
    "jdbc": Kind("medallion.sources.jdbc", address="table", rows=True),
    "delta": Kind("medallion.sources.delta", address="table", rows=True, increments=True),
}

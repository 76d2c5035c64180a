"""A domain whose bronze is asked for: a dataset for each kind of source, and what a run left behind.

Used with `pytest_plugins = ["tests.asking"]`. Each module of tests asks for datasets of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion import domain, query
from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import MedallionError
from medallion.lakehouse.catalog import ensure_tables
from medallion.lakehouse.history import Delivered, deliveries
from medallion.lakehouse.nessie import MAIN
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings, Source

DATASETS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "readings": (
        {"site": "string", "value": "string"},
        {
            "format": "json", "records": "data.readings", "expected": "daily",
            "source": {"kind": "http", "endpoint": "gauges", "path": "/v1/{year}/{month}-{day}.json"},
        },
    ),
    "sites": (
        {"site": "string", "name": "string"},
        {
            "format": "json", "expected": "initial",
            "source": {"kind": "http", "endpoint": "gauges", "path": "/v1/sites?format=json"},
        },
    ),
    "rates": (
        {"day": "string", "rate": "string"},
        {
            "format": "csv", "compression": "gzip", "expected": "initial", "parts": ["usd.csv.gz", "chf.csv.gz"],
            "source": {"kind": "ftp", "endpoint": "archive", "path": "/rates/{part}"},
        },
    ),
    "ships": (
        {"name": "string", "built": "int", "length_m": "decimal(6,2)", "launched": "date"},
        {"format": "parquet", "expected": "initial", "source": {"kind": "jdbc", "endpoint": "registry", "table": "port.ships"}},
    ),
    **{
        name: (
            {"id": "string", "item": "string"},
            {"format": "parquet", "expected": "increments", "source": {"kind": "delta", "endpoint": "till", "table": "sales"}},
        )
        for name in ("sales", "tips", "refunds")
    },
    "stock": (
        {"id": "string", "item": "string"},
        {"format": "parquet", "expected": "initial", "source": {"kind": "delta", "endpoint": "till", "table": "stock"}},
    ),
}  # fmt: skip
_LOGICAL = {"string": "string", "int": "integer", "date": "date", "decimal(6,2)": "number"}


def write(folder: Path) -> Path:
    """The domain `port` as a folder: bronze alone."""
    folder.mkdir(parents=True)
    for name, (columns, delivery) in DATASETS.items():
        path = f"domain=port/{name}/{{year}}/{{month}}/{{day}}/"
        custom = {"layer": "bronze", "zone": "external", "delivery": delivery | {"path": path, "repeats": "file"}}
        document = {
            "apiVersion": "v3.1.0", "kind": "DataContract", "id": f"bronze.port.{name}", "name": name, "domain": "port",
            "version": "1.0.0", "status": "active", "team": {"members": [{"username": "harbour", "role": "owner"}]},
            "slaProperties": [{"property": "retention", "value": 30, "unit": "d"}],
            "customProperties": [{"property": p, "value": v} for p, v in custom.items()],
            "schema": [{
                "name": name, "physicalName": f"bronze.port.{name}", "logicalType": "object",
                "properties": [{"name": c, "logicalType": _LOGICAL[t], "physicalType": t} for c, t in columns.items()],
                "quality": [{"name": "any", "metric": "rowCount", "mustBeGreaterThan": 0, "severity": "warning"}],
            }],
        }  # fmt: skip
        (folder / f"bronze.{name}.odcs.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    return folder


@dataclass(frozen=True)
class Refused:
    """What a run that had to fail said."""

    error: MedallionError
    told: str


class Port:
    """The domain in a lake. `told` are the lines that the last run reported."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings.model_copy(update={"domains": str(folder), "sources": {}})
        every = domain.load(self.settings)
        self.lake = Lake(self.settings, Domains({d: c for d, c in every.contracts.items() if c.domain == "port"}, {}))
        self.told: list[str] = []

    def point(self, endpoint: str, url: str, **settings: Any) -> None:
        """Say where an endpoint is; it is asked up to three times, with hardly a wait."""
        source = Source.model_validate({"url": url, "tries": 3, "first_wait_s": 0.01} | settings)
        self.lake.settings = self.settings.model_copy(update={"sources": {endpoint: source}})

    def run(self, name: str, day: date, **request: Any) -> Outcome:
        self.told.clear()
        return execute(self.lake, Request(day, ("bronze",), dataset=f"bronze.port.{name}", **request), self.told.append)

    def refused(self, name: str, day: date, **request: Any) -> Refused:
        """Run what must fail. It changes nothing: not main, not what lies in the bucket, not the journal's good runs."""
        before = self.state(name)
        with pytest.raises(MedallionError) as caught:
            self.run(name, day, **request)
        assert self.state(name) == before
        newest = self.lake.journal.runs(limit=1)[0]
        assert (newest["state"], newest["logical_date"]) == ("failed", day)
        assert caught.value.dataset in (f"bronze.port.{name}", None)
        assert caught.value.hint
        assert "sesame" not in str(caught.value), "a password is never told"
        return Refused(caught.value, str(caught.value))

    def state(self, name: str) -> tuple[Any, ...]:
        return self.lake.nessie.reference(MAIN), self.lying(name)

    def contract(self, name: str) -> Contract:
        return self.lake.domains.contracts[f"bronze.port.{name}"]

    def lying(self, name: str) -> list[str]:
        """The URIs of all objects of a dataset in the bucket, oldest first."""
        return [one.uri for one in self.lake.store.versions(self.contract(name).bucket, f"domain=port/{name}/")]

    def held(self, name: str) -> list[Delivered]:
        """The deliveries on main."""
        content = self.lake.nessie.contents(self.lake.nessie.reference(MAIN))[f"bronze.port.{name}"]
        return deliveries(self.settings.s3, content)

    def rows(self, name: str, of: str = "") -> list[tuple[Any, ...]]:
        columns = ", ".join(column.name for column in self.contract(name).columns)
        sql = f"SELECT {columns} FROM bronze.port.{name} {of} ORDER BY _delivery, _source_row"
        return [tuple(row.values()) for row in query.lake(self.settings, sql, MAIN).to_pylist()]

    @contextmanager
    def without_spark(self) -> Iterator[None]:
        """Fail if a session is asked for."""
        kept: Callable[..., Any] = self.lake.spark

        def never() -> Any:
            raise AssertionError("a session was asked for")

        self.lake.spark = never
        try:
            yield
        finally:
            self.lake.spark = kept


@pytest.fixture(scope="module")
def port(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    """The domain, with its tables on main."""
    port = Port(stack, write(tmp_path_factory.mktemp("domains") / "port"))
    with port.lake as lake:
        ensure_tables(lake.settings, lake.nessie, lake.journal, lake.domains.contracts.values())
        yield port

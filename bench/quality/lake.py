"""The benchmark's own domain: a dataset for each variant and round, all made of the same rows on the local disk.

Their transforms read Parquet from a folder, which a transform must not do; so a run has what a bare write has, and
nothing before it. What they name as their input is a marker of one row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from bench.quality.rules import NULLS, Check, odcs
from medallion import domain, session
from medallion.domain import Domains
from medallion.lakehouse.nessie import MAIN
from medallion.lakehouse.store import Store
from medallion.lakehouse.table import open_static
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings

DAY = date(2024, 1, 1)
NAME = "bench"


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One gold dataset: the Parquet folder that it is made of, and the rules that judge it."""

    name: str
    source: Path
    checks: list[Check]

    @property
    def full(self) -> str:
        return f"gold.{NAME}.{self.name}"


def document(layer: str, name: str, custom: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A contract of the benchmark's."""
    return {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": f"{layer}.{NAME}.{name}", "name": name, "domain": NAME,
        "version": "1.0.0", "status": "active", "description": {"purpose": "Measured."},
        "team": {"members": [{"username": "bench", "role": "owner"}]},
        "customProperties": [{"property": p, "value": v} for p, v in ({"layer": layer} | dict(custom)).items()],
        "schema": [{"name": name, "physicalName": f"{layer}.{NAME}.{name}", "logicalType": "object", **schema}],
    }  # fmt: skip


def write_domain(folder: Path, datasets: Iterable[Dataset]) -> None:
    """Write contracts and transforms."""
    folder.mkdir(parents=True, exist_ok=True)
    marker = {
        "properties": [{"name": "said", "logicalType": "string"}],
        "quality": [{"name": "any", "metric": "rowCount", "mustBeGreaterThan": 0, "severity": "warning"}],
    }
    delivery = {"format": "csv", "path": f"domain={NAME}/marker/{{year}}/{{month}}/{{day}}/", "expected": "initial"}
    documents = {"bronze.marker": document("bronze", "marker", {"zone": "raw-data", "delivery": delivery}, marker)}
    code = ['"""Written by the benchmark."""', ""]
    for one in datasets:
        properties, rules = odcs(one.checks or NULLS)
        schema = {"properties": properties, "quality": rules}
        custom = {"zone": "reporting", "materialisation": {"kind": "full"}, "published": False}
        documents[f"gold.{one.name}"] = document("gold", one.name, custom, schema)
        code += [
            f"def {one.name}(bronze_marker):",
            f"    return bronze_marker.sparkSession.read.parquet({str(one.source)!r})",
            "",
        ]
    for name, one_of in documents.items():
        (folder / f"{name}.odcs.yaml").write_text(yaml.safe_dump(one_of, sort_keys=False), "utf-8")
    (folder / "gold.py").write_text("\n".join(code), "utf-8")


def load(settings: Settings, folder: Path) -> Domains:
    """The benchmark's domain alone."""
    every = domain.load(settings.model_copy(update={"domains": str(folder)}))
    mine = {d: c for d, c in every.contracts.items() if c.domain == NAME}
    return Domains(mine, {d: t for d, t in every.transforms.items() if d in mine})


def begin(lake: Lake) -> None:
    """Create all tables and bring the marker in, so that no measured run does it."""
    lake.store.put(f"s3://bronze-raw-data/domain={NAME}/marker/{DAY:%Y/%m/%d}/marker.csv", b"said\nhere\n", "text/csv")
    execute(lake, Request(DAY, layers=("bronze",), dataset=f"bronze.{NAME}.marker"), report=lambda line: None)


def run(lake: Lake, dataset: Dataset) -> Outcome:
    """What `medallion run --dataset` does: branch, judged write, gate, merge."""
    return execute(lake, Request(DAY, layers=("gold",), dataset=dataset.full), report=lambda line: None)


def again(lake: Lake, dataset: Dataset) -> Outcome:
    """The same once more: its contract counts as changed, so it is made anew."""
    contract = dataclasses.replace(lake.domains.contracts[dataset.full], fingerprint="again")
    before = lake.domains
    lake.domains = Domains(before.contracts | {dataset.full: contract}, before.transforms)
    try:
        return run(lake, dataset)
    finally:
        lake.domains = before


def on_main(lake: Lake, name: str) -> str:
    """A gold table of the benchmark in SQL, on main, for those who write without a run."""
    return f"{session.attach(lake.spark(), lake.settings, MAIN)}.gold.{NAME}.{name}"


def forget(lake: Lake, names: Iterable[str]) -> None:
    """Free the disk: remove the data files of tables that nobody will read again."""
    tables = lake.nessie.tables(lake.nessie.reference(MAIN))
    for name in names:
        if name in tables:
            bucket, _, prefix = open_static(lake.settings.s3, tables[name]).location().removeprefix("s3://").partition("/")
            _remove(lake.store, bucket, f"{prefix}/data/")


def _remove(store: Store, bucket: str, prefix: str) -> None:
    from minio.deleteobjects import DeleteObject

    found = store.client.list_objects(bucket, prefix=prefix, recursive=True, include_version=True)
    list(store.client.remove_objects(bucket, [DeleteObject(o.object_name, o.version_id) for o in found]))

"""Every gold table of main as Spark, pyiceberg and DuckDB read it, as Arrow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.rest import RestCatalog

from medallion import domain, query, session
from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.lakehouse.table import io_properties
from medallion.settings import ROOT, Settings

PACKAGES = Path(sys.prefix) / ".setup" / "duckdb-iceberg"
Tables = dict[str, pa.Table]


def gold(settings: Settings) -> list[str]:
    """The gold tables of the built-in domains on main."""
    with closing(Nessie(settings.nessie)) as nessie:
        there = nessie.tables(nessie.reference(MAIN))
    contracts = domain.load(settings).contracts
    built_in = ROOT / "medallion" / "domains"
    return sorted(d for d, c in contracts.items() if d in there and c.layer == "gold" and built_in in c.path.parents)


def by_spark(settings: Settings, datasets: Iterable[str]) -> Tables:
    spark = session.start(settings).newSession()  # the process's own may know a catalog of this name at another stack
    catalog = session.attach(spark, settings, MAIN)
    return {dataset: spark.table(f"{catalog}.{dataset}").toArrow() for dataset in datasets}


def by_pyiceberg(settings: Settings, datasets: Iterable[str], folder: Path) -> Tables:
    """Over Nessie's REST endpoint."""
    catalog = RestCatalog("reader", uri=settings.nessie.iceberg_rest, prefix=MAIN, **io_properties(settings.s3))
    return {dataset: catalog.load_table(dataset).scan().to_arrow() for dataset in datasets}


def by_duckdb_over_arrow(settings: Settings, datasets: Iterable[str], folder: Path) -> Tables:
    """As `medallion sql` does it."""
    return {dataset: query.lake(settings, f"FROM {dataset}") for dataset in datasets}


def by_duckdb_iceberg(settings: Settings, datasets: Iterable[str], folder: Path) -> Tables:
    """With DuckDB's own reader of Iceberg over Nessie's REST endpoint, in a program of its own."""
    names, s3 = list(datasets), settings.s3
    asked = {
        "extensions": str(PACKAGES),
        "rest": settings.nessie.iceberg_rest,
        "s3": {
            "endpoint": s3.endpoint.removeprefix("http://"),
            "region": s3.region,
            "key": s3.access_key,
            "secret": s3.secret_key.get_secret_value(),
        },
        "tables": names,
    }
    told = subprocess.run(
        [sys.executable, ROOT / "tests" / "duckdb_iceberg.py", folder],
        input=json.dumps(asked),
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, f"{told.stderr}\n(the packages are in {PACKAGES}: `make setup`)"
    assert told.stdout.strip() == "1.5.5"
    return {dataset: pq.read_table(folder / f"{dataset}.parquet") for dataset in names}


ENGINES: dict[str, Callable[[Settings, Iterable[str], Path], Tables]] = {
    "pyiceberg": by_pyiceberg,
    "DuckDB over Arrow": by_duckdb_over_arrow,
    "DuckDB's reader of Iceberg": by_duckdb_iceberg,
}


def differing(found: Tables, expected: Tables) -> list[str]:
    """The tables whose rows or columns are not the same; the order of rows does not count."""
    assert found.keys() == expected.keys()
    return [dataset for dataset, table in expected.items() if _rows(found[dataset], table) != _rows(table, table)]


def _rows(table: pa.Table, like: pa.Table) -> list[str]:
    """Rows as texts, sorted, in the types of another table."""
    if table.column_names != like.column_names:
        return [f"columns {table.column_names}"]
    return sorted(repr(tuple(row.values())) for row in table.cast(like.schema).to_pylist())

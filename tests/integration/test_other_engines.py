"""Other engines see main: pyiceberg and DuckDB read every gold table as Spark does.

DuckDB reads twice: what `medallion sql` does (DuckDB over Arrow), and with its own reader of Iceberg over
Nessie's REST endpoint, in a program of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.rest import RestCatalog

from medallion import domain, query, session
from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.lakehouse.table import io_properties
from medallion.settings import ROOT, Settings
from tests.flights_lake import ROUTES

pytest_plugins = ["tests.flights_lake"]

PACKAGES = Path(sys.prefix) / ".setup" / "duckdb-iceberg"


@pytest.fixture(scope="module")
def gold(flights_lake: Settings) -> list[str]:
    """Every gold table of the built-in domains on main."""
    with closing(Nessie(flights_lake.nessie)) as nessie:
        there = nessie.tables(nessie.reference(MAIN))
    contracts = domain.load(flights_lake).contracts
    return sorted(d for d, c in contracts.items() if d in there and c.layer == "gold" and domain.BUILT_IN in c.path.parents)


@pytest.fixture(scope="module")
def as_spark_reads(flights_lake: Settings, gold: list[str]) -> dict[str, pa.Table]:
    spark = session.start(flights_lake)
    catalog = session.attach(spark, flights_lake, MAIN)
    return {dataset: spark.table(f"{catalog}.{dataset}").toArrow() for dataset in gold}


def rows(table: pa.Table, like: pa.Table) -> list[str]:
    """A table's rows as texts, sorted, with the names and types that Spark gives them."""
    assert table.column_names == like.column_names
    return sorted(repr(tuple(row.values())) for row in table.cast(like.schema).to_pylist())


def test_pyiceberg_reads_every_gold_table_over_rest(flights_lake: Settings, as_spark_reads: dict[str, pa.Table]) -> None:
    catalog = RestCatalog("reader", uri=flights_lake.nessie.iceberg_rest, prefix=MAIN, **io_properties(flights_lake.s3))
    for dataset, expected in as_spark_reads.items():
        found = catalog.load_table(dataset).scan().to_arrow()
        assert rows(found, expected) == rows(expected, expected), dataset
    assert as_spark_reads[ROUTES].num_rows > 100
    assert {d.split(".")[1] for d in as_spark_reads} >= {"operations"}


def test_duckdb_reads_every_gold_table_over_arrow(flights_lake: Settings, as_spark_reads: dict[str, pa.Table]) -> None:
    for dataset, expected in as_spark_reads.items():
        assert rows(query.lake(flights_lake, f"FROM {dataset}"), expected) == rows(expected, expected), dataset


def test_duckdb_reads_every_gold_table_with_its_own_reader_of_iceberg(
    flights_lake: Settings, as_spark_reads: dict[str, pa.Table], tmp_path: Path
) -> None:
    s3 = flights_lake.s3
    asked = {
        "extensions": str(PACKAGES),
        "rest": flights_lake.nessie.iceberg_rest,
        "s3": {
            "endpoint": s3.endpoint.removeprefix("http://"),
            "region": s3.region,
            "key": s3.access_key,
            "secret": s3.secret_key.get_secret_value(),
        },
        "tables": list(as_spark_reads),
    }
    told = subprocess.run(
        [sys.executable, ROOT / "tests" / "duckdb_iceberg.py", tmp_path],
        input=json.dumps(asked),
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, f"{told.stderr}\n(the packages are in {PACKAGES}: `make setup`)"
    assert told.stdout.strip() == "1.5.5"
    for dataset, expected in as_spark_reads.items():
        assert rows(pq.read_table(tmp_path / f"{dataset}.parquet"), expected) == rows(expected, expected), dataset

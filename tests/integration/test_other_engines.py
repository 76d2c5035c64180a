"""Other engines see main, also where tables have no row yet: pyiceberg and DuckDB read every gold table as Spark does.
(The demo's test compares tables with rows.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from medallion import domain
from medallion.lakehouse.catalog import ensure_tables
from medallion.pipeline import Lake
from medallion.settings import Settings
from tests.other_engines import ENGINES, Tables, by_spark, differing, gold


@pytest.fixture(scope="module")
def as_spark_reads(stack: Settings) -> Tables:
    """Every gold table of the built-in domains: as empty as it was made, unless another module has filled it."""
    with Lake(stack) as lake:
        ensure_tables(stack, lake.nessie, lake.journal, domain.load(stack).contracts.values())
    return by_spark(stack, gold(stack))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_reads_every_gold_table_as_spark_does(
    stack: Settings, as_spark_reads: Tables, tmp_path: Path, engine: str
) -> None:
    found = ENGINES[engine](stack, as_spark_reads, tmp_path)
    assert differing(found, as_spark_reads) == []
    assert {dataset.split(".")[1] for dataset in found} >= {"operations", "sales", "finance"}, "tables without a row too"

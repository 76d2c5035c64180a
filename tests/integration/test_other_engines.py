"""Other engines see main: pyiceberg and DuckDB read every gold table as Spark does."""

from __future__ import annotations

from pathlib import Path

import pytest

from medallion.settings import Settings
from tests.flights_lake import ROUTES
from tests.other_engines import ENGINES, Tables, by_spark, differing, gold

pytest_plugins = ["tests.flights_lake"]


@pytest.fixture(scope="module")
def as_spark_reads(flights_lake: Settings) -> Tables:
    return by_spark(flights_lake, gold(flights_lake))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_reads_every_gold_table_as_spark_does(
    flights_lake: Settings, as_spark_reads: Tables, tmp_path: Path, engine: str
) -> None:
    found = ENGINES[engine](flights_lake, as_spark_reads, tmp_path)
    assert differing(found, as_spark_reads) == []
    assert found[ROUTES].num_rows > 100
    assert {dataset.split(".")[1] for dataset in found} >= {"operations", "sales", "finance"}, "tables without a row too"


def test_one_row_more_is_a_difference(as_spark_reads: Tables) -> None:
    assert differing(as_spark_reads | {ROUTES: as_spark_reads[ROUTES].slice(1)}, as_spark_reads) == [ROUTES]

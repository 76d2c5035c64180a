"""A process that reads many tables for long keeps few connections open."""

from __future__ import annotations

import os

from medallion.lakehouse.table import open_static
from medallion.settings import Settings
from tests.lake_tables import LakeTables, gold

pytest_plugins = ["tests.warehouse"]

TABLES = 40


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_tables_share_the_client_of_the_object_store(settings: Settings, lake: LakeTables, domain: str) -> None:
    tables = [gold(f"t{number}", {"id": "bigint"}, domain=domain) for number in range(TABLES)]
    lake.commit({table: [{"id": 1}] for table in tables})
    contents = lake.nessie.tables(lake.nessie.reference("main"))
    before = open_files()
    for table in tables:
        opened = open_static(settings.s3, contents[table.dataset])
        assert opened.scan().to_arrow().to_pylist() == [{"id": 1}]
    assert open_files() - before < TABLES

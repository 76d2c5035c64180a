"""What a publication costs its client: against write_pandas-style preparation of the same rows; 20 tables against one.

Preparation is all that happens before files go to the warehouse's stage. Variants in turn, over the same Iceberg table
on the object store, whose files serve as they are:

- `ours`: the table's files are fetched, and their rows and checksum worked out, as the ledger keeps them;
- `ours, files`: the same without the checksum, which the others do not have;
- `gzip`, `snappy`: rows are read into pandas and written as Parquet, as the Snowflake connector's `write_pandas`
  does by itself (gzip), and at its fastest.

Then whole publications, to the emulated Snowflake and to PostgreSQL, of one small table, of 20 of them, and of one table
with as many rows as the 20. All in turn; medians; nothing is asserted about times.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa

from medallion import settings as settings_module
from medallion.contract import Contract
from medallion.publish import lake_files
from medallion.publish.checksum import digest
from medallion.publish.columns import from_iceberg
from medallion.publish.publication import publish
from medallion.services import stack
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold

COLUMNS = {
    "day": "date", "carrier": "string", "flight_number": "int", "origin": "string", "dest": "string", "tail_number": "string",
    "sched_dep_utc": "timestamp", "dep_delay_min": "int", "distance_mi": "int", "average_speed_mph": "double",
    "fare": "decimal(10,2)", "remark": "string",
}  # fmt: skip
FILE_ROWS = 250_000
SMALL_ROWS = 500
TABLES = 20


def measure(rows: int, rounds: int) -> None:
    """Run every variant `rounds` times after one round to warm up, and print the tables as Markdown."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        os.environ["MEDALLION_HOME"] = str(Path(folder) / "home")
        settings_module.load.cache_clear()
        settings = stack.up(settings_module.load(), lambda line: None, guard=os.getpid())
        try:
            with closing(LakeTables(settings)) as lake:
                preparation(settings, lake, rows, rounds)
                tables(settings, lake, rounds)
        finally:
            stack.down(settings, lambda line: None, remove=True)


# ── preparation ───────────────────────────────────────────────────────────────────────────────────
def preparation(settings: Settings, lake: LakeTables, rows: int, rounds: int) -> None:
    contract = gold("flown", COLUMNS)
    for first in range(0, rows, FILE_ROWS):
        part = made(first, min(FILE_ROWS, rows - first))
        lake.commit({contract: lambda table, part=part: table.append(part)})
    content = lake.nessie.tables(lake.nessie.reference("main"))[contract.dataset]
    table = lake_files.open_table(settings.s3, content)
    columns = from_iceberg(contract.dataset, table.schema())

    def ours(folder: Path, check: bool = True) -> int:
        files = lake_files.fetch(settings.s3, table, lake_files.planned(table), folder)
        if check:
            assert digest(files.paths, columns).rows == rows
        return 0 if files.as_they_are else files.bytes

    def pandas(folder: Path, compression: str) -> int:
        path = folder / "rows.parquet"
        table.scan().to_pandas().to_parquet(path, compression=compression)
        return path.stat().st_size

    variants: dict[str, Callable[[Path], int]] = {
        "ours": ours,
        "ours, files": lambda folder: ours(folder, check=False),
        "gzip": lambda folder: pandas(folder, "gzip"),
        "snappy": lambda folder: pandas(folder, "snappy"),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    encoded: dict[str, int] = {}
    for round_ in range(rounds + 1):
        for name, run in variants.items():
            with tempfile.TemporaryDirectory(prefix="medallion-bench-") as place, timed() as spent:
                encoded[name] = run(Path(place))
            if round_:
                taken[name].append((spent[0], spent[1]))
    in_lake = sum(task.file.file_size_in_bytes for task in lake_files.planned(table))
    print(f"{rows:,} rows, {len(COLUMNS)} columns, {in_lake / 1e6:.0f} MB in the lake, {rounds} rounds\n")
    print("| preparation | wall s | CPU s | wall, of gzip | CPU, of gzip | MB encoded anew |\n|---|---|---|---|---|---|")
    base = [statistics.median(each[i] for each in taken["gzip"]) for i in (0, 1)]
    for name, each in taken.items():
        wall, cpu = (statistics.median(one[i] for one in each) for i in (0, 1))
        spread = f"{min(one[0] for one in each):.2f} to {max(one[0] for one in each):.2f}"
        ratios = f"{wall / base[0]:.2f} | {cpu / base[1]:.2f}"
        print(f"| {name} | {wall:.2f} ({spread}) | {cpu:.2f} | {ratios} | {encoded[name] / 1e6:.1f} |")


def made(first: int, count: int) -> pa.Table:
    """Rows that look like flights, the same for the same numbers."""
    import duckdb

    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        return engine.sql(f"""
            SELECT DATE '2013-01-01' + CAST(i // 3000 AS INTEGER) AS day,
                chr(65 + CAST(i % 16 AS INTEGER)) || 'A' AS carrier, CAST(hash(i) % 9000 AS INTEGER) AS flight_number,
                ['EWR', 'JFK', 'LGA'][1 + i % 3] AS origin, 'D' || (hash(i + 1) % 105)::VARCHAR AS dest,
                CASE WHEN i % 90 > 0 THEN 'N' || (hash(i + 2) % 4000)::VARCHAR END AS tail_number,
                TIMESTAMPTZ '2013-01-01 00:00:00+00' + INTERVAL 1 SECOND * (i * 29) AS sched_dep_utc,
                CAST(hash(i + 3) % 300 AS INTEGER) - 20 AS dep_delay_min, CAST(hash(i + 4) % 5000 AS INTEGER) AS distance_mi,
                (hash(i + 5) % 100000) / 171.0 AS average_speed_mph,
                CAST((hash(i + 6) % 10000000) / 100.0 AS DECIMAL(10,2)) AS fare,
                CASE WHEN i % 5 = 0 THEN 'remark ' || hash(i + 7)::VARCHAR END AS remark
            FROM range({first}, {first + count}) t(i)
        """).to_arrow_table()  # fmt: skip


@contextmanager
def timed() -> Iterator[list[float]]:
    """The wall and CPU seconds that were spent, once they are."""
    spent: list[float] = []
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent += [time.perf_counter() - wall, time.process_time() - cpu]


# ── many tables ───────────────────────────────────────────────────────────────────────────────────
def tables(settings: Settings, lake: LakeTables, rounds: int) -> None:
    names = [f"small_{number}" for number in range(TABLES)]
    groups = {
        "one": [gold("one", COLUMNS)],
        f"{TABLES}": [gold(name, COLUMNS) for name in names],
        f"one with the rows of {TABLES}": [gold("large", COLUMNS)],
    }
    print(
        f"\n| publication ({SMALL_ROWS} rows a table) | to | wall s | CPU s | wall, of one | CPU, of one |\n"
        "|---|---|---|---|---|---|"
    )
    for warehouse in ("snowflake", "postgres"):
        to = settings.model_copy(update={"warehouse": warehouse})
        taken: dict[str, list[tuple[float, float]]] = {group: [] for group in groups}
        for round_ in range(rounds + 1):
            for group, contracts in groups.items():
                count = SMALL_ROWS * (TABLES if "rows" in group else 1)
                write(lake, contracts, round_ * 1_000_000, count)
                with timed() as spent:
                    publish(to, Contracts(*(each for some in groups.values() for each in some)))
                if round_:
                    taken[group].append((spent[0], spent[1]))
        base = [statistics.median(each[i] for each in taken["one"]) for i in (0, 1)]
        for group, each in taken.items():
            wall, cpu = (statistics.median(one[i] for one in each) for i in (0, 1))
            spread = f"{min(one[0] for one in each):.2f} to {max(one[0] for one in each):.2f}"
            print(f"| {group} | {warehouse} | {wall:.2f} ({spread}) | {cpu:.2f} | {wall / base[0]:.2f} | {cpu / base[1]:.2f} |")


def write(lake: LakeTables, contracts: list[Contract], first: int, count: int) -> None:
    lake.commit({contract: made(first + number * count, count) for number, contract in enumerate(contracts)})

"""What changes a table that is there: one in a hundred rows upserted, one in a hundred rows new in bronze."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from bench.quality.lake import DAY, NAME, document, on_main
from bench.quality.lineitem import COLUMNS, Lineitem
from bench.quality.rules import Check
from bench.quality.variants import Variant
from medallion.pipeline import Lake, Request, execute

NEXT = date(2024, 1, 2)
_CHANGED = "(l_orderkey * 7 + l_linenumber) % 100 = 3"
_MODES = ("write.merge.mode", "write.update.mode", "write.delete.mode")


def upserts(rows: Lineitem) -> list[Variant]:
    """MERGE of one row in a hundred, on copy-on-write and on merge-on-read, and what reading costs afterwards."""

    def prepare(name: str, mode: str) -> Callable[[Lake, int], None]:
        def begin(lake: Lake, round_: int) -> None:
            table = on_main(lake, f"{name}_{round_}")
            lake.spark().read.parquet(str(rows.clean)).writeTo(table).append()
            properties = ", ".join(f"'{key}' = '{mode}'" for key in _MODES)
            lake.spark().sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({properties})")

        return begin

    def merge(name: str) -> Callable[[Lake, int], None]:
        def work(lake: Lake, round_: int) -> None:
            changed = (
                lake.spark()
                .read.parquet(str(rows.clean))
                .filter(_CHANGED)
                .selectExpr("* EXCEPT (l_quantity)", "l_quantity + 1 AS l_quantity")
            )
            changed.createOrReplaceTempView("changed")
            key = "t.l_orderkey = c.l_orderkey AND t.l_linenumber = c.l_linenumber"
            lake.spark().sql(
                f"MERGE INTO {on_main(lake, f'{name}_{round_}')} t USING changed c ON {key} "
                "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
            )

        return work

    def read(lake: Lake, round_: int) -> None:
        lake.spark().table(on_main(lake, f"merged_{round_}")).write.format("noop").mode("overwrite").save()

    tables: tuple[tuple[str, str, list[Check]], ...] = (("merged", "clean", []),)
    return [
        Variant("copied", "upsert", merge("copied"), "", (("copied", "clean", []),), prepare=prepare("copied", "copy-on-write"),
                told="MERGE of 1 % changed rows, copy-on-write"),
        Variant("read_before", "upsert", read, "", tables, prepare=prepare("merged", "merge-on-read"), keeps=True,
                told="reading the whole table before its MERGE"),
        Variant("merged", "upsert", merge("merged"), "copied", keeps=True, targets="≤ 0.25",
                told="plain MERGE of 1 % changed rows, merge-on-read (beneath the engine's upsert)"),
        Variant("read_after", "upsert", read, "read_before", targets="≤ 1.3", told="reading it afterwards"),
    ]  # fmt: skip


# ── silver ────────────────────────────────────────────────────────────────────────────────────────
_SILVER = """

def {name}(bronze_lines_{round_}):
    columns = {columns!r}
    typed = [F.col(c).cast(t).alias(c) for c, t in columns.items()]
    return bronze_lines_{round_}.select(
        *typed, "_logical_date", "_delivery", "_source_row", F.lit(None).cast("string").alias("_unparsed")
    )
"""
_LOGICAL = {"bigint": "integer", "int": "integer", "string": "string", "date": "date"}


def write_silver(folder: Path, rounds: int) -> None:
    """For each round a bronze dataset, and two silver ones over it: made by date, and made whole."""
    import yaml

    text = [{"name": c, "logicalType": "string"} for c in COLUMNS]
    typed = [
        {"name": c, "logicalType": _LOGICAL.get(t, "number"), "physicalType": t, "required": True} for c, t in COLUMNS.items()
    ]
    code = "from pyspark.sql import functions as F\n"
    documents: dict[str, Any] = {}
    for round_ in range(rounds):
        name = f"lines_{round_}"
        delivery = {
            "format": "csv",
            "path": f"domain={NAME}/{name}/{{year}}/{{month}}/{{day}}/",
            "expected": "daily",
            "repeats": "file",
        }
        rule = {"name": "any", "metric": "rowCount", "mustBeGreaterThan": 0, "severity": "warning"}
        documents[f"bronze.{name}"] = document(
            "bronze", name, {"zone": "raw-data", "delivery": delivery}, {"properties": text, "quality": [rule]}
        )
        for kind in ("date", "full"):
            silver = f"lines_{kind}_{round_}"
            custom = {"zone": "validated", "materialisation": {"kind": kind}}
            documents[f"silver.{silver}"] = document("silver", silver, custom, {"properties": typed})
            code += _SILVER.format(name=silver, round_=round_, columns=COLUMNS)
    for name, one in documents.items():
        (folder / f"{name}.odcs.yaml").write_text(yaml.safe_dump(one, sort_keys=False), "utf-8")
    (folder / "silver.py").write_text(code, "utf-8")


def silvers(rows: Lineitem, folder: Path) -> list[Variant]:
    """The pipeline's silver layer when a hundredth of the rows is new, made by date and made whole.

    The rows are a sixth of lineitem's, delivered as two days of CSV: 99 in a hundred, then one.
    """

    def deliver(lake: Lake, round_: int) -> None:
        count = rows.rows // 6
        for day, where in ((DAY, "n % 100 <> 0"), (NEXT, "n % 100 = 0")):
            file = folder / "lines.csv"
            numbered = f"SELECT *, row_number() OVER () AS n FROM (FROM '{rows.clean}/*.parquet' LIMIT {count})"
            duckdb.execute(f"COPY (SELECT * EXCLUDE (n) FROM ({numbered}) WHERE {where}) TO '{file}' (FORMAT csv, HEADER)")
            uri = f"s3://bronze-raw-data/domain={NAME}/lines_{round_}/{day:%Y/%m/%d}/lines.csv"
            lake.store.put(uri, file.read_bytes(), "text/csv")
            _run(lake, day, "bronze", f"lines_{round_}")
            if day == DAY:
                for kind in ("date", "full"):
                    _run(lake, day, "silver", f"lines_{kind}_{round_}")

    def silver(kind: str) -> Callable[[Lake, int], None]:
        return lambda lake, round_: _run(lake, NEXT, "silver", f"lines_{kind}_{round_}")

    return [
        Variant("silver_full", "silver", silver("full"), "", prepare=deliver, told="silver made whole, a sixth of lineitem"),
        Variant("silver_date", "silver", silver("date"), "silver_full", targets="≤ 0.15",
                told="silver of the date that is new, 1 % of it"),
    ]  # fmt: skip


def _run(lake: Lake, day: date, layer: Any, name: str) -> None:
    outcome = execute(lake, Request(day, layers=(layer,), dataset=f"{layer}.{NAME}.{name}"), report=lambda line: None)
    if outcome.state != "merged":
        raise SystemExit(f"{layer}.{NAME}.{name} {day}: {outcome.state}")

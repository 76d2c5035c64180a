"""What changes a table that is there: one in a hundred rows upserted, one in a hundred rows new in bronze.

The engine's own upsert is a run over a part of lineitem, delivered as CSV; its MERGE is over the same rows."""

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
from medallion import session
from medallion.lakehouse.nessie import MAIN
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


def own_upserts(rows: Lineitem, folder: Path, one_in: int) -> list[Variant]:
    """The engine's upsert of 1 % changed rows, a whole run: read from bronze, judged, merged into the table, gate, merge to
    main. Beside it a bare MERGE of what bronze has of them into a table of the same rows: of one order in `one_in`."""
    part = f"l_orderkey % {one_in} = 0"
    size = f"1/{one_in} of lineitem" if one_in > 1 else "lineitem"

    def on_main_(lake: Lake, round_: int) -> str:
        return f"{session.attach(lake.spark(), lake.settings, MAIN)}.silver.{NAME}.changed_upsert_{round_}"

    def deliver(lake: Lake, round_: int) -> None:
        changed = f"SELECT * REPLACE (l_quantity + 1 AS l_quantity) FROM '{rows.clean}/*.parquet' WHERE {part} AND {_CHANGED}"
        for day, select in ((DAY, f"FROM '{rows.clean}/*.parquet' WHERE {part}"), (NEXT, changed)):
            _deliver(lake, folder, day, f"changed_{round_}", select)
            if day == DAY:
                _run(lake, day, "silver", f"changed_upsert_{round_}")
        wanted = duckdb.execute(f"SELECT count(*) FROM '{rows.clean}/*.parquet' WHERE {part}").fetchall()[0][0]
        if (found := lake.spark().table(on_main_(lake, round_)).count()) != wanted:
            raise SystemExit(f"the upserted table has {found} rows; expected {wanted}")

    def plain(lake: Lake, round_: int) -> None:
        """The same rows in a table of its own, of the same columns."""
        table = on_main(lake, f"copied_part_{round_}")
        lake.spark().read.parquet(str(rows.clean)).filter(part).writeTo(table).append()
        properties = ", ".join(f"'{key}' = 'copy-on-write'" for key in _MODES)
        lake.spark().sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({properties})")

    def copied(lake: Lake, round_: int) -> None:
        bronze = f"{session.attach(lake.spark(), lake.settings, MAIN)}.bronze.{NAME}.changed_{round_}"
        typed = ", ".join(f"CAST({c} AS {t}) AS {c}" for c, t in COLUMNS.items())
        lake.spark().sql(
            f"MERGE INTO {on_main(lake, f'copied_part_{round_}')} t "
            f"USING (SELECT {typed} FROM {bronze} WHERE _logical_date = DATE '{NEXT}') c "
            "ON t.l_orderkey = c.l_orderkey AND t.l_linenumber = c.l_linenumber "
            "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )

    def upsert(lake: Lake, round_: int) -> None:
        _run(lake, NEXT, "silver", f"changed_upsert_{round_}")

    def read(lake: Lake, round_: int) -> None:
        lake.spark().table(on_main_(lake, round_)).write.format("noop").mode("overwrite").save()

    tables: tuple[tuple[str, str, list[Check]], ...] = (("copied_part", "clean", []),)
    return [
        Variant("own_read_before", "upsert", read, "", prepare=deliver, told=f"reading an upserted table, {size}"),
        Variant("copied_part", "upsert", copied, "", tables, prepare=plain,
                told="MERGE of 1 % changed rows into as many, copy-on-write, from bronze"),
        Variant("own_upsert", "upsert", upsert, "copied_part", targets="≤ 0.25",
                told="the engine's upsert of them: a run, judged and merged"),
        Variant("own_read_after", "upsert", read, "own_read_before", targets="≤ 1.3", told="reading that table afterwards"),
    ]  # fmt: skip


# ── silver ────────────────────────────────────────────────────────────────────────────────────────
_SILVER = """

def {name}(bronze_{bronze}):
    columns = {columns!r}
    typed = [F.col(c).cast(t).alias(c) for c, t in columns.items()]
    return bronze_{bronze}.select(
        *typed, "_logical_date", "_delivery", "_source_row", F.lit(None).cast("string").alias("_unparsed")
    )
"""
_KEY = ("l_orderkey", "l_linenumber")
_LOGICAL = {"bigint": "integer", "int": "integer", "string": "string", "date": "date"}


def write_silver(folder: Path, rounds: int) -> None:
    """For each round a bronze dataset and two silver ones over it, made by date and made whole; and one that changes, with
    one that is upserted by it."""
    import yaml

    text = [{"name": c, "logicalType": "string"} for c in COLUMNS]
    typed = [
        {"name": c, "logicalType": _LOGICAL.get(t, "number"), "physicalType": t, "required": True} for c, t in COLUMNS.items()
    ]
    code = "from pyspark.sql import functions as F\n"
    documents: dict[str, Any] = {}
    kinds: dict[str, dict[str, Any]] = {
        "date": {"kind": "date"}, "full": {"kind": "full"}, "upsert": {"kind": "upsert", "latestBy": "l_receiptdate"},
    }  # fmt: skip
    keyed = [
        p | ({"primaryKey": True, "primaryKeyPosition": _KEY.index(p["name"]) + 1} if p["name"] in _KEY else {}) for p in typed
    ]
    for bronze, made in (("lines", ("date", "full")), ("changed", ("upsert",))):
        for round_ in range(rounds):
            name = f"{bronze}_{round_}"
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
            for kind in made:
                silver = f"{bronze}_{kind}_{round_}"
                custom = {"zone": "validated", "materialisation": kinds[kind]}
                properties = keyed if kind == "upsert" else typed
                documents[f"silver.{silver}"] = document("silver", silver, custom, {"properties": properties})
                code += _SILVER.format(name=silver, bronze=name, columns=COLUMNS)
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
            numbered = f"SELECT *, row_number() OVER () AS n FROM (FROM '{rows.clean}/*.parquet' LIMIT {count})"
            _deliver(lake, folder, day, f"lines_{round_}", f"SELECT * EXCLUDE (n) FROM ({numbered}) WHERE {where}")
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


def _deliver(lake: Lake, folder: Path, day: date, name: str, select: str) -> None:
    """Bring what a query finds into bronze, as CSV."""
    file = folder / "lines.csv"
    duckdb.execute(f"COPY ({select}) TO '{file}' (FORMAT csv, HEADER)")
    lake.store.put(f"s3://bronze-raw-data/domain={NAME}/{name}/{day:%Y/%m/%d}/lines.csv", file.read_bytes(), "text/csv")
    _run(lake, day, "bronze", name)


def _run(lake: Lake, day: date, layer: Any, name: str) -> None:
    outcome = execute(lake, Request(day, layers=(layer,), dataset=f"{layer}.{NAME}.{name}"), report=lambda line: None)
    if outcome.state != "merged":
        raise SystemExit(f"{layer}.{NAME}.{name} {day}: {outcome.state}")

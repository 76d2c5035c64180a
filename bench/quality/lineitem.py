"""TPC-H's lineitem as Parquet in a local folder: as it is, and with one row in a thousand damaged.

The rows come from `tpchgen-cli` (pinned in pyproject.toml's extra `bench`), which is run once for each scale. Both
kinds are then written by the same writer, so that reading one costs what reading the other costs. The few comments without
three letters in a row ("ve to x-ra": none at scale 1, 6 at scale 10) are left out, so that clean rows break no rule.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import duckdb

COLUMNS = {
    "l_orderkey": "bigint", "l_partkey": "bigint", "l_suppkey": "bigint", "l_linenumber": "int",
    "l_quantity": "decimal(15,2)", "l_extendedprice": "decimal(15,2)", "l_discount": "decimal(15,2)", "l_tax": "decimal(15,2)",
    "l_returnflag": "string", "l_linestatus": "string",
    "l_shipdate": "date", "l_commitdate": "date", "l_receiptdate": "date",
    "l_shipinstruct": "string", "l_shipmode": "string", "l_comment": "string",
}  # fmt: skip
"""Name -> Spark SQL type."""
DAMAGE = {
    "l_partkey": (0, "NULL"),
    "l_quantity": (1, "999"),
    "l_shipmode": (2, "'ROCKET'"),
    "l_comment": (3, "'<b>' || l_comment || '</b>'"),
    "l_receiptdate": (4, "l_shipdate - 1"),
}
"""Column -> (which fifth of the damaged rows, what stands there instead): a null, out of range, no member of its set,
against its pattern, before it was shipped."""
_BAD = "(l_orderkey * 7 + l_linenumber) % 1000 = 0"
_KIND = "(l_orderkey * 7 + l_linenumber) // 1000 % 5"


@dataclass(frozen=True)
class Lineitem:
    """Folders of Parquet files with the same rows; of `damaged`, `bad` rows are not as they should be."""

    clean: Path
    damaged: Path
    rows: int
    bad: int


def prepare(folder: Path, scale: float, program: str) -> Lineitem:
    """The rows of one scale, made at the first call.

    Raises: SystemExit if `tpchgen-cli` is not there.
    """
    home = folder / f"lineitem-{scale:g}"
    if not (home / "done").is_file():
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not there: install the extra `bench` of pyproject.toml, or name it with --tpchgen")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        parts = max(4, round(4 * scale))
        with tempfile.TemporaryDirectory(dir=home) as raw:
            options = ["-s", f"{scale:g}", "--tables", "lineitem", "--parts", str(parts), "--output-dir", raw]
            subprocess.run([program, "parquet", *options], check=True, capture_output=True)
            for part, source in enumerate(sorted(Path(raw).rglob("*.parquet"))):
                for kind in ("clean", "damaged"):
                    _write(source, home / kind / f"{part:03}.parquet", damaged=kind == "damaged")
        (home / "done").touch()
    clean = str(home / "clean" / "*.parquet")
    rows, bad = duckdb.execute(f"SELECT count(*), count(*) FILTER ({_BAD}) FROM '{clean}'").fetchall()[0]
    return Lineitem(home / "clean", home / "damaged", rows, bad)


def _write(source: Path, target: Path, *, damaged: bool) -> None:
    target.parent.mkdir(exist_ok=True)
    selected = "*"
    if damaged:
        changed = [
            f"CASE WHEN {_BAD} AND {_KIND} = {kind} THEN {value} ELSE {column} END AS {column}"
            for column, (kind, value) in DAMAGE.items()
        ]
        selected = f"* REPLACE ({', '.join(changed)})"
    rows = f"SELECT {selected} FROM '{source}' WHERE regexp_matches(l_comment, '[a-z]{{3}}')"
    written = f"COPY ({rows}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 500000)"
    duckdb.execute(written)

"""A program of its own: DuckDB's reader of Iceberg over the REST endpoint, without anything of ours.

`python tests/duckdb_iceberg.py FOLDER` with a folder of packages (see `duckdb_iceberg` in scripts/setup.py)
in front on the path. Standard input: JSON with `extensions` (folder), `rest`, `s3` (endpoint, region,
key, secret) and `tables`. Writes each table to `FOLDER/<table>.parquet`, and prints DuckDB's version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb

EXTENSIONS = ("httpfs", "avro", "iceberg")


def main() -> None:
    asked, folder = json.load(sys.stdin), Path(sys.argv[1])
    s3 = asked["s3"]
    # nothing is downloaded: the extensions lie in packages, signed by DuckDB's makers
    engine = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    for name in EXTENSIONS:
        (file,) = Path(asked["extensions"]).glob(f"duckdb_extension_{name}/extensions/*/{name}.duckdb_extension")
        engine.execute(f"LOAD '{file}'")
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(
        f"CREATE SECRET (TYPE s3, ENDPOINT '{s3['endpoint']}', REGION '{s3['region']}', KEY_ID '{s3['key']}', "
        f"SECRET '{s3['secret']}', URL_STYLE 'path', USE_SSL false)"
    )
    engine.execute(
        f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{asked['rest']}', AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none')"
    )
    for table in asked["tables"]:
        namespace, _, name = table.rpartition(".")
        engine.execute(f"COPY (FROM lake.\"{namespace}\".{name}) TO '{folder / table}.parquet' (FORMAT parquet)")
    print(duckdb.__version__)


if __name__ == "__main__":
    main()

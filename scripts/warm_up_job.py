"""A small job that uses what real jobs use: CSV in, an Iceberg table on a branch, rows out."""

from __future__ import annotations

import sys
from pathlib import Path

from medallion import session
from medallion.settings import load


def main() -> None:
    """Read a file, write and change a table through the catalog, read it back."""
    source = Path(sys.argv[1]) / "rows.csv"
    source.write_text("id,name,amount,at\n" + "".join(f"{i},n{i % 7},{i}.5,2013-01-01 10:00:00\n" for i in range(500)))
    spark = session.start(load(), "warm-up")
    catalog = session.attach(spark, load(), "main")
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {catalog}.warm")
    rows = spark.read.csv(f"file://{source}", header=True).selectExpr(
        "cast(id AS int) AS id", "name", "cast(amount AS decimal(12, 2)) AS amount", "to_timestamp(at) AS at",
        "to_date(at) AS day", "sha2(concat_ws('|', id, name), 256) AS row_hash",
    )  # fmt: skip
    table = f"{catalog}.warm.up"
    location = "s3://dev-sandbox/tables/warm-up"
    rows.writeTo(table).using("iceberg").tableProperty("location", location).partitionedBy("day").create()
    rows.createOrReplaceTempView("rows")
    rows.filter("id > 400").writeTo(table).append()
    spark.table(table).filter("id < 100").writeTo(table).overwritePartitions()
    spark.sql(f"MERGE INTO {table} t USING rows r ON t.id = r.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *")
    spark.sql(
        f"SELECT name, count(*), sum(amount), percentile(amount, 0.9), max(row_number) FROM "
        f"(SELECT *, row_number() OVER (PARTITION BY name ORDER BY at) AS row_number FROM {table}) GROUP BY name"
    ).toPandas()
    spark.sql(f"DROP TABLE {table}")
    spark.stop()


if __name__ == "__main__":
    main()

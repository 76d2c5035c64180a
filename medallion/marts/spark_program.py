"""dbt over the tables of one branch of the lake: what is run in place of dbt for the target `spark`.

Its arguments are dbt's; the environment variable `DBT_SPARK_BRANCH` names the branch, `DBT_SPARK_ROWS` tells how many
rows the largest table has that is read. It runs in a process of its own, because dbt comes with other versions of
packages; the session is medallion's, so that dbt's adapter finds it.
"""

from __future__ import annotations

import os
from typing import Any


def main() -> None:
    """Run dbt. Raises: SystemExit with dbt's exit code."""
    from medallion import session
    from medallion.settings import load

    settings = load()
    spark = session.start(settings, "medallion marts")
    spark.sql(f"USE {session.attach(spark, settings, os.environ['DBT_SPARK_BRANCH'])}")
    from dbt.cli.main import cli

    _be_strict()
    rows = int(os.environ.get("DBT_SPARK_ROWS", settings.spark.small_rows + 1))
    with session.silent(spark), session.sized(spark, settings, rows):
        cli()


def _be_strict() -> None:
    """Keep Spark from making nulls of what cannot be worked out: dbt's adapter turns that on at every statement, and a
    division by zero or an overflow would be published."""
    from dbt.adapters.spark.connections import SparkCredentials

    made = SparkCredentials.__post_init__

    def strict(credentials: Any) -> None:
        made(credentials)
        credentials.server_side_parameters["spark.sql.ansi.enabled"] = "true"

    setattr(SparkCredentials, "__post_init__", strict)  # noqa: B010  # types are declared for neither


if __name__ == "__main__":
    main()

"""dbt over the tables of one branch of the lake: what is run in place of dbt for the target `spark`.

Its arguments are dbt's; the environment variable `DBT_SPARK_BRANCH` names the branch, `DBT_SPARK_ROWS` tells how many
rows the largest table has that is read. It runs in a process of its own,
because dbt comes with other versions of packages; the session is medallion's, so that dbt's adapter finds it.
"""

from __future__ import annotations

import os


def main() -> None:
    """Run dbt. Raises: SystemExit with dbt's exit code."""
    from medallion import session
    from medallion.settings import load

    settings = load()
    spark = session.start(settings, "medallion marts")
    spark.sql(f"USE {session.attach(spark, settings, os.environ['DBT_SPARK_BRANCH'])}")
    from dbt.cli.main import cli

    with (
        session.silent(spark),
        session.sized(spark, settings, int(os.environ.get("DBT_SPARK_ROWS", settings.spark.small_rows + 1))),
    ):
        cli()


if __name__ == "__main__":
    main()

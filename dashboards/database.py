"""The connection to PostgreSQL that pages ask by: read-only, one state of it for a whole page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import pandas as pd
import psycopg

from medallion.errors import ServiceUnavailable
from medallion.settings import load

Kind = Literal["text", "int", "float", "bool", "time", "date", "json"]
_TABLES = (
    "runs",
    "steps",
    "datasets",
    "commits",
    "volumes",
    "written",
    "rule_results",
    "anomalies",
    "layer_scores",
    "deliveries",
    "schema_versions",
    "publications",
    "lineage",
    "freshness",
    "projected",
    "alerts",
    "alert_messages",
    "silences",
    "audit",
)
_PANDAS: Mapping[Kind, str] = {"text": "object", "int": "Int64", "float": "float64", "bool": "boolean", "json": "object"}


class NothingYet(Exception):
    """There are no tables of operations: nothing has run yet, or only runs of a version without them."""


@contextmanager
def connected(*, writing: bool = False) -> Iterator[psycopg.Connection[Any]]:
    """One transaction; ends with a commit.

    Raises: ServiceUnavailable if PostgreSQL does not answer; NothingYet if tables are missing.
    """
    postgres = load().postgres
    try:
        with psycopg.connect(
            host=postgres.host,
            port=postgres.port,
            user=postgres.user,
            password=postgres.password.get_secret_value(),
            dbname=postgres.database,
            connect_timeout=postgres.connect_timeout_s,
            application_name="medallion dashboards",
            options="-c TimeZone=UTC -c jit=off -c work_mem=64MB -c statement_timeout=20000",
        ) as connection:
            if not writing:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.read_only = True
            (missing,) = connection.execute(
                "SELECT count(*) FROM unnest(%s::text[]) AS name WHERE to_regclass('ops.' || name) IS NULL", (list(_TABLES),)
            ).fetchone() or (1,)
            if missing:
                raise NothingYet
            yield connection
    except psycopg.OperationalError as error:
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ServiceUnavailable(
            f"PostgreSQL at {postgres.host}:{postgres.port}/{postgres.database} does not answer: {first}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        ) from error


def frame(
    connection: psycopg.Connection[Any], columns: Mapping[str, Kind], sql: str, parameters: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """The answer to a question.

    Args:
        columns: name -> kind, in the order of the statement's columns.
    Returns: a frame of these columns; times are in UTC, numbers that may be missing are nullable.
    """
    rows = connection.execute(sql, parameters).fetchall()
    found = pd.DataFrame.from_records(rows, columns=list(columns))
    for name, kind in columns.items():
        if kind == "time":
            found[name] = pd.to_datetime(found[name], utc=True)
        elif kind == "date":
            found[name] = pd.to_datetime(found[name]).astype("datetime64[ns]")
        else:
            found[name] = found[name].astype(_PANDAS[kind])
    return found

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
STATEMENT_S = 20
"""How long one question may take."""
_PANDAS: Mapping[Kind, str] = {"text": "object", "int": "Int64", "float": "float64", "bool": "boolean", "json": "object"}


class NothingYet(Exception):
    """There are no tables of operations: nothing has run yet, or only runs of a version without them."""


class TookTooLong(ServiceUnavailable):
    """A question was given up, because it took longer than a page may wait."""


@contextmanager
def connected(*, writing: bool = False) -> Iterator[psycopg.Connection[Any]]:
    """One transaction; ends with a commit.

    Raises: ServiceUnavailable if PostgreSQL does not answer; TookTooLong; NothingYet if tables or columns are missing.
    """
    postgres = load().postgres
    place = f"{postgres.host}:{postgres.port}/{postgres.database}"
    try:
        with psycopg.connect(
            **postgres.login(),
            application_name="medallion dashboards",
            options=f"-c TimeZone=UTC -c jit=off -c work_mem=64MB -c statement_timeout={STATEMENT_S * 1000}",
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
    except psycopg.errors.UndefinedColumn as error:  # of an older version of medallion
        raise NothingYet from error
    except psycopg.errors.QueryCanceled as error:
        raise TookTooLong(
            f"a question of this page took too long, and was given up: {STATEMENT_S} s are allowed ({_first_line(error)}); "
            f"PostgreSQL at {place} is there",
            hint="load the page again when the machine is less busy, or choose a shorter span",
        ) from error
    except psycopg.OperationalError as error:
        raise ServiceUnavailable(
            f"PostgreSQL at {place} does not answer: {_first_line(error)}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        ) from error


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [repr(error)])[0]


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

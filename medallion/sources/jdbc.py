"""The rows of a database's table, extracted over JDBC by Spark and kept as Parquet.

Only the contract's columns are read, in one statement, and kept in the order of its key: so the rows
are those of one moment, and the same rows are the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from medallion.contract import Contract, Origin
from medallion.errors import InputError, MedallionError, SettingsError
from medallion.settings import Source
from medallion.sources.asking import Denied, Parcel, patiently, unreachable
from medallion.sources.parquet_format import to_bytes

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_STATE = re.compile(r"SQLSTATE[: =]+(\w{5})|ERROR: (.+)|FATAL: (.+)")
_SERVER_GONE = ("refused. Check", "connection attempt failed", "I/O error", "terminating connection", "Communications link")
_NO_ACCESS = ("password authentication failed", "no password was provided", "permission denied", "Access denied")


def extract(source: Source, contract: Contract, origin: Origin, session: Callable[[], SparkSession]) -> Parcel:
    """Extract the table's rows.

    Returns: the rows as a Parquet file `<table>.parquet`, ordered by the contract's key.
    Raises: ServiceUnavailable after the last attempt if the database does not answer, at once if it
        refuses us; InputError for a table or column that it does not have; SettingsError for a URL
        that is not JDBC's.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    if not source.url.startswith("jdbc:"):
        raise SettingsError(f"sources.{origin.endpoint}.url: '{source.url}' is no JDBC address", hint="write jdbc:postgresql://…")
    uri = f"{source.url.partition('?')[0]}/{origin.address}"
    source_of = {column.name: column.source for column in contract.columns}
    names, order = [*source_of.values()], [source_of[name] for name in contract.key or source_of]

    def attempt() -> Parcel:
        reader = session().read.format("jdbc").option("url", source.url).option("dbtable", origin.address)
        reader = reader.option("queryTimeout", str(round(source.timeout_s))).option("fetchsize", "10000")
        if source.user:
            reader = reader.option("user", source.user)
        if source.password:
            reader = reader.option("password", source.password.get_secret_value())
        try:
            table = reader.load()
            if lost := [name for name in names if name not in table.columns]:
                raise _refuse(contract, uri, f"the table lacks the columns {', '.join(map(repr, lost))}")
            rows = table.select(*names).orderBy(*order).toArrow()
        except (Py4JError, PySparkException) as error:
            raise _told(contract, origin, uri, str(error)) from error
        return Parcel(f"{origin.address.rpartition('.')[2]}.parquet", to_bytes(rows), "application/vnd.apache.parquet", uri)

    return patiently(source, attempt)


def _told(contract: Contract, origin: Origin, uri: str, text: str) -> MedallionError:
    """The database's own words out of Spark's stack trace, and what they mean for us."""
    said = next((found.strip() for match in _STATE.finditer(text) for found in match.groups()[1:] if found), text.splitlines()[0])
    if any(sign in text for sign in _NO_ACCESS):
        return Denied(contract, origin, uri, said)
    if any(sign in text for sign in _SERVER_GONE):
        return unreachable(contract, uri, said)
    return _refuse(contract, uri, said)


def _refuse(contract: Contract, uri: str, problem: str) -> InputError:
    return InputError(
        f"{contract.dataset}: {uri}: {problem[:300]}",
        hint="nothing was landed; has the table these columns, and is the contract's `table` right?",
        dataset=contract.dataset,
    )

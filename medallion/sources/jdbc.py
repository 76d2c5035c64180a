"""The rows of a database's table, extracted over JDBC by Spark and kept as Parquet.

Only the contract's columns are read, in one statement, and kept in one order: so the rows are those
of one moment, and the same rows are the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from medallion.contract import Contract, Origin
from medallion.errors import InputError, MedallionError, SchemaViolation, SettingsError
from medallion.session import silent
from medallion.settings import Source
from medallion.sources.asking import Asked, Denied, Parcel, patiently, unreachable
from medallion.sources.java_causes import causes, first_line
from medallion.sources.parquet_format import to_bytes

_REFUSED = ("08004", "28", "42501")
_MAY_PASS = ("08", "40", "53", "55", "57", "58")
"""Beginnings of SQLSTATEs (ISO 9075 and PostgreSQL's appendix A): no right; no connection, a conflict,
no room, a lock, an operator's or a time limit's intervention, trouble of the system."""


def fetch(asked: Asked) -> Iterator[Parcel]:
    """The table's rows as they are now, whatever the date. Raises: as `extract`."""
    yield extract(asked)


def extract(asked: Asked) -> Parcel:
    """Extract the table's rows.

    Returns: the rows as a Parquet file `<table>.parquet`, ordered by the contract's key, then by all columns.
    Raises: ServiceUnavailable after the last attempt if the database does not answer, at once if it
        refuses us; InputError for a table or column that it does not have; SettingsError for a URL
        that is not JDBC's or has no driver.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    source, contract, origin = asked.source, asked.contract, asked.origin
    if not source.url.startswith("jdbc:"):
        raise SettingsError(f"sources.{origin.endpoint}.url: '{source.url}' is no JDBC address", hint="write jdbc:postgresql://…")
    uri = f"{source.url.partition('?')[0]}/{origin.address}"
    source_of = {column.name: column.source for column in contract.columns}
    names = [*source_of.values()]
    order = dict.fromkeys([*(source_of[name] for name in contract.key), *names])  # a key may be broken
    options = _options(source, origin)

    def attempt() -> Parcel:
        spark = asked.session()
        with silent(spark):
            try:
                table = spark.read.format("jdbc").options(**options).load()
                if lost := [name for name in names if name not in table.columns]:
                    raise _refuse(contract, uri, f"the table lacks the columns {', '.join(map(repr, lost))}", SchemaViolation)
                rows = table.select(*(f"`{name}`" for name in names)).orderBy(*(f"`{name}`" for name in order)).toArrow()
            except (Py4JJavaError, PySparkException) as error:
                raise _told(source, contract, origin, uri, error) from error
        return Parcel(f"{origin.address.rpartition('.')[2]}.parquet", to_bytes(rows), "application/vnd.apache.parquet", uri)

    return patiently(source, attempt)


def _options(source: Source, origin: Origin) -> dict[str, str]:
    limit = str(max(1, round(source.timeout_s)))
    options = {"url": source.url, "dbtable": origin.address, "queryTimeout": limit, "fetchsize": "10000"}
    if source.url.startswith("jdbc:postgresql:"):  # other drivers call these otherwise, or count in milliseconds
        options |= {"loginTimeout": limit, "connectTimeout": limit, "socketTimeout": str(int(limit) + 5)}
    if source.user:
        options["user"] = source.user
    if source.password:
        options["password"] = source.password.get_secret_value()
    return options


def _told(source: Source, contract: Contract, origin: Origin, uri: str, error: Exception) -> MedallionError:
    """What the database said, and what its SQLSTATE means for us."""
    chain = causes(error)
    cause = next((one for one in reversed(chain) if one.sql_state), chain[-1])
    said = first_line(cause.message)
    if said == "No suitable driver":
        return SettingsError(
            f"sources.{origin.endpoint}.url: no JDBC driver answers to '{source.url.partition('?')[0]}'",
            hint="check the address, or add the database's driver to spark-submit/pom.xml",
        )
    if cause.sql_state.startswith(_REFUSED):
        return Denied(contract, origin, uri, said)
    if cause.sql_state.startswith(_MAY_PASS):
        return unreachable(contract, uri, said)
    return _refuse(contract, uri, said)


def _refuse(contract: Contract, uri: str, problem: str, kind: type[InputError] = InputError) -> InputError:
    return kind(
        f"{contract.dataset}: {uri}: {problem}",
        hint="nothing was landed; has the database this table with these columns, and is the contract right?",
        dataset=contract.dataset,
    )

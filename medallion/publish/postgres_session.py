"""One session with PostgreSQL as the warehouse: login, statements, and what its errors mean.

A publisher that vanishes without a word (its machine is gone, its process is stopped) must not keep
the head's lock: the server ends a session whose transaction has been idle for `IDLE_S`, which is
less than the others wait for the lock. A process that dies ends its connection, and with that its
transaction, at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg.types.json import set_json_loads

from medallion.errors import MedallionError, ServiceUnavailable, UsageError
from medallion.publish.target import Missing, Outrun, Unanswered, Violated
from medallion.settings import WarehousePostgres

if TYPE_CHECKING:
    import pyarrow as pa

IDLE_S = 20.0
"""How long a transaction may be without a statement before the server ends its session."""
_NETWORK_S = 60
"""How long data may stay unacknowledged before either side takes the other for gone."""
_BATCH_ROWS = 20_000
_NAME_BYTES = 63
_BEATEN = (errors.LockNotAvailable, errors.SerializationFailure, errors.DeadlockDetected)
_NO_SUCH_OBJECT = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)
_GONE = (
    errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout,
    errors.ConnectionException,
)  # fmt: skip
_REFUSED_LOGINS = ("password authentication", "no password supplied", "does not exist", "not permitted to log in", "pg_hba.conf")


class Session:
    """An open session; every statement commits by itself until `BEGIN`."""

    def __init__(self, settings: WarehousePostgres, *, tag: str = "medallion", lock_wait_s: float = 30.0) -> None:
        """Log in. Raises: ServiceUnavailable."""
        self.settings = settings
        self.address = f"{settings.host}:{settings.port}/{settings.database}"
        options = {
            "timezone": "UTC",
            "datestyle": "ISO",
            "lock_timeout": f"{lock_wait_s:.3f}s",
            "idle_in_transaction_session_timeout": f"{IDLE_S:.3f}s",
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
            "tcp_user_timeout": f"{_NETWORK_S}s",
        }
        try:
            self._connection = psycopg.connect(
                **settings.login(),
                application_name=tag[:_NAME_BYTES],
                client_encoding="UTF8",
                options=" ".join(f"-c {name}={value}" for name, value in options.items()),
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
                tcp_user_timeout=_NETWORK_S * 1000,
                autocommit=True,
            )
        except psycopg.Error as error:
            raise self._no_login(error) from error
        # JSON as text, in which numbers stay exact
        set_json_loads(lambda text: text if isinstance(text, str) else bytes(text).decode(), self._connection)

    def close(self) -> None:
        """End the session; what is open is rolled back. A server that does not answer is no error."""
        self._connection.close()

    @property
    def server_version(self) -> int:
        """As PostgreSQL counts: 180004 is 18.4."""
        return self._connection.info.server_version

    # ── statements ────────────────────────────────────────────────────────────────────────────
    def execute(self, statement: str, parameters: Iterable[Any] | None = None, *, alone: bool = False) -> psycopg.Cursor:
        """Run one statement, or several in one go as one transaction.

        Args:
            alone: the server refuses more than one statement.

        Raises: Unanswered; Outrun if another transaction holds what it needs; Missing if it names
            an object that is not there; ServiceUnavailable if it is refused.
        """
        try:
            return self._connection.execute(statement, parameters, prepare=alone)  # type: ignore[arg-type]  # it asks for literals
        except psycopg.Error as error:
            raise self.meaning(error, statement) from error

    def execute_all(self, statements: Mapping[str, str]) -> None:
        """Run several statements, by whatever each is about, in one request: all of them, or none.

        Raises: as `execute`; a refusal's `dataset` is the one that was refused.
        """
        if not statements:
            return
        cursors: list[psycopg.Cursor] = []
        try:
            with self._connection.pipeline():
                for each in statements.values():  # an answer may come before all are sent
                    cursors.append(self._connection.execute(each, prepare=False))
        except psycopg.Error as error:
            answered = sum(cursor.statusmessage is not None for cursor in cursors)
            name, statement = list(statements.items())[min(answered, len(statements) - 1)]
            meant = self.meaning(error, statement)
            if isinstance(meant, MedallionError):
                meant.dataset = name
            raise meant from error

    def rows(self, statement: str, parameters: Iterable[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run one query and fetch its rows. Raises: as `execute`."""
        return self.execute(statement, parameters).fetchall()

    def batches(self, query: str) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of one query, some thousands at a time, as one snapshot. Raises: as `execute`."""
        try:
            with self._connection.transaction(), self._connection.cursor("batches", binary=True) as cursor:
                cursor.execute(query)
                while rows := cursor.fetchmany(_BATCH_ROWS):
                    yield rows
        except psycopg.Error as error:
            raise self.meaning(error, query) from error

    def copy(self, statement: str, chunks: Iterable[bytes]) -> int:
        """Feed one `COPY … FROM STDIN`. Returns: its rows. Raises: as `execute`."""
        try:
            with self._connection.cursor() as cursor:
                with cursor.copy(statement) as copy:
                    for chunk in chunks:
                        copy.write(chunk)
                return cursor.rowcount
        except psycopg.Error as error:
            raise self.meaning(error, statement) from error

    # ── errors ────────────────────────────────────────────────────────────────────────────────
    def meaning(self, error: psycopg.Error, statement: str) -> Exception:
        """What an error of a statement means to a publication."""
        if isinstance(error, _BEATEN):
            return Outrun(_said(error))
        if self._connection.closed or isinstance(error, _GONE):
            return Unanswered(_said(error))
        if isinstance(error, psycopg.DataError):
            return UsageError(
                f"the warehouse ({self.address}) cannot hold or make a value: {_said(error)}",
                hint="PostgreSQL's texts hold every character but U+0000; remove it in the gold transform",
            )
        refused = f"the warehouse ({self.address}) refused a statement: {_said(error)}"
        if isinstance(error, _NO_SUCH_OBJECT):
            return Missing(refused, hint=statement[:200])
        if isinstance(error, psycopg.IntegrityError):
            return Violated(refused, hint="the table has a constraint that these rows break")
        return ServiceUnavailable(
            refused,
            hint=f"check the rights of the user '{self.settings.user}' (warehouse_postgres.user); the statement began: "
            f"{' '.join(statement.split())[:160]}",
        )

    def _no_login(self, error: psycopg.Error) -> ServiceUnavailable:
        said = _said(error)
        logging.getLogger(__name__).debug("login failed", exc_info=True)
        if f'database "{self.settings.database}" does not exist' in said:
            return ServiceUnavailable(
                f"the warehouse ({self.settings.host}:{self.settings.port}) has no database '{self.settings.database}'",
                hint="`medallion up` creates it in the embedded stack; elsewhere create it, or set warehouse_postgres.database",
            )
        if any(words in said for words in _REFUSED_LOGINS):
            return ServiceUnavailable(
                f"the warehouse ({self.address}) refuses user '{self.settings.user}': {said}",
                hint="check the settings warehouse_postgres.user (MEDALLION_WAREHOUSE_POSTGRES__USER) and "
                "warehouse_postgres.password (MEDALLION_WAREHOUSE_POSTGRES__PASSWORD)",
            )
        return ServiceUnavailable(
            f"the warehouse ({self.address}) does not answer: {said}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong; for another server check "
            "warehouse_postgres.host and warehouse_postgres.port",
        )


def _said(error: psycopg.Error) -> str:
    """An error's own words in one line, and where in the data it was."""
    diagnosis = error.diag
    parts = [diagnosis.message_primary, diagnosis.message_detail, diagnosis.context]
    if parts[0] is None:
        lines = str(error).splitlines() or [repr(error)]
        parts = [next((line for line in lines if "FATAL" in line), lines[0])]
    return "; ".join(part.strip().replace("\n", " ") for part in parts if part)


# ── names
def quoted(name: str) -> str:
    """A name in a statement: in lower case, so that unquoted use works."""
    return '"' + name.lower().replace('"', '""') + '"'


def table_name(dataset: str) -> str:
    """A dataset's table in a statement."""
    _, domain, name = dataset.split(".")
    return f"{quoted(domain)}.{quoted(name)}"


# ── questions ─────────────────────────────────────────────────────────────────────────────────────
def answer(settings: WarehousePostgres, query: str) -> pa.Table:
    """Answer one query in a transaction that can only read.

    Returns: its rows. JSON has Arrow's type `json`; a type that Arrow has no word for is text.
    Raises: UsageError for what the server refuses; ServiceUnavailable.
    """
    with closing(Session(settings, tag="medallion sql")) as session:
        try:
            session.execute("BEGIN READ ONLY")
            cursor = session.execute(query, alone=True)
            rows = cursor.fetchall()
        except (Unanswered, Outrun) as error:
            raise ServiceUnavailable(f"the warehouse gives no answer: {error}", hint="try again") from error
        except MedallionError as error:
            raise UsageError(f"the query fails: {error.message}", hint="the SQL is PostgreSQL's") from error
        except psycopg.DataError as error:
            raise UsageError(
                f"a value of the answer is beyond what can be shown: {error}", hint="cast the column to text"
            ) from error
    import pyarrow as pa

    columns = cursor.description or []
    arrays = [_array([row[i] for row in rows], column.type_code) for i, column in enumerate(columns)]
    return pa.Table.from_arrays(arrays, names=[column.name for column in columns])


def _array(values: list[Any], type_oid: int) -> pa.Array:
    import pyarrow as pa

    if type_oid in (psycopg.adapters.types["json"].oid, psycopg.adapters.types["jsonb"].oid):
        return pa.array([None if value is None else str(value) for value in values], pa.json_())
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):  # ranges, addresses, huge or infinite decimals
        return pa.array([None if value is None else str(value) for value in values], pa.string())

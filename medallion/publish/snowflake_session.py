"""One session with Snowflake: login, statements, and what its errors mean.

All that differs between Snowflake and its emulator (fakesnow) is in `DIALECTS`, and nowhere else.
"""

from __future__ import annotations

import logging
import string
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medallion.errors import MedallionError, ServiceUnavailable, SettingsError, UsageError
from medallion.publish import snowflake_statements as sql
from medallion.publish.target import Missing, Outrun, Unanswered, Violated
from medallion.settings import Snowflake

if TYPE_CHECKING:
    import pyarrow as pa
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

LOCK_TIMEOUT_S = 120
_WRONG_SECRET = {390100, 390144, 394300, 394301, 250001}
_LOCKED = {604, 605, 625, 90082}
_NO_SESSION = {390104, 390111, 390112, 390113, 390114, 390115}  # ended, expired, or its token has
_NO_SUCH_OBJECT = {2003, 2043}


@dataclass(frozen=True)
class Dialect:
    """Where the emulator is not Snowflake.

    - `instant`: `DESCRIBE` calls TIMESTAMP_LTZ by another name.
    - `waits`: a statement that meets another transaction's lock fails at once instead of waiting.
    - `describes`: it forgets comments, fails at a quote in them, and enforces keys.
    - `retries`: a bug or gap of its own is a status 500, which the client would repeat for a
      minute; and it does not know a repeated request by its id, as Snowflake does.
    """

    instant: str
    waits: bool
    describes: bool
    retries: bool


DIALECTS = {
    False: Dialect(instant="TIMESTAMP_LTZ", waits=True, describes=True, retries=True),
    True: Dialect(instant="TIMESTAMP_TZ", waits=False, describes=False, retries=False),
}


class Session:
    """An open session. `dialect` says how far the endpoint is Snowflake."""

    def __init__(self, settings: Snowflake, *, tag: str = "medallion") -> None:
        """Log in. Raises: ServiceUnavailable, SettingsError."""
        self.settings = settings
        self.dialect = DIALECTS[settings.emulated]
        self.address = f"{settings.host}:{settings.port}" if settings.emulated else f"account {settings.account}"
        self._connection = self._login(tag)
        try:
            self.execute(sql.NO_SECONDARY_ROLES.text, repeatable=sql.NO_SECONDARY_ROLES.repeatable)
        except (Unanswered, Outrun) as error:
            raise self._down(error) from error

    def execute(self, statement: str, *, repeatable: bool = False) -> SnowflakeCursor:
        """Run one statement.

        Args:
            repeatable: done twice is done once; so the client may send it again by itself.

        Raises: Unanswered; Outrun if another transaction holds what it needs; Missing if it names
            an object that is not there; Violated if a column that is NOT NULL would get one; ServiceUnavailable if it is
            refused.
        """
        from snowflake.connector import errors

        cursor = self._connection.cursor()
        try:
            cursor.execute(statement, _no_retry=not (repeatable and self.dialect.retries))
        except (
            errors.IntegrityError
        ) as error:  # 100072: the client has this class for a null where none may be, and for nothing else
            raise Violated(f"the warehouse refused a statement: {error.msg}", hint=statement[:200]) from error
        except errors.ProgrammingError as error:
            if error.errno in _LOCKED:
                raise Outrun(str(error)) from error
            if error.errno in _NO_SESSION:
                raise Unanswered(str(error)) from error
            if error.errno in _NO_SUCH_OBJECT:
                raise Missing(f"the warehouse refused a statement: {error.msg}", hint=statement[:200]) from error
            raise self._refused(statement, error) from error
        except (errors.HttpError, errors.InternalServerError) as error:
            if self.settings.emulated:  # so does plain fakesnow say that a transaction has lost a race
                raise Outrun(f"status 500 to: {statement[:80]}") from error
            raise Unanswered(str(error)) from error
        except (
            errors.OperationalError, errors.InterfaceError, errors.ServiceUnavailableError,
            errors.GatewayTimeoutError, errors.BadGatewayError, errors.RequestTimeoutError,
        ) as error:  # fmt: skip
            raise Unanswered(str(error)) from error
        except errors.Error as error:
            raise self._refused(statement, error) from error
        return cursor

    def exists(self, table: str) -> bool:
        """Whether a table, by its quoted name, is there and may be read. Raises: as `execute`."""
        try:
            self.execute(sql.EXISTS.text.format(table=table), repeatable=True)
        except Missing:
            return False
        return True

    def rows(self, statement: str, *, repeatable: bool = True) -> list[tuple[Any, ...]]:
        """Run one statement and fetch its rows. Raises: as `execute`."""
        return [tuple(row) for row in self.execute(statement, repeatable=repeatable).fetchall()]

    def arrow(self, statement: str) -> pa.Table:
        """Run one query and fetch its rows as Arrow. Raises: as `execute`."""
        from snowflake.connector import errors

        cursor = self.execute(statement, repeatable=True)
        try:
            return cursor.fetch_arrow_all(force_return_table=True)
        except errors.NotSupportedError:  # SHOW and DESCRIBE answer in JSON
            import pyarrow as pa

            names = [column.name for column in cursor.description or ()]
            found: Sequence[Any] = cursor.fetchall()
            return pa.table({name: pa.array([row[i] for row in found]) for i, name in enumerate(names)})

    def close(self) -> None:
        """Roll back what is open and log out; a server that does not answer is no error."""
        if not self._connection.is_closed():
            try:
                self.execute(sql.ROLLBACK.text)
            except (Unanswered, Outrun, MedallionError):
                logging.getLogger(__name__).info("no answer to the last ROLLBACK", exc_info=True)
            self._connection.close()

    # ── login ─────────────────────────────────────────────────────────────────────────────────
    def _login(self, tag: str) -> SnowflakeConnection:
        for name in ("snowflake.connector", "botocore"):  # they log what our errors say, with tracebacks
            logging.getLogger(name).setLevel(logging.CRITICAL)
        import snowflake.connector
        from snowflake.connector import errors

        settings = self.settings
        arguments: dict[str, Any] = {
            "account": settings.account,
            "user": settings.user,
            "role": settings.role,
            "warehouse": settings.warehouse,
            "login_timeout": settings.login_timeout_s,
            "network_timeout": settings.network_timeout_s,
            "session_parameters": {
                "QUERY_TAG": tag,
                "TIMEZONE": "UTC",
                "LOCK_TIMEOUT": LOCK_TIMEOUT_S,
                "ABORT_DETACHED_QUERY": True,
                "CLIENT_TELEMETRY_ENABLED": False,
            },
            "application": "medallion",
        }
        if settings.emulated:
            # platform detection asks the metadata services of three clouds at every login
            arguments |= {
                "host": settings.host, "port": settings.port, "protocol": settings.protocol,
                "database": settings.database, "platform_detection_timeout_seconds": 0.0,
            }  # fmt: skip
        arguments |= secret(settings)
        try:
            return snowflake.connector.connect(**{key: value for key, value in arguments.items() if value is not None})
        except errors.Error as error:
            if error.errno in _WRONG_SECRET and not isinstance(error, errors.OperationalError):
                key = "snowflake.private_key_path" if "private_key" in arguments else "snowflake.password"
                raise ServiceUnavailable(
                    f"the warehouse ({self.address}) refuses user '{settings.user}'",
                    hint=f"check the settings snowflake.user (SNOWFLAKE_USER) and {key} "
                    f"(SNOWFLAKE_{key.partition('.')[2].upper()})",
                ) from error
            raise self._down(error) from error

    # ── errors ────────────────────────────────────────────────────────────────────────────────
    def _down(self, error: Exception) -> ServiceUnavailable:
        hint = (
            "`medallion up` starts the embedded stack, `medallion doctor` says what is wrong"
            if self.settings.emulated
            else "check SNOWFLAKE_ACCOUNT and the network"
        )
        return ServiceUnavailable(f"the warehouse ({self.address}) does not answer: {error}", hint=hint)

    def _refused(self, statement: str, error: Exception) -> ServiceUnavailable:
        message = str(getattr(error, "msg", None) or error).strip()
        return ServiceUnavailable(
            f"the warehouse ({self.address}) refused a statement: {message}",
            hint=f"check the role's rights (snowflake.role); the statement began: {' '.join(statement.split())[:160]}",
        )


def quoted(name: str) -> str:
    """A name in a statement: in upper case, so that unquoted use works; but for letters without an upper case of
    their own (ß), which would be taken for others."""
    upper = name.upper()
    if upper.lower() != name.lower():
        upper = name.translate(_UPPER)
    return '"' + upper.replace('"', '""') + '"'


def text(value: Any) -> str:
    """A text in a statement."""
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"


_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def answer(settings: Snowflake, query: str) -> pa.Table:
    """Answer one query in a transaction that is rolled back.

    Returns: its rows; column names in lower case where Snowflake has them in upper case.
    Raises: UsageError for what the warehouse refuses; ServiceUnavailable.
    """
    with closing(Session(settings, tag="medallion sql")) as session:
        try:
            session.execute(sql.BEGIN_READING.text)
            found = session.arrow(query)
        except (Unanswered, Outrun) as error:
            raise ServiceUnavailable(f"the warehouse gives no answer: {error}", hint="try again") from error
        except MedallionError as error:
            raise UsageError(f"the query fails: {error.message}", hint="the SQL is Snowflake's") from error
    return found.rename_columns([name.lower() if name == name.upper() else name for name in found.column_names])


def secret(settings: Snowflake) -> dict[str, Any]:
    """What proves who we are: the private key if there is one, else the password.

    Returns: arguments of the client's `connect`. Raises: SettingsError naming what is missing or wrong.
    """
    if settings.private_key_path is None:
        if settings.password is None:
            raise SettingsError(
                f"there is no secret for user '{settings.user}' of the warehouse account {settings.account}",
                hint="set SNOWFLAKE_PASSWORD or SNOWFLAKE_PRIVATE_KEY_PATH",
            )
        return {"password": settings.password.get_secret_value()}
    from cryptography.hazmat.primitives import serialization

    phrase = settings.private_key_passphrase
    try:
        key = serialization.load_pem_private_key(
            settings.private_key_path.expanduser().read_bytes(),
            password=phrase.get_secret_value().encode() if phrase else None,
        )
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"the private key {settings.private_key_path} cannot be used: {error}",
            hint="set SNOWFLAKE_PRIVATE_KEY_PATH to an RSA key in PEM, and, if it is encrypted, SNOWFLAKE_PRIVATE_KEY_PASSPHRASE",
        ) from error
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"private_key": der}

"""The Snowflake endpoint of the embedded stack: fakesnow's server, its data on disk.

Run as a program of its own: `python -I snowflake_server.py <data folder> <host> <port>`, with the
user's password in the environment variable `PASSWORD`. In these things it is nearer to Snowflake
than fakesnow alone: a wrong password is refused; two transactions that change the same rows get
an error of their own (000625), not an 'internal error' that clients repeat, and so does a null where none
may be (100072); a transaction whose
client was killed does not hold its rows for ever; a timestamp that is null arrives as null; numbers
within a VARIANT stay exact; transactions have names, are shown and can be aborted from another
session; a stage or a database can be dropped; a session that has ended is named as such; a temporary
table may have a schema's name before its own; and neither results nor sessions are kept for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hmac
import importlib
import json
import logging
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import duckdb
import fakesnow.arrow
import pyarrow as pa
import uvicorn
from fakesnow.conn import FakeSnowflakeConnection
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.instance import FakeSnow
from fakesnow.transforms.stage import internal_dir
from snowflake.connector.errors import OperationalError, ProgrammingError
from sqlglot import exp
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

IDLE_SESSION_S = 3600.0
"""A session that sends nothing for so long is ended."""
KEPT_RESULTS = 100
"""How many results can still be fetched by their query's id."""
IDLE_TRANSACTION_S = 20.0
"""A session that has an open transaction and sends nothing for so long is rolled back and ended."""

_WRONG_PASSWORD = {
    "data": {"nextAction": "RETRY_LOGIN"},
    "code": "390100",
    "message": "Incorrect username or password was specified.",
    "success": False,
}
_NO_SESSION = {
    "data": None,
    "code": "390111",
    "message": "Session no longer exists. New login required to access the service.",
    "success": False,
}
_TEMPORARY = re.compile(r"^(\s*CREATE\s+(?:OR\s+REPLACE\s+)?)(?:TEMP|TEMPORARY)\s+(TABLE\s+\S+[.])", re.IGNORECASE)
"""A temporary table in a schema: DuckDB has none outside a catalog of their own, so it is an ordinary one here."""
_execute = FakeSnowflakeCursor.execute
_transform = FakeSnowflakeCursor._transform
_timestamps = fakesnow.arrow.timestamp_to_sf_struct
server = importlib.import_module("fakesnow.server")  # the package has a function of the same name


class Transactions:
    """The sessions' numbers, when each last did something, and the transactions that they began by name."""

    def __init__(self) -> None:
        self._numbers, self._ids = count(1), count(1_000_000)
        self._sessions: WeakKeyDictionary[FakeSnowflakeConnection, int] = WeakKeyDictionary()
        self._ended: dict[int, float] = {}
        self._busy: set[int] = set()
        self._open: dict[int, tuple[int, str, float]] = {}  # by session: transaction, name, begun

    def number(self, session: FakeSnowflakeConnection) -> int:
        if session not in self._sessions:
            self._sessions[session] = next(self._numbers)
        return self._sessions[session]

    def begins(self, session: FakeSnowflakeConnection, statement: str) -> None:
        number, words = self.number(session), statement.split()
        self._busy.add(number)
        if words[0].upper() == "BEGIN":
            self._open[number] = (next(self._ids), words[-1] if len(words) > 2 else "", time.time())

    def ends(self, session: FakeSnowflakeConnection, statement: str) -> None:
        number = self.number(session)
        self._busy.discard(number)
        self._ended[number] = time.time()
        if statement.split()[0].upper() in ("COMMIT", "ROLLBACK"):
            self._open.pop(number, None)

    def shown(self) -> str:
        """What `SHOW TRANSACTIONS` answers, as a query."""
        rows = [
            f"({id_}, 'MEDALLION', {number}, '{name}', TO_TIMESTAMP({begun}), 'running')"
            for number, (id_, name, begun) in self._open.items()
        ]
        columns = '"id", "user", "session", "name", "started_on", "state"'
        if not rows:
            return f"SELECT {', '.join(f'NULL AS {each}' for each in columns.split(', '))} WHERE FALSE"
        return f"SELECT * FROM (VALUES {', '.join(rows)}) AS t ({columns})"

    def quiet(self, number: int) -> str:
        """How many statements a session has under way, and for how many seconds it has sent none, as a query."""
        return (
            f"SELECT {int(number in self._busy)} AS under_way, {int(time.time() - self._ended.get(number, time.time()))} AS quiet"
        )

    def abort(self, id_: int) -> str:
        """Roll a transaction back, whose ever it is. Returns: the answer as a query."""
        numbers = [number for number, (other, _, _) in self._open.items() if other == id_]
        for session, number in list(self._sessions.items()):
            if number in numbers:
                with contextlib.suppress(duckdb.TransactionException):  # none is open
                    session._duck_conn.rollback()
                self._open.pop(number)
                return f"SELECT 'Aborted transaction id: {id_}' AS answer"
        raise ProgrammingError(msg=f"Transaction {id_} does not exist.", errno=90210, sqlstate="22023")


transactions = Transactions()


def _drop_stage(cursor: FakeSnowflakeCursor, database: str, schema: str, name: str) -> str:
    cursor._duck_conn.execute(
        "DELETE FROM _fs_global._fs_information_schema._fs_stages WHERE database_name = ? AND schema_name = ? AND name = ?",
        [database, schema, name],
    )
    shutil.rmtree(internal_dir(f"{database}.{schema}.{name}"), ignore_errors=True)
    return f"SELECT '{name} successfully dropped.' AS status"


def _drop_database(cursor: FakeSnowflakeCursor, name: str) -> str:
    cursor._duck_conn.execute(f'DETACH DATABASE IF EXISTS "{name}"')
    if folder := cursor._conn.db_path:
        for path in folder.glob(f"{name}.db*"):
            path.unlink()
    return f"SELECT '{name} successfully dropped.' AS status"


_Translation = Callable[[FakeSnowflakeCursor | None, re.Match[str]], str]
_TRANSLATED: list[tuple[re.Pattern[str], _Translation]] = [
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), translation)
    for pattern, translation in (
        (r'DROP DATABASE IF EXISTS "(\w+)"$', lambda c, m: _drop_database(c, m[1]) if c else "SELECT 1"),
        (r"USE SECONDARY ROLES \w+$", lambda _, m: "SELECT 'Statement executed successfully.' AS status"),
        (r"BEGIN TRANSACTION NAME (\w+)$", lambda _, m: "BEGIN"),
        (r"SHOW TRANSACTIONS$", lambda _, m: transactions.shown()),
        (r"SELECT SYSTEM\$ABORT_TRANSACTION\((\d+)\)$", lambda c, m: transactions.abort(int(m[1])) if c else "SELECT 1"),
        (r"SELECT .*QUERY_HISTORY_BY_SESSION\(SESSION_ID => (\d+)\b.*", lambda _, m: transactions.quiet(int(m[1]))),
        (
            r'DROP STAGE IF EXISTS "(\w+)"\."(\w+)"\."(\w+)"$',
            lambda c, m: _drop_stage(c, m[1], m[2], m[3]) if c else "SELECT 1",
        ),
    )
]
"""What Snowflake documents and fakesnow lacks. Without a cursor the kind of statement is asked for, and nothing happens."""


def _translated(statement: str, cursor: FakeSnowflakeCursor | None = None) -> str:
    for pattern, translation in _TRANSLATED:
        if found := pattern.match(statement.strip()):
            return translation(cursor, found)
    return statement


def _execute_here(cursor: FakeSnowflakeCursor, command: str, *args: Any, **options: Any) -> Any:
    """Translate, keep account of transactions, and report a conflict as an error that the client understands."""
    transactions.begins(cursor._conn, command)
    try:
        return _execute(cursor, _TEMPORARY.sub(r"\1\2", _translated(command, cursor), count=1), *args, **options)
    except duckdb.TransactionException as error:
        if "onflict" not in str(error):
            raise
        message = f"Another transaction has changed the same rows; roll back and begin again: {error}"
        raise OperationalError(msg=message, errno=625, sqlstate="57014") from error
    except duckdb.ConstraintException as error:
        if "NOT NULL" not in str(error):
            raise
        raise ProgrammingError(msg="NULL result in a non-nullable column", errno=100072, sqlstate="22000") from error
    finally:
        transactions.ends(cursor._conn, command)


def _transform_exactly(cursor: FakeSnowflakeCursor, *args: Any) -> Any:
    """JSON as the text that it was: fakesnow's own functions make doubles of its numbers."""

    def exact(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.ParseJSON):
            return exp.cast(node.this, "JSON")
        return exp.cast(node.this, "TEXT") if isinstance(node, exp.JSONFormat) else node

    return _transform(cursor, *args).transform(exact, copy=False)


def _timestamps_with_nulls(values: Any) -> Any:
    """Snowflake's form of timestamps; fakesnow's own turns null into 1970."""
    made = _timestamps(values)
    null = values.is_null()
    mask = null.combine_chunks() if isinstance(null, pa.ChunkedArray) else null
    return pa.StructArray.from_arrays(made.flatten(), fields=list(made.type), mask=mask)


class Results(dict[str, Any]):
    """Results by query id; the oldest are dropped."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        while len(self) > KEPT_RESULTS:
            del self[next(iter(self))]


class Sessions:
    """Notes when each session was last used, and ends those whose client left a transaction open."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.used: dict[str, float] = {}
        self.busy: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        token = dict(scope.get("headers", ())).get(b"authorization", b"").decode()[17:-1]
        if scope.get("path") == "/queries/v1/query-request" and token not in server.sessions:
            await JSONResponse(_NO_SESSION)(scope, receive, send)  # fakesnow answers 401, which the client cannot read
            return
        self.busy[token] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.busy[token] -= 1
            self.used[token] = time.monotonic()

    @staticmethod
    def _end_if_abandoned(token: str, session: FakeSnowflakeConnection) -> None:
        try:
            session._duck_conn.rollback()
        except duckdb.TransactionException:
            return  # no transaction is open
        server.sessions.pop(token, None)
        print("a transaction that its client had left open was rolled back", file=sys.stderr, flush=True)

    async def end_abandoned(self) -> None:
        """Look every second, for ever."""
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            for token, session in list(server.sessions.items()):
                idle = now - self.used.setdefault(token, now)
                if not self.busy[token] and idle > IDLE_TRANSACTION_S:
                    await run_in_threadpool(self._end_if_abandoned, token, session)
                if not self.busy[token] and idle > IDLE_SESSION_S:
                    server.sessions.pop(token, None)
            self.used = {token: at for token, at in self.used.items() if token in server.sessions}


def application(folder: str, user: str, password: str) -> ASGIApp:
    """fakesnow's application over the databases in `folder`, for one user."""
    warehouse = FakeSnow(db_path=folder)
    warehouse.duck_conn.execute("SET GLOBAL memory_limit = '1GB'")
    # by name, because types are declared for none of these (B010 would have them assigned)
    setattr(server, "shared_fs", warehouse)  # noqa: B010
    warehouse.results_cache = Results()
    setattr(fakesnow.arrow, "timestamp_to_sf_struct", _timestamps_with_nulls)  # noqa: B010
    setattr(FakeSnowflakeCursor, "execute", _execute_here)  # noqa: B010
    setattr(FakeSnowflakeCursor, "_transform", _transform_exactly)  # noqa: B010
    parse = server.parse_one
    setattr(server, "parse_one", lambda statement: parse(_translated(statement)))  # noqa: B010
    logging.getLogger("fakesnow.server").setLevel(logging.WARNING)  # else it logs every statement

    async def login(request: Request) -> JSONResponse:
        body = await request.body()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        data = json.loads(body).get("data", {})
        known = str(data.get("LOGIN_NAME", "")).lower() == user.lower()
        if not known or not hmac.compare_digest(str(data.get("PASSWORD", "")).encode(), password.encode()):
            return JSONResponse(_WRONG_PASSWORD)
        answer: JSONResponse = await server.login_request(request)
        return answer

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(watched.end_abandoned())
        yield
        task.cancel()

    first = Route("/session/v1/login-request", login, methods=["POST"])
    watched = Sessions(Starlette(routes=[first, *server.routes], lifespan=lifespan))
    return watched


def main() -> None:
    """Serve until SIGTERM."""
    folder, host, port = sys.argv[1:4]
    app = application(folder, "medallion", os.environ.pop("PASSWORD"))
    uvicorn.run(app, host=host, port=int(port), log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()

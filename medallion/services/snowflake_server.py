"""The Snowflake endpoint of the embedded stack: fakesnow's server, its data on disk.

Run as a program of its own: `python -I snowflake_server.py <data folder> <host> <port>`, with the
user's password in the environment variable `PASSWORD`. In these things it is nearer to Snowflake
than fakesnow alone: a wrong password is refused; two transactions that change the same rows get
an error of their own (000625), not an 'internal error' that clients repeat; a transaction whose
client was killed does not hold its rows for ever; a timestamp that is null arrives as null; a temporary
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
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import duckdb
import fakesnow.arrow
import pyarrow as pa
import uvicorn
from fakesnow.conn import FakeSnowflakeConnection
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.instance import FakeSnow
from snowflake.connector.errors import OperationalError
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
_TEMPORARY = re.compile(r"^(\s*CREATE\s+(?:OR\s+REPLACE\s+)?)(?:TEMP|TEMPORARY)\s+(TABLE\s+\S+[.])", re.IGNORECASE)
_execute = FakeSnowflakeCursor.execute
_timestamps = fakesnow.arrow.timestamp_to_sf_struct
server = importlib.import_module("fakesnow.server")  # the package has a function of the same name


def _execute_nearer(cursor: FakeSnowflakeCursor, command: str, *args: Any, **options: Any) -> Any:
    """Report a conflict between transactions as an error that the client understands; make a temporary table in its
    schema, as Snowflake does: DuckDB has none outside a catalog of their own, so it is an ordinary one here."""
    try:
        return _execute(cursor, _TEMPORARY.sub(r"\1\2", command, count=1), *args, **options)
    except duckdb.TransactionException as error:
        if "onflict" not in str(error):
            raise
        message = f"Another transaction has changed the same rows; roll back and begin again: {error}"
        raise OperationalError(msg=message, errno=625, sqlstate="57014") from error


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
    setattr(FakeSnowflakeCursor, "execute", _execute_nearer)  # noqa: B010
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

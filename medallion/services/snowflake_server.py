"""The Snowflake endpoint of the embedded stack: fakesnow's server, its data on disk.

Run as a program of its own: `python -I snowflake_server.py <data folder> <host> <port>`, with the
user's password in the environment variable `PASSWORD`. In three things it is nearer to Snowflake
than fakesnow alone: a wrong password is refused; two transactions that change the same rows get
an error of their own (000625), not an 'internal error' that clients repeat; and a transaction
whose client was killed does not hold its rows for ever.
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
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import duckdb
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

IDLE_TRANSACTION_S = 20.0
"""A session that has an open transaction and sends nothing for so long is rolled back and ended."""

_WRONG_PASSWORD = {
    "data": {"nextAction": "RETRY_LOGIN"},
    "code": "390100",
    "message": "Incorrect username or password was specified.",
    "success": False,
}
_execute = FakeSnowflakeCursor.execute
server = importlib.import_module("fakesnow.server")  # the package has a function of the same name


def _execute_with_conflicts(cursor: FakeSnowflakeCursor, *args: Any, **options: Any) -> Any:
    """Report a conflict between transactions as an error that the client understands."""
    try:
        return _execute(cursor, *args, **options)
    except duckdb.TransactionException as error:
        if "onflict" not in str(error):
            raise
        message = f"Another transaction has changed the same rows; roll back and begin again: {error}"
        raise OperationalError(msg=message, errno=625, sqlstate="57014") from error


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
            oldest = time.monotonic() - IDLE_TRANSACTION_S
            for token, session in list(server.sessions.items()):
                if not self.busy[token] and self.used.setdefault(token, oldest + 1) < oldest:
                    await run_in_threadpool(self._end_if_abandoned, token, session)
            self.used = {token: at for token, at in self.used.items() if token in server.sessions}


def application(folder: str, user: str, password: str) -> ASGIApp:
    """fakesnow's application over the databases in `folder`, for one user."""
    warehouse = FakeSnow(db_path=folder)
    warehouse.duck_conn.execute("SET GLOBAL memory_limit = '1GB'")
    setattr(server, "shared_fs", warehouse)  # noqa: B010 (mypy knows no attributes of it)
    setattr(FakeSnowflakeCursor, "execute", _execute_with_conflicts)  # noqa: B010
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

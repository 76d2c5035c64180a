"""The Snowflake endpoint of the embedded stack: fakesnow's server, its data on disk.

Run as a program of its own: `python -I snowflake_server.py <data folder> <host> <port>`, with the
user's password in the environment variable `PASSWORD`. fakesnow itself takes any password; here
a wrong one is refused as Snowflake does it.
"""

from __future__ import annotations

import gzip
import hmac
import json
import os
import sys

import fakesnow.server
import uvicorn
from fakesnow import FakeSnow
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_WRONG_PASSWORD = {
    "data": {"nextAction": "RETRY_LOGIN"},
    "code": "390100",
    "message": "Incorrect username or password was specified.",
    "success": False,
}


def application(folder: str, user: str, password: str) -> Starlette:
    """fakesnow's application over the databases in `folder`, for one user."""
    warehouse = FakeSnow(db_path=folder)
    warehouse.duck_conn.execute("SET GLOBAL memory_limit = '1GB'")
    fakesnow.server.shared_fs = warehouse

    async def login(request: Request) -> JSONResponse:
        body = await request.body()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        data = json.loads(body).get("data", {})
        known = str(data.get("LOGIN_NAME", "")).lower() == user.lower()
        if not known or not hmac.compare_digest(str(data.get("PASSWORD", "")).encode(), password.encode()):
            return JSONResponse(_WRONG_PASSWORD)
        return await fakesnow.server.login_request(request)

    first = Route("/session/v1/login-request", login, methods=["POST"])
    return Starlette(routes=[first, *fakesnow.server.routes])


def main() -> None:
    """Serve until SIGTERM."""
    folder, host, port = sys.argv[1:4]
    app = application(folder, "medallion", os.environ.pop("PASSWORD"))
    uvicorn.run(app, host=host, port=int(port), log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()

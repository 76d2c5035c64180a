"""Sources for tests: an HTTP and an FTP server on loopback that misbehave on request.

with HttpSource(Reply(500), Reply(200, b"[]")) as source:   # answers in this order, the last one for ever
    source.url, source.asked
with FtpSource(folder) as source:                           # user `reader`, password `sesame`
    source.dies_after = 100                                 # bytes, in every transfer from now on,
    source.last_words = "226 Done."                         # saying this; if empty, without a word
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

USER, PASSWORD = "reader", "sesame"


@dataclass(frozen=True)
class Reply:
    """One answer. `cut`: the connection ends before the body does; `hang`: no answer while the server runs;
    `stall`: the body begins, and nothing more comes while the server runs."""

    status: int = 200
    body: bytes = b""
    how: Literal["whole", "cut", "hang", "stall", "close"] = "whole"
    headers: dict[str, str] = field(default_factory=dict)


class HttpSource:
    """Answers GET with the replies it was given. `asked` are the paths of the requests so far."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []
        self.authorization: list[str | None] = []
        self._over = threading.Event()
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                source.asked.append(self.path)
                source.authorization.append(self.headers.get("Authorization"))
                reply = source.replies.pop(0) if len(source.replies) > 1 else source.replies[0]
                self.close_connection = True
                if reply.how == "hang":
                    source._over.wait()
                if reply.how in ("hang", "close"):
                    return
                self.send_response(reply.status)
                length = len(reply.body) + (1000 if reply.how in ("cut", "stall") else 0)
                usual = {"Content-Type": "application/json", "Content-Length": str(length), "Connection": "close"}
                for name, value in (usual | reply.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
                if reply.how == "stall":
                    source._over.wait()

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> HttpSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


class FtpSource:
    """Serves a folder, read only. `asked` are the files that were asked for; it greets in Latin-1.

    `silent`: where it would die, it says nothing more instead.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.dies_after: int | None = None
        self.dies_once = self.silent = False
        self.last_words = ""
        source = self

        class Transfer(DTPHandler):
            ac_out_buffer_size = 64
            sent = 0

            def send(self, data: bytes) -> int:
                if source.dies_after is not None and self.sent >= source.dies_after:
                    if source.dies_once:
                        source.dies_after = None
                    if source.silent:
                        return 0
                    if source.last_words:
                        self._resp = (source.last_words, logging.debug)
                    else:
                        self.cmd_channel.close()
                    self.close()
                    return 0
                self.sent += len(data)
                return int(super().send(data))

        users = DummyAuthorizer()
        users.add_user(USER, PASSWORD, str(folder), perm="elr")

        class Handler(FTPHandler):
            authorizer = users
            dtp_handler = Transfer
            use_sendfile = False
            encoding = "latin-1"
            banner = "Grüße aus dem Archiv"
            auth_failed_timeout = 0

            def ftp_RETR(self, file: str) -> Any:
                source.asked.append(file)
                return super().ftp_RETR(file)

        self._loop = IOLoop()
        self._server = FTPServer(("127.0.0.1", 0), Handler, ioloop=self._loop)
        self.url = "ftp://{}:{}".format(*self._server.socket.getsockname()[:2])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            self._loop.loop(timeout=0.01, blocking=False)
        self._server.close_all()

    def __enter__(self) -> FtpSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

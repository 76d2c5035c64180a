"""A relay on loopback before one server, which at one moment loses what passes, whatever the protocol.

with Relay("127.0.0.1", port) as relay:
    relay.arm("answer lost")        # the next request arrives, its answer does not; the connection ends
    relay.arm("request lost")       # the connection ends instead
    relay.arm("error answered")     # the server never hears of it, the client is told that the server has failed
    relay.arm("no answer")          # the request arrives, and nothing ever comes back; the connection stays
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import Literal

Loss = Literal["answer lost", "request lost", "error answered", "no answer"]
LOSSES: tuple[Loss, ...] = ("answer lost", "request lost", "error answered", "no answer")
_HTTP = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) \S+ HTTP/1\.1\r\n")
_CHANGES = re.compile(rb"(POST|PUT|DELETE) ")
_CONTINUE = b"HTTP/1.1 100"
_FAILED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_SAYS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
_FATAL = b"E" + (len(_SAYS) + 4).to_bytes(4, "big") + _SAYS


class Relay:
    """Forwards `port` on loopback to one server, HTTP/1.1 or PostgreSQL."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._lock = threading.Lock()
        self._loss: Loss | None = None
        self._changes_only = False
        self.fired = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, loss: Loss, *, changes_only: bool = False) -> None:
        """Lose something once, at the next request; of HTTP, at the next that asks for a change, if `changes_only`."""
        with self._lock:
            self._loss, self._changes_only = loss, changes_only

    def disarm(self) -> None:
        """Lose nothing any more."""
        with self._lock:
            self._loss = None

    def _take(self, data: bytes) -> Loss | None:
        with self._lock:
            if self._loss is None or (self._changes_only and _HTTP.match(data) and not _CHANGES.match(data)):
                return None
            found, self._loss, self.fired = self._loss, None, True
            return found

    # ── forwarding ────────────────────────────────────────────────────────────────────────────
    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._open, args=(client,), daemon=True).start()

    def _open(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, timeout=30)
        except OSError:
            _end(client)
            return
        server.settimeout(None)
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(self, client, server)
        threading.Thread(target=link.down, daemon=True).start()
        link.up()


class _Link:
    """One connection."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._loss: Loss | None = None

    def up(self) -> None:
        """From the client to the server, until either ends."""
        with contextlib.suppress(OSError):
            while data := self._client.recv(65_536):
                self._loss = self._loss or self._relay._take(data)
                if self._loss == "error answered":
                    self._client.sendall(_FAILED if _HTTP.match(data) else _FATAL)
                if self._loss in ("error answered", "request lost"):
                    break
                self._server.sendall(data)
        self.end()

    def down(self) -> None:
        """From the server to the client."""
        with contextlib.suppress(OSError):
            while data := self._server.recv(65_536):
                if self._loss == "answer lost" and not data.startswith(_CONTINUE):
                    break
                if self._loss != "no answer":
                    self._client.sendall(data)
        self.end()

    def end(self) -> None:
        """Both ways."""
        _end(self._client)
        _end(self._server)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()

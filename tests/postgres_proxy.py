"""A proxy on loopback that loses PostgreSQL's requests and replies on purpose.

It stands between clients and one server, and does nothing until it is told what to lose:

    with PostgresProxy("127.0.0.1", server_port) as proxy:
        proxy.drop_reply("COMMIT")             # the server does it, the client never hears of it
        proxy.drop_request("COMMIT")           # the server never hears of it
        late = proxy.delay_request("COMMIT")   # the client loses its connection; the server hears of it after late.set()

A rule applies to the n-th statement whose text matches a regular expression, and only once.
Messages: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

Mode = Literal["drop_reply", "drop_request", "delay_request"]
_ENCRYPT = (80877103, 80877104)
_ASKS_CLIENT = (3, 5, 10, 11)
_PATIENCE_S = 60


@dataclass
class _Rule:
    mode: Mode
    pattern: re.Pattern[str]
    left: int
    done: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class PostgresProxy:
    """Forwards `port` on loopback to one server."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> PostgresProxy:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for each in (self._listener, *self._sockets):
                _end(each)

    def drop_reply(self, matching: str, nth: int = 1) -> threading.Event:
        """Let the n-th matching statement through, and end the client's connection instead of replying.

        Returns: an event, set once it has happened.
        """
        return self._rule("drop_reply", matching, nth).done

    def drop_request(self, matching: str, nth: int = 1) -> threading.Event:
        """End both connections instead of forwarding a statement. Returns: as `drop_reply`."""
        return self._rule("drop_request", matching, nth).done

    def delay_request(self, matching: str, nth: int = 1) -> threading.Event:
        """End the client's connection, and forward the statement when the returned event is set."""
        return self._rule("delay_request", matching, nth).release

    def _rule(self, mode: Mode, pattern: str, nth: int) -> _Rule:
        rule = _Rule(mode, re.compile(pattern), nth)
        with self._lock:
            self._rules.append(rule)
        return rule

    def _hit(self, message: bytes) -> _Rule | None:
        """The rule for a statement (message Query or Parse), if there is one; it is used up."""
        if message[:1] not in b"QP":
            return None
        text = message.decode("utf-8", "replace")
        with self._lock:
            for rule in self._rules:
                rule.left -= bool(rule.pattern.search(text))
            hit = next((rule for rule in self._rules if rule.left == 0), None)
            if hit:
                self._rules.remove(hit)
            return hit

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._upstream, timeout=_PATIENCE_S)
        with self._lock:
            self._sockets |= {client, server}
        try:
            self._talk(client, server)
        except (OSError, ValueError, EOFError):
            return
        finally:
            with self._lock:
                self._sockets -= {client, server}
            _end(client)
            _end(server)

    def _talk(self, client: socket.socket, server: socket.socket) -> None:
        from_client, from_server = client.makefile("rb"), server.makefile("rb")
        _log_in(client, server, from_client, from_server)
        hit: _Rule | None = None
        while True:
            message = _message(from_client)
            hit = hit or self._hit(message)
            if hit and hit.mode == "drop_request":
                hit.done.set()
                return
            if hit and hit.mode == "delay_request":
                _end(client)
                hit.release.wait(_PATIENCE_S)
            server.sendall(message)
            if message[:1] not in b"QScf":  # only these are answered: Query, Sync, CopyDone, CopyFail
                continue
            answer = b""
            while answer[:1] not in (b"Z", b"G"):  # ReadyForQuery, CopyInResponse
                answer = _message(from_server)
                if hit is None:
                    client.sendall(answer)
            if hit:
                hit.done.set()
                return


def _log_in(client: socket.socket, server: socket.socket, from_client: BinaryIO, from_server: BinaryIO) -> None:
    while True:
        head = _exactly(from_client, 8)
        length, code = struct.unpack("!ii", head)
        server.sendall(head + _exactly(from_client, length - 8))
        if code not in _ENCRYPT:
            break
        client.sendall(_exactly(from_server, 1))  # N: the embedded server does not encrypt
    answer = b""
    while answer[:1] != b"Z":
        answer = _message(from_server)
        client.sendall(answer)
        if answer[:1] == b"R" and struct.unpack("!i", answer[5:9])[0] in _ASKS_CLIENT:
            server.sendall(_message(from_client))


def _message(stream: BinaryIO) -> bytes:
    head = _exactly(stream, 5)
    return head + _exactly(stream, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()

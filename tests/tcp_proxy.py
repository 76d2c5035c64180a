"""A proxy on loopback that loses HTTP requests and replies on purpose.

It stands between a client and one server, and does nothing until it is told what to lose:

    with TcpProxy("127.0.0.1", server_port) as proxy:
        proxy.drop_reply("COMMIT")             # the server does it, the client never hears of it
        proxy.drop_request("COMMIT")           # the server never hears of it
        proxy.keep_twin("COMMIT")              # passes, and a copy is kept for send_twins()

A rule applies to the n-th request whose path or body (unzipped) matches a regular expression, and
only once. Whatever is lost, the client sees its connection end.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import threading
from dataclasses import dataclass
from typing import BinaryIO, Literal

Mode = Literal["drop_reply", "drop_request", "keep_twin"]


@dataclass(frozen=True)
class Message:
    """One HTTP request or reply: its first line, its unzipped body, and all bytes as they came."""

    first_line: str
    body: bytes
    raw: bytes


@dataclass
class _Rule:
    mode: Mode
    pattern: re.Pattern[str]
    left: int
    done: threading.Event


class TcpProxy:
    """Forwards `port` on loopback to one HTTP/1.1 server. `requests` are those seen so far."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._rules: list[_Rule] = []
        self._twins: list[Message] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._sockets: set[socket.socket] = set()
        self.requests: list[Message] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closed.set()
        with self._lock:
            for each in (self._listener, *self._sockets):
                _end(each)

    # ── what to lose ──────────────────────────────────────────────────────────────────────────
    def drop_reply(self, matching: str, nth: int = 1) -> threading.Event:
        """Let the n-th matching request through, wait for its reply, and throw the reply away.

        Returns: an event, set once it has happened.
        """
        return self._rule("drop_reply", matching, nth)

    def drop_request(self, matching: str, nth: int = 1) -> threading.Event:
        """End the client's connection instead of forwarding the n-th matching request."""
        return self._rule("drop_request", matching, nth)

    def keep_twin(self, matching: str, nth: int = 1) -> threading.Event:
        """Forward the n-th matching request as usual, and keep a copy of it for `send_twins`."""
        return self._rule("keep_twin", matching, nth)

    def send_twins(self) -> list[Message]:
        """Send every copy that was kept to the server, late. Returns: the server's replies."""
        with self._lock:
            twins, self._twins = self._twins, []
        replies = []
        for twin in twins:
            with socket.create_connection(self._upstream, timeout=30) as upstream, upstream.makefile("rb") as stream:
                upstream.sendall(twin.raw)
                reply = _read(stream)
                assert reply is not None, "the server closed the connection on a late twin"
                replies.append(reply)
        return replies

    def matching(self, pattern: str) -> list[Message]:
        """The requests seen so far that match."""
        compiled = re.compile(pattern)
        return [request for request in self.requests if compiled.search(_text(request))]

    def _rule(self, mode: Mode, pattern: str, nth: int) -> threading.Event:
        rule = _Rule(mode, re.compile(pattern), nth, threading.Event())
        with self._lock:
            self._rules.append(rule)
        return rule.done

    def _apply(self, request: Message) -> list[_Rule]:
        with self._lock:
            self.requests.append(request)
            hit = []
            for rule in list(self._rules):
                if rule.pattern.search(_text(request)):
                    rule.left -= 1
                    if rule.left == 0:
                        self._rules.remove(rule)
                        hit.append(rule)
                        if rule.mode == "keep_twin":
                            self._twins.append(request)
            return hit

    # ── forwarding ────────────────────────────────────────────────────────────────────────────
    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        upstream: socket.socket | None = None
        with self._lock:
            self._sockets.add(client)
        try:
            upstream = socket.create_connection(self._upstream, timeout=120)
            from_client, from_upstream = client.makefile("rb"), upstream.makefile("rb")
            while (request := _read(from_client)) is not None:
                hit = self._apply(request)
                modes = {rule.mode for rule in hit}
                reply = None
                if "drop_request" not in modes:
                    upstream.sendall(request.raw)
                    reply = _read(from_upstream)
                for rule in hit:
                    rule.done.set()
                if reply is None or modes & {"drop_reply", "drop_request"}:
                    return
                client.sendall(reply.raw)
        except (OSError, ValueError):
            return
        finally:
            with self._lock:
                self._sockets.discard(client)
            for each in (client, upstream):
                if each is not None:
                    _end(each)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def _read(stream: BinaryIO) -> Message | None:
    """Read one HTTP/1.1 message. Returns: None at the end of the connection."""
    first = stream.readline()
    if not first:
        return None
    head = [first]
    headers: dict[str, str] = {}
    while (line := stream.readline()) not in (b"\r\n", b"\n", b""):
        head.append(line)
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    head.append(b"\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body, raw_body = _chunks(stream)
    else:
        raw_body = body = stream.read(int(headers.get("content-length", "0")))
    if headers.get("content-encoding", "").lower() == "gzip" and body:
        body = gzip.decompress(body)
    return Message(first.decode("latin-1").strip(), body, b"".join(head) + raw_body)


def _chunks(stream: BinaryIO) -> tuple[bytes, bytes]:
    body, raw = b"", b""
    while True:
        size = stream.readline()
        content = stream.read(int(size.split(b";")[0], 16))
        end = stream.readline()
        body, raw = body + content, raw + size + content + end
        if not content:
            return body, raw


def _text(message: Message) -> str:
    return f"{message.first_line}\n{message.body.decode('utf-8', 'replace')}"

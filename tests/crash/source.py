"""Sources that days are fetched from, by HTTP on loopback: what they give is worked out from the path that is asked for.

That of a place without Spark gives a CSV file in two parts a day. It is served by the process that asks, and dies with it;
the next one's gives the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from medallion.settings import Source

ENDPOINT = "office"
PARTS = ("first.csv", "second.csv")
_ROWS = {"first.csv": (0, 1), "second.csv": (2,)}


def part(day: date, name: str) -> bytes:
    """What one part of a day's delivery says: a column, `value`."""
    return "\n".join(["value", *(f"{day}/{number}" for number in _ROWS[name]), ""]).encode()


@contextmanager
def served() -> Iterator[dict[str, Source]]:
    """The source answers, at `/{year}-{month}-{day}/{part}`. Yields: the setting `sources` for it."""

    def at(path: str) -> bytes:
        day, _, name = path.partition("/")
        return part(date.fromisoformat(day), name)

    with answering(at) as url:
        yield {ENDPOINT: Source(url=url, tries=2, first_wait_s=0.01)}


@contextmanager
def answering(content: Callable[[str], bytes]) -> Iterator[str]:
    """A server whose document at a path is what `content` makes of that, without slashes around it. Yields: its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = content(self.path.strip("/"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

"""A web service that takes what Apprise's `json://` posts, and can be down, or slow.

with Webhook() as hook:
    hook.url                    # json://127.0.0.1:PORT/
    hook.received               # what came, oldest first
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Webhook:
    """Answers on loopback; `up` false: with 503, as a service behind a gateway that is down; with 400 to messages that hold
    the text `refuses`; `slow`: a byte at a time, so that each read is in time, until it ends."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.asked = 0
        self.up = True
        self.refuses = ""
        self.slow = False
        self._over = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.asked += 1
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refused = bool(hook.refuses) and hook.refuses in told["message"]
                if hook.up and not refused:
                    hook.received.append(told)
                self.send_response(503 if not hook.up else 400 if refused else 200)
                self.send_header("Content-Length", str(1 << 20 if hook.slow else 0))
                self.end_headers()
                while hook.slow and not hook._over.wait(0.1):
                    self.wfile.write(b".")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_port}/hooks/open-sesame"

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.received]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

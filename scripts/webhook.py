"""A webhook on loopback that prints what alerts are sent to it: `python scripts/webhook.py 8099`.

The channel's URL is then `json://127.0.0.1:8099/`. See docs/alerts.md.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Printing(BaseHTTPRequestHandler):
    """Takes what Apprise posts as JSON."""

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"{told['title']}\n{told['message']}\n", flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Printing).serve_forever()

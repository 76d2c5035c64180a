"""Two of the demo's sources, as their owners would run them: a weather service and a price archive.

Run as a program of its own: `python -I source_server.py <weather.csv> <archive folder> <host>
<http port> <ftp port>`, with the passwords of the user `medallion` in the environment variables
`WEATHER_SERVICE` and `PRICE_ARCHIVE`.

- HTTP (basic authentication): `GET /v1/observations/2013-01-01.json` is the day's observations, the
  numbers with the digits of the file; 404 for a day without any. `GET /health` asks for no password.
- FTP (passive, read only): the files of the archive folder.
"""

from __future__ import annotations

import base64
import csv
import hmac
import json
import logging
import os
import re
import socketserver
import sys
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

USER = "medallion"
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_DAY = re.compile(r"/v1/observations/(\d{4})-(\d{2})-(\d{2})\.json")


@cache
def _days(file: str) -> dict[tuple[int, int, int], list[str]]:
    """All observations by day, each as a JSON object; read when the first one is asked for."""
    days: dict[tuple[int, int, int], list[str]] = {}
    with open(file, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            members = ", ".join(f"{json.dumps(name)}: {_value(text)}" for name, text in row.items())
            days.setdefault((int(row["year"]), int(row["month"]), int(row["day"])), []).append(f"{{{members}}}")
    return days


def _value(text: str) -> str:
    if text == "NA":
        return "null"
    return text if _NUMBER.fullmatch(text) else json.dumps(text)


class _Http(ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Bind, without asking a name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port


class Weather(BaseHTTPRequestHandler):
    """`file` and `password` are set by `main`."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # a connection that is kept and not used
    file = ""
    password = ""

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path == "/health":
            return self._answer(200, '{"status": "ok"}')
        secret = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Basic {secret}".encode()):
            return self._answer(401, '{"error": "who are you?"}', {"WWW-Authenticate": 'Basic realm="weather"'})
        asked = _DAY.fullmatch(self.path)
        observations = _days(self.file).get((int(asked[1]), int(asked[2]), int(asked[3]))) if asked else None
        if asked is None or observations is None:
            return self._answer(404, '{"error": "there are no observations of that day"}')
        rows = ",\n  ".join(observations)
        return self._answer(200, f'{{"date": "{asked[1]}-{asked[2]}-{asked[3]}", "observations": [\n  {rows}\n]}}\n')

    def _answer(self, status: int, document: str, headers: dict[str, str] | None = None) -> None:
        body = document.encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""


def main() -> None:
    """Serve until SIGTERM."""
    weather, archive, host, http_port, ftp_port = sys.argv[1:]
    Weather.file, Weather.password = weather, os.environ.pop("WEATHER_SERVICE")
    logging.basicConfig(level=logging.WARNING)  # else pyftpdlib tells of every connection
    http = _Http((host, int(http_port)), Weather)
    threading.Thread(target=http.serve_forever, daemon=True).start()

    users = DummyAuthorizer()
    users.add_user(USER, os.environ.pop("PRICE_ARCHIVE"), archive, perm="elr")
    FTPHandler.authorizer = users
    FTPHandler.use_sendfile = False
    ftp = FTPServer((host, int(ftp_port)), FTPHandler)
    ftp.serve_forever(handle_exit=False)


if __name__ == "__main__":
    main()

"""One server of the stack, described: what is run, how it is asked whether it is well."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medallion.errors import ServiceUnavailable

SERVERS = Path(sys.prefix) / "servers"
"""Where set-up puts the servers' programs: inside the environment, shared by all stacks."""


@dataclass(frozen=True)
class Service:
    """A server as it is to run.

    `answers` returns when the server is well and knows our secret; it raises anything else.
    `configuration` is what the server reads from files, so that a change of it is noticed.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    ports: dict[str, int]
    answers: Callable[[], object]
    configuration: str = ""
    user: tuple[int, int] | None = None
    stop_signal: int = signal.SIGTERM
    start_timeout_s: float = 60.0

    @property
    def address(self) -> str:
        """Host and port that clients use."""
        return f"127.0.0.1:{self.ports[self.name]}"

    @property
    def fingerprint(self) -> str:
        """Changes whenever the server has to be started again to be as described."""
        parts = [self.command, self.environment, str(self.folder), self.configuration, self.user]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def environment(home: Path) -> dict[str, str]:
    """A small, known environment; the caller's variables would configure the servers by accident."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC", "HOME": str(home), "TMPDIR": str(home / "tmp")}


def program(name: str) -> Path:
    """A program that set-up placed.

    Raises: ServiceUnavailable if it is not there.
    """
    path = SERVERS / name
    if not path.is_file():
        raise ServiceUnavailable(f"{path} is missing", hint="run `make setup`")
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)

"""What can happen to a command, at one of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.crash.relay import LOSSES

Server = Literal["journal", "nessie", "minio", "warehouse"]
KILLS = ("killed before", "killed within", "killed after")
NO_ANSWER = "no answer"
SERVER_KILLED = "server killed"
FAULTS = (*KILLS, *LOSSES, SERVER_KILLED)


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th time of a step; `server` is who it happens to, if it is a server."""

    step: str
    kind: str
    nth: int = 1
    server: Server | None = None
    seed: int = 0

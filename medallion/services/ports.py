"""Which port each server listens on: the one that is set, or one of our choice that is then kept."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable

from medallion.errors import ServiceUnavailable, SettingsError
from medallion.services import process
from medallion.services.state import State
from medallion.settings import Ports

OWNERS = {
    "postgres": "postgres",
    "minio": "minio",
    "nessie": "nessie",
    "nessie_management": "nessie",
    "snowflake": "snowflake",
    "sources": "sources",
    "sources_ftp": "sources",
}
"""The service that listens on each port of `medallion.settings.Ports`."""

_RANGE = range(20_000, 30_000)  # below the range from which systems take ports for outgoing connections
_GONE_S = 2.0


def taken(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _stays_taken(port: int) -> bool:
    """Whether something goes on listening there: a server of ours that was killed holds its port until all of it is gone."""
    until = time.monotonic() + _GONE_S
    while taken(port):
        if time.monotonic() > until:
            return True
        time.sleep(0.05)
    return False


def _choose(avoid: set[int]) -> int:
    for port in random.sample(_RANGE, 500):
        if port not in avoid and not taken(port):
            return port
    raise ServiceUnavailable("no free port between 20000 and 30000", hint="set the ports in [ports]")


def settle(state: State, wanted: Ports, report: Callable[[str], None]) -> None:
    """Decide all ports and put them into `state.ports`.

    A port on which our own server already listens stays. One that a setting fixes is used as it
    is; one of our choice that others took in the meantime is replaced.

    Raises: ServiceUnavailable if a fixed port is taken; SettingsError if two are the same.
    """
    fixed = {name: port for name, port in wanted.model_dump().items() if port}
    if len(set(fixed.values())) < len(fixed):
        raise SettingsError(f"two servers cannot share a port: {fixed}", hint="correct [ports]")
    for name, owner in OWNERS.items():
        port = fixed.get(name) or state.ports.get(name, 0)
        started = state.services.get(owner)
        if started and started.ports.get(name) == port and process.recorded(state.record(owner)):
            state.ports[name] = port
            continue
        if name in fixed and _stays_taken(port):
            raise ServiceUnavailable(
                f"port {port} of {owner} is taken by another program; it is set by ports.{name}",
                hint=f"stop that program, or set MEDALLION_PORTS__{name.upper()} to another port (0 chooses a free one)",
            )
        others = {other for key, other in (state.ports | fixed).items() if key != name}
        if name not in fixed and (not port or port in others or _stays_taken(port)):
            if port:
                report(f"port {port} of {owner} was taken by another program; choosing another one")
            port = _choose(others)
        state.ports[name] = port

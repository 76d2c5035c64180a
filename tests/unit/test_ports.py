"""Ports of our choice stay what they were, also where a server that was killed has not quite gone."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from medallion.services import ports
from medallion.services.state import State
from medallion.settings import Ports


def listening(port: int = 0) -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_port_that_is_about_to_be_free_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    state = State(tmp_path, "us-east-1", {}, {})
    ports.settle(state, Ports(), told.append)
    before = dict(state.ports)
    with listening(before["nessie"]) as going:
        threading.Timer(0.3, going.close).start()
        ports.settle(state, Ports(), told.append)
    assert state.ports == before
    assert told == []


def test_a_port_that_stays_taken_is_replaced_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    state = State(tmp_path, "us-east-1", {}, {})
    ports.settle(state, Ports(), told.append)
    before = dict(state.ports)
    with listening(before["nessie"]):
        ports.settle(state, Ports(), told.append)
    assert {name for name, port in before.items() if state.ports[name] != port} == {"nessie"}
    assert told == [f"port {before['nessie']} of nessie was taken by another program; choosing another one"]

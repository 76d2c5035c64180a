"""A stack ends with the process that it was started for, also where its folder went first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from medallion.services import process, stack, watchdog
from medallion.services.state import State
from medallion.settings import load

PASSWORDS = dict.fromkeys(
    ("postgres", "minio", "nessie", "snowflake", "weather_service", "price_archive", "aircraft_registry"), "x"
)
PORTS = dict.fromkeys(("postgres", "minio", "nessie", "snowflake"), 1)


def test_servers_end_with_the_guarded_process_though_their_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    state = State(home, "us-east-1", PORTS, PASSWORDS, postgres_folder=elsewhere)
    state.save()
    server = process.launch(
        ["/bin/sleep", "600"], record=state.record("minio"), log=state.log("minio"), folder=home, environment={"PATH": os.defpath}
    )
    noted, running = threading.Event(), stack.running

    def seen(state: State) -> dict[str, process.Identity]:
        found = running(state)
        noted.set()
        return found

    monkeypatch.setattr(stack, "running", seen)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.05)
    monkeypatch.setenv("MEDALLION_HOME", str(home))
    load.cache_clear()
    with subprocess.Popen(["/bin/sleep", "600"]) as guarded:
        known = process.identify(guarded.pid)
        assert known
        monkeypatch.setattr(sys, "argv", ["watchdog", str(known.pid), str(known.started_ticks)])
        watching = threading.Thread(target=watchdog.main)
        watching.start()
        try:
            assert noted.wait(30)
            shutil.rmtree(home)
            assert process.identify(server.pid) == server
        finally:
            guarded.kill()
            guarded.wait()
            watching.join(60)
            load.cache_clear()
    assert process.identify(server.pid) is None
    assert not elsewhere.exists()

"""Processes are known by pid and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from medallion.errors import ServiceUnavailable
from medallion.services import process

ENVIRONMENT = {"PATH": os.defpath}


def start(folder: Path, *command: str) -> process.Identity:
    return process.launch(
        command, record=folder / "run" / "it.pid", log=folder / "it.log", folder=folder, environment=ENVIRONMENT
    )


def test_a_started_process_is_found_by_its_record_and_stopped(tmp_path: Path) -> None:
    started = start(tmp_path, "/bin/sleep", "60")
    assert process.recorded(tmp_path / "run" / "it.pid") == started
    assert os.getsid(started.pid) == started.pid != os.getsid(0)
    assert process.stop(started)
    assert process.identify(started.pid) is None
    assert process.recorded(tmp_path / "run" / "it.pid") is None
    assert process.stop(started)  # again: nothing to do


def test_a_recycled_pid_is_never_touched(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["/bin/sleep", "60"])
    try:
        known = process.identify(bystander.pid)
        assert known is not None
        earlier = process.Identity(known.pid, known.started_ticks - 1, known.boot_id)
        other_boot = process.Identity(known.pid, known.started_ticks, "another boot")
        for stale in (earlier, other_boot):
            assert process.stop(stale, patience_s=0.2)
            assert process.identify(bystander.pid) == known
        record = tmp_path / "it.pid"
        stat = Path(f"/proc/{known.pid}/stat").read_text()
        record.write_text(f"{stat}{known.boot_id}\n")
        assert process.recorded(record) == known
        fields = stat.rpartition(")")[2].split()
        fields[19] = str(known.started_ticks - 1)
        record.write_text(f"{known.pid} (sleep) {' '.join(fields)}\n{known.boot_id}\n")
        assert process.recorded(record) is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    started = start(tmp_path, "/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    while "ready" not in (tmp_path / "it.log").read_text():
        time.sleep(0.01)
    assert not process.stop(started, patience_s=0.3)
    assert process.identify(started.pid) is None


def test_a_process_killed_by_others_is_not_running(tmp_path: Path) -> None:
    started = start(tmp_path, "/bin/sleep", "60")
    os.kill(started.pid, signal.SIGKILL)
    process.wait_for_end(started)
    assert process.recorded(tmp_path / "run" / "it.pid") is None


@pytest.mark.parametrize("content", ["", "7\n", "no numbers (x) S 1\nboot\n"])
def test_a_torn_record_names_nothing(tmp_path: Path, content: str) -> None:
    record = tmp_path / "it.pid"
    record.write_text(content)
    assert process.recorded(record) is None


def test_a_program_that_is_missing_or_ends_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="not found"):
        start(tmp_path, "/does/not/exist")


def test_nothing_of_the_callers_environment_is_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "x")
    started = start(tmp_path, "/bin/sh", "-c", "env; exec sleep 60")
    try:
        while "PATH" not in (tmp_path / "it.log").read_text():
            time.sleep(0.01)
        assert "SOME_SECRET" not in (tmp_path / "it.log").read_text()
    finally:
        process.stop(started)

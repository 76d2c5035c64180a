"""The commands `medallion alerts …` and `medallion watch`, as people call them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medallion.settings import ROOT
from tests.alert_place import SILVER, AlertPlace, day
from tests.webhook import Webhook

pytest_plugins = ["tests.alerting"]


@pytest.fixture
def place(alert_place: AlertPlace) -> AlertPlace:
    return alert_place


def failing(place: AlertPlace, number: int = 0) -> str:
    return place.failed(day(number), "ValueError: no", at=SILVER)


@pytest.fixture
def environment(place: AlertPlace, hook: Webhook, stack_environment: dict[str, str]) -> dict[str, str]:
    """For programs that look at this place."""
    database = {"MEDALLION_POSTGRES__DATABASE": place.settings.postgres.database}
    return stack_environment | database | {"MEDALLION_ALERTS__CHANNELS__TEAM": hook.url}


def medallion(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    program = [str(Path(sys.prefix) / "bin" / "medallion"), *words]
    return subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_commands(place: AlertPlace, hook: Webhook, environment: dict[str, str]) -> None:
    run = place.failed(day(0), "ValueError: no", at=SILVER)
    place.look()

    def said(*words: str) -> Any:
        told = medallion(environment, "alerts", *words)
        assert told.returncode == 0, told.stderr
        assert "open-sesame" not in told.stdout + told.stderr
        return json.loads(told.stdout) if "--json" in words else told.stdout

    (listed,) = said("list", "--json")
    assert (listed["alert_id"], listed["run_id"], listed["state"]) == (1, run, "open")
    assert f"look further: medallion show {run}" in said("show", "1")
    assert said("acknowledge", "1", "--who", "ann") == "alert 1: acknowledged by ann\n"
    made = said("silence", "--rule", "run_failed", "--for", "2h", "--why", "moving", "--json")
    assert (made["rule"], made["dataset"], made["why"]) == ("run_failed", None, "moving")
    assert said("unsilence", str(made["silence_id"])) == f"silence {made['silence_id']} is over\n"
    assert said("test", "team") == "the channel 'team' took it\n"
    assert hook.titles[-1] == "[medallion] a test"
    place.rows("UPDATE ops.alert_messages SET tries = 5, sent_at = NULL, set_aside_at = now() RETURNING 1")
    assert "message 1 is set aside: the channel 'team' refuses it" in said("list")
    assert said("resend", "1") == "1 sent, 0 waiting\n"
    assert hook.titles[-1].startswith("[medallion] CRITICAL")
    hook.up = False
    down = medallion(environment, "alerts", "test", "team")
    assert (down.returncode, down.stdout) == (5, "")
    assert down.stderr.startswith("error: the channel 'team' did not take the message")
    for wrong, told in (
        (("alerts", "test", "nobody"), "there is no channel 'nobody'"),
        (("alerts", "show", "99"), "there is no alert 99"),
        (("alerts", "resend", "1"), "no message 1 is set aside"),
        (("alerts", "silence", "--for", "soon", "--why", "x"), "'soon' is no time"),
        (("alerts", "silence", "--for", "2h", "--why", "x", "--rule", "none"), "there is no rule 'none'"),
    ):
        refused = medallion(environment, *wrong)
        assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_ends_when_it_is_told_to(place: AlertPlace, hook: Webhook, environment: dict[str, str], sign: int) -> None:
    failing(place)
    program = [str(Path(sys.prefix) / "bin" / "medallion"), "watch", "--every", "60"]
    started = subprocess.Popen(
        program, cwd=ROOT, env=environment | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    try:
        lines = [started.stdout.readline()]
        while not lines[-1].endswith("waiting\n"):
            lines.append(started.stdout.readline())
            assert lines[-1], started.communicate()
        os.kill(started.pid, sign)
        rest, errors = started.communicate(timeout=60)
    finally:
        started.kill()
    assert (started.returncode, errors) == (0, "")
    assert rest.endswith("the watch is over\n")
    assert "open-sesame" not in "".join(lines)

"""Ctrl-C and SIGTERM in the middle of a write: the run is marked, main is untouched, the servers are well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest

from medallion import recovery
from medallion.services import stack as services
from medallion.settings import ROOT
from tests.rounds import rounds
from tests.shop import GOOD, SILVER, Shop
from tests.small_domain import SILVER_PY, csv, write

pytest_plugins = ["tests.shop"]

BIN = Path(sys.prefix) / "bin"
DAYS = iter(date(2020, 8, 1) + timedelta(days=n) for n in range(10))
SLOW = SILVER_PY.replace('F.trim(name) != ""', "F.expr(\"coalesce(java_method('java.lang.Thread', 'sleep', 60000L), '') = ''\")")
"""The small domain's silver, a minute a row: an interruption meets it in the middle of its write."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert SLOW != SILVER_PY
    return write(tmp_path_factory.mktemp("domains") / "slow", silver=SLOW)


@contextmanager
def writing(shop: Shop, slow: Path, environment: dict[str, str], day: date, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own group, like a terminal's, in the middle of the write of silver."""
    shop.deliver(day, csv(*GOOD))
    environment = environment | {"MEDALLION_DOMAINS": str(slow)}
    started = subprocess.Popen(
        [*words, "--date", str(day), "--domain", "shop"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 150
        while not _writes(shop, day):
            assert started.poll() is None, started.communicate()
            assert time.monotonic() < deadline, "it never came to silver"
            time.sleep(0.2)
        time.sleep(1)
        yield started
    finally:
        if _alive(started.pid):
            os.killpg(started.pid, signal.SIGKILL)


def _writes(shop: Shop, day: date) -> bool:
    run = shop.newest_run()
    began = [step for step in shop.lake.journal.steps(run["run_id"]) if step["name"] == f"write.{SILVER}"]
    return run["logical_date"] == day and bool(began) and began[0]["ended_at"] is None


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _nothing_is_left_of(group: int) -> None:
    deadline = time.monotonic() + 30
    while _alive(group):
        assert time.monotonic() < deadline, "processes of the job are still there"
        time.sleep(0.1)


WAYS = ("medallion, SIGTERM", "spark-submit, Ctrl-C", "medallion, Ctrl-C", "spark-submit, SIGTERM")


@pytest.mark.parametrize("how", WAYS[: rounds(2, thorough=4)])
def test_an_interrupted_run_is_marked_and_changes_nothing(
    shop: Shop, slow: Path, stack_environment: dict[str, str], how: str
) -> None:
    program, _, signal_ = how.partition(", ")
    words = {
        "medallion": [str(BIN / "medallion"), "run"],
        "spark-submit": [str(BIN / "spark-submit"), "jobs/pipeline.py"],
    }[program]
    day = next(DAYS)
    with writing(shop, slow, stack_environment, day, *words) as started:
        before = shop.state()
        if signal_ == "SIGTERM":
            started.terminate()
        else:
            os.killpg(started.pid, signal.SIGINT)
        _, told = started.communicate(timeout=60)
    _nothing_is_left_of(started.pid)

    # a process manager ends the JVM of spark-submit itself, which knows only its own code
    assert started.returncode == (143 if how == "spark-submit, SIGTERM" else 130), told
    assert "Traceback" not in told
    assert shop.state() == before
    run = shop.newest_run()
    for resumed in recovery.resume(shop.lake.nessie, shop.lake.journal):  # finds nothing if the run could mark itself
        assert how == "spark-submit, SIGTERM"
        assert (resumed.run_id, resumed.after) == (run["run_id"], "failed")
    run = shop.newest_run()
    assert (run["logical_date"], run["state"], run["merged_hash"]) == (day, "failed", None)
    if how != "spark-submit, SIGTERM":
        assert run["error"] == "interrupted"
    if program == "medallion":  # what a job says last is lost with the JVM that passes it on
        assert "interrupted: " in told
        assert "medallion resume" in told
    assert {each.state for each in services.status(shop.settings)} == {"running"}


def test_the_date_can_be_run_again_after_an_interruption(shop: Shop) -> None:
    day = shop.newest_run()["logical_date"]
    assert shop.run(day).state == "merged"
    assert shop.select(f"SELECT count(*) FROM {SILVER} WHERE _logical_date = '{day}'") == [(4,)]

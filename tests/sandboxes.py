"""The lake of the demo to make sandboxes on, and the commands for it.

Used with `pytest_plugins = ["tests.demo_lake", "tests.sandboxes"]`; no sandbox outlives its module.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from medallion import cli
from medallion.lakehouse import sandbox as branches
from medallion.pipeline import Lake
from medallion.settings import BUCKETS, Settings

Command = Callable[..., str]


@pytest.fixture(scope="module")
def sandbox_lake(demo_lake: Settings) -> Iterator[Lake]:
    before = signal.getsignal(signal.SIGTERM)
    with Lake(demo_lake) as lake:
        yield lake
        for reference in lake.nessie.references(branches.PREFIX):
            lake.nessie.delete_branch(reference.name)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def command(sandbox_lake: Lake, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command of `medallion` in this process; what it printed, to standard error if it must fail."""

    def run(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["medallion", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == code, err
        assert not code or "\n  → " in err, "an error says what to do next"
        return err if code else out

    return run


def objects(lake: Lake) -> dict[str, set[str]]:
    """Every object of every bucket."""
    return {bucket: {item.uri for item in lake.store.versions(bucket, "")} for bucket in BUCKETS}


def new_objects(lake: Lake, before: dict[str, set[str]]) -> dict[str, set[str]]:
    return {bucket: new for bucket, now in objects(lake).items() if (new := now - before[bucket])}

"""The demo, on a stack of its own: played once, for its own tests and for all modules that read its lake or make sandboxes there.

Used with `pytest_plugins = ["tests.demo_lake"]`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import date

import pytest

from medallion.settings import ROOT, Settings, load
from tests.conftest import at_home, new_stack

DAY = date(2013, 1, 1)
"""One of its days."""
FLIGHTS, ROUTES = "silver.operations.flights", "gold.operations.route_performance"


def sh(command: str, environment: dict[str, str]) -> str:
    """Run a line in bash, as a user would; what it prints."""
    done = subprocess.run(
        ["bash", "-e", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def demo_stack() -> Iterator[Settings]:
    with new_stack(current=False) as settings:  # it lives until the last test, and others load theirs
        yield settings


@pytest.fixture(scope="session")
def first(demo_stack: Settings) -> str:
    """What the demo prints, played on a stack with nothing in it."""
    return sh("medallion demo", dict(os.environ) | {"MEDALLION_HOME": str(demo_stack.home)})


@pytest.fixture(scope="module")
def environment(demo_stack: Settings) -> Iterator[dict[str, str]]:
    """The environment of a user of this stack, which is also what `load` returns while the module is tested."""
    with at_home(demo_stack.home):
        yield dict(os.environ)


@pytest.fixture(scope="module")
def demo_lake(first: str, environment: dict[str, str]) -> Settings:
    """The settings of the stack whose main holds what the demo makes, from bronze to gold."""
    return load()

"""The file in which a stack is written down."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medallion.services.state import Started, State

PASSWORDS = dict.fromkeys(
    ("postgres", "minio", "nessie", "snowflake", "weather_service", "price_archive", "aircraft_registry"), "x"
)
SERVERS = [f"server {number}" for number in range(150)]


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_servers_that_start_at_once_are_all_written_down(tmp_path: Path, switching: None) -> None:
    state = State(tmp_path, "us-east-1", dict.fromkeys(("postgres", "minio", "nessie", "snowflake"), 1), PASSWORDS)

    def start(name: str) -> None:
        state.services[name] = Started(1, "2021-03-01T00:00:00+00:00", "log", {"main": 1}, "print")
        state.save()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, SERVERS)) == [None] * len(SERVERS)
    assert {*json.loads((tmp_path / "stack.json").read_text("utf-8"))["services"]} == {*SERVERS}

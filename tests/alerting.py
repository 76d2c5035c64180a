"""Fixtures of a place with alerts and a channel. Used with `pytest_plugins = ["tests.alerting"]`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medallion.settings import Settings
from tests.alert_place import AlertPlace
from tests.webhook import Webhook


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A channel's end."""
    with Webhook() as hook:
        yield hook


@pytest.fixture(scope="module")
def alert_lake(stack: Settings) -> Iterator[AlertPlace]:
    """A place for the tests of a module."""
    with AlertPlace(stack) as place:
        yield place


@pytest.fixture
def alert_place(alert_lake: AlertPlace, hook: Webhook) -> AlertPlace:
    """The same, in which nothing has happened, and whose alerts go to the hook."""
    alert_lake.clear(team=hook.url)
    return alert_lake

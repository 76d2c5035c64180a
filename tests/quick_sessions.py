"""Settings whose session is made for few rows, for the tests of a module.

Used with `pytest_plugins = ["tests.quick_sessions"]`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medallion import session
from medallion.settings import Settings
from tests.toy_domains import QUICK, quick


@pytest.fixture(scope="module")
def quick_settings(stack: Settings) -> Iterator[Settings]:
    """The session of this process is shared with other tests: its options are put back."""
    yield quick(stack)
    spark = session.start(stack)
    for option in QUICK:
        spark.conf.unset(option)

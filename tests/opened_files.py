"""Which data files a reader opens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

Answer = TypeVar("Answer")


def opening(patch: pytest.MonkeyPatch, ask: Callable[[], Answer]) -> tuple[Answer, int]:
    """An answer, and how many data files pyiceberg opened for it."""
    opened = set()
    new_input = PyArrowFileIO.new_input

    def noted(io: PyArrowFileIO, location: str) -> PyArrowFile:
        opened.update({location} if location.endswith(".parquet") else ())
        return new_input(io, location)

    with patch.context() as patched:
        patched.setattr(PyArrowFileIO, "new_input", noted)
        return ask(), len(opened)

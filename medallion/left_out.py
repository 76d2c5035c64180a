"""Optional packages that a command does without, so that it answers at once."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder


def leave_out(*packages: str) -> None:
    """Let these packages count as not installed in this process, for good.

    For commands only: libraries that import an optional package wherever they find it (pyarrow does so with
    pandas, Snowflake's client with boto3) then go on without it.
    """
    sys.meta_path.insert(0, LeftOut(packages))


class LeftOut(MetaPathFinder):
    """Finds that these packages are not installed."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named '{fullname}' (left out)", name=fullname)

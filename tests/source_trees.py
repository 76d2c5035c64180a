"""The package's own source, parsed: once in a process, and not before a test asks for it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from medallion.settings import ROOT

PACKAGE = ROOT / "medallion"
PATHS = sorted(PACKAGE.rglob("*.py"))


@cache
def trees() -> dict[Path, ast.Module]:
    """Every file of the package, and what it says."""
    return {path: ast.parse(path.read_text("utf-8")) for path in PATHS}

"""What is tried a few times in `make test` is tried many times by `make model`, and docs/guarantees.md says both numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from medallion.settings import ROOT

PATHS = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
COUNTED = {
    path: [(int(few), int(many)) for few, many in re.findall(r"\brounds\((\d+), thorough=(\d+)\)", text)]
    for path, text in PATHS.items()
    if re.search(r"^from tests.rounds import", text, re.M)
}
"""The modules whose tests are repeated, and how often."""


def rounds_of(thorough: str) -> str:
    """What `rounds(1, thorough=2)` is where THOROUGH says this."""
    words = [sys.executable, "-c", "from tests.rounds import rounds; print(rounds(1, thorough=2))"]
    environment = dict(os.environ) | {"THOROUGH": thorough, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("thorough", "expected"), [("", "1"), ("1", "2")])
def test_the_environment_says_how_often(thorough: str, expected: str) -> None:
    assert rounds_of(thorough) == expected


def test_make_model_runs_every_module_that_counts() -> None:
    told = subprocess.run(["make", "-n", "model"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in told.splitlines() if "pytest" in line]
    typed = f"printf '%s\\n' {line.partition('THOROUGH=1 pytest')[2]}"
    listed = subprocess.run(["bash", "-c", typed], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert COUNTED
    assert [path for path in COUNTED if not any(path == each or path.startswith(f"{each}/") for each in listed)] == []


def test_the_page_says_how_often() -> None:
    page = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    for path, numbers in COUNTED.items():
        (row,) = [line for line in page.splitlines() if line.startswith("| ") and f"`{path}`" in line]
        few, many = ([int(n) for n in re.findall(r"\d+", cell)] for cell in row.split("|")[2:4])
        assert (few, many) == ([n for n, _ in numbers], [n for _, n in numbers]), path

"""docs/guarantees.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from medallion.settings import ROOT
from tests.crash import table

PAGE = ROOT / "docs" / "guarantees.md"
NAMED = sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", PAGE.read_text("utf-8"))))


def test_every_promise_names_a_test() -> None:
    promises = PAGE.read_text("utf-8").partition("## What is promised")[2].partition("## What is not promised")[0]
    parts = re.split(r"\n\*\*(?=\d\.)", promises)[1:]
    assert [part[0] for part in parts] == list("1234567")
    assert [part[0] for part in parts if not re.search(r"tests/[\w/]+\.py::\w+", part)] == []


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", "utf-8")
    line = {"step": "merge.commit", "kind": "answer lost", "outcome": "went on by itself", "warehouse": "postgres"}
    found = [line | {"violations": []}, line | {"violations": ["something"]}]
    table.write(page, table.markdown(found, 3))
    told = page.read_text("utf-8")
    assert told.startswith("before\n")
    assert told.endswith("after\n")
    assert "old" not in told
    assert "2 cases, seed 3, 1 violations" in told
    assert "| `merge.commit` | - | - | - | **2, 1 WRONG** | - | - | - | - |" in told
    assert "With the emulated" not in told
    page.write_text("no marks", "utf-8")
    with pytest.raises(ValueError, match="lacks the marks"):
        table.write(page, "")


def test_what_was_tried_with_the_emulated_snowflake_has_a_table_of_its_own() -> None:
    line = {"step": "publish.copy", "kind": "no answer", "outcome": "went on by itself", "violations": []}
    told = table.markdown([line | {"warehouse": "postgres"}] * 3 + [line | {"warehouse": "snowflake"}], 1)
    ours, _, emulated = told.partition("With the emulated Snowflake as the warehouse:")
    row = "| `publish.copy` | - | - | - | - | - | - | {} | - |"
    assert (row.format(3) in ours, row.format(1) in emulated) == (True, True)

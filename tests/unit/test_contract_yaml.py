"""A key that stands twice in a contract is refused by name and line; YAML that repeats nothing is read as ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medallion import domain
from medallion.errors import ContractError
from medallion.odcs import reader
from medallion.odcs.yaml_lines import RepeatedKey, parse
from medallion.settings import Settings
from tests.small_domain import SILVER


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands in line 1 already"),
        ("a: 1\na: 1\n", "line 2: the key 'a'"),
        ("- x: {low: 1, low: 2}\n", "line 1: the key 'low' stands in line 1"),
        ("deep:\n  - name: x\n    'name': y\n", "line 3: the key 'name' stands in line 2"),
        ("a: &base\n  x: 1\nb:\n  <<: *base\n  x: 2\n  x: 3\n", "line 6: the key 'x' stands in line 5"),
    ],
)
def test_a_repeated_key_is_named_with_both_lines(text: str, told: str) -> None:
    with pytest.raises(RepeatedKey, match=told):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  x: 3\n",
        "a: &base {x: 1}\nb: &more {<<: *base, x: 2}\nc: {<<: *more, x: 3}\nd: *more\n",
        "- x: 1\n- x: 2\n",
        "1: number\n'1': text\n",
        "",
    ],
)
def test_what_repeats_nothing_is_read_as_ever(text: str) -> None:
    assert parse(text) == yaml.safe_load(text)


def test_a_contract_with_a_repeated_key_is_refused_by_file_key_and_line(tmp_path: Path) -> None:
    text = yaml.safe_dump(SILVER, sort_keys=False).replace("  - name: amount\n", "  - name: amount\n    name: sum\n", 1)
    path = tmp_path / "silver.orders.odcs.yaml"
    path.write_text(text)
    line = text.splitlines().index("    name: sum") + 1
    assert yaml.safe_load(text), "plain YAML readers see nothing wrong"
    with pytest.raises(ContractError) as refused:
        reader.read(path)
    assert refused.value.message == f"{path}:{line}:5: line {line}: the key 'name' stands in line {line - 1} already"
    assert (refused.value.hint, refused.value.exit_code) == ("remove one of the two", 2)


def test_our_own_contracts_repeat_nothing() -> None:
    assert domain.load(Settings()).contracts

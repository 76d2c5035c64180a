"""YAML as contracts use it: a key that stands twice is an error, where plain YAML readers take the last one."""

from __future__ import annotations

from typing import Any

import yaml

_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class RepeatedKey(Exception):
    """A mapping in which a key stands twice; lines count from 1."""

    def __init__(self, key: str, line: int, first: int) -> None:
        super().__init__(f"line {line}: the key '{key}' stands in line {first} already")


def parse(text: str) -> Any:
    """The document of a YAML text. Raises: RepeatedKey; yaml.YAMLError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _check(node, set())
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _check(node: Any, seen: set[int]) -> None:
    """Nodes are as written: what `<<` merges into a mapping later may repeat its keys."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            _check(value, seen)
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    raise RepeatedKey(key.value, line, lines[name])
                lines[name] = line
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check(each, seen)

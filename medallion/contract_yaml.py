"""YAML as contracts use it: a key that stands twice is an error, where plain YAML readers take the last one."""

from __future__ import annotations

from typing import Any

import yaml


class RepeatedKey(yaml.YAMLError):
    """A mapping in which a key stands twice; lines count from 1."""

    def __init__(self, key: str, line: int, first: int) -> None:
        super().__init__(f"line {line}: the key '{key}' stands in line {first} already")


def parse(text: str) -> Any:
    """The document of a YAML text. Raises: RepeatedKey; yaml.YAMLError."""
    return yaml.load(text, _EachKeyOnce)


class _EachKeyOnce(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """The node as written: what `<<` merges into it later may repeat its keys."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if (key.tag, key.value) in first:
                    raise RepeatedKey(key.value, line, first[key.tag, key.value])
                first[key.tag, key.value] = line
        return node

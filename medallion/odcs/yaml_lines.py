"""YAML as contracts use it: a key that stands twice is an error, where plain YAML readers take the last one,
and every place in a document has a line and a column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

_Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_TOKEN = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_RULE = re.compile(r"quality '(.*?)'(?: of (\w+))?(?:\.(.*))?")


@dataclass(frozen=True)
class Repeated:
    """A key that stands in its mapping already; lines and columns count from 1."""

    key: str
    line: int
    column: int
    first: int

    @property
    def text(self) -> str:
        return f"line {self.line}: the key '{self.key}' stands in line {self.first} already"


class RepeatedKey(Exception):
    """A mapping in which a key stands twice; `repeated` are all of the document."""

    def __init__(self, repeated: list[Repeated]) -> None:
        super().__init__(repeated[0].text)
        self.repeated = repeated


@dataclass(frozen=True)
class Document:
    """A YAML text: its `value`, and the nodes as they were written."""

    value: Any
    node: Any

    def position(self, place: str) -> tuple[int, int]:
        """Line and column of a place such as `schema[0].properties.amount.logicalType`, from 1.

        A name within a list stands for the item whose `name` or `property` it is; what a custom property
        has stands under its `value`. `quality 'NAME' of COLUMN` is the rule of that name. Where a place is
        not in the document, the position is that of what surrounds it.
        """
        node, mark = self.node, None
        for token in self._tokens(place):
            found = _child(node, token)
            if found is None:
                break
            mark, node = found
        mark = mark or (node.start_mark if node is not None else None)
        return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)

    def _tokens(self, place: str) -> list[str | int]:
        if rule := _RULE.fullmatch(place):
            name, column, rest = rule.groups()
            start: list[str | int] = ["schema", 0, *(["properties", column] if column else []), "quality", name]
            return start + _split(rest or "")
        return _split(place.removeprefix("contract."))


def parse(text: str) -> Any:
    """The document of a YAML text. Raises: RepeatedKey; yaml.YAMLError."""
    return read(text).value


def read(text: str) -> Document:
    """A YAML text with its places. Raises: RepeatedKey; yaml.YAMLError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        repeated: list[Repeated] = []
        _check(node, set(), repeated)
        if repeated:
            raise RepeatedKey(repeated)
        return Document(None if node is None else loader.construct_document(node), node)
    finally:
        loader.dispose()


def _split(place: str) -> list[str | int]:
    return [int(number) if number else name for number, name in _TOKEN.findall(place)]


def _child(node: Any, token: str | int) -> tuple[Any, Any] | None:
    """Where a child of a node is told (its key, or itself), and the child."""
    named = _named(node)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(token):
                return key.start_mark, value
        return _child(named.get("value"), token) if "property" in named else None  # a custom property: its value
    if isinstance(node, yaml.SequenceNode) and isinstance(token, int):
        return (node.value[token].start_mark, node.value[token]) if token < len(node.value) else None
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        named = _named(item)
        called = [getattr(named.get(key), "value", None) for key in ("name", "property")]
        if token in called:
            value = named.get("value") if token == called[1] else None
            return (value or item).start_mark, item
        if called[0] is None and token in [named[key].value for key in ("metric", "type") if key in named]:
            return item.start_mark, item
    return None


def _named(node: Any) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _check(node: Any, seen: set[int], repeated: list[Repeated]) -> None:
    """Nodes are as written: what `<<` merges into a mapping later may repeat its keys."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            _check(value, seen, repeated)
            if isinstance(key, yaml.ScalarNode):
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    repeated.append(Repeated(key.value, line, key.start_mark.column + 1, lines[name]))
                else:
                    lines[name] = line
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check(each, seen, repeated)

"""Conditions of a query that the table's reader may apply first, so that it opens fewer files.

DuckDB still applies the whole WHERE to what is read. So a condition may be left out, and is wherever its
meaning could differ between DuckDB and Iceberg; but none may drop a row that DuckDB would have kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.schema import Schema
    from pyiceberg.types import IcebergType

_COMPARISONS = {
    "COMPARE_EQUAL": "=", "COMPARE_LESSTHAN": "<", "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">", "COMPARE_GREATERTHANOREQUALTO": ">=",
}  # fmt: skip
_TURNED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MOST = 50  # conditions, and literals of one: expressions are nested and worked through by recursion
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

Literal = tuple[str, str]
"""What a literal is (`STRING`, `INTEGER`, `NUMERIC`, `DATE`, …) and its text."""


@dataclass(frozen=True)
class Condition:
    """`column operator literals`. Operators: `=`, `<`, `<=`, `>`, `>=` with one literal, `in` with some.

    `column` is in small letters; `qualifier` is what stands before it, the table's name or alias, or nothing.
    """

    column: str
    operator: str
    literals: tuple[Literal, ...]
    qualifier: str = ""


def conditions(tree: dict[str, Any]) -> tuple[Condition, ...]:
    """The conditions that every row of the answer comes from, as far as they are simple and certain.

    Args:
        tree: what DuckDB's `json_serialize_sql` makes of one statement.
    Returns: parts of the WHERE of a SELECT over one table that is named once, is not sampled, and whose
        columns have no other names; else none.
    """
    select = tree["statements"][0]["node"]
    if sum(1 for node in _mappings(tree) if str(node.get("type", "")).endswith("_NODE")) != 1:
        return ()  # a subquery or a CTE may read the same table, and wants all of its rows
    table = select.get("from_table") or {}
    if select["type"] != "SELECT_NODE" or table.get("type") != "BASE_TABLE" or (select.get("cte_map") or {}).get("map"):
        return ()
    if select.get("sample") or table.get("sample") or table.get("at_clause") or table.get("column_name_alias"):
        return ()
    if any(node.get("class") == "COLUMN_REF" and node["column_names"][-1].lower() == "rowid" for node in _mappings(tree)):
        return ()  # the number of a row among those that are read
    called = (table.get("alias") or table["table_name"]).lower()
    taken = {str(chosen.get("alias", "")).lower() for chosen in select["select_list"]}
    found = [one for part in _conjuncts(select.get("where_clause")) for one in _simple(part, called)]
    return tuple(one for one in found if one.column not in taken and len(one.literals) <= _MOST)[:_MOST]


def row_filter(schema: Schema, wanted: Iterable[Condition]) -> BooleanExpression:
    """The conditions as a scan of a table with this schema takes them, without those that its types leave uncertain."""
    from pyiceberg import expressions as iceberg

    made = {
        "=": iceberg.EqualTo, "<": iceberg.LessThan, "<=": iceberg.LessThanOrEqual,
        ">": iceberg.GreaterThan, ">=": iceberg.GreaterThanOrEqual,
    }  # fmt: skip
    result: BooleanExpression = iceberg.AlwaysTrue()
    for one in wanted:
        fields = [field for field in schema.fields if field.name.lower() == one.column and "." not in field.name]
        if len(fields) != 1 or any(field.name.lower() == one.qualifier for field in schema.fields):
            continue  # the second: `a.b` may be the field b of the column a
        values = [_value(fields[0].field_type, *literal) for literal in one.literals]
        if any(value is None for value in values):
            continue
        comparison = made["=" if one.operator == "in" else one.operator]
        options = [comparison(fields[0].name, value) for value in values]
        result = iceberg.And(result, options[0] if len(options) == 1 else iceberg.Or(*options))
    return result


def _conjuncts(where: dict[str, Any] | None) -> list[dict[str, Any]]:
    if where is None:
        return []
    if where.get("type") == "CONJUNCTION_AND":
        return [part for child in where["children"] for part in _conjuncts(child)]
    return [where]


def _simple(part: dict[str, Any], called: str) -> list[Condition]:
    """The conditions that a conjunct is; none, if it is anything but a column and literals of one kind."""
    kind = part.get("type", "")
    if kind == "COMPARE_BETWEEN":
        column, literals = part["input"], (part["lower"], part["upper"])
        return [
            *_condition(column, ">=", literals, called, slice(0, 1)),
            *_condition(column, "<=", literals, called, slice(1, 2)),
        ]
    if kind == "COMPARE_IN":
        return _condition(part["children"][0], "in", part["children"][1:], called)
    if kind in _COMPARISONS:
        operator = _COMPARISONS[kind]
        return _condition(part["left"], operator, [part["right"]], called) or _condition(
            part["right"], _TURNED[operator], [part["left"]], called
        )
    return []


def _condition(
    column: dict[str, Any], operator: str, others: Sequence[dict[str, Any]], called: str, used: slice = slice(None)
) -> list[Condition]:
    """One condition or none. Of the literals, which all have to be of one kind, those that are `used`."""
    literals = [literal for literal in map(_literal, others) if literal]
    if column.get("class") != "COLUMN_REF" or len(literals) != len(others) or len({kind for kind, _ in literals}) != 1:
        return []
    *qualifier, name = [str(part).lower() for part in column["column_names"]]
    if qualifier not in ([], [called]):
        return []
    return [Condition(name, operator, tuple(literals[used]), *qualifier)]


def _literal(node: dict[str, Any]) -> Literal | None:
    """A literal as it is written, or as `DATE '…'`."""
    cast = node.get("class") == "CAST"
    if cast and (str(node["type_expr"].get("type_name", "")).upper() != "DATE" or node.get("try_cast")):
        return None
    constant = node["child"] if cast else node
    if constant.get("class") != "CONSTANT" or not constant.get("literal"):
        return None
    kind, text = str(constant["literal"]["kind"]), str(constant["literal"]["text"])
    if cast:
        return ("DATE", text) if kind == "STRING" else None
    return kind, text


def _value(type_: IcebergType, kind: str, text: str) -> str | int | None:
    """A literal as the column's type has it, if DuckDB compares the two in that very type; else None.

    Left out on purpose: doubles (NaN is larger than all numbers in DuckDB only), decimals, times with their zones.
    """
    from pyiceberg.types import DateType, IntegerType, LongType, StringType

    if isinstance(type_, StringType) and kind == "STRING":
        return text
    if isinstance(type_, DateType) and kind in ("STRING", "DATE") and _DAY.fullmatch(text):
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            return None
    if isinstance(type_, IntegerType | LongType) and kind == "INTEGER":
        bits = 31 if isinstance(type_, IntegerType) else 63
        number = int(text) if re.fullmatch(r"-?\d+", text) else None
        return number if number is not None and -(2**bits) <= number < 2**bits else None
    return None


def _mappings(tree: Any) -> Iterable[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _mappings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _mappings(value)

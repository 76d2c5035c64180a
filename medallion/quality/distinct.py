"""What a plan tells of rows that cannot be there twice, without a look at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_NARROWING = {"CollectMetrics", "GlobalLimit", "LocalLimit", "Sort", "WindowGroupLimit"}
"""Plan nodes above which there are some of the rows beneath them, each once and as it was."""


def distinct_by(frame: DataFrame, columns: Sequence[str]) -> bool:
    """Whether a frame's plan says that no two of its rows agree in these columns: it groups by them, or by some; or it
    keeps of each group of rows that agree in them, or in some, the one with `row_number() = 1`.
    Source: Catalyst's `LogicalPlanDistinctKeys` for the former."""
    plan = frame._jdf.queryExecution().optimizedPlan()
    output = list(_each(plan.output()))
    ids = {_id(attribute) for attribute in output if attribute.name() in columns}
    grouped = (list(_each(key)) for key in _each(plan.distinctKeys().toSeq()))
    return any(_among(key, ids) for key in grouped) or _first_of_each(plan, ids)


def _first_of_each(node: Any, ids: set[int]) -> bool:
    """Whether the rows were filtered to `row_number() = 1` within partitions by some of these attributes, and only
    columns or further rows were left out since."""
    ones: set[int] = set()
    while True:
        of = _kind(node)
        if of == "Project":
            beneath = dict(_taken_over(node.projectList()))
            ids, ones = ({beneath[id_] for id_ in known if id_ in beneath} for known in (ids, ones))
        elif of == "Filter":
            ones |= set(_equal_to_one(node.condition()))
        elif of == "Window":
            numbers = {_id(one) for one in _each(node.windowExpressions()) if _numbers_rows(one)}
            if ones & numbers and _among(list(_each(node.partitionSpec())), ids):
                return True
        elif of not in _NARROWING:
            return False
        node = node.child()


def _taken_over(expressions: Any) -> Iterator[tuple[int, int]]:
    """Of columns that only pass, perhaps under another name: the attribute above and the one beneath."""
    for one in _each(expressions):
        source = one.child() if _kind(one) == "Alias" else one
        if _kind(source) == "AttributeReference":
            yield _id(one), _id(source)


def _equal_to_one(condition: Any) -> Iterator[int]:
    """The attributes that a condition says to be 1."""
    if _kind(condition) == "And":
        yield from _equal_to_one(condition.left())
        yield from _equal_to_one(condition.right())
    elif _kind(condition) == "EqualTo":
        sides = {_kind(side): side for side in (condition.left(), condition.right())}
        if set(sides) == {"AttributeReference", "Literal"} and sides["Literal"].value() == 1:
            yield _id(sides["AttributeReference"])


def _numbers_rows(expression: Any) -> bool:
    of = expression.child()
    return _kind(of) == "WindowExpression" and _kind(of.windowFunction()) == "RowNumber"


def _among(expressions: list[Any], ids: set[int]) -> bool:
    return all(_kind(one) == "AttributeReference" and _id(one) in ids for one in expressions)


def _id(attribute: Any) -> int:
    return int(attribute.exprId().id())


def _kind(node: Any) -> str:
    return str(node.getClass().getSimpleName())


def _each(found: Any) -> Iterator[Any]:
    """The items of a Scala collection."""
    sequence = found.toSeq()
    return (sequence.apply(i) for i in range(sequence.size()))

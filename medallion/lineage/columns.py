"""Which columns a column is made of: read from the plan that Spark makes of a transform, over empty tables.

A transform is a pure function, so its analysed plan over tables of the contracts' columns says it all; no row is needed.
What an expression refers to is followed down to the columns of the tables that the transform was given.
The distinction of what a value is computed from (`direct`) and what decides which rows there are (`conditions`: filters,
joins, groups, orders) is OpenLineage's, of direct and indirect (https://openlineage.io/docs/spec/facets/dataset-facets/column_lineage_facet).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medallion.domain import Domains
from medallion.errors import ContractError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Source = tuple[str, str]
"""A dataset, and a column of it."""
_FROM = "\x1f"
_DECIDE = {
    "Filter": ("condition",), "Join": ("condition",), "Aggregate": ("groupingExpressions",), "Sort": ("order",),
    "Deduplicate": ("keys",), "Window": ("partitionSpec", "orderSpec"),
}  # fmt: skip
"""Nodes of a plan that decide which rows there are, and where they say by what."""
_BEYOND = ("CTERelationRef", "ScalarSubquery", "Exists", "InSubquery", "ListQuery", "LateralSubquery")
"""What a plan may hold that is not followed: told, rather than wrong."""


@dataclass(frozen=True)
class Columns:
    """What a dataset's columns are made of: `direct` of each, and the `conditions` of its rows. `same` are those that are
    one column of an input as it is."""

    direct: dict[str, frozenset[Source]]
    conditions: frozenset[Source]
    same: frozenset[str] = frozenset()


def of_transform(spark: SparkSession, domains: Domains, dataset: str) -> Columns:
    """What the columns of a silver or gold dataset are made of, by its transform.

    Raises: ContractError naming the transform if it cannot be applied to empty tables.
    """
    transform = domains.transforms[dataset]
    try:
        frame = transform.function(**{p: _empty(spark, domains, i) for p, i in transform.inputs.items()})
        nodes = json.loads(frame._jdf.queryExecution().analyzed().toJSON())
    except Exception as error:
        raise ContractError(
            f"the transform of {dataset} cannot be applied to empty tables: {str(error).splitlines()[0]}",
            hint="a transform makes a frame of frames, and looks at no row",
            dataset=dataset,
        ) from error
    tree = _Node.tree(nodes)
    if beyond := sorted({kind for kind in _BEYOND if f".{kind}" in json.dumps(nodes)}):
        raise ContractError(
            f"the columns of {dataset} cannot be followed: its transform uses {', '.join(beyond)}",
            hint="say it with joins of frames: lineage looks into no query within an expression, and no WITH",
            dataset=dataset,
        )
    plan = _Plan()
    schema = domains.contracts[dataset].schema()
    names = [(name, id_) for name, id_ in plan.read(tree) if name in schema]
    return Columns(
        {name: plan.sources({id_}) for name, id_ in names},
        plan.sources(plan.deciding),
        frozenset(name for name, id_ in names if plan.same(id_)),
    )


def up(spark: SparkSession, domains: Domains, dataset: str, column: str) -> list[tuple[Source, frozenset[Source]]]:
    """What a column is made of, down to bronze, whose columns are those of its files.

    Returns: the column first; each with the columns that its values are computed from.
    Raises: UsageError for a dataset or a column that there is not; ContractError as `of_transform`.
    """
    _known(domains, dataset, column)
    known: dict[str, Columns] = {}
    found: dict[Source, frozenset[Source]] = {}
    todo = [(dataset, column)]
    while todo:
        here = todo.pop(0)
        if here in found:
            continue
        if here[0] in domains.transforms:
            if here[0] not in known:
                known[here[0]] = of_transform(spark, domains, here[0])
            found[here] = known[here[0]].direct.get(here[1], frozenset())
        else:
            found[here] = frozenset()
        todo += sorted(found[here])
    return list(found.items())


def down(spark: SparkSession, domains: Domains, dataset: str, column: str) -> list[tuple[Source, frozenset[Source]]]:
    """What is computed from a column, directly or not: each with those of it that it is computed from, in order.

    Raises: as `up`.
    """
    _known(domains, dataset, column)
    reached = {(dataset, column)}
    found = []
    for each in domains.order:
        if each in domains.transforms and {*domains.transforms[each].inputs.values()} & {name for name, _ in reached}:
            for name, made_of in of_transform(spark, domains, each).direct.items():
                if through := made_of & reached:
                    found.append(((each, name), frozenset(through)))
            reached |= {source for source, _ in found}
    return found


def _known(domains: Domains, dataset: str, column: str) -> None:
    schema = domains.contract(dataset).schema()
    if column not in schema:
        raise UsageError(f"{dataset} has no column '{column}'", hint=f"it has {', '.join(schema)}")


def _empty(spark: SparkSession, domains: Domains, dataset: str) -> DataFrame:
    """A table of a contract's columns, which underneath have names that say where they are from: Spark gives new ids to one
    of two tables that are the same, and leaves the names."""
    from pyspark.sql import functions as f

    columns = domains.contracts[dataset].schema()
    table = spark.createDataFrame([], ", ".join(f"`{dataset}{_FROM}{name}` {type_}" for name, type_ in columns.items()))
    return table.select(*[f.col(f"`{dataset}{_FROM}{name}`").alias(name) for name in columns])


# ── the plan, as Spark's TreeNode.toJSON writes it: nodes in prefix order, each with the number of its children ──
@dataclass(frozen=True)
class _Node:
    kind: str
    fields: dict[str, Any]
    children: list[_Node] = field(default_factory=list)

    @classmethod
    def tree(cls, nodes: list[dict[str, Any]]) -> _Node:
        return cls._next(iter(nodes))

    @classmethod
    def _next(cls, nodes: Iterator[dict[str, Any]]) -> _Node:
        fields = next(nodes)
        made = cls(fields["class"].rpartition(".")[2], fields)
        made.children.extend(cls._next(nodes) for _ in range(fields["num-children"]))
        return made

    def all(self) -> Iterator[_Node]:
        yield self
        for child in self.children:
            yield from child.all()


class _Plan:
    """What attributes of a plan, by their ids, are made of."""

    def __init__(self) -> None:
        self._made_of: dict[int, set[int]] = {}
        self._copied: dict[int, int] = {}
        self._united: set[int] = set()
        self._marks: dict[int, Source] = {}
        self.deciding: set[int] = set()

    def read(self, node: _Node) -> list[tuple[str, int]]:
        """Take in a node and all below. Returns: the names and ids of its columns."""
        below = [self.read(child) for child in node.children]
        for name in _DECIDE.get(node.kind, ()):
            for expression in _expressions(node.fields.get(name)):
                self.deciding |= self._refers(expression)
        if node.kind == "Union":
            for other in below[1:]:
                for (_, first), (_, id_) in zip(below[0], other, strict=True):
                    self._made_of.setdefault(first, {first}).add(id_)
                    self._united.add(first)
            return below[0]
        if node.kind == "Expand":  # unpivot, rollup, cube; how is not in Spark's JSON: any of what goes in and does not come out
            output = self._named(node.fields["output"])
            into = {id_ for _, id_ in below[0]}
            gone = into - {id_ for _, id_ in output} or into
            self._made_of |= {id_: gone for _, id_ in output if id_ not in into}
            return output
        if node.kind == "Generate":
            output = self._named(node.fields["generatorOutput"])
            (generator,) = _expressions(node.fields["generator"])
            for (_, id_), made_of in zip(output, self._generated(generator, len(output)), strict=True):
                self._made_of[id_] = made_of
            return [*below[0], *output]
        own = {"Project": "projectList", "Aggregate": "aggregateExpressions", "Window": "windowExpressions"}.get(node.kind)
        if own:
            return [*(below[0] if node.kind == "Window" else ()), *self._named(node.fields[own])]
        if node.kind in ("Except", "Intersect"):
            self.deciding |= {id_ for side in below for _, id_ in side}
            return below[0]
        if not below:
            output = self._named(node.fields.get("output"))
            self._marks |= {id_: (name.split(_FROM)[0], name.split(_FROM)[1]) for name, id_ in output if _FROM in name}
            return output
        if node.kind not in ("Window", "Join") and (output := self._named(node.fields.get("output"))):
            made_here = {id_ for _, id_ in output} - {id_ for side in below for _, id_ in side}
            self._made_of |= {id_: {below_id for side in below for _, below_id in side} for id_ in made_here}
            return output  # code that is not Spark's (mapInPandas, applyInPandas): any of all that goes in
        semi = node.kind == "Join" and "Left" in str(node.fields["joinType"]) and "Outer" not in str(node.fields["joinType"])
        return below[0] if semi or len(below) == 1 else [column for side in below for column in side]

    def sources(self, ids: set[int]) -> frozenset[Source]:
        """The marked columns that these are made of in the end."""
        seen: set[int] = set()
        todo = [*ids]
        while todo:
            id_ = todo.pop()
            if id_ not in seen:
                seen.add(id_)
                todo += self._made_of.get(id_, ())
        return frozenset(self._marks[id_] for id_ in seen if id_ in self._marks)

    def same(self, id_: int) -> bool:
        """Whether an attribute is a marked column as it is."""
        while id_ in self._copied and id_ not in self._united:
            id_ = self._copied[id_]
        return id_ in self._marks and id_ not in self._united

    def _generated(self, generator: _Node, count: int) -> list[set[int]]:
        """What each column is made of that a generator gives. Of rows that are written out (`inline(array(struct(…)))`) each
        is made of what stands at its place; else all of all."""
        rows = generator.children[0].children if generator.kind == "Inline" else []
        if rows and all(row.kind == "CreateNamedStruct" for row in rows):
            places = [[row.children[2 * i + 1] for row in rows] for i in range(count)]  # a struct is names and values in turn
            return [{id_ for value in values for id_ in self._refers(value)} for values in places]
        return [self._refers(generator)] * count

    def _named(self, expressions: Any) -> list[tuple[str, int]]:
        return [(each.fields["name"], self._take(each)) for each in _expressions(expressions)]

    def _take(self, expression: _Node) -> int:
        """Take in a column's expression. Returns: its id."""
        id_ = int(expression.fields["exprId"]["id"])
        if expression.kind == "Alias":
            (value,) = expression.children
            self._made_of[id_] = self._refers(value)
            if value.kind == "AttributeReference":
                self._copied[id_] = int(value.fields["exprId"]["id"])
        return id_

    def _refers(self, expression: _Node) -> set[int]:
        """The ids of the attributes in an expression."""
        return {int(each.fields["exprId"]["id"]) for each in expression.all() if each.kind == "AttributeReference"}


def _expressions(value: Any) -> list[_Node]:
    """The expressions in a field: one, or several."""
    if not value:
        return []
    lists = [value] if isinstance(value[0], dict) else value
    return [_Node.tree(each) for each in lists]

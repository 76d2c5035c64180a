"""What lies beyond gold: the tables of the warehouse, the marts, and who uses them, by table and by column.

Names: a dataset's own; a table of the warehouse is `warehouse:<dataset>`, or `<domain>.<name>` as it is called there; a mart
`gold.marts.<name>`, or its name alone; an exposure `exposure:<name>`, or its name alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medallion.domain import Domains
from medallion.errors import UsageError
from medallion.lineage import columns as of_columns
from medallion.lineage import dbt_models, mart_columns
from medallion.lineage import tables as of_tables
from medallion.lineage.columns import Columns, Source
from medallion.lineage.dbt_models import Project
from medallion.lineage.edges import published
from medallion.lineage.tables import Node

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Kind = Literal["dataset", "warehouse", "mart", "exposure"]
WAREHOUSE = "warehouse:"
"""What comes before the name of a dataset, as a table of the warehouse."""
UNKNOWN = "*"
"""In the place of a column that is not known: the SQL of the mart could not be followed."""


@dataclass(frozen=True)
class Place:
    """What is asked about: `name` is the full name, with its prefix."""

    kind: Kind
    name: str


def find(domains: Domains, project: Project, text: str) -> Place:
    """What a person means by a name. Raises: UsageError with near names if there is nothing of that name."""
    shown = {f"{WAREHOUSE}{dataset}" for dataset, contract in domains.contracts.items() if contract.published}
    known: dict[Kind, set[str]] = {
        "dataset": {*domains.contracts},
        "mart": {*project.marts},
        "exposure": {*map(dbt_models.exposure, project.exposures)},
        "warehouse": shown,
    }
    meant: tuple[tuple[Kind, str], ...] = (
        ("dataset", text), ("mart", text), ("exposure", text), ("warehouse", text), ("warehouse", f"{WAREHOUSE}gold.{text}"),
        ("mart", f"gold.{text}"), ("mart", text.removeprefix(WAREHOUSE)), ("mart", dbt_models.mart(text)),
        ("exposure", dbt_models.exposure(text)),
    )  # fmt: skip
    for kind, name in meant:
        if name in known[kind]:
            return Place(kind, name)
    names = sorted({name for each in known.values() for name in each})
    near = difflib.get_close_matches(text, [*names, *(name.rpartition(".")[2] for name in names)], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    raise UsageError(f"there is no dataset, table, mart or exposure '{text}'", hint=hint)


def reads(domains: Domains, project: Project, name: str) -> tuple[str, ...]:
    """What a place is made of itself, by full names; nothing for bronze."""
    if name.startswith(WAREHOUSE):
        return (name.removeprefix(WAREHOUSE),)
    return project.reads.get(name) or tuple(sorted(domains.reads(name) if name in domains.contracts else ()))


# ── tables ────────────────────────────────────────────────────────────────────────────────────────
def up(domains: Domains, project: Project, place: Place) -> list[Node]:
    """What a place beyond gold is made of, down to gold, which is left out: `datasets` are where it goes on."""
    found: dict[str, Node] = {}
    todo = [place.name]
    while todo:
        name = todo.pop(0)
        if name in domains.contracts or name in found:
            continue
        found[name] = Node(name, None, made_of=tuple((each, None) for each in reads(domains, project, name)))
        todo += reads(domains, project, name)
    return list(found.values())


def datasets(domains: Domains, nodes: Iterable[Node]) -> list[str]:
    """The datasets that such nodes are made of."""
    return sorted({name for node in nodes for name, _ in node.made_of if name in domains.contracts})


def down(domains: Domains, project: Project, place: Place) -> list[tuple[str, tuple[str, ...]]]:
    """Everything that is made of a place, directly or not, each with what of it it reads itself; in order."""
    found = of_tables.down(domains, place.name) if place.kind == "dataset" else []
    reached = {place.name, *(name for name, _ in found)}
    if place.kind == "warehouse":  # marts name the dataset that it shows
        reached.add(place.name.removeprefix(WAREHOUSE))
    read = {place.name, *(name for name, _ in found)} & {*domains.contracts}
    shown = [dataset for dataset in domains.order if dataset in read and domains.contracts[dataset].published]
    found += [(f"{WAREHOUSE}{dataset}", (dataset,)) for dataset in shown]
    for name in (*project.marts, *map(dbt_models.exposure, sorted(project.exposures))):
        if through := tuple(each for each in project.reads[name] if each in reached):
            reached.add(name)
            found.append((name, through))
    return found


# ── columns ───────────────────────────────────────────────────────────────────────────────────────
Made = list[tuple[Source, frozenset[Source]]]
"""Columns, each with those that its values are computed from."""


class OfColumns:
    """The columns of everything, each by its place's full name. A session is started only if transforms are to be read."""

    def __init__(self, domains: Domains, project: Project, spark: Callable[[], SparkSession]) -> None:
        self._domains, self._project, self._spark = domains, project, spark
        self._marts: Mapping[str, Columns] = mart_columns.of_marts(project, published(domains))

    def up(self, place: Place, column: str) -> Made:
        """What a column is made of, down to bronze; it comes first.

        Raises: UsageError for a column that there is not, and for an exposure, which has none; ContractError as `columns.up`.
        """
        self._known(place, column)
        found: dict[Source, frozenset[Source]] = {}
        todo: list[Source] = [(place.name, column)]
        while todo:
            name, each = here = todo.pop(0)
            if here in found:
                continue
            if name in self._domains.transforms:
                found |= {one: made for one, made in of_columns.up(self._spark(), self._domains, name, each) if one not in found}
                continue
            found[here] = self._made_of(name, each)
            todo += sorted(source for source in found[here] if source[1] != UNKNOWN)
        return list(found.items())

    def down(self, place: Place, column: str) -> Made:
        """What is computed from a column, directly or not. Raises: as `up`."""
        self._known(place, column)
        domains = self._domains
        read = place.kind == "dataset" and of_tables.down(domains, place.name)
        made = of_columns.down(self._spark(), domains, place.name, column) if read else []
        reached = {(place.name, column), *(of for of, _ in made)}
        if place.kind == "warehouse":
            reached.add((place.name.removeprefix(WAREHOUSE), column))
        for dataset in domains.order if place.kind == "dataset" else ():
            if domains.contracts[dataset].published:
                names = sorted(name for of, name in reached if of == dataset)
                made += [((f"{WAREHOUSE}{dataset}", name), frozenset({(dataset, name)})) for name in names]
        for mart in self._project.marts:
            for name in self._marts[mart].direct if mart in self._marts else (UNKNOWN,):
                if through := self._made_of(mart, name) & {*reached, *((of, UNKNOWN) for of, _ in reached)}:
                    reached.add((mart, name))
                    made.append(((mart, name), through))
        for exposure in map(dbt_models.exposure, sorted(self._project.exposures)):
            if through := frozenset(each for each in reached if each[0] in self._project.reads[exposure]):
                made.append(((exposure, ""), through))
        return made

    def conditions(self, place: Place) -> frozenset[Source]:
        """The columns that decide which rows a place has."""
        if place.kind == "mart":
            return self._marts[place.name].conditions if place.name in self._marts else frozenset()
        dataset = place.name.removeprefix(WAREHOUSE)
        if dataset in self._domains.transforms:
            return of_columns.of_transform(self._spark(), self._domains, dataset).conditions
        return frozenset()

    def _made_of(self, name: str, column: str) -> frozenset[Source]:
        if name in self._domains.contracts:
            return frozenset()  # bronze's columns are those of its files
        if name.startswith(WAREHOUSE):
            return frozenset({(name.removeprefix(WAREHOUSE), column)})
        if name in self._marts:
            return self._marts[name].direct.get(column, frozenset())
        return frozenset((each, UNKNOWN) for each in self._project.reads[name])

    def _known(self, place: Place, column: str) -> None:
        if place.kind == "exposure":
            raise UsageError(f"{place.name} has no columns", hint="ask about a column of the marts that it uses")
        if place.kind == "mart":
            known = [*(self._marts[place.name].direct if place.name in self._marts else self._project.marts[place.name].columns)]
        else:
            known = [*self._domains.contracts[place.name.removeprefix(WAREHOUSE)].schema()]
        if column not in known:
            raise UsageError(f"{place.name} has no column '{column}'", hint=f"it has {', '.join(known)}")

"""`relationships` of a contract: values that must stand in another dataset.

ODCS names the other side `<table>.<column>`. Here that is a dataset of the same domain and layer; any other is
called by its whole name: `silver.operations.airports.airport_code`. A key of several columns is a list.
See https://bitol-io.github.io/open-data-contract-standard/v3.1.0/references/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from open_data_contract_standard.model import Relationship

from medallion.odcs.conditions import Refuse, kind
from medallion.rule_kinds import FLAG, Reference

CUSTOM = {"severity", "tolerance", "quarantine", "description"}


def read(
    relationship: Relationship, dataset: str, types: Mapping[str, str], column: str | None, place: str, refuse: Refuse
) -> tuple[str, Reference, str]:
    """One relationship of a dataset.

    Args:
        types: the dataset's columns, with their Spark SQL types.
        column: the property that has it; None for one of the table.
    Returns: the rule's name; what must stand where; the condition on a row, in which the joined flag stands.
    Raises: ContractError.
    """
    layer, domain, name = dataset.split(".")
    if layer == "bronze":
        raise refuse(
            place, "bronze keeps what came as it came", "put it on silver, whose rows are typed and of the newest delivery"
        )
    if relationship.type not in (None, "foreignKey"):
        raise refuse(f"{place}.type", f"'{relationship.type}' is unknown", "use foreignKey")
    if column is None:
        if relationship.from_ is None or isinstance(relationship.from_, str) != isinstance(relationship.to, str):
            raise refuse(
                place, "needs from and to, both one column or both a list", "write from: and to:, or put it on a property"
            )
        own = [_split(each, layer, domain, f"{place}.from", refuse) for each in _listed(relationship.from_)]
        if strange := [table for table, _ in own if table != dataset]:
            raise refuse(f"{place}.from", f"{strange[0]} is another dataset", f"write {name}.<column>")
        columns = tuple(each for _, each in own)
    elif relationship.from_ is not None or not isinstance(relationship.to, str):
        raise refuse(place, "a property points to one column, and from is itself", "write only to:, or put it on the table")
    else:
        columns = (column,)
    there = [_split(each, layer, domain, f"{place}.to", refuse) for each in _listed(relationship.to)]
    if len({table for table, _ in there}) != 1 or len(there) != len(columns):
        raise refuse(f"{place}.to", "is not as many columns of one dataset", "name one column for each of from:")
    if strange := [each for each in columns if each not in types]:
        raise refuse(f"{place}.from", f"there is no column '{strange[0]}'", f"use some of {list(types)}")
    if strange := [each for each in columns if kind(types[each]) in ("array", "struct", "map")]:
        raise refuse(f"{place}.from", f"'{strange[0]}' is no single value", "use a column of a simple type")
    to = there[0][0]
    if to == dataset:
        raise refuse(
            f"{place}.to", "a dataset that points into itself is not judged", "use `type: sql` on rows, or another dataset"
        )
    rule = relationship.id or f"{'_'.join(columns)}_reference"
    if not re.fullmatch(r"[\w-]+", rule):
        raise refuse(f"{place}.id", f"'{rule}' is no name", "use letters, digits, _ and -")
    unset = " OR ".join(f"`{each}` IS NULL" for each in columns)
    return rule, Reference(columns, to, tuple(each for _, each in there)), f"{unset} OR `{FLAG}{rule}`"


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _split(reference: str, layer: str, domain: str, place: str, refuse: Refuse) -> tuple[str, str]:
    """The dataset and the column that a reference names."""
    parts = reference.split(".")
    if "/" not in reference and "#" not in reference and all(parts):
        if len(parts) == 2:
            return f"{layer}.{domain}.{parts[0]}", parts[1]
        if len(parts) == 4:
            return ".".join(parts[:3]), parts[3]
    raise refuse(
        place, f"'{reference}' names no column of a dataset",
        "write <dataset>.<column> of the same domain and layer, or <layer>.<domain>.<dataset>.<column>",
    )  # fmt: skip

"""How a dataset is shown in the warehouse, as its contract's custom properties say it.

published: false | true
publication: replace | partitions
"""

from __future__ import annotations

from typing import Any, get_args

from medallion.contract import Layer, Layout, Materialisation, PublishedAs
from medallion.odcs.problems import Problems

_PLACE = "customProperties.publication"


def read(
    value: Any, layer: Layer, published: bool, materialisation: Materialisation, layout: Layout, problems: Problems
) -> PublishedAs:
    """Read `publication`; absent, a table that changed is replaced.

    Raises: ContractError naming what is wrong with it.
    """
    if value is None:
        return "replace"
    if value not in get_args(PublishedAs):
        raise problems.refuse(_PLACE, f"{value!r} is no way to publish", f"use one of {get_args(PublishedAs)}")
    if layer != "gold" or not published:
        raise problems.refuse(_PLACE, "means nothing here: the dataset is not published", "remove it")
    if value == "partitions" and not (materialisation.replaces_its_date or layout.partitioned_by):
        raise problems.refuse(
            _PLACE, "the table has no partitions",
            "write replace, or let `materialisation` be by date, or `layout.partitionedBy` name columns",
        )  # fmt: skip
    return "partitions" if value == "partitions" else "replace"

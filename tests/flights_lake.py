"""One day of real flights on the shared stack's main, made once for all modules that only read it.

Used with `pytest_plugins = ["tests.flights_lake"]`.
"""

from __future__ import annotations

from datetime import date

import pytest

from medallion import domain
from medallion.domain import Domains
from medallion.lakehouse.catalog import ensure_tables
from medallion.landing import FILES, land
from medallion.pipeline import Lake, Request, execute
from medallion.settings import Settings

DAY = date(2013, 1, 1)
FLIGHTS, ROUTES = "silver.operations.flights", "gold.operations.route_performance"
_WANTED = ("gold.operations.fact_flight", ROUTES)


def _only_what_makes(domains: Domains, wanted: tuple[str, ...]) -> Domains:
    needed: set[str] = set()
    todo = list(wanted)
    while todo:
        dataset = todo.pop()
        needed.add(dataset)
        if dataset in domains.transforms:
            todo += domains.transforms[dataset].inputs.values()
    return Domains(
        {d: c for d, c in domains.contracts.items() if d in needed},
        {d: t for d, t in domains.transforms.items() if d in needed},
    )


@pytest.fixture(scope="session")
def flights_lake(stack: Settings) -> Settings:
    """The settings of a stack whose main holds the flights of DAY, from bronze to gold, and every other table of the
    built-in domains, as empty as it was made unless another module has filled it."""
    everything = domain.load(stack)
    for dataset in FILES:  # the rest is fetched from the stack's own sources
        land(stack, DAY, only=dataset)
    with Lake(stack, everything) as lake:
        ensure_tables(stack, lake.nessie, lake.journal, everything.contracts.values())
    with Lake(stack, _only_what_makes(everything, _WANTED)) as lake:
        execute(lake, Request(DAY), report=lambda line: None)
    return stack

"""The datasets that `tests.ui.seed` makes a year of, and what comes from what."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_DOMAINS = (
    "claims",
    "customers",
    "energy",
    "finance",
    "fleet",
    "inventory",
    "logistics",
    "marketing",
    "operations",
    "payments",
    "pricing",
    "sales",
    "support",
)
_THINGS = (
    "orders", "items", "invoices", "contacts", "visits", "routes", "stops", "meters", "readings", "tariffs", "refunds", "returns",
    "tickets", "agents", "shifts", "assets", "sites", "events",
)  # fmt: skip
_ZONES = {"bronze": "batch", "silver": "validated", "gold": "analytics"}
_FIELDS = ("id", "amount", "status", "created_at", "region", "quantity", "unit_price", "channel")
_RULES = (
    ("amount_positive", "error", "amount is greater than 0"),
    ("key_unique", "error", "no two rows have the same id"),
    ("status_known", "warning", "status is one of open, paid, closed"),
    ("created_in_the_past", "error", "created_at is not after the date"),
    ("region_exists", "warning", "region is one of the reference table"),
)


@dataclass(frozen=True)
class Dataset:
    """One dataset; `usual` is how many rows a date has, `weakness` how many points its score usually lacks at most."""

    domain: str
    layer: str
    short: str
    daily: bool
    weekday: int
    whole: bool
    usual: int
    row_bytes: int
    weakness: float
    reads: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.layer}.{self.domain}.{self.short}"

    @property
    def zone(self) -> str:
        return _ZONES[self.layer]

    @property
    def description(self) -> str:
        return f"{self.short.replace('_', ' ').capitalize()} of {self.domain}, one row each"

    @property
    def columns(self) -> tuple[str, ...]:
        return _FIELDS if self.layer != "gold" else (*_FIELDS[:2], "amount_share", "rows")

    @property
    def rules(self) -> tuple[tuple[str, str, str], ...]:
        return _RULES[: 3 + len(self.short) % 3]


def of_domains(domains: int, datasets: int, chance: random.Random) -> list[Dataset]:
    """So many datasets, evenly over the domains and layers; gold also reads silver of a neighbouring domain."""
    found: list[Dataset] = []
    for number, domain in enumerate(_DOMAINS[:domains]):
        count = datasets // domains + (number < datasets % domains)
        for n in range(count):
            layer = ("bronze", "silver", "gold")[n % 3]
            thing = _THINGS[n // 3 % len(_THINGS)]
            short = {"bronze": thing, "silver": f"{thing}_clean", "gold": f"{thing}_per_day"}[layer]
            above = "bronze" if layer == "silver" else "silver"
            mine = [d.name for d in found if d.domain == domain and d.layer == above]
            reads = tuple(dict.fromkeys(mine[-1:] + chance.sample(mine, min(len(mine), n % 3)))) if layer != "bronze" else ()
            if layer == "gold" and number and n % 9 == 2:
                reads += (chance.choice([d.name for d in found if d.domain == _DOMAINS[number - 1] and d.layer == "silver"]),)
            daily = n < 3 or chance.random() < 0.55
            found.append(
                Dataset(domain, layer, short, daily, chance.randrange(7), layer == "gold" and not daily,
                        int(chance.lognormvariate(8.5, 1.1)), chance.randrange(30, 120), chance.uniform(0.2, 6), reads)
            )  # fmt: skip
    return found


def lineage(datasets: Sequence[Dataset]) -> Iterator[tuple[str, str, str, str, str, str, str]]:
    """Rows of `ops.lineage`: of tables as wholes, and of columns."""
    known = {d.name: d for d in datasets}
    for each in datasets:
        if each.layer == "bronze":
            yield "landing", f"s3://bronze-batch/{each.domain}/{each.short}", "", "dataset", each.name, "", "read"
        for source in each.reads:
            yield "dataset", source, "", "dataset", each.name, "", "read"
            for column in known[source].columns:
                if column in each.columns:
                    yield "dataset", source, column, "dataset", each.name, column, "identity"
            if each.layer == "gold":
                yield "dataset", source, "unit_price", "dataset", each.name, "amount_share", "expression"
                yield "dataset", source, "quantity", "dataset", each.name, "amount_share", "expression"
                yield "dataset", source, "status", "dataset", each.name, "amount_share", "condition"
        if each.layer == "gold":
            yield "dataset", each.name, "", "warehouse", each.name, "", "copied"
            for column in each.columns:
                yield "dataset", each.name, column, "warehouse", each.name, column, "copied"
            if each.daily:
                mart = f"gold.marts.{each.domain}_overview"
                yield "dataset", each.name, "", "mart", mart, "", "read"
                yield "dataset", each.name, "amount_share", "mart", mart, f"{each.short}_share", "identity"
    for domain in sorted({d.domain for d in datasets}):
        yield "mart", f"gold.marts.{domain}_overview", "", "exposure", f"{domain} weekly report", "", "read"

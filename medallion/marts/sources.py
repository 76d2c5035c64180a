"""dbt's sources, written from the contracts: the schema of gold is said there and nowhere else.

Beside published gold, which models read, there are the silver and bronze tables that it is made of: they are in the lake
only, and stand there for the lineage (see `lineage.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medallion.contract import Contract
from medallion.domain import Domains

PLACE = Path("models") / "sources.yml"
"""Where the file lies in the dbt project."""
_HEAD = "# Written by `medallion marts sources` from the contracts; change those, not this file.\n"


def text(domains: Domains) -> str:
    """The file of all published datasets, by domain, and of what they are made of, by layer and domain."""
    import yaml

    published = [dataset for dataset, contract in sorted(domains.contracts.items()) if contract.published]
    above = {each for dataset in published for each in _made_of(domains, dataset)} & set(domains.contracts) - set(published)
    groups: dict[tuple[str, str], list[Contract]] = {}
    for dataset in [*published, *sorted(above, reverse=True)]:
        contract = domains.contracts[dataset]
        groups.setdefault((contract.layer, contract.domain), []).append(contract)
    sources = [_source(domains, *of, contracts) for of, contracts in groups.items()]
    return _HEAD + str(yaml.safe_dump({"sources": sources}, sort_keys=False, width=120, allow_unicode=True))


def _source(domains: Domains, layer: str, domain: str, contracts: list[Contract]) -> dict[str, Any]:
    shown = any(contract.published for contract in contracts)
    name = domain if shown else f"{layer}_{domain}"
    return {
        "name": name,
        # in the lake a namespace has two parts; a warehouse's database is its connection's
        "schema": f"{{{{ '{layer}.{domain}' if target.type == 'spark' else '{name}' }}}}",
        "description": f"{'Published gold' if shown else layer.capitalize()} of the domain {domain}"
        + ("." if shown else ", in the lake only: no model reads it."),
        "tables": [_table(domains, contract) for contract in sorted(contracts, key=lambda each: each.name)],
    }


def _table(domains: Domains, contract: Contract) -> dict[str, Any]:
    made_of = _made_of(domains, contract.dataset)
    layers = [sorted(each for each in made_of if each.startswith(f"{layer}.")) for layer in ("silver", "bronze")]
    above = [f"{contract.layer}: {contract.dataset}"] + [
        f"{each.partition('.')[0]}: {each}" for layer in layers for each in layer
    ]
    way = f"\n\nWhere it comes from: {', '.join(above)}." if contract.published else ""
    return {
        "name": contract.name,
        "description": f"{contract.description.strip()}{way}",
        "config": {
            "meta": {
                "owner": contract.owner,
                "contract": contract.version,
                "dataset": contract.dataset,
                "made_of": _inputs(domains, contract.dataset),
            }
        },
        "columns": [
            {"name": column.name, "data_type": column.type} | ({"description": column.description} if column.description else {})
            for column in contract.columns
        ],
    }


def _inputs(domains: Domains, dataset: str) -> list[str]:
    """What a dataset's transform reads."""
    return sorted(domains.transforms[dataset].inputs.values()) if dataset in domains.transforms else []


def _made_of(domains: Domains, dataset: str) -> set[str]:
    """Everything that a dataset is made of, down to bronze."""
    found: set[str] = set()
    todo = [dataset]
    while todo:
        inputs = _inputs(domains, todo.pop())
        todo += [one for one in inputs if one not in found]
        found |= set(inputs)
    return found

"""dbt's sources, written from the contracts: the schema of gold is said there and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medallion.contract import Contract
from medallion.domain import Domains

PLACE = Path("models") / "sources.yml"
"""Where the file lies in the dbt project."""
_HEAD = "# Written by `medallion marts sources` from the contracts of published gold; change those, not this file.\n"


def text(domains: Domains) -> str:
    """The file of all published datasets, by domain."""
    import yaml

    by_domain: dict[str, list[Contract]] = {}
    for dataset in sorted(domains.contracts):
        if (contract := domains.contracts[dataset]).published:
            by_domain.setdefault(contract.domain, []).append(contract)
    sources = [
        {
            "name": domain,
            # in the lake a namespace has two parts; a warehouse's database is its connection's
            "schema": f"{{{{ 'gold.{domain}' if target.type == 'spark' else '{domain}' }}}}",
            "description": f"Published gold of the domain {domain}.",
            "tables": [_table(domains, contract) for contract in contracts],
        }
        for domain, contracts in by_domain.items()
    ]
    return _HEAD + str(yaml.safe_dump({"sources": sources}, sort_keys=False, width=120, allow_unicode=True))


def _table(domains: Domains, contract: Contract) -> dict[str, Any]:
    made_of = _made_of(domains, contract.dataset)
    layers = [sorted(each for each in made_of if each.startswith(f"{layer}.")) for layer in ("silver", "bronze")]
    above = ", ".join([f"gold: {contract.dataset}"] + [f"{each.partition('.')[0]}: {each}" for layer in layers for each in layer])
    return {
        "name": contract.name,
        "description": f"{contract.description.strip()}\n\nWhere it comes from: {above}.",
        "meta": {"owner": contract.owner, "contract": contract.version, "silver": layers[0], "bronze": layers[1]},
        "columns": [
            {"name": column.name, "data_type": column.type} | ({"description": column.description} if column.description else {})
            for column in contract.columns
        ],
    }


def _made_of(domains: Domains, dataset: str) -> set[str]:
    """Everything that a dataset is made of, down to bronze."""
    found: set[str] = set()
    todo = [dataset]
    while todo:
        inputs = domains.transforms[each].inputs.values() if (each := todo.pop()) in domains.transforms else ()
        todo += [one for one in inputs if one not in found]
        found |= set(inputs)
    return found

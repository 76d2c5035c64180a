"""What datasets point into must be there: only all contracts together can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from medallion.contract import Contract, Rule
from medallion.errors import ContractError, Problem
from medallion.odcs.conditions import WHOLE, kind


def check(contracts: Mapping[str, Contract], tell: Callable[[ContractError], None]) -> None:
    """See that every relationship names a dataset of silver or gold, and columns of the same types there; what does
    not is told, with the contract and the rule."""
    for contract in contracts.values():
        for rule in contract.rules:
            if rule.reference:
                try:
                    _check(contract, rule, contracts)
                except ContractError as error:
                    tell(error)


def _check(contract: Contract, rule: Rule, contracts: Mapping[str, Contract]) -> None:
    reference = rule.reference
    assert reference is not None

    def refuse(problem: str, hint: str) -> ContractError:
        return ContractError.of([Problem(str(contract.path), 0, 0, f"relationship '{rule.name}'", problem, hint)])

    to = contracts.get(reference.to)
    if to is None:
        near = sorted(d for d in contracts if d.endswith(f".{reference.to.rpartition('.')[2]}") and not d.startswith("bronze."))
        raise refuse(f"there is no dataset {reference.to}", f"did you mean {' or '.join(near)}?" if near else "name a dataset")
    if to.layer == "bronze":
        raise refuse(
            f"{to.dataset} is bronze: text as it came, of every delivery",
            f"point into what {to.domain} makes of it in silver or gold",
        )
    if not to.columns:
        return  # it cannot be read, which is told already
    here, there = contract.schema(), to.schema()
    for own, other in zip(reference.columns, reference.to_columns, strict=True):
        if other not in there:
            raise refuse(f"{to.dataset} has no column '{other}'", f"use some of {list(there)}")
        if _comparable(here[own]) != _comparable(there[other]):
            raise refuse(f"{own} is a {here[own]}, {to.dataset}.{other} a {there[other]}", "make both of one type")


def _comparable(type_: str) -> str:
    """The type without what does not matter when values are compared."""
    return "whole" if kind(type_) in WHOLE else kind(type_)

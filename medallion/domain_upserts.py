"""What an upserted dataset may be made from: only all contracts and transforms together can tell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from medallion.contract import Contract
from medallion.errors import ContractError, Problem
from medallion.odcs import yaml_lines

_PLACE = "customProperties.materialisation"


def check(contracts: Mapping[str, Contract], reads: Mapping[str, Collection[str]], tell: Callable[[ContractError], None]) -> None:
    """See that every upserted dataset is made from exactly one table that comes by date, of its domain's bronze: a
    correction makes keys again from all that bronze has. What does not fit is told.

    Args:
        reads: the datasets that each transform reads.
    """
    for dataset, inputs in reads.items():
        contract = contracts[dataset]
        if contract.materialisation.kind != "upsert":
            continue
        if not all(contracts[i].columns for i in inputs):
            continue  # one cannot be read, which is told already
        dated = sorted(i for i in inputs if _by_date(contracts[i]))
        if len(dated) != 1 or contracts[dated[0]].layer != "bronze":
            found = f"of {', '.join(dated)}" if dated else "of nothing that comes by date"
            problem = f"{dataset} is upserted, and made {found}"
            hint = "read exactly one table by date, a bronze one; others have to be reference data, `full` or `upsert`"
            tell(ContractError.of([Problem(str(contract.path), *_position(contract), _PLACE, problem, hint)]))


def _position(contract: Contract) -> tuple[int, int]:
    """Line and column of the property."""
    return yaml_lines.read(contract.path.read_text("utf-8")).position(_PLACE)


def _by_date(contract: Contract) -> bool:
    if contract.layer == "bronze":
        return contract.delivery is not None and contract.delivery.expected != "initial"
    return contract.materialisation.replaces_its_date

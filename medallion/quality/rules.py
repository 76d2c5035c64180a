"""Rules as Spark conditions, and the part of a row that a person needs to see when it breaks one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medallion.contract import Contract, Rule
from medallion.errors import ContractError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_BULKY = {"_row_hash", "_source_sha256", "_source_uri", "_ingested_at", "_run_id"}


def passes(rules: Sequence[Rule]) -> Column:
    """One condition that is true where every rule holds; a rule that is null on a row holds."""
    from pyspark.sql import functions as f

    if not rules:
        return f.lit(True)
    return f.expr(" AND ".join(f"coalesce(({rule.passes}), true)" for rule in rules))


def showable(columns: Sequence[str], contract: Contract, rule: Rule | None = None) -> list[str]:
    """The columns of a row that may and need be shown: none that the contract classifies as personal,
    none of the engine's bulky ones; for a rule only the key, what the rule names, and the row's origin."""
    hidden = {column.name for column in contract.columns if column.personal} | _BULKY
    if rule is None:
        return [name for name in columns if name not in hidden]
    named = set(re.findall(r"\w+", rule.passes or "")) | set(contract.key) | {"_delivery", "_source_row"}
    return [name for name in columns if name in named and name not in hidden]


def shown(columns: Sequence[str], contract: Contract, rule: Rule | None = None) -> Column:
    """A row's showable columns as JSON."""
    from pyspark.sql import functions as f

    names = showable(columns, contract, rule)
    return f.to_json(f.struct(*[f.col(f"`{name}`") for name in names])) if names else f.lit("{}")


def unusable(frame: DataFrame, contract: Contract) -> ContractError | None:
    """The complaint about the first row rule that Spark cannot apply to a frame, if there is one."""
    from pyspark.errors import AnalysisException

    for rule in contract.row_rules:
        try:
            frame.filter(passes([rule]))
        except AnalysisException as error:
            why = str(error).strip().splitlines()[0]
            return ContractError(
                f"{contract.path}: quality '{rule.name}' cannot be applied to {contract.dataset}: {why}",
                hint="mend the rule's condition",
                dataset=contract.dataset,
            )
    return None

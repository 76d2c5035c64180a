"""Rules as Spark conditions, and the part of a row that a person needs to see when it breaks one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from medallion.contract import Contract, Rule
from medallion.errors import ContractError
from medallion.quality.patterns import as_condition
from medallion.rule_kinds import FLAG

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_BULKY = {"_row_hash", "_source_sha256", "_source_uri", "_ingested_at", "_run_id"}


def passes(rules: Sequence[Rule]) -> Column:
    """One condition that is true where every rule holds; a rule that is null on a row holds."""
    from pyspark.sql import functions as f

    if not rules:
        return f.lit(True)
    return f.expr(" AND ".join(f"coalesce(({one}), true)" for one in as_condition([str(rule.passes) for rule in rules])))


_LENIENT = "_malformed IS NOT NULL OR ("


def lenient(rule: Rule) -> Rule:
    """Rules on source columns do not judge a malformed line: it has none; silver refuses it."""
    if rule.passes is not None:
        return replace(rule, passes=f"{_LENIENT}{rule.passes})")
    if rule.measure and rule.measure.counted:
        return replace(rule, measure=replace(rule.measure, counted=f"_malformed IS NULL AND ({rule.measure.counted})"))
    return rule


def bare(condition: str) -> str:
    """A condition that is enough for the given one, of fewer columns where that was made lenient."""
    return condition[len(_LENIENT) : -1] if condition.startswith(_LENIENT) else condition


def showable(columns: Sequence[str], contract: Contract, rule: Rule | None = None) -> list[str]:
    """The columns of a row that may and need be shown: none that the contract classifies as personal,
    none of the engine's bulky ones; for a rule only the key, what the rule names, and the row's origin."""
    hidden = {column.name for column in contract.columns if column.personal} | _BULKY
    columns = [name for name in columns if not name.startswith(FLAG)]
    if rule is None:
        return [name for name in columns if name not in hidden]
    named = set(re.findall(r"\w+", rule.passes or "")) | set(contract.key) | {"_delivery", "_source_row"}
    return [name for name in columns if name in named and name not in hidden]


def shown(columns: Sequence[str], contract: Contract, rule: Rule | None = None) -> Column:
    """A row's showable columns as JSON."""
    from pyspark.sql import functions as f

    names = showable(columns, contract, rule)
    return f.to_json(f.struct(*[f.col(f"`{name}`") for name in names])) if names else f.lit("{}")


@contextmanager
def naming_the_rule(frame: DataFrame, contract: Contract) -> Iterator[None]:
    """Whoever applies all row rules at once learns from Spark that one of them fails, not which.

    Raises: ContractError naming the rule, in place of Spark's error, if a rule alone fails as well.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        raise _complaint(frame, contract) or error from error


def _complaint(frame: DataFrame, contract: Contract) -> ContractError | None:
    """What is wrong with the first row rule that cannot be applied to a frame, or fails on one of its rows."""
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException

    for rule in contract.row_rules:
        try:
            frame.filter(passes([rule]))
        except AnalysisException as error:
            return _refusal(contract, rule, "cannot be applied to", error, "mend the rule's condition")
    try:
        frame.write.format("noop").mode("overwrite").save()
    except (Py4JError, PySparkException):
        return None  # it is not a rule that fails
    for rule in contract.row_rules:
        try:
            frame.filter(passes([rule])).count()
        except (Py4JError, PySparkException) as error:
            hint = "mend the rule's condition; try_cast, try_divide and CASE give null for such a row, and null passes"
            return _refusal(contract, rule, "fails on a row of", error, hint)
    return None


def _refusal(contract: Contract, rule: Rule, what: str, error: Exception, hint: str) -> ContractError:
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("An error occurred while calling")]
    why = re.split(r"\w+(?:\.\w+)+Exception: ", lines[0] if lines else repr(error))[-1]
    return ContractError(
        f"{contract.path}: quality '{rule.name}' {what} {contract.dataset}: {why}", hint=hint, dataset=contract.dataset
    )

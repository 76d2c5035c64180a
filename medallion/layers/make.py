"""Silver and gold: run a transform over its inputs, judge its rows, replace one date or all."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from medallion.contract import UNPARSED, Contract, Rule
from medallion.domain import Domains
from medallion.errors import ContractError
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.history import CODE_PROPERTY, DATE_PROPERTY, INPUTS_PROPERTY, made
from medallion.lakehouse.staging import Staging, replaced
from medallion.layers.compact import compact
from medallion.layers.plan import Plan, Task
from medallion.quality import change
from medallion.quality.deduplicate import Deduplicated
from medallion.quality.judge import judge
from medallion.quality.metrics import measure
from medallion.quality.near import variants
from medallion.quality.references import flagged
from medallion.quality.table_rules import Previous

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def make(branch: Branch, domains: Domains, plan: Plan, task: Task, run_id: str, previous: Previous = ()) -> dict[str, Any]:
    """Make what a task asks for and write it in one commit on the branch.

    Args:
        previous: the figures of earlier runs of the dataset, newest last (see `medallion.quality.change`).
    Returns: what was written, for the run's story.
    Raises: ContractError if the transform's columns are not the contract's.
    """
    from pyspark.sql import functions as f

    began = time.monotonic()
    contract, transform = domains.contracts[task.dataset], domains.transforms[task.dataset]
    frames = {p: _input(branch, plan, domains, contract, i, task) for p, i in transform.inputs.items()}
    frame = transform.function(**frames)
    _check_columns(frame, contract)
    if contract.materialisation.kind == "window":  # rows of the days before came in as context only
        frame = frame.filter(f.col(str(contract.partition_column)) == f.lit(task.date))
    once = Deduplicated(frame, contract)
    if task.date is not None:
        contract = dataclasses.replace(contract, rules=(*contract.rules, _of_its_date(contract, task)))
    notes = {
        DATE_PROPERTY: task.date.isoformat() if task.date else "",
        INPUTS_PROPERTY: task.made.inputs,
        CODE_PROPERTY: task.made.code,
    }
    where = f.lit(True) if task.date is None else f.col(str(contract.partition_column)) == f.lit(task.date)
    quarantine_where = f.lit(True) if task.date is None else f.col("_logical_date") == f.lit(task.date)
    judged = judge(
        once.frame,
        contract,
        run_id,
        task.date,
        write=lambda rows: branch.overwrite(rows, contract.dataset, where, notes),
        quarantine=lambda rows: _replace_quarantine(branch, rows, contract, quarantine_where, notes),
        written=lambda: branch.read(contract.dataset).filter(where),
        table=lambda: branch.read(contract.dataset),
        staging=_staging(branch, contract, task, notes),
        examined=lambda rows: flagged(rows, contract, branch.read),
        as_of=task.date or plan.logical_date,
        previous=previous,
    )
    dropped = once.dropped(judged)
    rewritten = compact(branch, contract, task.date)
    if not judged.quarantined:
        _clear_quarantine(branch, contract, task, quarantine_where, notes)
    metrics = measure(
        branch.settings.s3,
        branch.content(contract.dataset),
        contract,
        f"{contract.partition_column} = '{task.date}'" if task.date else "",
        lambda: branch.read(contract.dataset).filter(where),
        judged,
    )
    return {
        "dataset": contract.dataset,
        "contract": {"version": contract.version, "fingerprint": contract.fingerprint},
        "logical_date": task.date,
        "reason": task.reason,
        "inputs": {i: [str(d) for d in plan.read_dates(contract, i, task.date)] for i in transform.inputs.values()},
        "inputs_hash": task.made.inputs,
        "rows_in": judged.rows_in + sum(dropped.values()),
        "rows_out": judged.rows_out,
        "quarantined": judged.quarantined,
        "dropped": dropped,
        "similar": variants(branch.read(contract.dataset).filter(where), contract.deduplicate.near),
        "warned": judged.warned,
        "files_compacted": rewritten,
        "verdicts": [v.as_json() for v in judged.verdicts],
        "metrics": change.merged(metrics, judged.verdicts),
        "seconds": round(time.monotonic() - began, 3),
    }


def _staging(branch: Branch, contract: Contract, task: Task, notes: dict[str, str]) -> Staging | None:
    """Where rows wait until they are judged; None for a few rows, and where whole files cannot be replaced."""
    if branch.few_rows or replaced(branch.settings.s3, branch.content(contract.dataset), contract, task.date) is None:
        return None
    return Staging(branch, contract, notes, replaces=task.date)


def _input(branch: Branch, plan: Plan, domains: Domains, made_contract: Contract, dataset: str, task: Task) -> DataFrame:
    """One input, cut to what the task reads of it: of bronze only the deliveries that count."""
    from pyspark.sql import functions as f

    frame, contract = branch.read(dataset), domains.contracts[dataset]
    dates = plan.read_dates(made_contract, dataset, task.date)
    wanted = [d for d in dates if d is not None]
    if contract.layer == "bronze":
        counting = [one for d in dates for one in plan.counting(dataset, d)]
        condition: Column = f.col("_delivery").isin([one.delivery for one in counting])
        return frame.filter(f.col("_logical_date").isin([one.logical_date for one in counting]) & condition)
    if wanted:
        return frame.filter(f.col(str(contract.partition_column)).isin(wanted))
    return frame


def _of_its_date(contract: Contract, task: Task) -> Rule:
    """The built-in rule that a date's rows belong to the date: others would be lost or doubled."""
    column = contract.partition_column
    return Rule(
        "of_its_date", "error", 0, f"{column} is {task.date}",
        passes=f"`{column}` IS NOT NULL AND `{column}` = DATE '{task.date}'",
    )  # fmt: skip


def _check_columns(frame: DataFrame, contract: Contract) -> None:
    found = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    wanted = contract.schema() | ({UNPARSED: "string"} if contract.layer == "silver" else {})
    problems = [f"lacks {name} ({type_})" for name, type_ in wanted.items() if name not in found]
    problems += [f"has {name}, which is not in the contract" for name in found if name not in wanted]
    problems += [
        f"makes {name} a {found[name]}, the contract says {type_}"
        for name, type_ in wanted.items()
        if name in found and found[name].replace(" ", "") != type_.replace(" ", "")
    ]
    if problems:
        raise ContractError(
            f"the transform of {contract.dataset} {'; '.join(problems)}",
            hint=f"bring {contract.layer}.py and {contract.path.name} together",
            dataset=contract.dataset,
        )


def _replace_quarantine(branch: Branch, rows: DataFrame, contract: Contract, where: Column, notes: dict[str, str]) -> DataFrame:
    branch.overwrite(rows, contract.quarantine, where, notes)
    return branch.read(contract.quarantine).filter(where)


def _clear_quarantine(branch: Branch, contract: Contract, task: Task, where: Column, notes: dict[str, str]) -> None:
    """Rows that an earlier build of the same date put aside are no longer true."""
    if task.date in made(branch.settings.s3, branch.content(contract.quarantine)):
        empty = branch.read(contract.quarantine).limit(0)
        branch.overwrite(empty, contract.quarantine, where, notes)

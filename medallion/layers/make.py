"""Silver and gold: run a transform over its inputs, judge its rows, replace one date or all."""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
from datetime import date
from typing import TYPE_CHECKING, Any

from medallion.contract import UNPARSED, Contract, Rule
from medallion.domain import Domains
from medallion.errors import ContractError
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.history import CODE_PROPERTY, DATE_PROPERTY, INPUTS_PROPERTY, made
from medallion.lakehouse.staging import Staging, beside, replaced
from medallion.layers import inputs
from medallion.layers.compact import compact
from medallion.layers.plan import Plan, Task
from medallion.layers.upsert import upsert
from medallion.quality import change
from medallion.quality.deduplicate import Deduplicated
from medallion.quality.judge import judge
from medallion.quality.metrics import measure
from medallion.quality.near import variants
from medallion.quality.references import flagged
from medallion.quality.table_rules import Previous, table_verdicts
from medallion.quality.verdict import of_rows

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
    frames = {p: inputs.read(branch, plan, i, plan.read_dates(contract, i, task.date)) for p, i in transform.inputs.items()}
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
    quarantine_where = f.lit(True) if task.date is None else f.col("_logical_date") == f.lit(task.date)
    upserted = contract.materialisation.kind == "upsert"
    # what is upserted is judged and measured in a table of its own, which has the date's rows alone
    replaces = None if upserted else task.date
    where = f.lit(True) if replaces is None else f.col(str(contract.partition_column)) == f.lit(replaces)
    later = tuple(rule for rule in contract.rules if upserted and not rule.on_rows and rule.scope == "table")
    settled = once.settled()
    now = dataclasses.replace(contract, rules=tuple(rule for rule in contract.rules if rule not in (*later, *settled)))
    with beside(branch, contract) if upserted else nullcontext(contract) as into:

        def written() -> DataFrame:
            return branch.read(into.dataset).filter(where)

        judged = judge(
            once.frame,
            now,
            run_id,
            task.date,
            write=lambda rows: branch.overwrite(rows, into.dataset, where, notes),
            quarantine=lambda rows: _replace_quarantine(branch, rows, contract, quarantine_where, notes),
            written=written,
            table=lambda: branch.read(contract.dataset),
            staging=_staging(branch, into, replaces, notes),
            examined=lambda rows: flagged(rows, contract, branch.read),
            as_of=task.date or plan.logical_date,
            previous=previous,
        )
        dropped = once.dropped(judged)
        judged.verdicts += [of_rows(rule, 0, judged.rows_out, decided_by="plan") for rule in settled]
        if not judged.quarantined:
            _clear_quarantine(branch, contract, task, quarantine_where, notes)
        kept, changes = judged.rows_out, {}
        if upserted:
            found = upsert(branch, domains, plan, task, into.dataset, judged.rows_out, notes)
            kept, changes = found.kept, {"upserted": found.changes}
            dropped["older"] += found.older
            of_table = dataclasses.replace(contract, rules=later)
            judged.verdicts += table_verdicts(of_table, kept, written, lambda: branch.read(contract.dataset), task.date, previous)
        rewritten = compact(branch, contract, replaces)
        metrics = measure(
            branch.settings.s3,
            branch.content(into.dataset),
            contract,
            f"{contract.partition_column} = '{replaces}'" if replaces else "",
            written,
            judged,
        )
        similar = variants(written(), contract.deduplicate.near)
    return {
        "dataset": contract.dataset,
        "contract": {"version": contract.version, "fingerprint": contract.fingerprint},
        "logical_date": task.date,
        "reason": task.reason,
        "inputs": {to: [str(None)] for to in contract.references}
        | {i: [str(d) for d in plan.read_dates(contract, i, task.date)] for i in transform.inputs.values()},
        "inputs_hash": task.made.inputs,
        "rows_in": kept + judged.quarantined + sum(dropped.values()),
        "rows_out": kept,
        "quarantined": judged.quarantined,
        "dropped": dropped,
        "similar": similar,
        "warned": judged.warned,
        "files_compacted": rewritten,
        "verdicts": [v.as_json() for v in judged.verdicts],
        "metrics": change.merged(metrics, judged.verdicts),
        "seconds": round(time.monotonic() - began, 3),
    } | changes


def _staging(branch: Branch, contract: Contract, replaces: date | None, notes: dict[str, str]) -> Staging | None:
    """Where rows wait until they are judged; None for a few rows, and where whole files cannot be replaced."""
    if branch.few_rows or replaced(branch.settings.s3, branch.content(contract.dataset), contract, replaces) is None:
        return None
    return Staging(branch, contract, notes, replaces=replaces)


def _of_its_date(contract: Contract, task: Task) -> Rule:
    """The built-in rule that a date's rows belong to the date: others would be lost or doubled."""
    column = contract.partition_column or "_logical_date"  # of what is upserted
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

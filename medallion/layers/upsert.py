"""A date's rows put into a table that holds, of each key, the latest row of all dates.

Which row of a key is the latest is "the greatest", which comes out the same in any order: so a new date's rows are
merged into the table as they come. What was merged cannot be taken back so, because the table has forgotten what it
replaced. Where that is needed, the keys concerned are made again from bronze: the transform over all dates that were
made, as if the table were made whole, cut to these keys. That is so for

- a date that is made again: a row that it no longer brings may have replaced another date's;
- a date of which, or of whose keys, the latest row lies in quarantine: no older row may take its place;
- changed code: all keys.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import reduce
from typing import TYPE_CHECKING, Any

from medallion.contract import Column as Described
from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import MedallionError
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.history import last_code, made, total_records
from medallion.lakehouse.staging import beside
from medallion.layers import inputs
from medallion.layers.plan import Plan, Task
from medallion.quality.deduplicate import latest
from medallion.quality.references import flagged
from medallion.quality.rules import passes

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_GONE = "_gone"
"""A key of which the table must hold no row."""
_TOLD = ("string", "tinyint", "smallint", "int", "bigint", "date", "boolean")
"""Types of keys that quarantined rows, which are kept as JSON, tell as they were."""


@dataclass(frozen=True)
class Upserted:
    """What became of a date's good rows: `kept` are in the table, `older` ones are not, because it has later ones.
    `changes` are those of the table, by kind, with the `way` they were worked out."""

    kept: int
    older: int
    changes: dict[str, Any]


def upsert(branch: Branch, domains: Domains, plan: Plan, task: Task, incoming: str, rows: int, notes: dict[str, str]) -> Upserted:
    """Put a date's rows into its dataset's table, in one commit on the branch.

    Args:
        incoming: the table on the branch that has the date's rows: judged, good, each key once.
        rows: how many these are.
        notes: for the snapshot's summary.
    Raises: MedallionError if the commit does not count what the rows come to.
    """
    contract, s3 = domains.contracts[task.dataset], branch.settings.s3
    content = branch.content(contract.dataset)
    before, code = made(s3, content), last_code(s3, content)
    anew = code not in (None, task.made.code)
    if not anew and task.date not in before and not _contested(branch, contract, incoming, task.date):
        return _merge(branch, contract, incoming, rows, notes)
    dates = sorted({d for d in (*before, task.date) if d is not None})
    winners = latest(_made_of(branch, domains, plan, task, lambda i: inputs.read(branch, plan, i, dates)), contract)
    if anew:
        found = _all(branch, contract, winners, task.date, notes)
    else:
        found = _keys_again(branch, contract, winners, _touched(branch, domains, plan, task), task.date, notes)
    if found.kept > rows:
        raise MedallionError(
            f"{contract.dataset} {task.date}: {rows} rows are good, and {found.kept} of them are the latest of their keys",
            hint="does the transform make of a row the same whatever other dates' rows it is given? an upserted one has to",
            dataset=contract.dataset,
        )
    return Upserted(found.kept, rows - found.kept, found.changes)


def _merge(branch: Branch, contract: Contract, incoming: str, rows: int, notes: dict[str, str]) -> Upserted:
    """Merge a new date's rows: of each key the later one stays."""

    def place(side: str) -> str:
        by = contract.materialisation.latest_by
        return f"named_struct('by', {side}.`{by}`, 'delivery', {side}._delivery, 'row', {side}._source_row)"

    clauses = f"WHEN MATCHED AND {place('s')} > {place('t')} THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    added, updated = branch.merge(incoming, contract.dataset, contract.key, clauses, notes)
    return Upserted(added, rows - added, {"way": "merged", "inserted": added - updated, "updated": updated})


def _keys_again(
    branch: Branch, contract: Contract, winners: DataFrame, touched: DataFrame, when: date | None, notes: dict[str, str]
) -> Upserted:
    """Have the table hold, of the keys touched, the winners among all rows, where these are good; else no row."""
    from pyspark.sql import functions as f

    key, columns = list(contract.key), list(contract.schema())
    good = _good(branch, contract, winners.join(touched, key, "left_semi")).withColumn("_there", f.lit(True))
    rows = touched.join(good, key, "left").select(*columns, f.col("_there").isNull().alias(_GONE))
    with beside(branch, contract, (Described(_GONE, "boolean", False, "", False),)) as staged:
        rows.select(*staged.schema()).writeTo(f"{branch.catalog}.{staged.dataset}").append()
        told = _compared(branch, contract, branch.read(staged.dataset), when)
        alike = " AND ".join(f"t.`{name}` <=> s.`{name}`" for name in columns)
        clauses = (
            f"WHEN MATCHED AND s.{_GONE} THEN DELETE WHEN MATCHED AND NOT ({alike}) THEN UPDATE SET * "
            f"WHEN NOT MATCHED AND NOT s.{_GONE} THEN INSERT *"
        )
        added, gone = branch.merge(staged.dataset, contract.dataset, key, clauses, notes)
    if (added, gone) != (told["inserted"] + told["updated"], told["updated"] + told["withdrawn"]):
        raise MedallionError(
            f"{contract.dataset} {when}: {added} rows were added and {gone} went, which is not what was worked out: {told}",
            hint="nothing of the run is merged; run it again",
            dataset=contract.dataset,
        )
    return Upserted(told.pop("kept"), 0, {"way": "keys made again"} | told)


def _all(branch: Branch, contract: Contract, winners: DataFrame, when: date | None, notes: dict[str, str]) -> Upserted:
    """Make the whole table again, of all winners that are good."""
    from pyspark.sql import functions as f

    rows = branch.overwrite(_good(branch, contract, winners), contract.dataset, f.lit(True), notes)
    kept = branch.read(contract.dataset).filter(f.col("_logical_date") == f.lit(when)).count()
    return Upserted(kept, 0, {"way": "made anew", "rows": rows})


def _made_of(branch: Branch, domains: Domains, plan: Plan, task: Task, by_date: Callable[[str], DataFrame]) -> DataFrame:
    """What the transform makes of these rows of what comes by date, and of all of its other inputs."""
    transform = domains.transforms[task.dataset]
    frames = {
        parameter: by_date(i) if plan.by_date(i) else inputs.read(branch, plan, i, [None])
        for parameter, i in transform.inputs.items()
    }
    return transform.function(**frames)


def _good(branch: Branch, contract: Contract, rows: DataFrame) -> DataFrame:
    """The rows that break no rule that would put them aside, in the table's columns."""
    errors = [rule for rule in contract.row_rules if rule.puts_aside]
    return flagged(rows, contract, branch.read).filter(passes(errors)).select(*contract.schema())


def _touched(branch: Branch, domains: Domains, plan: Plan, task: Task) -> DataFrame:
    """The keys that a date brings, or brought with any delivery that bronze has of it, or has in the table."""
    from pyspark.sql import functions as f

    contract = domains.contracts[task.dataset]
    key = [f.col(f"`{name}`") for name in contract.key]
    of_date = f.col("_logical_date") == f.lit(task.date)
    ever = _made_of(branch, domains, plan, task, lambda i: branch.read(i).filter(of_date)).select(*key)
    there = reduce(operator.and_, [column.isNotNull() for column in key])  # dropna would drop NaN too
    return ever.unionByName(branch.read(contract.dataset).filter(of_date).select(*key)).filter(there).distinct()


def _contested(branch: Branch, contract: Contract, incoming: str, when: date | None) -> bool:
    """Whether a row in quarantine may be the latest of a key that a date brings. Rows that do not parse or lack
    a part of their key are the same as no other, and stand in nobody's way."""
    from pyspark.sql import functions as f

    if not total_records(branch.settings.s3, branch.content(contract.quarantine)):
        return False
    alone = f.array(f.lit("parses"), *[f.lit(f"{name}_required") for name in contract.key])
    aside = branch.read(contract.quarantine).filter(~f.arrays_overlap("rules", alone))
    told = {column.name: column.type for column in contract.columns if column.name in contract.key and not column.personal}
    if set(told) != set(contract.key) or not set(told.values()) <= set(_TOLD):
        return not aside.isEmpty()
    types = ", ".join(f"`{name}` {type_}" for name, type_ in told.items())
    keys = aside.select("_logical_date", f.from_json("record", types).alias("key")).select("_logical_date", "key.*")
    brought = branch.read(incoming).select(*[f.col(f"`{name}`") for name in told], f.lit(True).alias("_brought"))
    mine = (f.col("_logical_date") == f.lit(when)) | f.col("_brought")
    return not keys.join(brought, list(told), "left").filter(mine).isEmpty()


def _compared(branch: Branch, contract: Contract, staged: DataFrame, when: date | None) -> dict[str, int]:
    """How many keys the staged rows will change in the table, by kind; `kept` are rows of the date that it will have."""
    from pyspark.sql import functions as f

    columns = list(contract.schema())
    there = branch.read(contract.dataset).select(*contract.key, f.struct(*columns).alias("_before"))
    alike: Column = reduce(operator.and_, [f.col(f"`{name}`").eqNullSafe(f.col(f"_before.`{name}`")) for name in columns])
    gone, known, own = f.col(_GONE), f.col("_before").isNotNull(), f.col("_logical_date") == f.lit(when)
    counted = {
        "kept": ~gone & own,
        "inserted": ~gone & ~known,
        "updated": ~gone & known & ~alike,
        "withdrawn": gone & known,
        "restored": ~gone & ~own & (~known | ~alike),
    }
    figures = [f.count_if(f.coalesce(condition, f.lit(False))).alias(name) for name, condition in counted.items()]
    row = staged.join(there, list(contract.key), "left").agg(*figures).first()
    return {name: int(row[name]) for name in counted} if row else dict.fromkeys(counted, 0)

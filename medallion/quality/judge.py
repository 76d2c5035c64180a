"""Judge rows while they are written, and put the bad ones aside.

For a few rows, all row rules are fused into one null-safe condition beneath the write, and counters ride
along. For many, most rules are not looked at row by row at all: see `staged`. Only if something broke is
it worked out what, and for the broken rows alone. Good rows are written once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from medallion.contract import Contract
from medallion.lakehouse.staging import Staging
from medallion.lakehouse.steps import step
from medallion.quality.observation import observed_counts
from medallion.quality.quarantine import explain, rows_to_keep
from medallion.quality.rules import naming_the_rule, passes
from medallion.quality.staged import examples_of_warnings, judge_staged
from medallion.quality.table_rules import Previous, table_verdicts
from medallion.quality.verdict import SAMPLES, Judged, of_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def judge(
    frame: DataFrame,
    contract: Contract,
    run_id: str,
    logical_date: date | None,
    *,
    write: Callable[[DataFrame], int],
    quarantine: Callable[[DataFrame], DataFrame],
    written: Callable[[], DataFrame],
    table: Callable[[], DataFrame],
    staging: Staging | None = None,
    examined: Callable[[DataFrame], DataFrame] = lambda rows: rows,
    as_of: date | None = None,
    previous: Previous = (),
) -> Judged:
    """Write the good rows of a frame, put the bad ones aside, and judge every rule.

    Clean rows are worked out once. Only if some are refused is the frame worked out again, for them;
    what they broke is then read from the quarantine, and examples of warnings from what was written.

    Args:
        frame: the contract's columns and, for silver, `_unparsed`.
        logical_date: the date that is made; None where the whole table is.
        write: writes a frame of the contract's columns; returns `added-records` of its commit.
        quarantine: keeps a frame of QUARANTINE_SCHEMA; returns it as it was read back.
        written: reads back the rows that `write` wrote.
        table: reads all rows of the table.
        staging: takes the place of `write` where there are many rows.
        examined: adds to rows what row rules look at beside the contract's columns (see `medallion.quality.references`).
        as_of: the date that freshness is measured against, if not `logical_date`.
        previous: the figures of earlier runs of the dataset, newest last, for rules on change.
    Raises: ContractError for a rule that Spark cannot apply to these rows, or that fails on one of them.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    plain, frame = frame, examined(frame)

    def seen() -> DataFrame:
        return examined(written())

    if staging is not None:
        judged = judge_staged(frame, contract, run_id, logical_date, staging, quarantine=quarantine, written=seen)
        judged.verdicts += table_verdicts(contract, judged.rows_out, written, table, as_of or logical_date, previous, frame=plain)
        return judged
    errors = [rule for rule in contract.row_rules if rule.puts_aside]
    warnings = [rule for rule in contract.row_rules if not rule.puts_aside]  # and errors whose rows stay
    observation = Observation()
    with naming_the_rule(frame, contract):
        good = passes(errors)
        counters = [
            f.count(f.lit(1)).alias("judged"),
            f.count_if(~good).alias("refused"),
            f.count_if(good & ~passes(warnings)).alias("warned"),
            *[f.count_if(good & ~passes([rule])).alias(f"warning{i}") for i, rule in enumerate(warnings)],
        ]
        observed = frame.observe(observation, *counters)
        added = write(observed.filter(good).select(*contract.schema()))
        counts = observed_counts(observation)
        if counts is None or counts["judged"] - counts["refused"] != added or (counts["refused"] and not added):
            # an observed counter can count a retried task twice; the commit's own figure cannot
            row = frame.agg(*counters).first()
            counts = row.asDict() if row else {}
    total = counts["judged"]
    judged = Judged(total, added, counts["refused"], counts["warned"])
    if counts["refused"]:
        with step("quarantine"):
            kept = quarantine(rows_to_keep(frame.filter(~good), errors, contract, run_id, logical_date))
        broken, examples = explain(kept, errors, contract, SAMPLES, counts["refused"])
        judged.verdicts += [of_rows(rule, broken.get(rule.name, 0), total, examples.get(rule.name, ())) for rule in errors]
    else:
        judged.verdicts += [of_rows(rule, 0, total) for rule in errors]
    examples = examples_of_warnings(seen, [r for i, r in enumerate(warnings) if counts[f"warning{i}"]], contract)
    judged.verdicts += [
        of_rows(rule, counts[f"warning{i}"], total, examples.get(rule.name, ())) for i, rule in enumerate(warnings)
    ]
    judged.verdicts += table_verdicts(contract, added, written, table, as_of or logical_date, previous, frame=plain)
    return judged

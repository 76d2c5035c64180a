"""Judge many rows with as few looks at them as can be.

A rule goes to the cheapest way that decides it exactly. What counts and bounds of the files or a column's
dictionary can prove is left until the rows are written, and then costs nothing. The rest is one flag beneath
the write: rows that it is set for go to files of their own, which never reach the dataset. A rule that was
left and is not proven is looked at in the rows written; if some break it, their files are written anew, without
them. The next write's rules then take another way, because the dataset's history says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from medallion.contract import Contract, Rule
from medallion.errors import MedallionError
from medallion.lakehouse.staging import Files, Staging
from medallion.lakehouse.steps import step
from medallion.quality import conditions
from medallion.quality.proofs import for_the_pass, prove
from medallion.quality.quarantine import explain, rows_to_keep
from medallion.quality.rules import naming_the_rule, passes, shown
from medallion.quality.sample import look
from medallion.quality.verdict import SAMPLES, Judged, of_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def judge_staged(
    frame: DataFrame,
    contract: Contract,
    run_id: str,
    logical_date: date | None,
    staging: Staging,
    *,
    quarantine: Callable[[DataFrame], DataFrame],
    written: Callable[[], DataFrame],
) -> Judged:
    """Write a frame's good rows to its dataset, put the bad ones aside, and judge the rules on rows.

    Args: as `medallion.quality.judge.judge` takes them.
    Raises: ContractError for a rule that Spark cannot apply to these rows, or that fails on one of them.
    """
    try:
        with naming_the_rule(frame, contract):
            return _judge(frame, contract, run_id, logical_date, staging, quarantine, written)
    except BaseException:
        with suppress(MedallionError):
            staging.discard()
        raise


def _judge(
    frame: DataFrame,
    contract: Contract,
    run_id: str,
    logical_date: date | None,
    staging: Staging,
    quarantine: Callable[[DataFrame], DataFrame],
    written: Callable[[], DataFrame],
) -> Judged:
    spark, s3 = frame.sparkSession, staging.branch.settings.s3
    errors = [rule for rule in contract.row_rules if rule.puts_aside]
    warnings = [rule for rule in contract.row_rules if not rule.puts_aside]  # and errors whose rows stay
    unread = [rule for rule in contract.row_rules if conditions.read(str(rule.passes), contract.schema()) is None]
    frame.select(*[passes([rule]) for rule in unread])  # that Spark can apply them, also those that it will not need to
    earlier = staging.earlier()
    sample = None if earlier and earlier.files.rows else look(frame, errors, contract)
    in_pass = for_the_pass(errors, contract, frame.columns, earlier, sample)
    known = earlier.broken if earlier and earlier.files.rows else sample.broken if sample else None
    files = staging.write_all(frame, passes(in_pass)) if in_pass and known == frozenset() else None
    whole = files is not None
    if files is None:
        files = staging.write(frame, ~passes(in_pass) if in_pass else None)
    total = files.rows
    later = [rule for rule in errors if rule not in in_pass]
    by, open_ = prove(spark, s3, [*later, *warnings], contract, files) if total else ({r.name: "figures" for r in later}, [])
    suspected = [rule for rule in open_ if rule.puts_aside]
    by |= {rule.name: "pass" for rule in in_pass} | {rule.name: "aggregate" for rule in suspected}
    if suspected:
        files = _without_broken(staging, files, suspected)
    broken: dict[str, int] = {}
    examples: dict[str, tuple[str, ...]] = {}
    if files.broken:
        bad = staging.rows(broken=True)
        bad = bad.select(*[name for name in frame.columns if name in bad.columns])
        with step("quarantine"):  # what was written whole holds the rules of the pass, and has the dataset's columns alone
            kept = quarantine(rows_to_keep(bad, later if whole else errors, contract, run_id, logical_date))
        broken, examples = explain(kept, errors, contract, SAMPLES, sum(file.record_count for file in files.broken))
    if staging.table:
        staging.commit(files.good)
    added = sum(file.record_count for file in files.good)
    judged = Judged(total, added, total - added, 0)
    judged.verdicts += [of_rows(r, broken.get(r.name, 0), total, examples.get(r.name, ()), by[r.name]) for r in errors]
    _warn(judged, warnings, [r for r in open_ if not r.puts_aside] if added else [], by, contract, written)
    return judged


def _without_broken(staging: Staging, files: Files, rules: list[Rule]) -> Files:
    """Look at the rows written for rules that nothing has proven; files with rows that break one are written anew."""
    from pyspark.sql import functions as f

    rows = staging.rows()
    found = rows.filter(~passes(rules)).select("_file").distinct().collect()
    paths = {row[0] for row in found}
    if not paths:
        return files
    again = staging.write(rows.filter(f.col("_file").isin(list(paths))), ~passes(rules))
    sound = tuple(file for file in files.good if file.file_path not in paths)
    return replace(files, good=sound + again.good, broken=files.broken + again.broken)


def _warn(
    judged: Judged,
    warnings: list[Rule],
    open_: list[Rule],
    by: dict[str, str],
    contract: Contract,
    written: Callable[[], DataFrame],
) -> None:
    """Add the verdicts of warnings: those that nothing has proven are counted in one look at the rows written."""
    from pyspark.sql import functions as f

    counts: dict[str, int] = {}
    if open_:
        counters = [f.count_if(~passes([rule])) for rule in open_]
        row = written().agg(f.count_if(~passes(open_)), *counters).first()
        any_, *each = row or (0,)
        judged.warned, counts = any_, {rule.name: n for rule, n in zip(open_, each, strict=False)}
    examples = examples_of_warnings(written, [rule for rule in open_ if counts[rule.name]], contract)
    for rule in warnings:
        way = "aggregate" if rule in open_ else by.get(rule.name, "figures")
        judged.verdicts.append(of_rows(rule, counts.get(rule.name, 0), judged.rows_in, examples.get(rule.name, ()), way))


def examples_of_warnings(written: Callable[[], DataFrame], broken: list[Rule], contract: Contract) -> dict[str, tuple[str, ...]]:
    """A few of the written rows that broke each of these rules: one job, over rows already written."""
    from pyspark.sql import functions as f

    if not broken:
        return {}
    frame = written()
    first = [
        f.slice(f.array_sort(f.collect_list(f.when(~passes([rule]), shown(frame.columns, contract, rule)))), 1, SAMPLES)
        for rule in broken
    ]
    row = frame.filter(~passes(broken)).agg(*first).first()
    return {rule.name: tuple(found) for rule, found in zip(broken, row or (), strict=False)}

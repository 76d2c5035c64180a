"""How row rules are decided without reading a row, and which of them are worth trying it with.

What the write knows anyway comes first (`figures`), then the few distinct values of a column
(`dictionaries`), on which Spark itself evaluates the rule. What neither proves has to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.types import PrimitiveType

from medallion.contract import Contract, Rule
from medallion.lakehouse.staging import Earlier, Files
from medallion.lakehouse.table import reaching
from medallion.quality import conditions, dictionaries, figures
from medallion.quality.rules import bare, passes
from medallion.quality.sample import Sample

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from medallion.settings import S3

_VARIES = re.compile(
    r"\b(rand\w*|uuid|shuffle|monotonically_increasing_id|spark_partition_id|input_file\w*|current_\w+|curdate|now|localtimestamp"
    r"|unix_timestamp|select|reflect|java_method|try_reflect|session_user|user|version)\b",
    re.I,
)
"""Words of conditions whose outcome is not that of the row's values alone: these are judged in the pass."""
_TELLING = 1_000
"""A file of fewer rows does not tell how a larger one will be encoded."""
_DEAR = re.compile(r"\b(rlike|regexp\w*|like|similar)\b", re.I)


def for_the_pass(
    rules: Sequence[Rule], contract: Contract, columns: Sequence[str], earlier: Earlier | None, sample: Sample | None = None
) -> list[Rule]:
    """The rules that are to be judged while rows are written, cheap ones first: those that neither figures nor
    dictionaries can decide, did not at the last write, or that rows of a recent write broke.

    Args:
        columns: of the rows.
        sample: of the rows, where there was no last write.
    """
    types = contract.schema()
    chosen = []
    for rule in rules:
        condition = str(rule.passes)
        named = conditions.names(bare(condition), columns)
        alone = len(named) == 1 and named <= set(types)
        broken = (earlier and rule.name in earlier.broken) or (sample and rule.name in sample.broken)
        varied = sample and named <= sample.varied and conditions.read(bare(condition), types) is None
        if not alone or broken or varied or _VARIES.search(condition):
            chosen.append(rule)
    if earlier and earlier.files.rows:
        waiting = [rule for rule in rules if rule not in chosen]
        undecided = without_figures(waiting, types, earlier.files)
        known = _in_dictionaries(earlier.files, {next(iter(conditions.names(bare(str(r.passes)), columns))) for r in undecided})
        chosen += [rule for rule in undecided if not conditions.names(bare(str(rule.passes)), columns) <= known]
    return sorted(chosen, key=lambda rule: _cost(rule, types))


def prove(
    spark: SparkSession, s3: S3, rules: Sequence[Rule], contract: Contract, files: Files
) -> tuple[dict[str, str], list[Rule]]:
    """Decide which rules hold on every row of a write's good files.

    Returns: rule -> `figures` or `dictionary`, and the rules that are not proven (they may hold all the same).
    Raises: ServiceUnavailable.
    """
    types = contract.schema()
    left = without_figures(rules, types, files)
    by = {rule.name: "figures" for rule in rules if rule not in left}
    alone: dict[str, str] = {}
    for rule in left:
        named = conditions.names(bare(str(rule.passes)), list(types))
        if len(named) == 1 and not _VARIES.search(str(rule.passes)) and _primitive(files, *named):
            alone[rule.name] = named.pop()
    if alone:
        with reaching(s3, files.good[0].file_path):
            values = dictionaries.distinct(files.io, files.good, set(alone.values()))
        nulls = {n for n in values if any(r.nulls for r in (figures.ranges(f, files.schema, [n])[n] for f in files.good))}
        tried = [rule for rule in left if alone.get(rule.name) in values]
        held = _held(spark, tried, alone, values, nulls, types)
        by |= dict.fromkeys(held, "dictionary")
    return by, [rule for rule in left if rule.name not in by]


def without_figures(rules: Sequence[Rule], types: Mapping[str, str], files: Files) -> list[Rule]:
    """The rules that the figures of some good file do not prove."""
    return [rule for rule in rules if not _by_figures(bare(str(rule.passes)), types, files)]


def _by_figures(condition: str, types: Mapping[str, str], files: Files) -> bool:
    found = conditions.read(condition, types)
    if found is None:
        return False
    return all(found.proven(figures.ranges(file, files.schema, found.columns)) for file in files.good)


def _in_dictionaries(files: Files, columns: set[str]) -> set[str]:
    """The columns that are dictionary-encoded in one of the files, looked at instead of all; all of them where it
    has so few rows that a dictionary did not pay."""
    import pyarrow.parquet as pq

    file = max(files.good, key=lambda each: each.record_count)
    if not columns or file.record_count < _TELLING:
        return columns
    with files.io.new_input(file.file_path).open() as stream:
        metadata = pq.read_metadata(stream)
    return {name for name in columns if dictionaries.encoded(metadata, name) is not None}


def _primitive(files: Files, name: str) -> bool:
    return isinstance(files.schema.find_field(name).field_type, PrimitiveType)


def _held(
    spark: SparkSession,
    rules: Sequence[Rule],
    column: Mapping[str, str],
    values: Mapping[str, pa.Array],
    nulls: set[str],
    types: Mapping[str, str],
) -> set[str]:
    """The rules that hold on every one of their column's values: Spark says so, of all at once, without a job."""
    from pyspark.sql import functions as f

    lists = {n: v.to_pylist() + ([None] if n in nulls or not len(v) else []) for n, v in values.items()}
    longest = max(map(len, lists.values()), default=0)
    if not rules:
        return set()
    filled = {n: pa.array(v + [v[-1]] * (longest - len(v)), values[n].type) for n, v in lists.items()}
    frame = spark.createDataFrame(pa.table(filled)).select(*[f.col(f"`{n}`").cast(types[n]).alias(n) for n in filled])
    rows = frame.select(*[passes([replace(rule, passes=bare(str(rule.passes)))]) for rule in rules]).collect()
    return {rule.name for i, rule in enumerate(rules) if all(row[i] for row in rows)}


def _cost(rule: Rule, types: Mapping[str, str]) -> tuple[int, int]:
    """What a condition costs a row, roughly."""
    condition = str(rule.passes)
    return len(_DEAR.findall(condition)), 0 if conditions.read(bare(condition), types) else 1

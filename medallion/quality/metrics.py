"""What is known of a write: from its files' own figures, from its verdicts, and for columns of which the
contract asks more, from one aggregate over the new rows.

The metrics stand in the write's entry of the run's story, and so in the run's evidence:

    {"rows", "bytes", "files", "null_share": {column: float}, "nan": {column: int}, "min": {column: …}, "max": {column: …},
     "bad_share": {rule: float}, "quarantine_share": float,
     "mean": {column: float}, "distinct": {column: int}, "distribution": {column: {bin: int}}}

`min` and `max` are those of numbers, dates and times that are not personal. A column of which the files
say nothing (beyond the first 100 of a table, lists, maps) is in none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import BooleanType, DateType, PrimitiveType, StringType, TimestampType, TimestamptzType
from pyiceberg.utils.datetime import days_to_date, micros_to_timestamp, micros_to_timestamptz

from medallion.contract import Contract, Measure
from medallion.lakehouse.nessie import Content
from medallion.lakehouse.table import open_static, reaching
from medallion.quality.verdict import Judged
from medallion.settings import S3

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

VALUES = 50
"""How many of a column's most frequent values are counted each by itself."""
OTHERS = "(others)"
_ENGINE = ("_ingested_at", "_run_id", "_source_sha256", "_row_hash", "_extra", "_source_uri", "_delivery", "_source_row")


def measure(
    s3: S3, content: Content, contract: Contract, where: str, written: Callable[[], DataFrame], judged: Judged
) -> dict[str, Any]:
    """The metrics of a write to a contract's table, as above.

    Args:
        content: the table as it is after the write.
        where: an Iceberg filter that selects the written rows by whole files where they lie so; empty: all rows.
        written: reads the written rows; called only if something is asked for that the files do not say.
        judged: what came of the rules.
    Raises: ServiceUnavailable.
    """
    files, schema = _files(s3, content, where)
    rows = judged.rows_out
    found: dict[str, Any] = {
        "rows": rows,
        "bytes": sum(file.file_size_in_bytes for file in files),
        "files": len(files),
        "null_share": {},
        "bad_share": {v.rule: v.bad / v.judged for v in judged.verdicts if v.judged},
        "quarantine_share": judged.quarantined / judged.rows_in if judged.rows_in else 0.0,
    }
    if sum(file.record_count for file in files) == rows:  # else the files hold rows of other writes too
        found |= _of_files(files, schema, contract, rows)
    return found | (of_rows(written(), contract.measures) if contract.measures and rows else {})


def _files(s3: S3, content: Content, where: str) -> tuple[list[DataFile], Schema]:
    table = open_static(s3, content)
    if content["snapshotId"] in (-1, None):
        return [], table.schema()
    with reaching(s3, table.location()):
        scan = table.scan(row_filter=where) if where else table.scan()
        return [task.file for task in scan.plan_files()], table.schema()


def _of_files(files: list[DataFile], schema: Schema, contract: Contract, rows: int) -> dict[str, Any]:
    """Shares of nulls, counts of NaN and bounds, for columns of which every file tells them."""
    hidden = {column.name for column in contract.columns if column.personal}
    found: dict[str, dict[str, Any]] = {"null_share": {}, "nan": {}, "min": {}, "max": {}}
    for field in schema.fields:
        if not isinstance(field.field_type, PrimitiveType) or field.name in _ENGINE:
            continue
        nulls = [(file.null_value_counts or {}).get(field.field_id) for file in files]
        if rows and all(n is not None for n in nulls):
            found["null_share"][field.name] = sum(n or 0 for n in nulls) / rows
        if nan := sum((file.nan_value_counts or {}).get(field.field_id, 0) for file in files):
            found["nan"][field.name] = nan
        if field.name in hidden or isinstance(field.field_type, StringType | BooleanType):
            continue
        for key, pick in (("min", min), ("max", max)):
            bounds = [(file.lower_bounds if key == "min" else file.upper_bounds) or {} for file in files]
            values = [from_bytes(field.field_type, b[field.field_id]) for b in bounds if field.field_id in b]
            if values:
                found[key][field.name] = _readable(field.field_type, pick(values))
    return found


def _readable(type_: PrimitiveType, value: Any) -> Any:
    if isinstance(type_, DateType):
        return days_to_date(value).isoformat() if isinstance(value, int) else str(value)
    if isinstance(type_, TimestamptzType | TimestampType) and isinstance(value, int):
        as_time = micros_to_timestamptz if isinstance(type_, TimestamptzType) else micros_to_timestamp
        return as_time(value).isoformat()
    plain = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if plain else str(value)  # JSON has no infinities


def of_rows(rows: DataFrame, measures: Sequence[Measure]) -> dict[str, Any]:
    """`mean`, `distinct` and `distribution` of the columns that ask for them: one aggregate for all.

    NaN counts for none of them. Distinct values are estimated (HyperLogLog, standard error 1 %); of a
    column's values the VALUES most frequent are counted one by one and the rest as OTHERS, exactly while
    there are fewer than 7,500 of them. The bins between edges a, b are called `[a, b)`.
    """
    from pyspark.sql import functions as f

    aggregates: list[Column] = []
    for i, one in enumerate(measures):
        column = f.expr(
            f"nanvl(try_cast(`{one.column}` AS double), cast(NULL AS double))"
        )  # text only where neither is asked for
        if one.mean:
            aggregates.append(f.avg(column).alias(f"mean{i}"))
        if one.distinct:
            aggregates.append(f.approx_count_distinct(f"`{one.column}`", 0.01).alias(f"distinct{i}"))
        if one.values:
            text = f"cast(`{one.column}` AS string)"
            aggregates.append(f.expr(f"approx_top_k({text}, {VALUES + 1}, 10000)").alias(f"values{i}"))
            aggregates.append(f.count(f"`{one.column}`").alias(f"count{i}"))
        if one.edges:
            aggregates += [f.count_if(inside).alias(f"bin{i}_{n}") for n, inside in enumerate(_inside(column, one.edges))]
    row = rows.agg(*aggregates).first()
    told: dict[str, Any] = row.asDict() if row else {}
    found: dict[str, dict[str, Any]] = {"mean": {}, "distinct": {}, "distribution": {}}
    for i, one in enumerate(measures):
        mean = told.get(f"mean{i}")
        if mean is not None and math.isfinite(mean):
            found["mean"][one.column] = mean
        if one.distinct:
            found["distinct"][one.column] = told[f"distinct{i}"]
        if one.values:
            counted = [each for each in told[f"values{i}"] or () if each["item"] is not None]
            top = {each["item"]: each["count"] for each in counted[:VALUES]}
            rest = told[f"count{i}"] - sum(top.values())
            found["distribution"][one.column] = top | ({OTHERS: rest} if rest > 0 else {})
        if one.edges:
            names = bins(one.edges)
            found["distribution"][one.column] = {name: told[f"bin{i}_{n}"] for n, name in enumerate(names)}
    return found


def bins(edges: Sequence[float]) -> list[str]:
    """The names of the bins that edges make."""
    shown = [str(edge).removesuffix(".0") for edge in edges]
    between = [f"[{low}, {high})" for low, high in pairwise(shown)]
    return [f"< {shown[0]}", *between, f">= {shown[-1]}"]


def _inside(column: Column, edges: Sequence[float]) -> list[Column]:
    between = [(column >= low) & (column < high) for low, high in pairwise(edges)]
    return [column < edges[0], *between, column >= edges[-1]]

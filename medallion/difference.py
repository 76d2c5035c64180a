"""The difference of two versions of a table, row by row, without a JVM.

Only the files that one version has and the other has not are read: what an engine did not rewrite is
the same rows. Rows are matched by the contract's key, or by all their values where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medallion.lakehouse.nessie import Content
from medallion.lakehouse.table import open_static, reaching
from medallion.settings import S3

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import FileScanTask, StaticTable

OF_THE_RUN = ("_run_id", "_quarantined_at", "_ingested_at")
"""Columns that tell who wrote a row and when; they are no difference."""


@dataclass(frozen=True)
class Difference:
    """What differs.

    `rows` has `_change` (`removed`, `added`, and `before` and `after` of a changed row) and the columns of
    both versions; `columns` counts for each column the changed rows that differ in it.
    """

    rows: pa.Table
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: dict[str, int] = field(default_factory=dict)
    new_columns: tuple[str, ...] = ()
    lost_columns: tuple[str, ...] = ()

    def of_columns(self) -> str:
        """In which columns it differs, for a person: `status (7), speed (new)`."""
        told = [f"{name} ({count})" for name, count in self.columns.items()]
        told += [f"{name} (new)" for name in self.new_columns] + [f"{name} (lost)" for name in self.lost_columns]
        return ", ".join(told)


def difference(s3: S3, old: Content | None, new: Content | None, key: Sequence[str] = ()) -> Difference:
    """Compare two versions of a table.

    Args:
        old, new: None where there is no such table, which then has no rows.
        key: columns that name a row; those that a version lacks make it compare whole rows.
    Raises: ServiceUnavailable.
    """
    tables = [open_static(s3, content) if content else None for content in (old, new)]
    there = next(table for table in tables if table)
    with reaching(s3, there.location()), ThreadPoolExecutor(2) as pool:
        files = list(pool.map(_files, tables))
        only = [[task for name, task in files[i].items() if name not in files[1 - i]] for i in (0, 1)]
        left, right = pool.map(_rows, [table or there for table in tables], only)
    return compare(left, right, key)


def _files(table: StaticTable | None) -> dict[tuple[str, ...], FileScanTask]:
    """The files of the current snapshot, by their paths and those of the deletes that apply to them."""
    if table is None or table.metadata.current_snapshot_id is None:
        return {}
    return {
        (task.file.file_path, *sorted(deletes.file_path for deletes in task.delete_files)): task
        for task in table.scan().plan_files()
    }


def _rows(table: StaticTable, files: list[FileScanTask]) -> pa.Table:
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan

    return ArrowScan(table.metadata, table.io, table.schema(), AlwaysTrue()).to_table(files)


def compare(old: pa.Table, new: pa.Table, key: Sequence[str] = ()) -> Difference:
    """Compare rows. A column that one side lacks counts as null there; one that changed its type, and one
    of nested values, is compared and shown as text. Rows that share a key are paired in the order of
    their values, so repeated rows count as often as they are there."""
    import duckdb

    names = list(dict.fromkeys([*old.column_names, *new.column_names]))
    compared = [name for name in names if name not in OF_THE_RUN]
    if not key or not set(key) <= set(old.column_names) & set(new.column_names):
        key = compared
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        for side, table in (("_old", old), ("_new", new)):
            engine.register(f"incoming{side}", table)
            values = ", ".join(_value(name, table, old, new) for name in names)
            engine.execute(f"CREATE TABLE plain{side} AS SELECT {values} FROM incoming{side}")
            partition, order = _list(key), _list(compared)
            engine.execute(
                f"CREATE TABLE {side} AS SELECT *, row_number() OVER (PARTITION BY {partition} ORDER BY {order}) AS _nth "
                f"FROM plain{side}"
            )
        same = " AND ".join(f"_old.{_q(name)} IS NOT DISTINCT FROM _new.{_q(name)}" for name in (*key, "_nth"))
        differs = {name: f"_old.{_q(name)} IS DISTINCT FROM _new.{_q(name)}" for name in compared if name not in key}
        # a row is there when its number is: every row has one
        engine.execute(
            f"CREATE TABLE pairs AS SELECT _old, _new, _old._nth IS NULL AS added, _new._nth IS NULL AS removed, "
            f"[{', '.join(differs.values())}]::BOOLEAN[] AS differs "
            f"FROM _old FULL JOIN _new ON {same} "
            f"WHERE _old._nth IS NULL OR _new._nth IS NULL OR {' OR '.join(differs.values()) or 'false'}"
        )
        changed = "NOT added AND NOT removed"
        conditions = ["added", "removed", changed]
        conditions += [f"{changed} AND differs[{i}]" for i in range(1, len(differs) + 1)]
        counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in conditions)
        added, removed, both, *by_column = engine.execute(f"SELECT {counts} FROM pairs").fetchall()[0]
        rows = engine.sql(
            f"""SELECT _change, {_list(names)} FROM (
                SELECT CASE WHEN removed THEN 'removed' ELSE 'before' END AS _change, 0 AS _side, unnest(_old)
                FROM pairs WHERE NOT added
                UNION ALL
                SELECT CASE WHEN added THEN 'added' ELSE 'after' END, 1, unnest(_new) FROM pairs WHERE NOT removed
            ) ORDER BY {_list(key)}, _nth, _side"""
        ).to_arrow_table()
    columns = {name: count for name, count in zip(differs, by_column, strict=True) if count}
    new_columns = tuple(name for name in new.column_names if name not in old.column_names)
    lost_columns = tuple(name for name in old.column_names if name not in new.column_names)
    return Difference(rows, added, removed, both, columns, new_columns, lost_columns)


def _value(name: str, table: pa.Table, old: pa.Table, new: pa.Table) -> str:
    import pyarrow as pa

    if name not in table.column_names:
        return f"NULL AS {_q(name)}"
    types = {side.schema.field(name).type for side in (old, new) if name in side.column_names}
    as_text = len(types) > 1 or any(pa.types.is_nested(type_) for type_ in types)
    return f"CAST({_q(name)} AS VARCHAR) AS {_q(name)}" if as_text else _q(name)


def _list(names: Sequence[str]) -> str:
    return ", ".join(_q(name) for name in names)


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

"""What a target's tables lack of the lake's, found before anything is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medallion.contract import Contract
from medallion.errors import UsageError
from medallion.lakehouse.nessie import Content
from medallion.publish import lake_files
from medallion.publish.columns import Column, from_iceberg, wider
from medallion.publish.description import Description
from medallion.publish.description import of as description_of
from medallion.publish.ledger import TableState
from medallion.publish.partitions import Change, since
from medallion.publish.plan import Plan
from medallion.publish.target import Target
from medallion.settings import S3

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask, StaticTable

READERS = 8
"""How many tables are looked at, or fetched, at a time: most of it is waiting for the object store."""


@dataclass(frozen=True)
class Fit:
    """What a target's table lacks of the lake's: all of it, or some columns (`new`), digits of some (`wide`), or no more
    than the partitions that changed (`change`) since `base`. `gone` are columns to be dropped, on purpose, and
    `remade` those of them that the lake has with another type."""

    table: StaticTable
    tasks: list[FileScanTask]
    columns: tuple[Column, ...]
    description: Description
    exists: bool
    new: tuple[Column, ...] = ()
    wide: tuple[Column, ...] = ()
    gone: tuple[str, ...] = ()
    remade: tuple[Column, ...] = ()
    base: TableState | None = None
    change: Change | None = None

    @property
    def brought(self) -> Sequence[FileScanTask]:
        """The files that the target needs, unless what it shows of their partitions cannot be told any more."""
        return self.change.now if self.change else self.tasks


def fit(
    s3: S3,
    target: Target,
    todo: Plan,
    published: Mapping[str, Contract],
    whole: Collection[str] = (),
    allowed: Collection[str] = (),
) -> dict[str, Fit]:
    """Compare the columns of the tables that change in lake and target, and their partitions with those that the target
    shows, where they may be replaced by partitions. Changes nothing.

    Args:
        published: the contracts of all published datasets.
        whole: tables that are not replaced by partitions.
        allowed: columns, as `dataset.column`, that may be dropped in the target.
    Raises: UsageError for a column that the target cannot hold, and for a change that would break
        consumers: a column that is gone, or another type.
    """
    there = target.columns(todo.changed)

    def one(dataset: str) -> Fit:
        base = None if dataset in whole else todo.bases.get(dataset)
        return _fit(s3, target, published[dataset], published, todo.contents[dataset], there.get(dataset), base, allowed)

    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(todo.changed, pool.map(one, todo.changed), strict=True))


def _fit(
    s3: S3,
    target: Target,
    contract: Contract,
    published: Mapping[str, Contract],
    content: Content,
    there: Mapping[str, str] | None,
    base: TableState | None,
    allowed: Collection[str],
) -> Fit:
    """One table, of which `there` are the columns in the target. It is asked nothing, because others are fitted meanwhile."""
    dataset = contract.dataset
    table = lake_files.open_table(s3, content)
    columns = from_iceberg(dataset, table.schema())
    target.check(dataset, columns)
    wanted = {column.name.lower(): column for column in columns}
    gone, wide = [], []
    for name, type_ in (there or {}).items():
        now = target.type_of(wanted[name]) if name in wanted else None
        if now == type_ or (now and wider(now, type_)):  # what is wider there holds it too
            continue
        if now and wider(type_, now):
            wide.append(wanted[name])
        elif f"{dataset}.{name}" in allowed:
            gone.append(name)
        else:
            raise _breaking(dataset, name, type_, now, wanted.get(name))
    tasks = lake_files.planned(table)
    new = tuple(column for column in columns if column.name.lower() not in (there or {}))
    change = None
    if base and there and not new and not gone:
        change = since(s3, base, content, table, tasks, columns)
    names = [column.name for column in columns]
    return Fit(
        table=table,
        tasks=tasks,
        columns=columns,
        description=description_of(contract, published, names, lake_files.without_nulls(table, tasks)),
        exists=there is not None,
        new=new,
        wide=tuple(wide),
        gone=tuple(gone),
        remade=tuple(wanted[name] for name in gone if name in wanted),
        base=base,
        change=change,
    )


def _breaking(dataset: str, name: str, type_: str, now: str | None, column: Column | None) -> UsageError:
    problem = f"column '{name}' is in the warehouse, and no longer in the lake"
    anew = ""
    if column:
        problem = f"column '{name}' is {type_} in the warehouse, and {now} ({column.type}) in the lake"
        anew = ", and makes it anew with that type"
    return UsageError(
        f"{dataset}: {problem}; consumers would break, so the warehouse is unchanged",
        hint="publish it as a new dataset under another name (a new version beside the old one); or, where consumers can take "
        f"it, `medallion publish --allow-breaking {dataset}.{name}`, which drops the column in the warehouse{anew}",
        dataset=dataset,
    )

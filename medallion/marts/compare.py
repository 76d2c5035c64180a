"""Do two targets' marts agree? Read both, mart by mart, and compare every row but for the commit that it is of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medallion.errors import ServiceUnavailable, UsageError
from medallion.marts.targets import settings_of
from medallion.publish import marts as published
from medallion.publish.checksum import digest
from medallion.publish.columns import Column, from_iceberg
from medallion.publish.target import Outrun, Target, Unanswered, connect
from medallion.settings import MartTarget, Settings

if TYPE_CHECKING:
    import pyarrow as pa

HASH = "main_hash"
"""The column that says of which commit a row is: targets may have been built from different ones."""
_SHOWN = 3
_TRIES = 5


@dataclass(frozen=True)
class _Shown:
    """A mart as a target shows it, without its hash's column."""

    columns: tuple[Column, ...]
    rows: pa.Table
    hash: str | None


@dataclass(frozen=True)
class MartAgreement:
    """One mart in two targets. A target that lacks it has no `rows`. `differences` are texts: columns that only one
    has, or rows that only one has, the first few."""

    mart: str
    rows: int | None
    other_rows: int | None
    checksum: str | None
    other_checksum: str | None
    agreed: bool
    hash: str | None
    other_hash: str | None
    differences: tuple[str, ...]

    def as_row(self) -> dict[str, Any]:
        return asdict(self)


def compare(settings: Settings, one: MartTarget, other: MartTarget) -> list[MartAgreement]:
    """Compare the marts that two targets show, value by value.

    Raises: UsageError if a target shows none; ServiceUnavailable; SettingsError.
    """
    left, right = _marts(settings_of(settings, one), one), _marts(settings_of(settings, other), other)
    return [_agreement(mart, left.get(mart), right.get(mart), one, other) for mart in sorted({*left, *right})]


def _agreement(mart: str, left: _Shown | None, right: _Shown | None, one: str, other: str) -> MartAgreement:
    digests = [digest(shown.rows, shown.columns) if shown else None for shown in (left, right)]
    differences: tuple[str, ...] = ()
    if left is None or right is None:
        differences = (f"{one if left is None else other} has no such mart",)
    elif set(left.columns) != set(right.columns):
        names = sorted(f"{column.name} {column.type}" for column in {*left.columns} ^ {*right.columns})
        differences = (f"not the same columns: {', '.join(names)}",)
    elif digests[0] != digests[1]:
        differences = _rows_that_differ(left, right, one, other)
    return MartAgreement(
        mart=mart,
        rows=digests[0].rows if digests[0] else None,
        other_rows=digests[1].rows if digests[1] else None,
        checksum=digests[0].checksum if digests[0] else None,
        other_checksum=digests[1].checksum if digests[1] else None,
        agreed=not differences and digests[0] == digests[1],
        hash=left.hash if left else None,
        other_hash=right.hash if right else None,
        differences=differences,
    )


def _rows_that_differ(left: _Shown, right: _Shown, one: str, other: str) -> tuple[str, ...]:
    import duckdb

    chosen = ", ".join(
        f'CAST("{c.name}" AS {"VARCHAR" if c.type == "string" else c.type.upper()}) AS "{c.name}"' for c in left.columns
    )
    lines = []
    with duckdb.connect() as engine:
        for name, shown in (("one", left), ("other", right)):
            rows = shown.rows.rename_columns([each.lower() for each in shown.rows.column_names])
            engine.register(f"{name}_rows", rows)
            engine.execute(f"CREATE TABLE {name} AS SELECT {chosen} FROM {name}_rows")
        for target, has, lacks in ((one, "one", "other"), (other, "other", "one")):
            only = engine.sql(f"SELECT * FROM {has} EXCEPT ALL SELECT * FROM {lacks}")
            names = only.columns
            found = only.order(", ".join(f'"{each}"' for each in names)).fetchall()
            lines += [
                f"only in {target}: {', '.join(f'{n}={v}' for n, v in zip(names, row, strict=True))}" for row in found[:_SHOWN]
            ]
            lines += [f"only in {target}: {len(found) - _SHOWN} rows more"] if len(found) > _SHOWN else []
    return tuple(lines)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────
def _marts(settings: Settings, target: MartTarget) -> dict[str, _Shown]:
    found = _of_the_lake(settings) if target == "spark" else _of_the_warehouse(settings)
    if not found:
        raise UsageError(f"the target {target} shows no marts", hint=f"`DBT_TARGET={target} medallion marts` first")
    return found


def _of_the_warehouse(settings: Settings) -> dict[str, _Shown]:
    try:
        with closing(connect(settings)) as target:
            for _ in range(_TRIES):
                head = target.head()
                entry = target.entry(sequence=head.sequence) if head.sequence else None
                columns = {mart: state.columns for mart, state in (entry.marts if entry else {}).items()}
                found = {mart: _fetch(target, mart, each) for mart, each in columns.items()}
                if target.head() == head:  # nothing was published in between
                    return found
    except (Unanswered, Outrun) as error:
        raise ServiceUnavailable(f"the warehouse stopped answering: {error}", hint="compare again") from error
    raise ServiceUnavailable("publications kept coming while we compared", hint="compare again")


def _fetch(target: Target, mart: str, types: Mapping[str, str]) -> _Shown:
    columns = tuple(Column(name, type_) for name, type_ in types.items())
    return _shown(columns, target.fetch(published.dataset(mart), columns))


def _of_the_lake(settings: Settings) -> dict[str, _Shown]:
    from medallion.lakehouse.nessie import MAIN, Nessie
    from medallion.lakehouse.table import open_static

    beginning = published.dataset("")
    with closing(Nessie(settings.nessie)) as nessie:
        contents = nessie.tables(nessie.reference(MAIN))
    found = {}
    for dataset, content in contents.items():
        if dataset.startswith(beginning):
            table = open_static(settings.s3, content)
            found[dataset.removeprefix(beginning)] = _shown(from_iceberg(dataset, table.schema()), table.scan().to_arrow())
    return found


def _shown(columns: tuple[Column, ...], rows: pa.Table) -> _Shown:
    names = [name for name in rows.column_names if name.lower() == HASH]
    hashes = {value for name in names for value in rows.column(name).unique().to_pylist()}
    kept = tuple(column for column in columns if column.name.lower() != HASH)
    return _Shown(kept, rows.drop_columns(names), hashes.pop() if len(hashes) == 1 else None)

"""All that is made of something, as rows: from landing files through the layers to the warehouse, the marts and who uses them.

The rows say what contracts, transforms and the dbt project say now; what a number was really made of, file by file and at any
version, `tables.py` tells. `refresh` keeps them in the table `ops.lineage` (see `medallion.ops.tables`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import ContractError
from medallion.lakehouse.steps import step
from medallion.lineage import dbt_models
from medallion.lineage.columns import Columns
from medallion.lineage.dbt_models import Project

if TYPE_CHECKING:
    import psycopg
    from pyspark.sql import SparkSession

SourceKind = Literal["landing", "dataset", "mart"]
TargetKind = Literal["dataset", "warehouse", "mart", "exposure"]
How = Literal["read", "judged by", "identity", "expression", "condition", "copied"]
log = logging.getLogger(__name__)
_VERSION = 2
"""Part of the fingerprint: raised when the same files are to give other rows."""
PROJECTED = "lineage"
"""The source that `ops.projected` calls the fingerprint of the rows by."""


@dataclass(frozen=True, order=True)
class Edge:
    """One row of `ops.lineage`. Of a table as a whole the columns are empty; a `condition` has a source's column and decides
    which rows of the whole target there are."""

    source_kind: SourceKind
    source: str
    source_column: str
    target_kind: TargetKind
    target: str
    target_column: str
    how: How


def fingerprint(domains: Domains, project: Path) -> str:
    """A hash of all that the rows are worked out from: contracts, transforms, and the files of the dbt project."""
    found = hashlib.sha256(f"{_VERSION}\n".encode())
    for dataset, contract in sorted(domains.contracts.items()):
        code = domains.transforms[dataset].fingerprint if dataset in domains.transforms else ""
        found.update(f"{dataset} {contract.fingerprint} {code}\n".encode())
    for path in dbt_models.files(project):
        found.update(f"{path.relative_to(project)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def rows(domains: Domains, columns: Mapping[str, Columns], project: Project, marts: Mapping[str, Columns]) -> list[Edge]:
    """All edges, sorted, each pair of ends once.

    Args:
        columns: what the columns of silver and gold are made of (`columns.of_transform`), as far as it is known.
        marts: the same of the marts, by their full names (`mart_columns.of_marts`).
    """
    found: dict[tuple[str, ...], Edge] = {}
    for edge in (*_of_datasets(domains, columns), *_of_marts(project, marts)):
        found.setdefault(astuple(edge)[:-1], edge)
    return sorted(found.values())


def current(
    domains: Domains, project: Path, spark: Callable[[], SparkSession], report: Callable[[str], None] = lambda line: None
) -> list[Edge]:
    """All edges as the files say now. Reads no table; takes a session, which looks at the transforms' plans. Of a transform whose
    columns cannot be followed only the tables are told, and `report` hears of it.

    Raises: UsageError for a project's file that is no YAML.
    """
    from medallion.lineage import mart_columns
    from medallion.lineage.columns import of_transform
    from medallion.session import silent

    models = dbt_models.read(project)
    session = spark()
    columns: dict[str, Columns] = {}
    with silent(session) if domains.transforms else nullcontext():
        for dataset in domains.transforms:
            try:
                columns[dataset] = of_transform(session, domains, dataset)
            except ContractError as error:
                log.warning("the lineage of %s has no columns", dataset, exc_info=True)
                report(f"ops: the lineage of {dataset} is known by tables alone: {error.message[:300]}")
    return rows(domains, columns, models, mart_columns.of_marts(models, published(domains)))


def published(domains: Domains) -> dict[str, list[str]]:
    """The datasets that models can read, with their columns."""
    return {dataset: [*contract.schema()] for dataset, contract in domains.contracts.items() if contract.published}


def refresh(
    connection: psycopg.Connection[Any], domains: Domains, project: Path, spark: Callable[[], SparkSession],
    report: Callable[[str], None] = lambda line: None,
) -> bool:  # fmt: skip
    """Bring `ops.lineage` up to date, if contracts, transforms or the dbt project have changed since.

    Args:
        connection: to the database with the tables of `medallion.ops.tables.PROJECTION`.
        spark: only called if they have changed.
    Returns: whether they had. Raises: as `current`; psycopg.Error.
    """
    now = fingerprint(domains, project)
    held = connection.execute("SELECT position FROM ops.projected WHERE source = %s", (PROJECTED,)).fetchone()
    if held and now == (held["position"] if isinstance(held, dict) else held[0]):
        return False
    fill(connection, current(domains, project, spark, report), now)
    return True


def fill(connection: psycopg.Connection[Any], edges: Iterable[Edge], position: str | None = None) -> None:
    """Put these in the place of all rows of `ops.lineage`, in one transaction, with the fingerprint that they are of. Who reads
    the table meanwhile sees the old ones or the new ones."""
    with step("lineage.edges"), connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('medallion.lineage'))")  # two runs may end at once
        cursor.execute("DELETE FROM ops.lineage")
        with cursor.copy(f"COPY ops.lineage ({', '.join(Edge.__dataclass_fields__)}) FROM STDIN") as copy:
            for edge in edges:
                copy.write_row(astuple(edge))
        if position:
            cursor.execute(
                "INSERT INTO ops.projected (source, position) VALUES (%s, %s) ON CONFLICT (source) "
                "DO UPDATE SET position = excluded.position, projected_at = clock_timestamp()",
                (PROJECTED, position),
            )


def landing(contract: Contract) -> str | None:
    """Where the deliveries of a bronze dataset lie: the bucket, and the prefix with `{year}`, `{month}` and `{day}`."""
    return f"s3://{contract.bucket}/{contract.delivery.path}" if contract.delivery else None


def _of_datasets(domains: Domains, columns: Mapping[str, Columns]) -> Iterator[Edge]:
    for dataset, contract in domains.contracts.items():
        if place := landing(contract):
            yield Edge("landing", place, "", "dataset", dataset, "", "read")
            for column in contract.columns:
                yield Edge("landing", place, column.source, "dataset", dataset, column.name, "copied")
        if dataset in domains.transforms:
            for read in domains.transforms[dataset].inputs.values():
                yield Edge("dataset", read, "", "dataset", dataset, "", "read")
        for rule in contract.rules:
            if rule.reference and rule.puts_aside:
                yield Edge("dataset", rule.reference.to, "", "dataset", dataset, "", "judged by")
                for name in rule.reference.to_columns:
                    yield Edge("dataset", rule.reference.to, name, "dataset", dataset, "", "judged by")
        if dataset in columns:
            yield from _of_columns(lambda name: "dataset", columns[dataset], "dataset", dataset)
        if contract.published:
            yield Edge("dataset", dataset, "", "warehouse", dataset, "", "copied")
            for name in contract.schema():
                yield Edge("dataset", dataset, name, "warehouse", dataset, name, "copied")


def _of_marts(project: Project, marts: Mapping[str, Columns]) -> Iterator[Edge]:
    def kind(name: str) -> SourceKind:
        return "mart" if name in project.marts else "dataset"

    for name, reads in project.reads.items():
        target: TargetKind = "mart" if name in project.marts else "exposure"
        for read in reads:
            yield Edge(kind(read), read, "", target, name.removeprefix(dbt_models.EXPOSURE), "", "read")
    for name, made in marts.items():
        yield from _of_columns(kind, made, "mart", name)


def _of_columns(kind: Callable[[str], SourceKind], made: Columns, target_kind: TargetKind, target: str) -> Iterator[Edge]:
    for name, sources in made.direct.items():
        for source, column in sources:
            yield Edge(kind(source), source, column, target_kind, target, name, "identity" if name in made.same else "expression")
    for source, column in made.conditions:
        yield Edge(kind(source), source, column, target_kind, target, "", "condition")

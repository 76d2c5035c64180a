"""Do lake and warehouse agree? Read both, table by table, and compare rows and checksums."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse.nessie import MAIN, Content, Nessie, Reference
from medallion.publish import lake_files
from medallion.publish.checksum import Digest, digest
from medallion.publish.columns import from_iceberg
from medallion.publish.publication import HasContracts
from medallion.publish.target import Missing, Outrun, Target, Unanswered, connect
from medallion.settings import S3, Settings

_TRIES = 5


@dataclass(frozen=True)
class TableAgreement:
    """One published table in lake and warehouse.

    `hash` is the commit of `main` that was compared; `main_hash` where `main` is now, and
    `main_moved` whether the table has changed between the two: `agreed` and `main_moved` together
    mean that the warehouse rightly shows an older version. A table that the warehouse lacks has
    no `warehouse_rows`, one that is not yet in the lake at `hash` no `lake_rows`.
    """

    dataset: str
    lake_rows: int | None
    warehouse_rows: int | None
    lake_checksum: str | None
    warehouse_checksum: str | None
    agreed: bool
    hash: str
    main_hash: str
    main_moved: bool

    @property
    def note(self) -> str:
        """What is to be said about it, in one line; empty if all is well."""
        notes = []
        if self.warehouse_rows is None and self.lake_rows is not None:
            notes.append("the warehouse has no such table, or not all its columns")
        elif not self.agreed:
            notes.append("the rows differ" if self.lake_rows == self.warehouse_rows else "not as many rows")
        if self.main_moved:
            notes.append(f"the warehouse is at {self.hash[:12]}, main at {self.main_hash[:12]}")
        return "; ".join(notes)


def reconcile(settings: Settings, domains: HasContracts, at: str | None = None) -> list[TableAgreement]:
    """Compare every published table of the lake with the warehouse, value by value.

    Args:
        domains: their contracts say which datasets are published.
        at: compare with this commit of `main` instead of the one that the ledger says is shown.

    Raises: UsageError if nothing has been published; ServiceUnavailable.
    """
    with closing(Nessie(settings.nessie)) as nessie, closing(connect(settings)) as target:
        try:
            for _ in range(_TRIES):
                head = target.head()
                if head.hash is None:
                    raise UsageError("nothing has been published yet", hint="`medallion publish`")
                found = _compare(settings.s3, nessie, target, domains, at or head.hash)
                if target.head() == head:  # no publication came in between
                    return found
        except (Unanswered, Outrun) as error:
            raise ServiceUnavailable(f"the warehouse stopped answering: {error}", hint="reconcile again") from error
    raise ServiceUnavailable("publications kept coming while we compared", hint="reconcile again")


def _compare(s3: S3, nessie: Nessie, target: Target, domains: HasContracts, hash_: str) -> list[TableAgreement]:
    main = nessie.reference(MAIN)
    now = nessie.tables(main)
    then = nessie.tables(Reference(MAIN, hash_))
    agreements = []
    for dataset in sorted(name for name, contract in domains.contracts.items() if contract.published):
        old, new = then.get(dataset), now.get(dataset)
        if old is None and new is None:
            continue
        lake, warehouse = _digests(s3, target, dataset, old) if old else (None, None)
        agreements.append(
            TableAgreement(
                dataset=dataset,
                lake_rows=lake.rows if lake else None,
                warehouse_rows=warehouse.rows if warehouse else None,
                lake_checksum=lake.checksum if lake else None,
                warehouse_checksum=warehouse.checksum if warehouse else None,
                agreed=lake == warehouse,
                hash=hash_,
                main_hash=main.hash,
                main_moved=_version(old) != _version(new),
            )
        )
    return agreements


def _digests(s3: S3, target: Target, dataset: str, content: Content) -> tuple[Digest, Digest | None]:
    table = lake_files.open_table(s3, content)
    columns = from_iceberg(dataset, table.schema())
    lake = digest(table.scan().to_arrow(), columns)
    try:
        return lake, digest(target.fetch(dataset, columns), columns)
    except Missing:
        return lake, None


def _version(content: Content | None) -> tuple[object, ...] | None:
    return (content["id"], content["snapshotId"], content["schemaId"]) if content else None

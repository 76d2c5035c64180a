"""Every version of a dataset's schema, and the commit, run and contract that brought it, from Nessie's log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyiceberg.schema import Schema

from medallion.contract import Contract
from medallion.errors import UsageError
from medallion.lakehouse import schema as schemas
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, Commit, Content, Nessie
from medallion.lakehouse.schema import Difference
from medallion.lakehouse.table import CONTRACT_FINGERPRINT, CONTRACT_VERSION, open_static
from medallion.settings import S3

COLUMNS = ("version", "hash", "time", "run", "contract_version", "fingerprint", "changed")


@dataclass(frozen=True)
class Version:
    """One version of a schema: `number` counts from 1; `changed` is what differs from the one before.
    `contract_version` and `fingerprint` (SHA-256 of its file) are None for tables that were made before they
    were kept."""

    number: int
    schema: Schema
    hash: str
    time: datetime
    run: str | None
    contract_version: str | None
    fingerprint: str | None
    changed: tuple[Difference, ...]

    def as_row(self) -> dict[str, Any]:
        """With COLUMNS, and `columns` (name -> type)."""
        changed = [one.text for one in self.changed] if self.number > 1 else [f"{len(self.schema.fields)} columns"]
        return {
            "version": self.number,
            "hash": self.hash,
            "time": self.time,
            "run": self.run,
            "contract_version": self.contract_version,
            "fingerprint": self.fingerprint,
            "changed": changed,
            "columns": schemas.columns(self.schema),
        }


def versions(s3: S3, nessie: Nessie, dataset: str) -> list[Version]:
    """The versions of a dataset's schema on `main`, oldest first.

    Raises: UsageError if main never had the table; ServiceUnavailable.
    """
    found: list[Version] = []
    last: tuple[Any, ...] | None = None
    for commit, content in reversed(list(nessie.versions(nessie.reference(MAIN), dataset))):
        this = (content["id"], content["schemaId"]) if content and content["type"] == "ICEBERG_TABLE" else None
        if content is None or this is None or this == last:
            last = this
            continue
        last = this
        found.append(next_version(s3, commit, content, len(found), found[-1].schema if found else None))
    if not found:
        raise UsageError(f"main has never had a table '{dataset}'", hint="`medallion sql` and `medallion domain list` tell which")
    return found


def next_version(s3: S3, commit: Commit, content: Content, before: int, schema_before: Schema | None) -> Version:
    """The version of a schema that a commit brought, after so many others. Raises: ServiceUnavailable."""
    metadata = open_static(s3, content).metadata
    schema, properties = metadata.schema(), metadata.properties
    return Version(
        number=before + 1,
        schema=schema,
        hash=commit.hash,
        time=commit.time,
        run=commit.properties.get(RUN_PROPERTY),
        contract_version=properties.get(CONTRACT_VERSION),
        fingerprint=properties.get(CONTRACT_FINGERPRINT),
        changed=tuple(schemas.differences(schema_before.fields if schema_before else (), schema.fields)),
    )


def diff(found: list[Version], contract: Contract | None, old: int | None, new: int | None) -> tuple[str, list[Difference]]:
    """Two versions side by side, as text, and what differs.

    Args:
        old: a version's number; None: the newest.
        new: a version's number; None: the contract as its file is now.
    Raises: UsageError for a number that there is not, and where the dataset has no contract any more.
    """
    left = _version(found, old or len(found))
    if new is None:
        if contract is None:
            raise UsageError("this dataset has no contract any more", hint="name two versions of `medallion schema log`")
        name, fields = f"contract {contract.version}", schemas.of_contract(contract)
    else:
        right = _version(found, new)
        name, fields = f"version {right.number}", right.schema.fields
    heads = (f"version {left.number}", name)
    return schemas.side_by_side(left.schema.fields, fields, heads), schemas.differences(left.schema.fields, fields)


def _version(found: list[Version], number: int) -> Version:
    if not 1 <= number <= len(found):
        raise UsageError(f"there is no version {number}", hint=f"`medallion schema log` has 1 to {len(found)}")
    return found[number - 1]

"""Iceberg tables on a real catalog and object store, written by pyiceberg: no JVM needed.

lake = LakeTables(settings)
sales = gold("sales", {"id": "bigint", "amount": "decimal(10,2)"})
hash_ = lake.commit({sales: [{"id": 1, "amount": Decimal("2.50")}]})     # one commit on main
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import load_file_io
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table import CommitTableResponse, StaticTable, Table
from pyiceberg.table.update import TableRequirement, TableUpdate, update_table_metadata

from medallion.contract import Column, Contract, Layout, Materialisation
from medallion.lakehouse import table as lake_table
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN, Content, Nessie, Operation, Reference, commit_body
from medallion.settings import S3, Settings

Rows = Sequence[Mapping[str, Any]] | pa.Table
Write = Callable[[Table], None]


def gold(name: str, columns: Mapping[str, str], *, domain: str = "operations", layer: str = "gold", **more: Any) -> Contract:
    """A contract as the engine sees it. `columns` are names and Spark SQL types."""
    fields: dict[str, Any] = {
        "layer": layer,
        "domain": domain,
        "name": name,
        "zone": {"gold": "analytics", "silver": "validated", "bronze": "batch"}[layer],
        "version": "1.0.0",
        "owner": "tests",
        "description": "",
        "columns": tuple(Column(n, t, False, "", False) for n, t in columns.items()),
        "key": (),
        "rules": (),
        "materialisation": Materialisation("full"),
        "delivery": None,
        "layout": Layout(),
        "published": layer == "gold",
        "retention_days": None,
        "path": Path(f"{layer}.{name}.odcs.yaml"),
        "fingerprint": "",
    }
    return Contract(**(fields | more))


class Contracts:
    """As much of the domains as a publication looks at."""

    def __init__(self, *contracts: Contract) -> None:
        self.contracts = {contract.dataset: contract for contract in contracts}


class LakeTables:
    """Writes tables and puts them into Nessie."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.nessie = Nessie(settings.nessie)

    def close(self) -> None:
        self.nessie.close()

    def commit(self, tables: Mapping[Contract, Rows | Write], *, branch: str = MAIN, run: str | None = None) -> str:
        """One commit of many tables. Rows replace what the table holds; a function gets the table and
        does with it what it likes; tables and namespaces that are missing are created.

        Returns: the branch's new hash.
        """
        onto = self.nessie.reference(branch)
        present = self.nessie.contents(onto)
        operations: list[Operation] = []
        for contract, what in tables.items():
            for depth in (1, 2):
                space = ".".join(contract.dataset.split(".")[:depth])
                if space not in present:
                    present[space] = {"type": "NAMESPACE", "elements": space.split(".")}
                    operations.append(Operation("PUT", space, present[space]))
            content = present.get(contract.dataset) or lake_table.create(self.settings.s3, contract)
            written = write(self.settings.s3, content, what)
            if written != present.get(contract.dataset):
                operations.append(Operation("PUT", contract.dataset, written))
        run_id = run or f"test-{uuid.uuid4().hex[:8]}"
        return self.nessie.commit(onto, commit_body(operations, "written by a test", {RUN_PROPERTY: run_id}))

    def drop(self, contract: Contract) -> str:
        """Remove a table from main. Returns: main's new hash."""
        body = commit_body([Operation("DELETE", contract.dataset)], "dropped by a test", {})
        return self.nessie.commit(self.nessie.reference(MAIN), body)

    def read(self, contract: Contract, at: Reference | None = None) -> pa.Table:
        """A table's rows at a reference, `main` if none is given."""
        content = self.nessie.tables(at or self.nessie.reference(MAIN))[contract.dataset]
        return lake_table.open_static(self.settings.s3, content).scan().to_arrow()


def write(s3: S3, content: Content, what: Rows | Write) -> Content:
    """Write to the table of a content. Returns: the content of its new version."""
    properties = lake_table.io_properties(s3)
    static = StaticTable.from_metadata(content["metadataLocation"], properties)
    catalog = _MetadataOnly("test", **properties)
    table = Table(("test",), static.metadata, static.metadata_location, load_file_io(properties), catalog)
    if callable(what):
        what(table)
    else:
        arrow = schema_to_pyarrow(table.schema(), include_field_ids=False)
        rows = what if isinstance(what, pa.Table) else pa.Table.from_pylist(list(what), schema=arrow)
        table.overwrite(rows.cast(arrow))
    snapshot = table.metadata.current_snapshot_id
    return content | {
        "metadataLocation": table.metadata_location,
        "snapshotId": -1 if snapshot is None else snapshot,
        "schemaId": table.metadata.current_schema_id,
        "specId": table.metadata.default_spec_id,
        "sortOrderId": table.metadata.default_sort_order_id,
    }


class _MetadataOnly(NoopCatalog):
    """Writes each new version's metadata file, and leaves the pointer to it to Nessie."""

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        for requirement in requirements:
            requirement.validate(table.metadata)
        metadata = update_table_metadata(table.metadata, updates, metadata_location=table.metadata_location)
        location = f"{metadata.location}/metadata/{uuid.uuid4()}.metadata.json"
        ToOutputFile.table_metadata(metadata, table.io.new_output(location))
        return CommitTableResponse(metadata=metadata, metadata_location=location)

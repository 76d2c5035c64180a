"""Iceberg tables as the catalog sees them: made from a contract, evolved, and read by metadata alone.

A new table's first metadata file is written directly (Iceberg format v2) and put into Nessie by the
merge, so that a catalog of many tables starts in a second and without a JVM.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import FileIO, load_file_io
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import StaticTable
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortField, SortOrder
from pyiceberg.transforms import IdentityTransform, parse_transform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
)  # fmt: skip

from medallion import settings as settings_module
from medallion.contract import Contract, PartitionBy
from medallion.errors import ContractError, ServiceUnavailable
from medallion.lakehouse.nessie import Content
from medallion.lakehouse.steps import step

QUARANTINE_SCHEMA = {
    "_run_id": "string",
    "_logical_date": "date",
    "rules": "array<string>",
    "_delivery": "string",
    "_source_row": "bigint",
    "record": "string",
    "_quarantined_at": "timestamp",
}
"""Columns of every `<dataset>__quarantine`: `rules` names the error rules that the row breaks;
(`_delivery`, `_source_row`) points into bronze, which holds the original; `record` is the row as JSON."""

_PROPERTIES = {
    "format-version": "2",
    "write.format.default": "parquet",
    "write.parquet.compression-codec": "zstd",
    "gc.enabled": "false",  # files are shared between branches; only branch-aware maintenance may delete
}
CONTRACT_VERSION, CONTRACT_FINGERPRINT = "medallion.contract-version", "medallion.contract-fingerprint"
"""Table properties that tell which contract brought the table's schema: its version, the SHA-256 of its file."""
_MERGE_MODE = "write.merge.mode"
_WHOLE_BOUNDS = ("_delivery", "_source_uri", "_source_sha256")
"""Columns whose bounds manifests keep in full, where a table has them: so deliveries are read from there."""
_SIMPLE: dict[str, IcebergType] = {
    "string": StringType(), "tinyint": IntegerType(), "smallint": IntegerType(), "int": IntegerType(),
    "bigint": LongType(), "double": DoubleType(), "float": FloatType(), "boolean": BooleanType(),
    "date": DateType(), "timestamp": TimestamptzType(), "timestamp_ntz": TimestampType(), "binary": BinaryType(),
}  # fmt: skip


def io_properties(settings: settings_module.S3) -> dict[str, str]:
    """What pyiceberg needs to reach the object store."""
    properties = {
        "s3.region": settings.region,
        "s3.access-key-id": settings.access_key,
        "s3.secret-access-key": settings.secret_key.get_secret_value(),
        "s3.force-virtual-addressing": str(not settings.path_style).lower(),
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
    }
    return properties | ({"s3.endpoint": settings.endpoint} if settings.endpoint else {})


def iceberg_type(name: str, ids: Any) -> IcebergType:
    """Spark SQL's name of a type as an Iceberg type; `ids` yields field ids for nested fields.

    Raises: ContractError for a name that is no type.
    """
    name = name.strip().lower()
    if name in _SIMPLE:
        return _SIMPLE[name]
    match = re.fullmatch(r"decimal\((\d+),\s*(\d+)\)", name)
    if match and 1 <= int(match[1]) <= 38 and int(match[2]) <= int(match[1]):
        return DecimalType(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"(array|map|struct)<(.*)>", name):
        parts = _parts(match[2])
        if match[1] == "array":
            return ListType(next(ids), iceberg_type(match[2], ids), element_required=False)
        if match[1] == "map" and len(parts) == 2:
            key_id, value_id = next(ids), next(ids)
            return MapType(key_id, iceberg_type(parts[0], ids), value_id, iceberg_type(parts[1], ids), value_required=False)
        if match[1] == "struct":
            fields = [part.partition(":") for part in parts]
            return StructType(*(NestedField(next(ids), n.strip(), iceberg_type(t, ids), required=False) for n, _, t in fields))
    raise ContractError(f"'{name}' is no type", hint="use Spark SQL's names: string, bigint, decimal(10,2), …")


def _parts(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(text):
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


def create(settings: settings_module.S3, contract: Contract, *, quarantine: bool = False) -> Content:
    """Write the first metadata file of a contract's table (or of its quarantine), empty.

    The location ends in a fresh uuid: two tables that shared one would lose files to each other.
    Returns: the Nessie content to put, without an id. Raises: ServiceUnavailable.
    """
    columns = QUARANTINE_SCHEMA if quarantine else contract.schema()
    described = {} if quarantine else {column.name: column.description for column in contract.columns}
    ids = iter(range(1, 10_000))
    fields = [
        NestedField(next(ids), name, iceberg_type(type_, ids), required=False, doc=described.get(name) or None)
        for name, type_ in columns.items()
    ]
    schema = Schema(*fields)
    by = (PartitionBy("_logical_date"),) if quarantine else contract.partitions
    sorted_by = () if quarantine else contract.layout.sorted_by
    name = contract.quarantine if quarantine else contract.dataset
    leaf = name.split(".")[-1]
    location = f"s3://{contract.bucket}/tables/{contract.domain}/{leaf}-{uuid.uuid4()}"
    properties = _properties(columns, by) | ({} if quarantine else contract_properties(contract) | _merging(contract))
    metadata = new_table_metadata(schema, _partition_spec(schema, by), _sort_order(schema, sorted_by), location, properties)
    # pyiceberg leaves out that there is no snapshot; Nessie's REST endpoint cannot read a file that does not say so
    written = json.loads(metadata.model_dump_json(exclude_none=True)) | {"current-snapshot-id": -1}
    path = f"{location}/metadata/00000-{uuid.uuid4()}.metadata.json"
    with step("table.create"), reaching(settings, path), file_io(settings).new_output(path).create() as file:
        file.write(json.dumps(written).encode())
    return {
        "type": "ICEBERG_TABLE", "metadataLocation": path, "snapshotId": -1,
        "schemaId": metadata.current_schema_id, "specId": metadata.default_spec_id,
        "sortOrderId": metadata.default_sort_order_id,
    }  # fmt: skip


def _partition_spec(schema: Schema, by: Sequence[PartitionBy]) -> PartitionSpec:
    fields = []
    for number, one in enumerate(by):
        name = one.column if one.transform == "identity" else f"{one.column}_{one.transform}"
        fields.append(PartitionField(schema.find_field(one.column).field_id, 1000 + number, parse_transform(one.text), name))
    return PartitionSpec(*fields)


def _sort_order(schema: Schema, columns: Sequence[str]) -> SortOrder:
    if not columns:
        return UNSORTED_SORT_ORDER
    return SortOrder(*(SortField(schema.find_field(name).field_id, IdentityTransform()) for name in columns))


def _properties(columns: Iterable[str], by: Sequence[PartitionBy]) -> dict[str, str]:
    bounds = {f"write.metadata.metrics.column.{name}": "full" for name in _WHOLE_BOUNDS if name in columns}
    return _PROPERTIES | bounds | _distribution(by)


def contract_properties(contract: Contract) -> dict[str, str]:
    """What a table keeps of the contract that brought its schema."""
    return {CONTRACT_VERSION: contract.version, CONTRACT_FINGERPRINT: contract.fingerprint}


def _distribution(by: Sequence[PartitionBy]) -> dict[str, str]:
    """How rows are brought to the tasks that write them: those of a partition together, and never by
    ranges, for which Spark would work the rows out twice, to draw a sample first."""
    return {"write.distribution-mode": "hash" if by else "none"}


def _merging(contract: Contract) -> dict[str, str]:
    """How a MERGE replaces rows: by marks beside the files, not by writing the files anew."""
    return {_MERGE_MODE: "merge-on-read"} if contract.materialisation.kind == "upsert" else {}


def open_static(settings: settings_module.S3, content: Content) -> StaticTable:
    """The table that a content points at, read only. Metadata files never change, so they are cached.

    Raises: ServiceUnavailable.
    """
    with reaching(settings, content["metadataLocation"]):
        return _static(content["metadataLocation"], file_io(settings))


@contextmanager
def reaching(settings: settings_module.S3, uri: str) -> Iterator[None]:
    """Tell pyiceberg's failures to reach a file as ServiceUnavailable."""
    try:
        yield
    except OSError as error:
        raise ServiceUnavailable(
            f"the object store at {settings.endpoint} does not give or take {uri}: {error}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong; "
            "or check the settings s3.access_key and s3.secret_key",
        ) from error


def file_io(settings: settings_module.S3) -> FileIO:
    """The one client of the object store that all tables of a process share: each keeps connections open."""
    return _file_io(tuple(sorted(io_properties(settings).items())))


@lru_cache(maxsize=8)
def _file_io(properties: tuple[tuple[str, str], ...]) -> FileIO:
    return load_file_io(dict(properties), "s3://")


@lru_cache(maxsize=512)
def _static(location: str, io: FileIO) -> StaticTable:
    metadata = FromInputFile.table_metadata(io.new_input(location))
    return StaticTable(("static-table", location), metadata, location, io, NoopCatalog("static-table"))


def layout_changes(table: StaticTable, contract: Contract) -> list[str]:
    """What Spark's `ALTER TABLE` has to say so that new files lie as the contract's layout says; files
    that are there already stay as they are."""
    schema, spec, order = table.schema(), table.spec(), table.sort_order()
    now = {_term(schema.find_column_name(f.source_id) or "", str(f.transform)): f.name for f in spec.fields}
    wanted = [_term(one.column, one.text) for one in contract.partitions]
    changes = [f"DROP PARTITION FIELD {term}" for term in now if term not in wanted]
    changes += [f"ADD PARTITION FIELD {term}" for term in wanted if term not in now]
    sorted_by = [schema.find_column_name(f.source_id) for f in order.fields]
    if sorted_by != list(contract.layout.sorted_by):
        by = ", ".join(f"`{name}`" for name in contract.layout.sorted_by)
        changes.append(f"WRITE LOCALLY ORDERED BY {by}" if by else "WRITE UNORDERED")
    if changes:
        mode = _distribution(contract.partitions)["write.distribution-mode"]
        changes.append(f"SET TBLPROPERTIES ('write.distribution-mode' = '{mode}')")
    lacking = {key: value for key, value in _merging(contract).items() if table.properties.get(key) != value}
    return changes + [f"SET TBLPROPERTIES ('{key}' = '{value}')" for key, value in lacking.items()]


def _term(column: str, transform: str) -> str:
    """A partition field as Spark SQL writes it: `bucket(8, x)`, `months(x)`, `x`."""
    name, _, argument = transform.rstrip("]").partition("[")
    if name == "identity":
        return f"`{column}`"
    return f"{name}({argument}, `{column}`)" if argument else f"{name}s(`{column}`)"

"""Which of a table's files are published as they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyiceberg.types import BooleanType, LongType, NestedField

from medallion.publish.lake_files import _serves


def test_a_file_serves_if_it_has_the_table_s_columns_and_no_other(tmp_path: Path) -> None:
    def field(name: str, type_: pa.DataType, id_: int) -> pa.Field:
        return pa.field(name, type_, metadata={"PARQUET:field_id": str(id_)})

    fields = [field("n", pa.int64(), 1), field("_broken", pa.bool_(), 2)]
    for name, some in (("own", fields[:1]), ("flagged", fields)):
        columns = [pa.array([1], each.type) if each.type != pa.bool_() else pa.array([False]) for each in some]
        pq.write_table(pa.table(columns, schema=pa.schema(some)), tmp_path / name)
    own = NestedField(1, "n", LongType(), required=False)
    flag = NestedField(2, "_broken", BooleanType(), required=False)
    assert [_serves(tmp_path / name, Schema(own)) for name in ("own", "flagged")] == [True, False]
    assert [_serves(tmp_path / name, Schema(own, flag)) for name in ("own", "flagged")] == [False, True]

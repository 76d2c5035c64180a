"""Frames of a few rows for tests, handed to Spark as Arrow.

PySpark has rows that come as a list turned round by a Python worker, again each time that the frame is read: half a
second where Arrow takes a thirtieth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType


def frame_of(spark: SparkSession, rows: Iterable[Sequence[Any]], schema: str | StructType) -> DataFrame:
    """Rows by position as a frame. `schema` is DDL, or that of another frame; a value of another type is an error."""
    types = StructType.fromDDL(schema) if isinstance(schema, str) else schema
    fields = to_arrow_schema(types)
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)]
    return spark.createDataFrame(pa.Table.from_arrays(arrays, schema=fields), types)

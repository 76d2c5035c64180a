"""Snowflake as a target: its types, and values as it reads them."""

from __future__ import annotations

import re

from medallion.publish.columns import Column
from medallion.publish.snowflake_session import text

_DDL = {
    "boolean": "BOOLEAN", "int": "NUMBER(38,0)", "bigint": "NUMBER(38,0)", "float": "FLOAT", "double": "FLOAT",
    "date": "DATE", "timestamp": "TIMESTAMP_LTZ(6)", "timestamp_ntz": "TIMESTAMP_NTZ(6)", "string": "VARCHAR",
    "binary": "BINARY", "json": "VARIANT",
}  # fmt: skip


def declared(column: Column) -> str:
    """The type of a new column."""
    return _DDL.get(column.type) or column.type.replace("decimal", "NUMBER")


def described(column: Column, instant: str) -> str:
    """The type as a table's description has it, where a TIMESTAMP_LTZ is called `instant`."""
    return {"timestamp_ntz": "TIMESTAMP_NTZ", "timestamp": instant}.get(column.type) or declared(column)


def literal(column: Column, value: str) -> str:
    """A value of a column, from its text."""
    # the end of the last partition may be more than the column's type holds
    return f"CAST({text(value)} AS {re.sub(r'NUMBER.[0-9]+', 'NUMBER(38', declared(column))})"

"""What of a WHERE goes to the table's reader: never a condition that would lose a row of the answer."""

from __future__ import annotations

import itertools
import json
from datetime import date

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.expressions.visitors import bind
from pyiceberg.io.pyarrow import expression_to_pyarrow, schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, DecimalType, DoubleType, IntegerType, LongType, NestedField, StringType, StructType

from medallion.query_filter import conditions, row_filter

SCHEMA = Schema(
    NestedField(1, "Id", LongType()),
    NestedField(2, "name", StringType()),
    NestedField(3, "day", DateType()),
    NestedField(4, "n", IntegerType()),
    NestedField(5, "x", DoubleType()),
    NestedField(6, "d", DecimalType(10, 2)),
    NestedField(7, "s", StructType(NestedField(8, "name", StringType()))),
)
VALUES = {
    "Id": [None, -1, 1, 2, 2**40],
    "name": [None, "", "1", "a", "A", "ä", "b\n", "𝄞", "￿"],
    "day": [None, date(2013, 1, 4), date(2013, 1, 5), date(2013, 1, 6)],
    "n": [None, 0, 1, 2**31 - 1],
    "x": [None, 0.5, float("nan")],
}
ROWS = pa.Table.from_pylist(
    [dict(zip(VALUES, row, strict=True)) | {"s": {"name": "z"}} for row in itertools.product(*VALUES.values())],
    schema=schema_to_pyarrow(SCHEMA, include_field_ids=False),
)
PUSHED = [
    "id = 1", "-1 = id", "Id >= 1 AND n < 1", "1 < id", "id IN (1, 2, 5)", "id BETWEEN 1 AND 2", "id BETWEEN 2 AND 1",
    "n = 1 AND n = 3000000000", "name = 'a'", "name > 'a'", "'a' >= name", "name IN ('a', '', '𝄞')", "name > 'ä'", "name <= '￿'",
    "name = E'b\\n'", "name BETWEEN 'A' AND 'a'", "one.name = 'a'", "day = '2013-01-05'", "day > DATE '2013-01-05'",
    "day IN ('2013-01-05', '2012-01-01')", "day BETWEEN '2013-01-05' AND '2013-01-05' AND x > 0.1",
    "(id = 1 AND (n = 1 AND (name = 'a' OR x = 0.5)))", "id = 1 AND NOT name = 'a'",
]  # fmt: skip
KEPT = [
    "name = 1", "id = '1'", "id = 1.0", "id = 1_0", "id < 1e0", "n < 3000000000", "day = '2013-1-5'",
    "day = '2013-01-05 12:00'", "day < TIMESTAMP '2013-01-05 12:00'", "day IN ('2013-01-05', '2013-01-06 12:00')",
    "day = try_cast('2013-01-05' AS DATE)", "x > 0.1", "x = 'nan'", "d = 1.5", "NOT id = 1", "id <> 1", "id = 1 OR n = 1",
    "name = 'a' COLLATE NOCASE", "lower(name) = 'a'", "name COLLATE NOCASE = 'a'", "id NOT IN (1)", "id IN (1, n)",
    "id IN (1, NULL)", "id = NULL", "id = n", "name IS NULL", "name IS NOT DISTINCT FROM 'a'", "s.name = 'z'",
    "name LIKE 'a%'", "id NOT BETWEEN 1 AND 2", "id = (SELECT 1)",
]  # fmt: skip


def tree(sql: str) -> dict[str, object]:
    made = json.loads(duckdb.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    assert not made["error"], made
    return dict(made)


@pytest.mark.parametrize("where", PUSHED)
def test_what_the_reader_leaves_out_is_not_in_the_answer(where: str) -> None:
    kept = row_filter(SCHEMA, conditions(tree(f"SELECT * FROM gold.d.one WHERE {where}")))
    read = ROWS.filter(expression_to_pyarrow(bind(SCHEMA, kept, case_sensitive=True)))
    assert read.num_rows < ROWS.num_rows
    whole, less = (duckdb.from_arrow(rows).set_alias("one").filter(where).fetchall() for rows in (ROWS, read))
    assert repr(less) == repr(whole)


@pytest.mark.parametrize("where", KEPT)
def test_a_condition_that_may_mean_something_else_to_duckdb_leaves_every_row(where: str) -> None:
    assert row_filter(SCHEMA, conditions(tree(f"SELECT * FROM gold.d.one WHERE {where}"))) == AlwaysTrue()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT n AS id FROM gold.d.one WHERE id = 1",
        "SELECT rowid FROM gold.d.one WHERE id = 1",
        "SELECT * FROM gold.d.one TABLESAMPLE 3 ROWS WHERE id = 1",
        "SELECT * FROM gold.d.one WHERE id = 1 USING SAMPLE 3",
        "SELECT id FROM gold.d.one t(id, b) WHERE id = 1",
        "SELECT * FROM gold.d.one AT (VERSION => 1) WHERE id = 1",
        "SELECT * FROM gold.d.one t JOIN gold.d.two USING (id) WHERE id = 1",
        "SELECT * FROM gold.d.one t LEFT JOIN gold.d.two u ON t.id = u.n WHERE u.id = 1",
        "SELECT * FROM gold.d.one WHERE id = 1 AND n = (SELECT max(n) FROM gold.d.one)",
        "SELECT (SELECT count(*) FROM gold.d.one) FROM gold.d.one WHERE id = 1",
        "SELECT id FROM gold.d.one WHERE id = 1 UNION ALL SELECT id FROM gold.d.one",
        "WITH w AS (SELECT * FROM gold.d.one) SELECT * FROM gold.d.one WHERE id = 1",
        "SELECT * FROM (FROM gold.d.one) WHERE id = 1",
        "SELECT * FROM gold.d.one GROUP BY ALL HAVING id = 1",
        "SELECT * FROM gold.d.one QUALIFY id = 1",
        "SELECT * FROM gold.d.one s WHERE s.name = 'z'",  # s is a column as well
        "SELECT * FROM gold.d.one t WHERE one.id = 1",
        f"SELECT * FROM gold.d.one WHERE id IN ({', '.join(map(str, range(51)))})",
    ],
)
def test_where_another_reading_is_possible_every_row_is_read(sql: str) -> None:
    assert row_filter(SCHEMA, conditions(tree(sql))) == AlwaysTrue()


def test_a_column_that_a_table_has_twice_or_not_at_all_is_left_to_duckdb() -> None:
    wanted = conditions(tree("SELECT * FROM gold.d.one WHERE a = 1 AND nope = 1"))
    assert len(wanted) == 2
    twice = Schema(NestedField(1, "a", LongType()), NestedField(2, "A", LongType()))
    assert row_filter(twice, wanted) == AlwaysTrue()

"""What is taken as one query, and how answers are written."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from rich.console import Console

from medallion.errors import UsageError
from medallion.query import one_read, to_json, to_rich


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("SELECT 1", "SELECT 1"),
        ("  select 1 ; ", "select 1"),
        ("-- a comment; with more\nSELECT ';' AS x", "-- a comment; with more\nSELECT ';' AS x"),
        ("/* ; */ WITH a AS (SELECT 1) SELECT * FROM a", "/* ; */ WITH a AS (SELECT 1) SELECT * FROM a"),
        ("(SELECT 1)", "(SELECT 1)"),
        ("SHOW TABLES", "SHOW TABLES"),
        ("DESCRIBE TABLE a.b.c", "DESCRIBE TABLE a.b.c"),
        ("SELECT 'it''s; \\'' , \"a;b\", $$;$$", "SELECT 'it''s; \\'' , \"a;b\", $$;$$"),
        ("SELECT 'call system$x'", "SELECT 'call system$x'"),
    ],
)
def test_one_query_is_sent_as_it_is(sql: str, sent: str) -> None:
    assert one_read(sql) == sent


@pytest.mark.parametrize(
    "sql",
    [
        "", ";", "-- nothing", "DELETE FROM a", "SELECT 1; DROP TABLE a", "BEGIN", "COMMIT", "CALL p()",
        "USE DATABASE x", "SELECT SYSTEM$CANCEL_ALL_QUERIES(1)", "/* SELECT */ DROP TABLE a",
        "'SELECT' ; DROP TABLE a", "INSERT INTO a SELECT 1", "EXECUTE IMMEDIATE 'DROP TABLE a'",
        "PUT file:///a @b", "COPY INTO a FROM @b",
    ],
)  # fmt: skip
def test_anything_else_is_refused(sql: str) -> None:
    with pytest.raises(UsageError) as refused:
        one_read(sql)
    assert refused.value.exit_code == 2
    assert refused.value.hint


def test_json_loses_nothing() -> None:
    table = pa.table(
        {
            "whole": pa.array([2**70, None], pa.decimal128(38, 0)),
            "money": pa.array([Decimal("2.50"), Decimal("0.00")], pa.decimal128(10, 2)),
            "ratio": [0.1, float("nan")],
            "day": [date(1905, 3, 1), None],
            "local": [datetime(2013, 1, 1, 2, 3, 4, 5), None],
            "instant": pa.array([datetime(2013, 1, 1, tzinfo=UTC), None], pa.timestamp("us", tz="UTC")),
            "text": ['Zürich "\n', ""],
            "bytes": [b"\x00\xff", b""],
            "nested": [{"list": [Decimal("1.5"), None]}, None],
            "flag": [True, False],
        }
    )
    assert json.loads(to_json(table)) == [
        {
            "whole": 2**70, "money": "2.50", "ratio": 0.1, "day": "1905-03-01", "local": "2013-01-01T02:03:04.000005",
            "instant": "2013-01-01T00:00:00+00:00", "text": "Zürich \"\n", "bytes": "00ff",
            "nested": {"list": ["1.5", None]}, "flag": True,
        },
        {
            "whole": None, "money": "0.00", "ratio": "NaN", "day": None, "local": None, "instant": None, "text": "",
            "bytes": "", "nested": None, "flag": False,
        },
    ]  # fmt: skip


def test_nanoseconds_are_kept_without_pandas_too() -> None:
    nanoseconds = pa.array([1_500_000_000_123_456_789, None], pa.int64())
    table = pa.table(
        {
            "local": nanoseconds.cast(pa.timestamp("ns")),
            "instant": nanoseconds.cast(pa.timestamp("ns", "UTC")),
            "time": pa.array([3_600_000_000_001, None], pa.int64()).cast(pa.time64("ns")),
            "whole": pa.array([1_500_000_000_123_456_000, None], pa.int64()).cast(pa.timestamp("ns")),
        }
    )
    assert json.loads(to_json(table)) == [
        {
            "local": "2017-07-14T02:40:00.123456789", "instant": "2017-07-14T02:40:00.123456789Z",
            "time": "01:00:00.000000001", "whole": "2017-07-14T02:40:00.123456",
        },
        {"local": None, "instant": None, "time": None, "whole": None},
    ]  # fmt: skip


def test_columns_of_the_same_name_are_all_kept() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "a_2"])
    assert json.loads(to_json(table)) == [{"a": 1, "a_2": 2, "a_2_2": 3}]


def test_no_rows_are_an_empty_array() -> None:
    assert to_json(pa.table({"a": pa.array([], pa.int64())})) == "[]"


def test_a_person_sees_rows_and_how_many_are_left_out() -> None:
    table = pa.table({"[red]name[/red]": [f"row {number}" for number in range(5)], "empty": [None] * 5})
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(to_rich(table, limit=3))
    text = console.export_text()
    assert "[red]name[/red]" in text
    assert "row 2" in text
    assert "row 3" not in text
    assert "null" in text
    assert "5 rows, 2 of them not shown" in text

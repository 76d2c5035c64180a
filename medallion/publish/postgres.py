"""PostgreSQL as a target: every statement that a publication sends is in this file and in `postgres_schema.py`.

Names are quoted in `postgres_session.quoted` and nowhere else, in lower case, so that unquoted use works; the database's own name
may stand before them: `gold.operations.fact_flight`. The ledger, its head and the staging tables are
in the schema `medallion` of the same database.

Readers see the rows of before until COMMIT, and nobody waits; only a new column needs the table alone.
The second of two publishers waits at the head's row (`LOCK_WAIT_S`), then reads it again in a new
statement; that shows what the first has committed, because the transaction is READ COMMITTED.
A connection delivers each statement once and in order, so that, other than over HTTP, no copy of one
can arrive after its transaction; whoever has the row's lock keeps it to the end.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medallion.publish import nested, target
from medallion.publish import postgres_schema as schema
from medallion.publish.checksum import PARQUET, rows_of
from medallion.publish.columns import Column, not_published, wider
from medallion.publish.description import Description
from medallion.publish.ledger import Entry, Head
from medallion.publish.partitions import Part, condition
from medallion.publish.postgres_session import Session, quoted, table_name
from medallion.publish.target import Filled, Load, Missing, Outrun, left_over
from medallion.settings import WarehousePostgres

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_STAGED = "staged_"
_HEAD = "medallion.publication_head"
_LEDGER = "medallion.publications"
_ENTRY = "sequence, publication_id, main_hash, runs, published_at, details"
_NAME_BYTES = 63
ABANDONED_S = 15.0
"""A publisher whose transaction has been idle for so long is taken for dead. The server ends it by itself a little later
(`postgres_session.IDLE_S`), unless a pooler or the server's own settings have taken that from the session."""
_END_ABANDONED = """WITH found AS MATERIALIZED (SELECT pid, application_name FROM pg_stat_activity
  WHERE application_name LIKE %s AND state LIKE 'idle in transaction%%'
    AND state_change < clock_timestamp() - make_interval(secs => %s)
    AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid())
SELECT application_name FROM found WHERE pg_terminate_backend(pid, 5000)"""
_MAKE = "SELECT pg_advisory_xact_lock(hashtext('medallion.publish')); LOCK TABLE pg_namespace IN ACCESS SHARE MODE;"
"""Before what is made where missing: two sessions that make the same at once would fail. The server remembers which schemas
there were not, and forgets that only when it locks a table: so one is locked, as every reader does, once we need not wait."""
_LEDGER_TABLES = f"""{_MAKE}
CREATE TABLE IF NOT EXISTS {_LEDGER} (sequence bigint PRIMARY KEY, publication_id text NOT NULL UNIQUE,
  main_hash text NOT NULL, runs text NOT NULL, published_at timestamptz NOT NULL, details text NOT NULL);
CREATE TABLE IF NOT EXISTS {_HEAD} AS SELECT 0::bigint AS sequence, NULL::text AS main_hash,
  NULL::text AS publication_id, 0::bigint AS locked;"""


class PostgresTarget:
    """One session with a PostgreSQL database."""

    def __init__(self, settings: WarehousePostgres, tag: str = target.PUBLISHER) -> None:
        """Log in. `tag` says who we are, to people who look at the server. Raises: ServiceUnavailable."""
        self.name, self.alters_in_transaction, self.nested_as_texts = "postgres", True, False
        self._session = Session(settings, tag=tag, lock_wait_s=target.LOCK_WAIT_S)
        self._engine: duckdb.DuckDBPyConnection | None = None

    def close(self) -> None:
        if self._engine:
            self._engine.close()
        self._session.close()

    # ── names and types ───────────────────────────────────────────────────────────────────────
    def type_of(self, column: Column) -> str:
        return _TYPES.get(column.type) or column.type.replace("decimal", "numeric")

    def check(self, dataset: str, columns: Sequence[Column]) -> None:
        for name in (*dataset.split(".")[1:], *(column.name for column in columns)):
            if len(name.encode()) > _NAME_BYTES:  # the server would cut it off without a word
                raise not_published(dataset, f"the name '{name}' is longer than PostgreSQL's {_NAME_BYTES} bytes")

    def _columns(self, columns: Sequence[Column]) -> str:
        return ", ".join(f"{quoted(column.name)} {self.type_of(column)}" for column in columns)

    # ── ledger ────────────────────────────────────────────────────────────────────────────────
    def prepare(self) -> None:
        if self._session.rows("SELECT to_regclass(%s)", [_HEAD]) == [(None,)]:  # made last, so all the rest is there
            self._make_schema("medallion")
            self._session.execute(_LEDGER_TABLES)

    def _make_schema(self, name: str) -> None:
        if self._session.rows("SELECT to_regnamespace(%s)", [quoted(name)]) == [(None,)]:  # else no right to make one is needed
            self._session.execute(f"{_MAKE} CREATE SCHEMA IF NOT EXISTS {quoted(name)}")

    def head(self) -> Head:
        try:
            [(sequence, hash_, publication_id)] = self._session.rows(f"SELECT sequence, main_hash, publication_id FROM {_HEAD}")
        except Missing:
            return Head(0, None, None)
        return Head(sequence, hash_, publication_id)

    def entry(self, *, sequence: int | None = None, publication_id: str | None = None) -> Entry | None:
        found = self._entries("WHERE sequence = %s OR publication_id = %s", [sequence, publication_id])
        return found[0] if found else None

    def entries(self, limit: int) -> list[Entry]:
        return self._entries("ORDER BY sequence DESC LIMIT %s", [limit])

    def _entries(self, rest: str, parameters: Sequence[Any]) -> list[Entry]:
        try:
            rows = self._session.rows(f"SELECT {_ENTRY} FROM {_LEDGER} {rest}", parameters)
        except Missing:
            return []
        return [Entry.read(s, p, h, r, at.astimezone(UTC), d) for s, p, h, r, at, d in rows]

    # ── tables ────────────────────────────────────────────────────────────────────────────────
    def columns(self, datasets: Sequence[str]) -> dict[str, dict[str, str]]:
        rows = self._session.rows(
            "SELECT number, attname, format_type(atttypid, atttypmod) "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS asked (name, number) JOIN pg_attribute ON attrelid = to_regclass(name) "
            "WHERE attnum > 0 AND NOT attisdropped ORDER BY number, attnum",
            [[table_name(dataset) for dataset in datasets]],
        )
        found: dict[str, dict[str, str]] = {}
        for number, name, type_ in rows:
            found.setdefault(datasets[number - 1], {})[name] = type_
        return found

    def create(self, dataset: str, columns: Sequence[Column]) -> None:
        self._make_schema(dataset.split(".")[1])
        self._session.execute(f"{_MAKE} CREATE TABLE IF NOT EXISTS {table_name(dataset)} ({self._columns(columns)})")

    def widen(self, dataset: str, columns: Sequence[Column]) -> None:
        what = f"column{'s' if len(columns) > 1 else ''} " + ", ".join(f"'{c.name}' ({self.type_of(c)})" for c in columns)
        actions = [f"ALTER COLUMN {quoted(column.name)} TYPE {self.type_of(column)}" for column in columns]
        schema.alter(self._session, dataset, [c.name for c in columns], actions, f"{what} cannot become wider")

    def exchange(self, dataset: str, gone: Sequence[str], new: Sequence[Column]) -> None:
        what = f"column{'s' if len(gone) > 1 else ''} " + ", ".join(f"'{name}'" for name in gone)
        actions = [f"DROP COLUMN {quoted(name)}" for name in gone] + [f"ADD COLUMN {self._columns([column])}" for column in new]
        schema.release(self._session, dataset)
        schema.alter(self._session, dataset, gone, actions, f"{what} cannot be dropped")

    def describe(self, dataset: str, wanted: Description) -> None:
        schema.describe(self._session, dataset, wanted)

    def relate(self, dataset: str, wanted: Description) -> None:
        schema.relate(self._session, dataset, wanted)

    def add(self, dataset: str, columns: Sequence[Column]) -> None:
        added = ", ".join(f"ADD COLUMN IF NOT EXISTS {self._columns([column])}" for column in columns)
        self._session.execute(f"{_MAKE} ALTER TABLE {table_name(dataset)} {added}")

    # ── staging ───────────────────────────────────────────────────────────────────────────────
    def stage(self, loads: Sequence[Load]) -> None:
        # not written to the server's log: if it crashes the table is empty, which the transaction notices
        self._session.execute_all(
            {each.place: f"CREATE UNLOGGED TABLE {_staged(each.place)} ({self._columns(each.columns)})" for each in loads}
        )  # there is no place for files: `copy` sends their rows

    def copy(self, load: Load) -> int:
        if not load.files:
            return 0
        import duckdb

        self._engine = self._engine or duckdb.connect()
        names = ", ".join(quoted(column.name) for column in load.columns)
        lines = _lines(self._engine, load.files, load.columns)
        return self._session.copy(f"COPY {_staged(load.place)} ({names}) FROM STDIN (FORMAT csv)", lines)

    def discard(self, places: Sequence[str]) -> None:
        tables = self._session.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'medallion'")
        there = {name.removeprefix(_STAGED) for (name,) in tables if name.startswith(_STAGED)}
        gone = sorted(place for place in there if place in places or left_over(place))
        self._session.execute_all({place: f"DROP TABLE IF EXISTS {_staged(place)}" for place in gone})

    def end_abandoned(self) -> list[str]:
        return [name for (name,) in self._session.rows(_END_ABANDONED, [f"{target.PUBLISHER}%", ABANDONED_S])]

    # ── the transaction ───────────────────────────────────────────────────────────────────────
    def begin(self) -> None:
        self._session.execute("BEGIN ISOLATION LEVEL READ COMMITTED")

    def lock(self) -> Head:
        self._session.execute(f"UPDATE {_HEAD} SET locked = locked + 1")
        return self.head()  # a new statement: it sees what was committed while we waited

    def empty(self, tables: Mapping[str, Sequence[Part] | None], head: Head) -> None:
        where = {d: "" if parts is None else f" WHERE {condition(parts, quoted, self._literal)}" for d, parts in tables.items()}
        self._session.execute_all({d: f"DELETE FROM {table_name(d)}{which}" for d, which in where.items()})

    def _literal(self, column: Column, text: str) -> str:
        number = column.type in ("int", "bigint") or column.type.startswith("decimal")
        # the end of the last partition may be more than the column's type holds
        return "CAST('{}' AS {})".format(text.replace("'", "''"), "numeric" if number else self.type_of(column))

    def fill(self, tables: Filled, head: Head) -> None:
        self._fill({dataset: (_staged(place), columns) for dataset, (place, columns) in tables.items()})

    def fill_from(self, tables: Filled, head: Head) -> None:
        self._fill({dataset: (table_name(built), columns) for dataset, (built, columns) in tables.items()})

    def _fill(self, tables: Filled) -> None:
        statements = {}
        for dataset, (source, columns) in tables.items():
            names = ", ".join(quoted(column.name) for column in columns)
            statements[dataset] = f"INSERT INTO {table_name(dataset)} ({names}) SELECT {names} FROM {source}"
        self._session.execute_all(statements)

    def counts(self, datasets: Sequence[str]) -> dict[str, int]:
        counts = ", ".join(f"(SELECT count(*) FROM {table_name(dataset)})" for dataset in datasets)
        return dict(zip(datasets, self._session.rows(f"SELECT {counts}")[0], strict=True))

    def append(self, entry: Entry, head: Head) -> None:
        self._session.execute(
            f"INSERT INTO {_LEDGER} ({_ENTRY}) VALUES (%s, %s, %s, %s, clock_timestamp(), %s)",
            [entry.sequence, entry.publication_id, entry.hash, json.dumps(entry.runs), entry.details()],
        )
        moved = self._session.execute(
            f"UPDATE {_HEAD} SET sequence = %s, main_hash = %s, publication_id = %s WHERE sequence = %s",
            [entry.sequence, entry.hash, entry.publication_id, head.sequence],
        )
        if moved.rowcount != 1:
            raise Outrun("the head did not move")

    def commit(self) -> None:
        # a transaction that has failed answers COMMIT with ROLLBACK, and no error
        if (done := self._session.execute("COMMIT").statusmessage) != "COMMIT":
            raise Outrun(f"the warehouse answered COMMIT with {done}")

    def rollback(self) -> None:
        self._session.execute("ROLLBACK")

    # ── schemas to build in ───────────────────────────────────────────────────────────────────
    def schemas(self) -> list[str]:
        return [name for (name,) in self._session.rows("SELECT nspname FROM pg_namespace")]

    def drop_schema(self, name: str) -> None:
        self._session.execute(f"DROP SCHEMA IF EXISTS {quoted(name)} CASCADE")

    # ── reading ───────────────────────────────────────────────────────────────────────────────
    def fetch(self, dataset: str, columns: Sequence[Column]) -> pa.Table:
        import pyarrow as pa

        there = self.columns([dataset]).get(dataset, {})
        types = {column.name.lower(): self.type_of(column) for column in columns}
        if any(type_ != (found := there.get(name, "")) and not wider(type_, found) for name, type_ in types.items()):
            raise Missing(f"the warehouse's {dataset} lacks a column, or has another type", hint="`medallion publish`")
        chosen = ", ".join(_FETCHED.get(column.type, "{0}").format(quoted(column.name)) for column in columns)
        schema = pa.schema([(column.name, _arrow(column)) for column in columns])
        batches = [
            pa.RecordBatch.from_arrays(
                [pa.array(values, type_) for values, type_ in zip(zip(*rows, strict=True), schema.types, strict=True)],
                schema=schema,
            )
            for rows in self._session.batches(f"SELECT {chosen} FROM {table_name(dataset)}")
        ]
        return pa.Table.from_batches(batches, schema)


_TYPES = {
    "boolean": "boolean", "int": "bigint", "bigint": "bigint", "float": "double precision", "double": "double precision",
    "date": "date", "timestamp": "timestamp with time zone", "timestamp_ntz": "timestamp without time zone",
    "string": "text", "binary": "bytea", "json": "jsonb",
}  # fmt: skip
# as integers, because Python's years end at 1 and 9999; infinity, which the lake lacks, is the largest of them
_MICROS = (
    "CASE {0} WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN -9223372036854775807 "
    "ELSE (extract(epoch FROM {0}) * 1000000)::bigint END"
)
_FETCHED = {
    "timestamp": _MICROS,
    "timestamp_ntz": _MICROS,
    "date": "CASE {0} WHEN 'infinity' THEN 2147483647 WHEN '-infinity' THEN -2147483647 ELSE {0} - DATE 'epoch' END",
    "json": "{0}::text",
}


def _arrow(column: Column) -> pa.DataType:
    """The Arrow type of a fetched column."""
    import pyarrow as pa

    if column.type.startswith("decimal"):
        precision, scale = column.type.removeprefix("decimal(").removesuffix(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return {
        "boolean": pa.bool_(), "float": pa.float64(), "double": pa.float64(), "date": pa.date32(), "string": pa.string(),
        "binary": pa.binary(), "json": pa.string(),
    }.get(column.type, pa.int64())  # fmt: skip


def _lines(engine: duckdb.DuckDBPyConnection, files: Sequence[Path], columns: Sequence[Column]) -> Iterator[bytes]:
    """Rows of Parquet files as PostgreSQL's CSV: every value quoted, null as nothing at all."""
    import pyarrow.csv as pacsv

    options = pacsv.WriteOptions(include_header=False, quoting_style="all_valid")
    texts = ", ".join(f"{_text(column)} AS c{number}" for number, column in enumerate(columns))
    if nested.names_of(columns):
        rows = rows_of(engine, files, columns).project(texts)
    else:
        rows = engine.sql(f"SELECT {texts} FROM {PARQUET}", params=[[str(path) for path in files]])
    for batch in rows.to_arrow_reader(50_000):
        chunk = io.BytesIO()
        pacsv.write_csv(batch, chunk, options)
        yield chunk.getvalue()


def _text(column: Column) -> str:
    """A DuckDB expression: a value as PostgreSQL reads it."""
    name = '"' + column.name.replace('"', '""') + '"'
    match column.type:
        case "timestamp" | "timestamp_ntz":  # the session's time zone is UTC
            text = f"CAST(make_timestamp(epoch_us({name})) AS VARCHAR)"
        case "float":
            text = f"CAST(CAST({name} AS DOUBLE) AS VARCHAR)"
        case "binary":
            return f"'\\x' || hex({name})"
        case _:
            text = f"CAST({name} AS VARCHAR)"
    return f"replace({text}, '(BC)', 'BC')" if column.type.startswith(("date", "timestamp")) else text


def _staged(place: str) -> str:
    return f"medallion.{quoted(_STAGED + place)}"

"""Snowflake as a target: every statement that a publication sends is in this file.

Names are quoted once, in `_name`, in upper case, so that unquoted use works:
`gold.operations.fact_flight` is "GOLD"."OPERATIONS"."FACT_FLIGHT". The ledger, its head, the stage
and the staging tables are in the schema MEDALLION of the same database, because a transaction of
the emulator writes one database only.

Every write of the transaction says `WHERE … SEQUENCE = n` of the head that it was planned from.
A copy of such a request that arrives after its transaction has ended therefore changes nothing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medallion.publish import target
from medallion.publish.columns import Column, not_published
from medallion.publish.ledger import Entry, Head
from medallion.publish.snowflake_session import Session
from medallion.publish.target import Missing, Outrun, left_over
from medallion.settings import Snowflake

if TYPE_CHECKING:
    import pyarrow as pa

_SCHEMA = "medallion"
_HEAD = "publication_head"
_LEDGER = "publications"
_STAGE = "publication_files"
_STAGED = "staged_"
_ENTRY = '"SEQUENCE", "PUBLICATION_ID", "MAIN_HASH", "RUNS", "PUBLISHED_AT", "DETAILS"'
_FORMAT = "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE BINARY_AS_TEXT=FALSE)"


class SnowflakeTarget:
    """One session with Snowflake, or with its emulator."""

    def __init__(self, settings: Snowflake) -> None:
        """Log in. Raises: ServiceUnavailable, SettingsError."""
        self.name = "snowflake"
        self._session = Session(settings, tag="medallion publish")
        self._database = settings.database
        self._head_table = self._name(_SCHEMA, _HEAD)
        self._ledger = self._name(_SCHEMA, _LEDGER)
        self._stage = self._name(_SCHEMA, _STAGE)

    def __enter__(self) -> SnowflakeTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    # ── names and types ───────────────────────────────────────────────────────────────────────
    def _name(self, *parts: str) -> str:
        return ".".join(_quoted(part) for part in (self._database, *parts))

    def _table(self, dataset: str) -> str:
        _, domain, name = dataset.split(".")
        return self._name(domain, name)

    def _staged(self, place: str) -> str:
        return self._name(_SCHEMA, _STAGED + place)

    def _at(self, place: str) -> str:
        return f"@{self._stage}/{place}/"

    def _column(self, column: Column) -> str:
        return f"{_quoted(column.name)} {_DDL.get(column.type) or column.type.replace('decimal', 'NUMBER')}"

    def type_of(self, column: Column) -> str:
        types = _DESCRIBED | {"timestamp": self._session.dialect.instant}
        return types.get(column.type) or column.type.replace("decimal", "NUMBER")

    def check(self, dataset: str, columns: Sequence[Column]) -> None:
        for column in columns:
            if column.type == "json":
                raise not_published(dataset, f"column '{column.name}' is nested")

    # ── ledger ────────────────────────────────────────────────────────────────────────────────
    def prepare(self) -> None:
        make_stage = f"CREATE STAGE IF NOT EXISTS {self._stage}"
        if self._session.exists(self._head_table):  # made last, so all the rest is there
            self._session.execute(make_stage, repeatable=True)  # except that the emulator forgets its stages
            return
        for statement in (
            f"CREATE DATABASE IF NOT EXISTS {self._name()}",
            f"CREATE SCHEMA IF NOT EXISTS {self._name(_SCHEMA)}",
            make_stage,
            f'CREATE TABLE IF NOT EXISTS {self._ledger} ("SEQUENCE" NUMBER(38,0), "PUBLICATION_ID" VARCHAR, '
            '"MAIN_HASH" VARCHAR, "RUNS" VARCHAR, "PUBLISHED_AT" TIMESTAMP_NTZ(6), "DETAILS" VARCHAR)',
            # one statement makes the head and its only row, so that two publishers cannot make two rows
            f'CREATE TABLE IF NOT EXISTS {self._head_table} AS SELECT CAST(0 AS NUMBER(38,0)) AS "SEQUENCE", '
            'CAST(NULL AS VARCHAR) AS "MAIN_HASH", CAST(NULL AS VARCHAR) AS "PUBLICATION_ID", '
            'CAST(0 AS NUMBER(38,0)) AS "LOCKED"',
        ):
            self._session.execute(statement, repeatable=True)

    def head(self) -> Head:
        try:
            rows = self._session.rows(f'SELECT "SEQUENCE", "MAIN_HASH", "PUBLICATION_ID" FROM {self._head_table}')
        except Missing:
            return Head(0, None, None)
        [(sequence, hash_, publication_id)] = rows
        return Head(int(sequence), hash_, publication_id)

    def entry(self, *, sequence: int | None = None, publication_id: str | None = None) -> Entry | None:
        where = f'"SEQUENCE" = {sequence}' if sequence is not None else f'"PUBLICATION_ID" = {_text(publication_id)}'
        found = self._entries(f"WHERE {where}")
        return found[0] if found else None

    def entries(self, limit: int) -> list[Entry]:
        return self._entries(f'ORDER BY "SEQUENCE" DESC LIMIT {int(limit)}')

    def _entries(self, rest: str) -> list[Entry]:
        try:
            rows = self._session.rows(f"SELECT {_ENTRY} FROM {self._ledger} {rest}")
        except Missing:
            return []
        return [Entry.read(s, p, h, r, at.replace(tzinfo=UTC), d) for s, p, h, r, at, d in rows]

    # ── tables ────────────────────────────────────────────────────────────────────────────────
    def columns(self, dataset: str) -> dict[str, str] | None:
        try:
            rows = self._session.rows(f"DESCRIBE TABLE {self._table(dataset)}")
        except Missing:
            return None
        # VARCHAR(16777216), TIMESTAMP_NTZ(6) and the like: only a NUMBER's size is part of its type
        return {str(row[0]).lower(): re.sub(r"^(?!NUMBER)(\w+)\(.*\)$", r"\1", str(row[1])) for row in rows}

    def create(self, dataset: str, columns: Sequence[Column]) -> None:
        _, domain, _ = dataset.split(".")
        self._session.execute(f"CREATE SCHEMA IF NOT EXISTS {self._name(domain)}", repeatable=True)
        body = ", ".join(self._column(column) for column in columns)
        self._session.execute(f"CREATE TABLE IF NOT EXISTS {self._table(dataset)} ({body})", repeatable=True)

    def add(self, dataset: str, columns: Sequence[Column]) -> None:
        for column in columns:
            self._session.execute(
                f"ALTER TABLE {self._table(dataset)} ADD COLUMN IF NOT EXISTS {self._column(column)}", repeatable=True
            )

    # ── staging ───────────────────────────────────────────────────────────────────────────────
    def stage(self, place: str, files: Sequence[Path]) -> None:
        if files:
            pattern = str(files[0].parent / "*.parquet").replace("'", "\\'")
            self._session.execute(
                f"PUT 'file://{pattern}' {self._at(place)} AUTO_COMPRESS=FALSE OVERWRITE=TRUE PARALLEL=8",
                repeatable=True,
            )

    def copy(self, place: str, columns: Sequence[Column]) -> int:
        staged = self._staged(place)
        body = ", ".join(self._column(column) for column in columns)
        self._session.execute(f"CREATE TRANSIENT TABLE IF NOT EXISTS {staged} ({body})", repeatable=True)
        self._session.execute(
            f"COPY INTO {staged} FROM {self._at(place)} {_FORMAT} MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE ON_ERROR=ABORT_STATEMENT",
            repeatable=True,
        )
        return int(self._session.rows(f"SELECT COUNT(*) FROM {staged}")[0][0])

    def discard(self, places: Sequence[str]) -> None:
        tables = self._session.rows(f"SHOW TABLES IN SCHEMA {self._name(_SCHEMA)}")
        names = [str(row[1]).lower() for row in tables]
        there = {name.removeprefix(_STAGED) for name in names if name.startswith(_STAGED)}
        for place in sorted(set(places) | {place for place in there if left_over(place)}):
            self._session.execute(f"DROP TABLE IF EXISTS {self._staged(place)}", repeatable=True)
            if self._session.dialect.removes_files:
                self._session.execute(f"REMOVE {self._at(place)}", repeatable=True)

    # ── the transaction ───────────────────────────────────────────────────────────────────────
    def begin(self) -> None:
        self._session.execute("BEGIN")

    def lock(self) -> Head:
        deadline = time.monotonic() + target.LOCK_WAIT_S
        while True:
            try:
                self._session.execute(f'UPDATE {self._head_table} SET "LOCKED" = "LOCKED" + 1')
                return self.head()  # a new statement: it sees what was committed while we waited
            except Outrun:
                if self._session.dialect.waits or time.monotonic() > deadline:
                    raise
            self.rollback()
            time.sleep(0.1)
            self.begin()

    def _still(self, head: Head) -> str:
        return f'EXISTS (SELECT 1 FROM {self._head_table} WHERE "SEQUENCE" = {head.sequence})'

    def empty(self, dataset: str, head: Head) -> None:
        self._session.execute(f"DELETE FROM {self._table(dataset)} WHERE {self._still(head)}")

    def fill(self, dataset: str, place: str, columns: Sequence[Column], head: Head) -> None:
        names = ", ".join(_quoted(column.name) for column in columns)
        self._session.execute(
            f"INSERT INTO {self._table(dataset)} ({names}) SELECT {names} FROM {self._staged(place)} WHERE {self._still(head)}"
        )

    def fill_from(self, dataset: str, built: str, columns: Sequence[Column], head: Head) -> None:
        names = ", ".join(_quoted(column.name) for column in columns)
        self._session.execute(
            f"INSERT INTO {self._table(dataset)} ({names}) SELECT {names} FROM {self._table(built)} WHERE {self._still(head)}"
        )

    def counts(self, datasets: Sequence[str]) -> dict[str, int]:
        counts = ", ".join(f"(SELECT COUNT(*) FROM {self._table(dataset)})" for dataset in datasets)
        row = self._session.rows(f"SELECT {counts}", repeatable=False)[0]
        return {dataset: int(count) for dataset, count in zip(datasets, row, strict=True)}

    def append(self, entry: Entry, head: Head) -> None:
        values = (
            f"{entry.sequence}, {_text(entry.publication_id)}, {_text(entry.hash)}, {_text(json.dumps(entry.runs))}, "
            f"CAST({_text(datetime.now(UTC).replace(tzinfo=None).isoformat(sep=' '))} AS TIMESTAMP_NTZ(6)), "
            f"{_text(entry.details())}"
        )
        self._session.execute(f"INSERT INTO {self._ledger} ({_ENTRY}) SELECT {values} WHERE {self._still(head)}")
        self._session.execute(
            f'UPDATE {self._head_table} SET "SEQUENCE" = {entry.sequence}, "MAIN_HASH" = {_text(entry.hash)}, '
            f'"PUBLICATION_ID" = {_text(entry.publication_id)} WHERE "SEQUENCE" = {head.sequence}'
        )
        if self.head() != Head(entry.sequence, entry.hash, entry.publication_id):
            raise Outrun("the head did not move")

    def commit(self) -> None:
        self._session.execute("COMMIT")

    def rollback(self) -> None:
        self._session.execute("ROLLBACK")

    # ── schemas to build in ───────────────────────────────────────────────────────────────────
    def schemas(self) -> list[str]:
        rows = self._session.rows(f"SELECT SCHEMA_NAME FROM {self._name('INFORMATION_SCHEMA', 'SCHEMATA')}")
        return [str(name).lower() for (name,) in rows]

    def drop_schema(self, name: str) -> None:
        self._session.execute(f"DROP SCHEMA IF EXISTS {self._name(name)} CASCADE", repeatable=True)

    # ── reading ───────────────────────────────────────────────────────────────────────────────
    def fetch(self, dataset: str, columns: Sequence[Column]) -> pa.Table:
        # as integers, because Arrow's nanoseconds end in 2262, and the emulator's nulls in 1970
        chosen = ", ".join(
            f"DATE_PART(EPOCH_MICROSECOND, {_quoted(c.name)}) AS {_quoted(c.name)}"
            if c.type.startswith("timestamp")
            else _quoted(c.name)
            for c in columns
        )
        return self._session.arrow(f"SELECT {chosen} FROM {self._table(dataset)}")


_DDL = {
    "boolean": "BOOLEAN", "int": "NUMBER(38,0)", "bigint": "NUMBER(38,0)", "float": "FLOAT", "double": "FLOAT",
    "date": "DATE", "timestamp": "TIMESTAMP_LTZ(6)", "timestamp_ntz": "TIMESTAMP_NTZ(6)", "string": "VARCHAR",
    "binary": "BINARY",
}  # fmt: skip
_DESCRIBED = _DDL | {"timestamp_ntz": "TIMESTAMP_NTZ"}


def _quoted(name: str) -> str:
    return '"' + name.upper().replace('"', '""') + '"'


def _text(value: Any) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"

"""Snowflake as a target; the statements themselves are in `snowflake_statements.py`.

Names are quoted in `snowflake_session.quoted` and nowhere else, in upper case, so that unquoted use works:
`gold.operations.fact_flight` is "GOLD"."OPERATIONS"."FACT_FLIGHT". The ledger and its head are in the
schema MEDALLION of the same database, because a transaction of the emulator writes one database only.
Staging tables and a stage for each table and publication are in the transient schema MEDALLION_STAGING;
the stages are temporary, so that their files go with the session, whatever becomes of the publisher.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medallion.errors import ServiceUnavailable
from medallion.publish import snowflake_schema as schema
from medallion.publish import snowflake_statements as sql
from medallion.publish import target
from medallion.publish.columns import Column
from medallion.publish.description import Description
from medallion.publish.ledger import Entry, Head
from medallion.publish.partitions import Part, condition
from medallion.publish.snowflake_session import Session, quoted, text
from medallion.publish.target import Missing, Outrun, left_over
from medallion.settings import Snowflake

if TYPE_CHECKING:
    import pyarrow as pa
    from snowflake.connector.cursor import SnowflakeCursor

ABANDONED_S = 90
"""A publisher that has sent nothing for so long within its transaction is taken for dead: longer than a live one
waits for the network (`snowflake.network_timeout_s`)."""
log = logging.getLogger(__name__)
_SCHEMA = "medallion"
_STAGING = "medallion_staging"
_HEAD = "publication_head"
_LEDGER = "publications"
_STAGE = "files_"
_STAGED = "staged_"


class SnowflakeTarget:
    """One session with Snowflake, or with its emulator."""

    def __init__(self, settings: Snowflake, tag: str = target.PUBLISHER) -> None:
        """Log in. `tag` says who we are, to people who look at the warehouse. Raises: ServiceUnavailable, SettingsError."""
        self.name, self.alters_in_transaction, self.nested_as_texts = "snowflake", False, True
        self._session = Session(settings, tag=tag)
        self._database = settings.database
        self._head_table = self._name(_SCHEMA, _HEAD)
        self._ledger = self._name(_SCHEMA, _LEDGER)
        self._schemas: set[str] | None = None
        self._locked = 0
        self._ours = _word(f"medallion {settings.database} publish")  # so begin the names of our transactions
        self._transaction = self._ours + _word(tag.removeprefix(target.PUBLISHER))

    def __enter__(self) -> SnowflakeTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    def _run(self, statement: sql.Statement, **parts: object) -> SnowflakeCursor:
        return self._session.execute(statement.text.format(**parts), repeatable=statement.repeatable)

    def _rows(self, statement: sql.Statement, **parts: object) -> list[tuple[Any, ...]]:
        return self._session.rows(statement.text.format(**parts), repeatable=statement.repeatable)

    # ── names and types ───────────────────────────────────────────────────────────────────────
    def _name(self, *parts: str) -> str:
        return ".".join(quoted(part) for part in (self._database, *parts))

    def _table(self, dataset: str) -> str:
        _, domain, name = dataset.split(".")
        return self._name(domain, name)

    def _staged(self, place: str) -> str:
        return self._name(_STAGING, _STAGED + place)

    def _stage(self, place: str) -> str:
        return self._name(_STAGING, _STAGE + place)

    def _column(self, column: Column) -> str:
        return f"{quoted(column.name)} {_type(column)}"

    def type_of(self, column: Column) -> str:
        types = _DESCRIBED | {"timestamp": self._session.dialect.instant}
        return types.get(column.type) or column.type.replace("decimal", "NUMBER")

    def check(self, dataset: str, columns: Sequence[Column]) -> None:
        """Every name and every type of the lake has a place here."""

    # ── ledger ────────────────────────────────────────────────────────────────────────────────
    def prepare(self) -> None:
        self._make_schema(_STAGING, sql.CREATE_STAGING_SCHEMA)
        if not self._session.exists(self._head_table):  # made last, so all the rest is there
            self._make_schema(_SCHEMA)
            self._run(sql.CREATE_LEDGER, ledger=self._ledger)
            self._run(sql.CREATE_HEAD, head=self._head_table)

    def _make_schema(self, name: str, how: sql.Statement = sql.CREATE_SCHEMA) -> None:
        """Create a schema, and the database, where they are missing: else no right to make one is needed."""
        if self._schemas is None:
            try:
                self._schemas = {str(row[1]).upper() for row in self._rows(sql.SHOW_SCHEMAS, database=self._name())}
            except Missing:
                self._run(sql.CREATE_DATABASE, database=self._name())
                self._schemas = set()
        if name.upper() not in self._schemas:
            self._run(how, schema=self._name(name))
            self._schemas.add(name.upper())

    def head(self) -> Head:
        try:
            rows = self._rows(sql.HEAD, head=self._head_table)
        except Missing:
            return Head(0, None, None)
        [(sequence, hash_, publication_id, self._locked)] = rows
        return Head(int(sequence), hash_, publication_id)

    def entry(self, *, sequence: int | None = None, publication_id: str | None = None) -> Entry | None:
        if sequence is not None:
            found = self._entries(sql.ENTRY_BY_SEQUENCE, sequence=sequence)
        else:
            found = self._entries(sql.ENTRY_BY_ID, publication_id=text(publication_id))
        return found[0] if found else None

    def entries(self, limit: int) -> list[Entry]:
        return self._entries(sql.NEWEST_ENTRIES, limit=int(limit))

    def _entries(self, statement: sql.Statement, **parts: object) -> list[Entry]:
        try:
            rows = self._rows(statement, ledger=self._ledger, **parts)
        except Missing:
            return []
        return [Entry.read(s, p, h, r, at.replace(tzinfo=UTC), d) for s, p, h, r, at, d in rows]

    # ── tables ────────────────────────────────────────────────────────────────────────────────
    def columns(self, dataset: str) -> dict[str, str] | None:
        try:
            rows = self._rows(sql.DESCRIBE_TABLE, table=self._table(dataset))
        except Missing:
            return None
        # VARCHAR(16777216), TIMESTAMP_NTZ(6) and the like: only a NUMBER's size is part of its type
        return {str(row[0]).lower(): re.sub(r"^(?!NUMBER)(\w+)\(.*\)$", r"\1", str(row[1])) for row in rows}

    def create(self, dataset: str, columns: Sequence[Column]) -> None:
        _, domain, _ = dataset.split(".")
        self._make_schema(domain)
        body = ", ".join(self._column(column) for column in columns)
        self._run(sql.CREATE_TABLE, table=self._table(dataset), columns=body)

    def add(self, dataset: str, columns: Sequence[Column]) -> None:
        for column in columns:
            self._run(sql.ADD_COLUMN, table=self._table(dataset), column=self._column(column))

    def _change(self, statements: Iterable[str]) -> None:
        for statement in statements:
            self._session.execute(statement, repeatable=True)

    def widen(self, dataset: str, columns: Sequence[Column]) -> None:
        self._change(schema.widened(self._table(dataset), columns, {column.name: _type(column) for column in columns}))

    def exchange(self, dataset: str, gone: Sequence[str], new: Sequence[Column]) -> None:
        for name in gone:
            self._run(sql.DROP_COLUMN, table=self._table(dataset), column=quoted(name))
        self.add(dataset, new)

    def describe(self, dataset: str, wanted: Description) -> None:
        table = self._table(dataset)
        required = {str(row[0]).lower(): row[3] == "N" for row in self._rows(sql.DESCRIBE_TABLE, table=table)}
        self._change(schema.requirements(table, wanted, required))  # first: rows may wait for it
        if self._session.dialect.describes:
            self._change(schema.keys(table, dataset, wanted, *self._keys(table)))
            self._change(schema.comments(table, wanted))

    def relate(self, dataset: str, wanted: Description) -> None:
        if wanted.references and self._session.dialect.describes:
            table, others = self._table(dataset), {each.to: self._table(each.to) for each in wanted.references}
            self._change(schema.references(table, dataset, wanted, self._keys(table)[1], others))

    def _keys(self, table: str) -> tuple[list[str], list[str]]:
        primary = [row[schema.KEY_NAME] for row in self._rows(sql.SHOW_KEYS, table=table)]
        return primary, [row[schema.REFERENCE_NAME] for row in self._rows(sql.SHOW_REFERENCES, table=table)]

    # ── staging ───────────────────────────────────────────────────────────────────────────────
    def stage(self, place: str, files: Sequence[Path]) -> None:
        self._run(sql.CREATE_STAGE, stage=self._stage(place))
        if files:
            pattern = str(files[0].parent / "*.parquet").replace("'", "\\'")
            self._run(sql.PUT, pattern=pattern, stage=self._stage(place))

    def copy(self, place: str, columns: Sequence[Column]) -> int:
        staged = self._staged(place)
        texts = (replace(column, type="string") if column.type == "json" else column for column in columns)
        body = ", ".join(self._column(column) for column in texts)
        self._run(sql.CREATE_STAGED, staged=staged, columns=body)
        self._run(sql.COPY, staged=staged, stage=self._stage(place))
        return int(self._rows(sql.COUNT_STAGED, staged=staged)[0][0])

    def discard(self, places: Sequence[str]) -> None:
        tables = self._rows(sql.SHOW_STAGED, schema=self._name(_STAGING))
        names = [str(row[1]).lower() for row in tables]
        there = {name.removeprefix(_STAGED) for name in names if name.startswith(_STAGED)}
        for place in sorted(set(places) | {place for place in there if left_over(place)}):
            self._run(sql.DROP_STAGED, staged=self._staged(place))
        for place in places:
            self._run(sql.DROP_STAGE, stage=self._stage(place))

    # ── the transaction ───────────────────────────────────────────────────────────────────────
    def begin(self) -> None:
        self._run(sql.BEGIN, name=self._transaction)

    def lock(self) -> Head:
        deadline = time.monotonic() + target.LOCK_WAIT_S
        while True:
            try:
                self._run(sql.LOCK_HEAD, head=self._head_table)
                return self.head()  # a new statement: it sees what was committed while we waited
            except Outrun:
                if self._session.dialect.waits or time.monotonic() > deadline:
                    raise
            self.rollback()
            time.sleep(0.1)
            self.begin()

    def _still(self, head: Head) -> str:
        return sql.STILL.format(head=self._head_table, sequence=head.sequence, locked=self._locked)

    def empty(self, dataset: str, head: Head, parts: Sequence[Part] | None = None) -> None:
        table, still = self._table(dataset), self._still(head)
        if parts is None:
            self._run(sql.EMPTY, table=table, still=still)
        else:
            self._run(sql.EMPTY_PARTS, table=table, parts=condition(parts, quoted, _literal), still=still)

    def fill(self, dataset: str, place: str, columns: Sequence[Column], head: Head) -> None:
        names = ", ".join(quoted(column.name) for column in columns)
        values = ", ".join(
            (sql.FILLED_JSON if column.type == "json" else "{name}").format(name=quoted(column.name)) for column in columns
        )
        self._run(
            sql.FILL,
            table=self._table(dataset),
            names=names,
            values=values,
            staged=self._staged(place),
            still=self._still(head),
        )

    def fill_from(self, dataset: str, built: str, columns: Sequence[Column], head: Head) -> None:
        names = ", ".join(quoted(column.name) for column in columns)
        still = self._still(head)
        self._run(sql.FILL, table=self._table(dataset), names=names, values=names, staged=self._table(built), still=still)

    def counts(self, datasets: Sequence[str]) -> dict[str, int]:
        counts = ", ".join(sql.ONE_COUNT.format(table=self._table(dataset)) for dataset in datasets)
        row = self._rows(sql.COUNT, counts=counts)[0]
        return {dataset: int(count) for dataset, count in zip(datasets, row, strict=True)}

    def append(self, entry: Entry, head: Head) -> None:
        told = {"hash": text(entry.hash), "publication_id": text(entry.publication_id)}
        self._run(
            sql.APPEND_ENTRY,
            ledger=self._ledger,
            sequence=entry.sequence,
            runs=text(json.dumps(entry.runs)),
            at=text(datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")),
            details=text(entry.details()),
            still=self._still(head),
            **told,
        )
        self._run(
            sql.MOVE_HEAD,
            head=self._head_table,
            next=entry.sequence,
            sequence=head.sequence,
            locked=self._locked,
            **told,
        )
        if self.head() != Head(entry.sequence, entry.hash, entry.publication_id):
            raise Outrun("the head did not move")

    def commit(self) -> None:
        self._run(sql.COMMIT)

    def rollback(self) -> None:
        self._run(sql.ROLLBACK)

    def end_abandoned(self) -> list[str]:
        ended = []
        try:
            for id_, _, session, name, *_ in self._rows(sql.SHOW_TRANSACTIONS):
                if not str(name).lower().startswith(self._ours):
                    continue
                [(under_way, quiet)] = self._rows(sql.QUIET, database=self._name(), session=int(session))
                if not under_way and quiet is not None and quiet >= ABANDONED_S:
                    self._run(sql.ABORT_TRANSACTION, id=int(id_))
                    ended.append(str(name))
        except ServiceUnavailable:  # it may have ended meanwhile, and an account may not let us look
            log.info("what others left open could not be looked at", exc_info=True)
        return ended

    # ── schemas to build in ───────────────────────────────────────────────────────────────────
    def schemas(self) -> list[str]:
        return [str(row[1]).lower() for row in self._rows(sql.SHOW_SCHEMAS, database=self._name())]

    def drop_schema(self, name: str) -> None:
        self._run(sql.DROP_BUILT, built=self._name(name))

    # ── reading ───────────────────────────────────────────────────────────────────────────────
    def fetch(self, dataset: str, columns: Sequence[Column]) -> pa.Table:
        chosen = ", ".join(sql.FETCHED.get(column.type, "{name}").format(name=quoted(column.name)) for column in columns)
        return self._session.arrow(sql.FETCH.text.format(columns=chosen, table=self._table(dataset)))


_DDL = {
    "boolean": "BOOLEAN", "int": "NUMBER(38,0)", "bigint": "NUMBER(38,0)", "float": "FLOAT", "double": "FLOAT",
    "date": "DATE", "timestamp": "TIMESTAMP_LTZ(6)", "timestamp_ntz": "TIMESTAMP_NTZ(6)", "string": "VARCHAR",
    "binary": "BINARY", "json": "VARIANT",
}  # fmt: skip
_DESCRIBED = _DDL | {"timestamp_ntz": "TIMESTAMP_NTZ"}


def _type(column: Column) -> str:
    return _DDL.get(column.type) or column.type.replace("decimal", "NUMBER")


def _word(text: str) -> str:
    """A text as a name that needs no quotes."""
    return re.sub(r"\W", "_", text, flags=re.ASCII).lower()


def _literal(column: Column, value: str) -> str:
    # the end of the last partition may be more than the column's type holds
    return f"CAST({text(value)} AS {re.sub(r'NUMBER.[0-9]+', 'NUMBER(38', _type(column))})"

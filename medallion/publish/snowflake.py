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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from medallion.errors import MedallionError, ServiceUnavailable
from medallion.publish import snowflake_schema as schema
from medallion.publish import snowflake_statements as sql
from medallion.publish import target
from medallion.publish.columns import Column
from medallion.publish.description import Description
from medallion.publish.ledger import Entry, Head
from medallion.publish.partitions import Part, condition
from medallion.publish.snowflake_session import Session, quoted, text
from medallion.publish.snowflake_types import declared, described, literal
from medallion.publish.target import Filled, Load, Missing, Outrun, left_over
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
        return self._name(_STAGING, _STAGE + place.rpartition("_")[0])

    def _column(self, column: Column) -> str:
        return f"{quoted(column.name)} {declared(column)}"

    def type_of(self, column: Column) -> str:
        return described(column, self._session.dialect.instant)

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
    def columns(self, datasets: Sequence[str]) -> dict[str, dict[str, str]]:
        found = {}
        for dataset in datasets:
            with suppress(Missing):
                rows = self._rows(sql.DESCRIBE_TABLE, table=self._table(dataset))
                # VARCHAR(16777216), TIMESTAMP_NTZ(6) and the like: only a NUMBER's size is part of its type
                types = {str(row[0]).lower(): re.sub(r"^(?!NUMBER)(\w+)\(.*\)$", r"\1", str(row[1])) for row in rows}
                found[dataset] = types
        return found

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
        self._change(schema.widened(self._table(dataset), columns, {column.name: declared(column) for column in columns}))

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
    def stage(self, loads: Sequence[Load]) -> None:
        for each in loads:
            texts = (replace(column, type="string") if column.type == "json" else column for column in each.columns)
            body = ", ".join(self._column(column) for column in texts)
            self._run(sql.CREATE_STAGED, staged=self._staged(each.place), columns=body)
        if files := [path for each in loads for path in each.files]:
            stage = self._stage(loads[0].place)
            self._run(sql.CREATE_STAGE, stage=stage)
            pattern = str(files[0].parent / "*.parquet").replace("'", "\\'")
            self._run(sql.PUT, pattern=pattern, stage=stage)

    def copy(self, load: Load) -> int:
        if not load.files:
            return 0
        files = f"{self._stage(load.place)}/{load.place}_"
        answers = self._rows(sql.COPY, staged=self._staged(load.place), files=files)
        loaded = [int(row[schema.ROWS_LOADED]) for row in answers if row[schema.FILE_STATUS :][:1] == ("LOADED",)]
        if len(loaded) == len(load.files):
            return sum(loaded)
        # the client has sent it again by itself: what is loaded already is passed over
        return int(self._rows(sql.COUNT_STAGED, staged=self._staged(load.place))[0][0])

    def discard(self, places: Sequence[str]) -> None:
        tables = self._rows(sql.SHOW_STAGED, schema=self._name(_STAGING))
        names = [str(row[1]).lower() for row in tables]
        there = {name.removeprefix(_STAGED) for name in names if name.startswith(_STAGED)}
        for place in sorted(set(places) | {place for place in there if left_over(place)}):
            self._run(sql.DROP_STAGED, staged=self._staged(place))
        for stage in {self._stage(place) for place in places}:
            self._run(sql.DROP_STAGE, stage=stage)

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

    def empty(self, tables: Mapping[str, Sequence[Part] | None], head: Head) -> None:
        for dataset, parts in tables.items():
            how, which = (sql.EMPTY, "") if parts is None else (sql.EMPTY_PARTS, condition(parts, quoted, literal))
            with _of(dataset):
                self._run(how, table=self._table(dataset), parts=which, still=self._still(head))

    def fill(self, tables: Filled, head: Head) -> None:
        self._fill(
            {dataset: (self._staged(place), columns) for dataset, (place, columns) in tables.items()}, head, sql.FILLED_JSON
        )

    def fill_from(self, tables: Filled, head: Head) -> None:
        self._fill({dataset: (self._table(built), columns) for dataset, (built, columns) in tables.items()}, head, "{name}")

    def _fill(self, tables: Filled, head: Head, json_as: str) -> None:
        for dataset, (source, columns) in tables.items():
            names = [quoted(column.name) for column in columns]
            values = [
                (json_as if column.type == "json" else "{name}").format(name=name)
                for column, name in zip(columns, names, strict=True)
            ]
            with _of(dataset):
                self._run(
                    sql.FILL,
                    table=self._table(dataset),
                    names=", ".join(names),
                    values=", ".join(values),
                    staged=source,
                    still=self._still(head),
                )

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


@contextmanager
def _of(dataset: str) -> Iterator[None]:
    """A statement about a dataset's table: if it is refused, that is said."""
    try:
        yield
    except MedallionError as error:
        error.dataset = dataset
        raise


def _word(text: str) -> str:
    """A text as a name that needs no quotes."""
    return re.sub(r"\W", "_", text, flags=re.ASCII).lower()

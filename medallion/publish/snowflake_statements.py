"""Every statement that is sent to Snowflake, and no other file has one.

A word in braces is filled in by whoever sends the statement, with names that are quoted and values
that are escaped. Every write of the transaction says `WHERE {still}`, which is `STILL`: the head that
it was planned from is shown still, and its counter stands as this transaction has set it. Whatever is
sent or arrives after the transaction has ended (a copy of a request, a publisher that was taken for
dead) therefore changes nothing, though it would commit by itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """One statement. `repeatable`: done twice is done once, so the client may send it again by itself."""

    text: str
    repeatable: bool = False


ENTRY = '"SEQUENCE", "PUBLICATION_ID", "MAIN_HASH", "RUNS", "PUBLISHED_AT", "DETAILS"'
"""The ledger's columns."""
STILL = 'EXISTS (SELECT 1 FROM {head} WHERE "SEQUENCE" = {sequence} AND "LOCKED" = {locked})'

# ── the session ───────────────────────────────────────────────────────────────────────────────────
NO_SECONDARY_ROLES = Statement("USE SECONDARY ROLES NONE", repeatable=True)

# ── what is made once ─────────────────────────────────────────────────────────────────────────────
SHOW_SCHEMAS = Statement("SHOW SCHEMAS IN DATABASE {database}", repeatable=True)
CREATE_DATABASE = Statement("CREATE DATABASE IF NOT EXISTS {database}", repeatable=True)
CREATE_SCHEMA = Statement("CREATE SCHEMA IF NOT EXISTS {schema}", repeatable=True)
CREATE_STAGING_SCHEMA = Statement("CREATE TRANSIENT SCHEMA IF NOT EXISTS {schema}", repeatable=True)
CREATE_LEDGER = Statement(
    'CREATE TABLE IF NOT EXISTS {ledger} ("SEQUENCE" NUMBER(38,0), "PUBLICATION_ID" VARCHAR, '
    '"MAIN_HASH" VARCHAR, "RUNS" VARCHAR, "PUBLISHED_AT" TIMESTAMP_NTZ(6), "DETAILS" VARCHAR)',
    repeatable=True,
)
CREATE_HEAD = Statement(  # one statement makes the head and its only row, so that two publishers cannot make two rows
    'CREATE TABLE IF NOT EXISTS {head} AS SELECT CAST(0 AS NUMBER(38,0)) AS "SEQUENCE", '
    'CAST(NULL AS VARCHAR) AS "MAIN_HASH", CAST(NULL AS VARCHAR) AS "PUBLICATION_ID", '
    'CAST(0 AS NUMBER(38,0)) AS "LOCKED"',
    repeatable=True,
)

# ── tables ────────────────────────────────────────────────────────────────────────────────────────
DESCRIBE_TABLE = Statement("DESCRIBE TABLE {table}", repeatable=True)
CREATE_TABLE = Statement("CREATE TABLE IF NOT EXISTS {table} ({columns})", repeatable=True)
ADD_COLUMN = Statement("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}", repeatable=True)
WIDEN = Statement("ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {type}", repeatable=True)
DROP_COLUMN = Statement("ALTER TABLE {table} DROP COLUMN IF EXISTS {column}", repeatable=True)
SET_NOT_NULL = Statement("ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL", repeatable=True)
DROP_NOT_NULL = Statement("ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL", repeatable=True)
COMMENT_TABLE = Statement("ALTER TABLE {table} SET COMMENT = {comment}", repeatable=True)
COMMENT_COLUMNS = Statement("ALTER TABLE {table} ALTER {comments}", repeatable=True)
COLUMN_COMMENT = "COLUMN {column} COMMENT {comment}"
SHOW_KEYS = Statement("SHOW PRIMARY KEYS IN TABLE {table}", repeatable=True)
SHOW_REFERENCES = Statement("SHOW IMPORTED KEYS IN TABLE {table}", repeatable=True)
DROP_CONSTRAINT = Statement("ALTER TABLE {table} DROP CONSTRAINT {name}", repeatable=True)
ADD_KEY = Statement("ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY ({columns})", repeatable=True)
ADD_REFERENCE = Statement(
    "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({columns}) REFERENCES {other} ({other_columns})", repeatable=True
)

# ── staging ───────────────────────────────────────────────────────────────────────────────────────
CREATE_STAGE = Statement("CREATE TEMPORARY STAGE IF NOT EXISTS {stage}", repeatable=True)
PUT = Statement("PUT 'file://{pattern}' @{stage} AUTO_COMPRESS=FALSE OVERWRITE=TRUE PARALLEL=8", repeatable=True)
CREATE_STAGED = Statement("CREATE TRANSIENT TABLE IF NOT EXISTS {staged} ({columns})", repeatable=True)
COPY = Statement(
    "COPY INTO {staged} FROM @{files} FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE BINARY_AS_TEXT=FALSE) "
    "MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE ON_ERROR=ABORT_STATEMENT",
    repeatable=True,
)
COUNT_STAGED = Statement("SELECT COUNT(*) FROM {staged}", repeatable=True)
SHOW_STAGED = Statement("SHOW TABLES IN SCHEMA {schema}", repeatable=True)
DROP_STAGED = Statement("DROP TABLE IF EXISTS {staged}", repeatable=True)
DROP_STAGE = Statement("DROP STAGE IF EXISTS {stage}", repeatable=True)
DROP_BUILT = Statement("DROP SCHEMA IF EXISTS {built} CASCADE", repeatable=True)  # in which marts were built

# ── the transaction ───────────────────────────────────────────────────────────────────────────────
BEGIN = Statement("BEGIN TRANSACTION NAME {name}")
LOCK_HEAD = Statement('UPDATE {head} SET "LOCKED" = "LOCKED" + 1')
EMPTY = Statement("DELETE FROM {table} WHERE {still}")
EMPTY_PARTS = Statement("DELETE FROM {table} WHERE {parts} AND {still}")
FILL = Statement("INSERT INTO {table} ({names}) SELECT {values} FROM {staged} WHERE {still}")
FILLED_JSON = "PARSE_JSON({name})"
COUNT = Statement("SELECT {counts}")
ONE_COUNT = "(SELECT COUNT(*) FROM {table})"
APPEND_ENTRY = Statement(
    f"INSERT INTO {{ledger}} ({ENTRY}) SELECT {{sequence}}, {{publication_id}}, {{hash}}, {{runs}}, "
    "CAST({at} AS TIMESTAMP_NTZ(6)), {details} WHERE {still}"
)
MOVE_HEAD = Statement(
    'UPDATE {head} SET "SEQUENCE" = {next}, "MAIN_HASH" = {hash}, "PUBLICATION_ID" = {publication_id} '
    'WHERE "SEQUENCE" = {sequence} AND "LOCKED" = {locked}'
)
COMMIT = Statement("COMMIT")
ROLLBACK = Statement("ROLLBACK")

# ── what others left open ─────────────────────────────────────────────────────────────────────────
SHOW_TRANSACTIONS = Statement("SHOW TRANSACTIONS", repeatable=True)
QUIET = Statement(
    "SELECT COUNT_IF(LOWER(EXECUTION_STATUS) IN ('resuming_warehouse', 'running', 'queued', 'blocked')), "
    "DATEDIFF(second, MAX(END_TIME), CURRENT_TIMESTAMP()) "
    "FROM TABLE({database}.INFORMATION_SCHEMA.QUERY_HISTORY_BY_SESSION(SESSION_ID => {session}, RESULT_LIMIT => 100))",
    repeatable=True,
)
ABORT_TRANSACTION = Statement("SELECT SYSTEM$ABORT_TRANSACTION({id})", repeatable=True)

# ── reading ───────────────────────────────────────────────────────────────────────────────────────
BEGIN_READING = Statement("BEGIN")
EXISTS = Statement("SELECT 1 FROM {table} LIMIT 0", repeatable=True)
HEAD = Statement('SELECT "SEQUENCE", "MAIN_HASH", "PUBLICATION_ID", "LOCKED" FROM {head}', repeatable=True)
ENTRY_BY_SEQUENCE = Statement(f'SELECT {ENTRY} FROM {{ledger}} WHERE "SEQUENCE" = {{sequence}}', repeatable=True)
ENTRY_BY_ID = Statement(f'SELECT {ENTRY} FROM {{ledger}} WHERE "PUBLICATION_ID" = {{publication_id}}', repeatable=True)
NEWEST_ENTRIES = Statement(f'SELECT {ENTRY} FROM {{ledger}} ORDER BY "SEQUENCE" DESC LIMIT {{limit}}', repeatable=True)
FETCH = Statement("SELECT {columns} FROM {table}", repeatable=True)
FETCHED = {  # times as integers, because Arrow's nanoseconds end in 2262, and the emulator's nulls in 1970
    "timestamp": "DATE_PART(EPOCH_MICROSECOND, {name}) AS {name}",
    "timestamp_ntz": "DATE_PART(EPOCH_MICROSECOND, {name}) AS {name}",
    "json": "TO_JSON({name}) AS {name}",
}

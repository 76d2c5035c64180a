"""Fixtures and questions for tests of the warehouse; `pytest_plugins = ["tests.warehouse"]`.

A test that is to run on every warehouse says `@BOTH`; names in SQL are `{database}.{domain}.table` there too.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from psycopg import sql as psycopg_sql

from medallion.contract import Contract
from medallion.publish.postgres_session import Session as PostgresSession
from medallion.publish.reconcile import reconcile
from medallion.publish.snowflake_session import Session
from medallion.publish.target import connect
from medallion.services import postgres
from medallion.settings import Settings
from tests import acceptance
from tests.lake_tables import Contracts, LakeTables
from tests.postgres_proxy import PostgresProxy
from tests.tcp_proxy import TcpProxy

BOTH = pytest.mark.parametrize("settings", ["snowflake", "postgres"], indirect=True)
SNOWFLAKE = pytest.mark.parametrize("settings", ["snowflake"], indirect=True)
POSTGRES = pytest.mark.parametrize("settings", ["postgres"], indirect=True)


@pytest.fixture
def settings(stack: Settings, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """The running stack, with a database of the warehouse for this test alone: Snowflake's, if no other is asked for."""
    name = f"t{uuid.uuid4().hex[:10]}"
    if getattr(request, "param", "snowflake") == "snowflake":
        if not request.config.pluginmanager.has_plugin("tests.acceptance"):  # the emulator goes with the stack
            yield with_snowflake(stack, database=name)
            return
        account = stack.model_copy(update={"snowflake": acceptance.ACCOUNT or stack.snowflake})
        settings = with_snowflake(account, database=acceptance.new_database())
        yield settings
        elsewhere = with_snowflake(settings, database=stack.snowflake.database)
        select(elsewhere, f'DROP DATABASE IF EXISTS "{settings.snowflake.database.upper()}"')
        names = {row[1].upper() for row in select(elsewhere, "SHOW DATABASES LIKE 'MEDALLION_ACCEPTANCE_%'")}
        assert settings.snowflake.database.upper() not in names
        return
    identifier = psycopg_sql.Identifier(name)
    with postgres.connect(stack.postgres) as connection:
        connection.execute(psycopg_sql.SQL("CREATE DATABASE {}").format(identifier))
        yield with_postgres(stack, database=name)
        connection.execute(psycopg_sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@pytest.fixture
def lake(settings: Settings) -> Iterator[LakeTables]:
    """Writes tables into the lake."""
    with closing(LakeTables(settings)) as lake:
        yield lake


@pytest.fixture
def domain() -> str:
    """A domain that no other test uses: `main` is shared by all."""
    return f"d{uuid.uuid4().hex[:10]}"


def with_snowflake(settings: Settings, **changes: Any) -> Settings:
    """The settings with Snowflake as the warehouse, and other ones for it."""
    return settings.model_copy(update={"warehouse": "snowflake", "snowflake": settings.snowflake.model_copy(update=changes)})


def with_postgres(settings: Settings, **changes: Any) -> Settings:
    """The settings with PostgreSQL as the warehouse, and other ones for it."""
    part = settings.warehouse_postgres.model_copy(update=changes)
    return settings.model_copy(update={"warehouse": "postgres", "warehouse_postgres": part})


def with_warehouse(settings: Settings, **changes: Any) -> Settings:
    """The settings with other ones for their warehouse."""
    return (with_postgres if settings.warehouse == "postgres" else with_snowflake)(settings, **changes)


def proxied(settings: Settings) -> TcpProxy | PostgresProxy:
    """A proxy before the warehouse; both kinds have `drop_reply` and `drop_request`."""
    if settings.warehouse == "postgres":
        return PostgresProxy(settings.warehouse_postgres.host, settings.warehouse_postgres.port)
    assert settings.snowflake.host
    assert settings.snowflake.port
    return TcpProxy(settings.snowflake.host, settings.snowflake.port)


def through(settings: Settings, proxy: TcpProxy | PostgresProxy) -> Settings:
    """The settings with the warehouse behind a proxy."""
    return with_warehouse(settings, host="127.0.0.1", port=proxy.port)


def session(settings: Settings) -> Session | PostgresSession:
    """A session with the warehouse; both kinds have `execute`, `rows` and `close`."""
    if settings.warehouse == "postgres":
        return PostgresSession(settings.warehouse_postgres)
    return Session(settings.snowflake)


def database(settings: Settings) -> str:
    """The warehouse's database."""
    return (settings.warehouse_postgres if settings.warehouse == "postgres" else settings.snowflake).database


def select(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """Run one statement in the warehouse. Returns: its rows, if it has any."""
    with closing(session(settings)) as opened:
        if settings.warehouse == "snowflake":
            return opened.rows(sql)
        cursor = opened.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def rows(settings: Settings, contract: Contract) -> list[tuple[Any, ...]]:
    """What the warehouse holds of a dataset, in order."""
    _, domain, name = contract.dataset.split(".")
    return sorted(select(settings, f"SELECT * FROM {database(settings)}.{domain}.{name}"), key=repr)


def columns(settings: Settings, contract: Contract) -> list[str]:
    """The columns of a dataset's table in the warehouse."""
    with closing(connect(settings)) as target:
        return list(target.columns([contract.dataset]).get(contract.dataset, ()))


def staging(settings: Settings) -> str:
    """The schema of staging tables."""
    return "medallion" if settings.warehouse == "postgres" else "medallion_staging"


def tables_of_the_ledger(settings: Settings) -> set[str]:
    """The tables beside the ledger and those of its staging, and itself."""
    question = "SELECT lower(table_name) FROM information_schema.tables WHERE lower(table_schema) IN ('medallion', '{staging}')"
    found = select(settings, question.format(staging=staging(settings)))
    return {name for (name,) in found}


def agreed(settings: Settings, contracts: Contracts) -> bool:
    """Whether every table agrees, and none is missing."""
    found = reconcile(settings, contracts)
    return len(found) == len(contracts.contracts) and all(each.agreed for each in found)

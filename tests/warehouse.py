"""Fixtures and questions for tests of the warehouse; `pytest_plugins = ["tests.warehouse"]`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from medallion.contract import Contract
from medallion.publish.reconcile import reconcile
from medallion.publish.snowflake_session import Session
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables


@pytest.fixture
def settings(stack: Settings) -> Settings:
    """The running stack, with a database of the warehouse for this test alone."""
    return with_snowflake(stack, database=f"t{uuid.uuid4().hex[:10]}")


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
    """The settings with other ones for the warehouse."""
    return settings.model_copy(update={"snowflake": settings.snowflake.model_copy(update=changes)})


def select(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    """Run one statement in the warehouse."""
    with closing(Session(settings.snowflake)) as session:
        return session.rows(sql)


def rows(settings: Settings, contract: Contract) -> list[tuple[Any, ...]]:
    """What the warehouse holds of a dataset, in order."""
    _, domain, name = contract.dataset.split(".")
    return sorted(select(settings, f"SELECT * FROM {settings.snowflake.database}.{domain}.{name}"), key=repr)


def agreed(settings: Settings, contracts: Contracts) -> bool:
    """Whether every table agrees, and none is missing."""
    found = reconcile(settings, contracts)
    return len(found) == len(contracts.contracts) and all(each.agreed for each in found)

"""Rows over JDBC: extracted once, in one order, with their types, or not at all."""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
import tenacity

from medallion.errors import InputError, MedallionError, ServiceUnavailable, SettingsError
from medallion.services import postgres
from medallion.settings import Settings
from medallion.sources import asking
from tests.asking import Port

pytest_plugins = ["tests.asking"]

DAYS = iter(date(2021, 1, 1) + timedelta(days=n) for n in range(300))
LOGIN = {"user": "harbour", "password": "sesame"}
SHIPS = "name text PRIMARY KEY, built int, length_m numeric(6,2), launched date, owner text"


@pytest.fixture(scope="module")
def registry(stack: Settings) -> Iterator[psycopg.Connection]:
    """A source database with a login that may read, and its owner's connection to it."""
    with postgres.connect(stack.postgres, "postgres") as server:
        server.execute("CREATE ROLE harbour LOGIN PASSWORD 'sesame'")
        server.execute("CREATE DATABASE harbour")
        with postgres.connect(stack.postgres, "harbour") as connection:
            connection.execute("CREATE SCHEMA port")
            connection.execute("GRANT USAGE ON SCHEMA port TO harbour")
            yield connection
        server.execute("DROP DATABASE harbour WITH (FORCE)")
        server.execute("DROP ROLE harbour")


@pytest.fixture(autouse=True)
def ships(port: Port, registry: psycopg.Connection) -> None:
    """The table as it should be, and the endpoint pointing at it."""
    registry.execute("DROP TABLE IF EXISTS port.ships")
    registry.execute(f"CREATE TABLE port.ships ({SHIPS})")
    registry.execute("GRANT SELECT ON port.ships TO harbour")
    registry.execute("INSERT INTO port.ships VALUES ('Zoe', 1999, 12.50, '1999-05-01', 'x'), ('Ada', NULL, NULL, NULL, 'y')")
    point(port)


def point(port: Port, database: str = "harbour", number: int | None = None, **settings: Any) -> str:
    url = f"jdbc:postgresql://127.0.0.1:{number or port.settings.postgres.port}/{database}"
    port.point("registry", url, **(LOGIN | settings))
    return f"{url}/port.ships"


def test_a_table_is_kept_with_its_types_and_asked_for_once(port: Port, registry: psycopg.Connection) -> None:
    first, second, third = next(DAYS), next(DAYS), next(DAYS)
    assert port.run("ships", first).state == "merged"
    (held,) = port.held("ships")
    assert held.uri.startswith(f"s3://bronze-external/domain=port/ships/{first:%Y/%m/%d}/ships.parquet?versionId=")
    data = port.lake.store.get(held.uri)
    assert hashlib.sha256(data).hexdigest() == held.sha256
    kept = pq.read_table(io.BytesIO(data))
    assert [str(field.type) for field in kept.schema] == ["string", "int32", "decimal128(6, 2)", "date32[day]"]
    assert port.rows("ships") == [("Ada", None, None, None), ("Zoe", 1999, Decimal("12.50"), date(1999, 5, 1))]

    with port.without_spark():
        assert port.run("ships", first).state == "unchanged"
    registry.execute("UPDATE port.ships SET owner = 'z'")  # the rows lie in another order now, and the contract has no owner
    same = port.run("ships", second)
    assert same.state == "unchanged"
    assert any(note.startswith("bronze.port.ships: jdbc:") and "the same bytes again" in note for note in same.notes)
    registry.execute("UPDATE port.ships SET length_m = 12.51 WHERE name = 'Zoe'")
    with port.without_spark():
        assert port.run("ships", second).state == "unchanged", "it was asked for on this date"
    corrected = port.run("ships", second, refetch=True)
    assert corrected.state == "merged"
    assert port.run("ships", third).state == "unchanged"
    assert [one.logical_date for one in port.held("ships")] == [first, second]


def test_a_server_that_comes_back_is_waited_for(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with postgres.connect(port.settings.postgres, "postgres") as server:
        server.execute("ALTER DATABASE harbour CONNECTION LIMIT 0")

        def lift(state: tenacity.RetryCallState) -> None:
            told.append(str(state.outcome and state.outcome.exception()))
            server.execute("ALTER DATABASE harbour CONNECTION LIMIT -1")

        monkeypatch.setattr(asking, "_say_so", lift)
        port.run("ships", next(DAYS))
    assert len(told) == 1
    assert 'FATAL: too many connections for database "harbour"' in told[0]


WRONG: dict[str, tuple[str, dict[str, Any], type[MedallionError], int, str]] = {
    # what was done to the table, how it is asked, error, exit code, what is told
    "no table": ("DROP TABLE port.ships", {}, InputError, 6, 'relation "port.ships" does not exist'),
    "a column is gone": (
        "ALTER TABLE port.ships DROP COLUMN built, DROP launched", {}, InputError, 6,
        "the table lacks the columns 'built', 'launched'",
    ),
    "another type": (
        "ALTER TABLE port.ships ALTER built TYPE text USING 'about 1990'", {}, InputError, 6, "column 'built' is string, not int",
    ),
    "no row": ("DELETE FROM port.ships", {}, InputError, 6, "has no row"),
    "the rows cannot be made": (
        "ALTER TABLE port.ships RENAME TO hulls; CREATE VIEW port.ships AS SELECT name, built / 0 AS built, length_m, launched "
        "FROM port.hulls; GRANT SELECT ON port.ships TO harbour", {}, InputError, 6, "division by zero",
    ),
    "the server dies during the read": (
        "DROP TABLE port.ships; CREATE VIEW port.ships AS SELECT 'Zoe ' || n AS name, CASE WHEN n = 15000 AND "
        "pg_terminate_backend(pg_backend_pid()) THEN 1 ELSE n END AS built, NULL::numeric(6,2) AS length_m, "
        "NULL::date AS launched FROM generate_series(1, 20000) n; GRANT SELECT ON port.ships TO harbour", {},
        ServiceUnavailable, 5, "FATAL: terminating connection due to administrator command",
    ),
    "no right": ("REVOKE SELECT ON port.ships FROM harbour", {}, ServiceUnavailable, 5, "refuses us: ERROR: permission denied"),
    "wrong password": (
        "SELECT 1", {"password": "sesam"}, ServiceUnavailable, 5,
        'refuses us: FATAL: password authentication failed for user "harbour"',
    ),
    "no password": (
        "SELECT 1", {"password": None}, ServiceUnavailable, 5, "refuses us: The server requested SCRAM-based authentication, but",
    ),
    "no such database": ("SELECT 1", {"database": "sea"}, InputError, 6, 'FATAL: database "sea" does not exist'),
    "the server is down": ("SELECT 1", {"number": 1}, ServiceUnavailable, 5, "Connection to 127.0.0.1:1 refused"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_had_or_read_changes_nothing(port: Port, registry: psycopg.Connection, case: str) -> None:
    damage, how, kind, code, told = WRONG[case]
    for statement in damage.split(";"):
        registry.execute(statement)
    uri = point(port, **how)
    try:
        refused = port.refused("ships", next(DAYS))
    finally:
        registry.execute("DROP VIEW IF EXISTS port.ships") if "VIEW" in damage else None
        registry.execute("DROP TABLE IF EXISTS port.hulls")
    assert isinstance(refused.error, kind)
    assert refused.error.exit_code == code
    assert f"bronze.port.ships: {uri}" in refused.told
    assert told in refused.told
    assert "org.postgresql" not in refused.told
    assert ("sources.registry.user and .password" in refused.told) == ("refuses us" in told)


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(port: Port) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silence:
        point(port, number=silence.getsockname()[1], timeout_s=1, tries=1)
        refused = port.refused("ships", next(DAYS))
    assert refused.error.exit_code == 5
    assert "Connection attempt timed out" in refused.told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://127.0.0.1/harbour", "'postgresql://127.0.0.1/harbour' is no JDBC address"),
        ("jdbc:nosuch://127.0.0.1/harbour", "no JDBC driver answers to 'jdbc:nosuch://127.0.0.1/harbour'"),
    ],
)
def test_an_address_that_nobody_answers_to(port: Port, url: str, told: str) -> None:
    port.point("registry", url, **LOGIN)
    refused = port.refused("ships", next(DAYS))
    assert isinstance(refused.error, SettingsError)
    assert "sources.registry.url: " in refused.told
    assert told in refused.told

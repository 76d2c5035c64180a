"""What a Snowflake account is told at login, seen between the client and the endpoint."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import jwt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from medallion.errors import ServiceUnavailable
from medallion.publish.columns import Column
from medallion.publish.publication import publish
from medallion.publish.target import Load, connect
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.tcp_proxy import TcpProxy
from tests.warehouse import BOTH, proxied, select, session, through, with_snowflake

pytest_plugins = ["tests.warehouse"]

COLUMNS = {"id": "bigint"}


def asked(proxy: TcpProxy, path: str) -> list[tuple[str, dict[str, Any]]]:
    """The requests of a path: first line and body."""
    found = [message for message in proxy.requests if path in message.first_line]
    return [(message.first_line, json.loads(message.body)) for message in found]


def test_role_warehouse_and_whose_work_it_is_are_told_at_login(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1}]})
    with proxied(settings) as proxy:
        assert isinstance(proxy, TcpProxy)
        there = with_snowflake(through(settings, proxy), role="MEDALLION_PUBLISHER", warehouse="PUBLISHING")
        done = publish(there, Contracts(one), run="run-20130102-abc")
        lake.commit({one: [{"id": 2}]})
        publish(there, Contracts(one))
        logins, statements = asked(proxy, "/session/v1/login-request"), asked(proxy, "/queries/v1/query-request")
    (line, body) = logins[0]
    assert "roleName=MEDALLION_PUBLISHER" in line
    assert "warehouse=PUBLISHING" in line
    parameters = body["data"]["SESSION_PARAMETERS"]
    assert parameters["QUERY_TAG"] == f"medallion publish {done.publication_id} run run-20130102-abc"
    assert parameters["TIMEZONE"] == "UTC"
    assert parameters["ABORT_DETACHED_QUERY"] is True
    sent = [statement["sqlText"] for _, statement in statements]
    assert sent[0] == "USE SECONDARY ROLES NONE"
    made = [text for text in sent if text.startswith(("CREATE DATABASE", "CREATE SCHEMA", "CREATE TRANSIENT SCHEMA"))]
    assert len(made) == len(set(made)) == 3, "the second publication finds them, and needs no right to make any"
    transaction = f"medallion_{settings.snowflake.database}_publish_{done.publication_id}_run_run_20130102_abc"
    assert f"BEGIN TRANSACTION NAME {transaction}" in sent


@BOTH
def test_the_publication_is_seen_by_its_name_while_it_works(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1}]})
    seen: list[str] = []
    question = {
        "postgres": "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()",
        "snowflake": "SHOW TRANSACTIONS",
    }[settings.warehouse]

    class Looks:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            if name == "publish.head":
                seen.extend(str(row) for row in select(settings, question))
            return nullcontext()

    done = publish(settings, Contracts(one), run="run-7", journal=Looks())
    assert done.publication_id
    assert [each for each in seen if done.publication_id in each]


def test_a_key_pair_signs_the_login_and_no_password_is_sent(settings: Settings, tmp_path: Path) -> None:
    """The endpoint knows passwords only, and refuses it: what is sent to it is what is looked at."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path = tmp_path / "key.p8"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with proxied(settings) as proxy:
        assert isinstance(proxy, TcpProxy)
        there = with_snowflake(through(settings, proxy), account="org-acct", private_key_path=path)
        with pytest.raises(ServiceUnavailable, match="refuses user 'medallion'") as refused, closing(session(there)):
            pass
        (_, body), *_ = asked(proxy, "/session/v1/login-request")
    assert "SNOWFLAKE_PRIVATE_KEY_PATH" in str(refused.value.hint)
    data = body["data"]
    assert data["AUTHENTICATOR"] == "SNOWFLAKE_JWT"
    assert not data.get("PASSWORD")
    public = key.public_key()
    claims = jwt.decode(data["TOKEN"], public, algorithms=["RS256"], options={"verify_aud": False})  # its signature is right
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    assert claims["sub"] == "ORG-ACCT.MEDALLION"
    assert claims["iss"] == f"ORG-ACCT.MEDALLION.SHA256:{fingerprint}"


def test_a_temporary_table_may_lie_in_a_schema(settings: Settings) -> None:
    """dbt's unit tests make such tables; in DuckDB there are none."""
    with closing(session(settings)) as opened:
        opened.execute(f'CREATE SCHEMA "{settings.snowflake.database.upper()}".aside')
        place = f'"{settings.snowflake.database.upper()}".aside.tried'
        for create in ("CREATE TEMP TABLE", "create or replace temporary table"):
            opened.execute(f"{create} {place} AS SELECT 1 AS id")
            assert [tuple(row) for row in opened.rows(f"SELECT id FROM {place}")] == [(1,)]
            opened.execute(f"DROP TABLE {place}")


def test_rows_are_counted_once_where_the_client_sends_a_copy_again(settings: Settings, tmp_path: Path) -> None:
    """As it does by itself when no answer comes; what is loaded already is passed over then."""
    place = "20260102t030405_abc_0"
    files = tuple(tmp_path / f"{place}_{number:05d}.parquet" for number in range(2))
    for path in files:
        pq.write_table(pa.table({"id": [1, 2]}), path)
    load = Load(place, (Column("id", "bigint"),), files)
    with closing(connect(settings)) as target:
        target.prepare()
        target.stage([load])
        assert [target.copy(load), target.copy(load)] == [4, 4]
        target.discard([place])

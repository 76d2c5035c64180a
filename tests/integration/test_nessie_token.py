"""A Nessie that asks who we are: with its token runs go through, without one or with another's all say what to mend."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from medallion import query, session
from medallion.errors import ServiceUnavailable
from medallion.lakehouse.nessie import MAIN, Nessie, Operation, Reference, commit_body
from medallion.services import nessie as server
from medallion.services.service import SERVERS, environment, program
from medallion.settings import Nessie as NessieSettings
from medallion.settings import Settings
from tests.lake_tables import LakeTables, gold

ISSUER = "https://medallion.test"
S3_OPTIONS = "nessie.catalog.service.s3.default-options"
TABLE = gold("guarded", {"id": "bigint", "name": "string"}, domain="token")
SQL = f"SELECT name FROM {TABLE.dataset} WHERE id = 2"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def guarded(stack: Settings, key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NessieSettings]:
    """A server of its own, in memory, over the stack's object store, that takes only tokens signed with our key; the
    settings that it takes."""
    folder = tmp_path_factory.mktemp("nessie")
    port, management = free_ports(2)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    values = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": port,
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": management,
        "nessie.version.store.type": "IN_MEMORY",
        "nessie.server.authentication.enabled": "true",
        "quarkus.oidc.public-key": base64.b64encode(public).decode(),
        "quarkus.oidc.token.issuer": ISSUER,
        "nessie.catalog.default-warehouse": "medallion",
        "nessie.catalog.warehouses.medallion.location": "s3://gold-analytics/",
        f"{S3_OPTIONS}.endpoint": stack.s3.endpoint,
        f"{S3_OPTIONS}.region": stack.s3.region,
        f"{S3_OPTIONS}.path-style-access": "true",
        f"{S3_OPTIONS}.request-signing-enabled": "false",
        f"{S3_OPTIONS}.access-key": "urn:nessie-secret:quarkus:store",
        "store.name": stack.s3.access_key,
        "store.secret": stack.s3.secret_key.get_secret_value(),
    }
    (folder / "config").mkdir()
    (folder / "config" / "application.properties").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    archive = SERVERS / "nessie.jsa"
    shared = [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"] if archive.is_file() else []
    quick = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *shared]  # as the stack starts it
    command = [str(server.java()), *quick, "-jar", str(program("nessie.jar"))]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(folder), stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/v2/config", process, folder / "log")
        yield NessieSettings(uri=f"http://127.0.0.1:{port}", token=SecretStr(token(key)))
    finally:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers that it does not know us."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 401:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def token(key: rsa.RSAPrivateKey, valid_s: int = 3600) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "engineer", "iat": now - 7200, "exp": now + valid_s}
    return jwt.encode(claims, key, algorithm="RS256")


def test_with_its_token_branches_are_made_and_main_is_changed(guarded: NessieSettings) -> None:
    with closing(Nessie(guarded)) as nessie:
        server.check(guarded)
        main = nessie.reference(MAIN)
        namespace = Operation("PUT", "gold", {"type": "NAMESPACE", "elements": ["gold"]})
        committed = nessie.commit(main, commit_body([namespace], "a namespace", {}))
        branch = nessie.create_branch("run/with-a-token", Reference(MAIN, committed))
        assert "gold" in nessie.contents(branch)
        nessie.delete_branch(branch.name)


@pytest.mark.parametrize("which", ["none", "another's", "expired", "nonsense"])
def test_any_other_is_told_as_such_and_changes_nothing(guarded: NessieSettings, key: rsa.RSAPrivateKey, which: str) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    wrong = {"none": None, "another's": token(other), "expired": token(key, -3600), "nonsense": "open-sesame"}[which]
    refused = guarded.model_copy(update={"token": SecretStr(wrong) if wrong else None})
    with closing(Nessie(guarded)) as known:
        main = known.reference(MAIN)
        with closing(Nessie(refused)) as nessie:
            for attempt in (
                lambda: server.check(refused),
                lambda: nessie.reference(MAIN),
                lambda: nessie.contents(main),
                lambda: nessie.create_branch("run/without", main),
                lambda: nessie.commit(main, commit_body([Operation("DELETE", "gold")], "no", {})),
            ):
                with pytest.raises(ServiceUnavailable, match="refuses us") as told:
                    attempt()
                assert (told.value.exit_code, "nessie.token" in (told.value.hint or "")) == (5, True)
                assert wrong is None or wrong not in f"{told.value}{told.value.hint}", "a secret is never shown"
        assert known.reference(MAIN) == main
        assert [reference.name for reference in known.references()] == [MAIN]


# ── readers ───────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def table(stack: Settings, guarded: NessieSettings) -> Settings:
    """A table on its main; the settings to read it with."""
    settings = stack.model_copy(update={"nessie": guarded})
    with closing(LakeTables(settings)) as lake:
        lake.commit({TABLE: [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]})
    return settings


def test_with_its_token_the_lake_answers_without_a_jvm_and_with(table: Settings) -> None:
    assert query.lake(table, SQL).to_pylist() == [{"name": "two"}]
    spark = session.start(table)
    catalog = session.attach(spark, table, MAIN, name="with_a_token")
    assert [row["name"] for row in spark.sql(SQL.replace(TABLE.dataset, f"{catalog}.{TABLE.dataset}")).collect()] == ["two"]


@pytest.mark.parametrize("valid_s", [None, -3600])
def test_with_another_token_readers_are_told_which_setting_is_wrong(
    table: Settings, key: rsa.RSAPrivateKey, valid_s: int | None
) -> None:
    wrong = SecretStr(token(key, valid_s)) if valid_s else None
    settings = table.model_copy(update={"nessie": table.nessie.model_copy(update={"token": wrong})})
    with pytest.raises(ServiceUnavailable, match=r"Nessie at .* refuses us") as told:
        query.lake(settings, SQL)
    check(told.value, "nessie.token", wrong)
    spark = session.start(settings)
    catalog = session.attach(spark, settings, MAIN, name=f"with_another_token_{valid_s is None}".lower())
    with pytest.raises(ServiceUnavailable, match="Nessie refuses us") as told, session.speaking_plainly():
        spark.table(f"{catalog}.{TABLE.dataset}").count()
    check(told.value, "nessie.token", wrong)


def test_a_token_that_expires_while_spark_writes_ends_as_a_service_that_is_missing(
    table: Settings, key: rsa.RSAPrivateKey
) -> None:
    brief = SecretStr(token(key, 4))
    settings = table.model_copy(update={"nessie": table.nessie.model_copy(update={"token": brief})})
    spark = session.start(settings)
    name = f"{session.attach(spark, settings, MAIN, name='with_a_brief_token')}.{TABLE.dataset}"
    longer = "SELECT 3L AS id, reflect('java.lang.Thread', 'sleep', 5000L + id) AS name FROM range(1)"
    with pytest.raises(ServiceUnavailable, match="Nessie refuses us") as told, session.speaking_plainly():
        spark.sql(f"INSERT INTO {name} {longer}")
    check(told.value, "nessie.token", brief)
    assert query.lake(table, f"SELECT count(*) AS n FROM {TABLE.dataset}").to_pylist() == [{"n": 2}]


def test_wrong_keys_for_the_object_store_are_told_as_such(table: Settings) -> None:
    wrong = SecretStr("open-sesame")
    settings = table.model_copy(update={"s3": table.s3.model_copy(update={"secret_key": wrong})})
    with pytest.raises(ServiceUnavailable, match=r"the object store at .* refuses us") as told:
        query.lake(settings, SQL)
    check(told.value, "s3.access_key and s3.secret_key", wrong)
    spark = session.start(settings)
    catalog = session.attach(spark, settings, MAIN, name="with_another_key")
    with pytest.raises(ServiceUnavailable, match="the object store refuses us") as told, session.speaking_plainly():
        spark.table(f"{catalog}.{TABLE.dataset}").count()
    check(told.value, "s3.access_key and s3.secret_key", wrong)


def check(told: ServiceUnavailable, setting: str, secret: SecretStr | None) -> None:
    assert (told.exit_code, setting in (told.hint or "")) == (5, True)
    assert "medallion up" not in (told.hint or ""), "it is up"
    assert secret is None or secret.get_secret_value() not in str(told), "a secret is never shown"

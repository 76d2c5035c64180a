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

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.nessie import MAIN, Nessie, Operation, Reference, commit_body
from medallion.services import nessie as server
from medallion.services.service import environment, program
from medallion.settings import Nessie as NessieSettings

ISSUER = "https://medallion.test"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def guarded(key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NessieSettings]:
    """A server of its own, in memory, that takes only tokens signed with our key; the settings that it takes."""
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
    }
    (folder / "config").mkdir()
    (folder / "config" / "application.properties").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    command = [str(server.java()), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar", str(program("nessie.jar"))]
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

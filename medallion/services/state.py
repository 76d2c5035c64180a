"""What the embedded stack remembers between starts: `stack.json` in the state folder, mode 0600."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medallion.errors import ServiceUnavailable, SettingsError
from medallion.settings import Settings, over

_ENDPOINTS = ("weather_service", "price_archive", "aircraft_registry")
"""The demo's sources that ask for a password."""


@dataclass
class Started:
    """One server as it was last started. `fingerprint` covers all of its configuration."""

    pid: int
    started_at: str
    log: str
    ports: dict[str, int]
    fingerprint: str


@dataclass
class State:
    """Ports, secrets and places of one stack.

    `ports` are those in use (chosen by us or set by `settings.ports`); `passwords` are random;
    `postgres_folder` is where PostgreSQL's data really is. `passing` says that the stack is removed when
    some process ends: it need not outlive the machine.
    """

    home: Path
    region: str
    ports: dict[str, int]
    passwords: dict[str, str]
    postgres_folder: Path | None = None
    passing: bool = False
    services: dict[str, Started] = field(default_factory=dict)
    _writing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def record(self, name: str) -> Path:
        """The file in which the running process of a service names itself."""
        return self.home / "run" / f"{name}.pid"

    def log(self, name: str) -> Path:
        """The file to which a service's output goes."""
        return self.home / "logs" / f"{name}.log"

    def settings(self) -> dict[str, dict[str, Any]]:
        """The part that `medallion.settings.load` lays over the profile."""
        host = "127.0.0.1"
        postgres = {"host": host, "port": self.ports["postgres"], "user": "medallion", "password": self.passwords["postgres"]}
        return {
            "nessie": {"uri": f"http://{host}:{self.ports['nessie']}"},
            "s3": {
                "endpoint": f"http://{host}:{self.ports['minio']}",
                "region": self.region,
                "access_key": "medallion",
                "secret_key": self.passwords["minio"],
            },
            "postgres": postgres | {"database": "medallion"},
            "warehouse_postgres": postgres | {"database": "gold"},
            "snowflake": {
                "host": host,
                "protocol": "http",
                "port": self.ports["snowflake"],
                "user": "medallion",
                "password": self.passwords["snowflake"],
            },
            "sources": self._sources(),
        }

    def _sources(self) -> dict[str, dict[str, str]]:
        """The demo's endpoints; none before their ports are settled."""
        if "sources" not in self.ports:
            return {}
        urls = {
            "weather_service": f"http://127.0.0.1:{self.ports['sources']}",
            "price_archive": f"ftp://127.0.0.1:{self.ports['sources_ftp']}",
            "aircraft_registry": f"jdbc:postgresql://127.0.0.1:{self.ports['postgres']}/aircraft_registry",
            "shop": str(self.home / "sources" / "shop"),
        }
        users = {"weather_service": "medallion", "price_archive": "medallion", "aircraft_registry": "aircraft_registry"}
        return {
            name: {"url": url} | ({"user": users[name], "password": self.passwords[name]} if name in users else {})
            for name, url in urls.items()
        }

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with this stack's addresses and secrets, and the environment's over them, as `load` has them."""
        return over(settings, self.settings())

    def save(self) -> None:
        """Write the file anew, whole or not at all."""
        with self._writing:
            content = {  # copies, as other servers start meanwhile and enter themselves
                "settings": self.settings(),
                "home": str(self.home),
                "ports": self.ports.copy(),
                "postgres_folder": str(self.postgres_folder) if self.postgres_folder else None,
                "passing": self.passing,
                "services": {name: asdict(started) for name, started in self.services.copy().items()},
            }
            temporary = self.home / "stack.json.new"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.home / "stack.json")


def read(settings: Settings) -> State | None:
    """The stack's state; None if it was never started.

    Raises: SettingsError if the file cannot be used, saying why.
    """
    try:
        content = json.loads(settings.stack_file.read_text("utf-8"))
        parts = content["settings"]
        state = State(
            home=Path(content["home"]),
            region=parts["s3"]["region"],
            ports=content["ports"],
            passwords={
                "minio": parts["s3"]["secret_key"],
                "postgres": parts["postgres"]["password"],
                "snowflake": parts["snowflake"]["password"],
            }
            | {name: parts.get("sources", {}).get(name, {}).get("password") or secrets.token_urlsafe(24) for name in _ENDPOINTS},
            postgres_folder=Path(content["postgres_folder"]) if content["postgres_folder"] else None,
            passing=content.get("passing", False),
            services={name: Started(**values) for name, values in content["services"].items()},
        )
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise SettingsError(
            f"{settings.stack_file} belongs to another user", hint="run as that user, or set MEDALLION_HOME"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{settings.stack_file} cannot be read: {error!r}",
            hint="restore it from a backup, or remove the whole state folder to begin anew",
        ) from error
    if state.home != settings.home:
        raise SettingsError(
            f"the state folder {settings.home} was made as {state.home}; its servers refer to that place",
            hint="move it back, or remove it to begin anew",
        )
    return state


def read_or_begin(settings: Settings) -> State:
    """The stack's state, begun with new secrets and without ports if there is none yet."""
    return read(settings) or State(
        home=settings.home,
        region=settings.s3.region,
        ports={},
        passwords={name: secrets.token_urlsafe(24) for name in ("minio", "postgres", "snowflake", *_ENDPOINTS)},
    )


def refuse_half_restored(settings: Settings) -> None:
    """Raises: SettingsError if a restore into this state folder has begun and not ended: files are missing, and what was
    under way may go on."""
    if settings.restoring_file.exists():
        raise SettingsError(
            f"{settings.home} is half a stack: the restore into it has not ended",
            hint="if none is at work, stop what runs of it (`medallion down`), remove the folder and restore into a new one",
        )


@contextmanager
def exclusively(settings: Settings, patience_s: float = 180.0) -> Iterator[None]:
    """Hold the state folder's lock, so that starts and stops follow one another.

    Raises: ServiceUnavailable if another process holds it longer than `patience_s` seconds.
    """
    # PostgreSQL, which root has to run as another user, passes through; nobody else can list it
    mode = 0o711 if os.geteuid() == 0 else 0o700
    settings.home.mkdir(mode=mode, parents=True, exist_ok=True)
    if settings.home.stat().st_uid == os.geteuid():
        settings.home.chmod(mode)
    path = settings.home / "stack.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServiceUnavailable(
                        f"another process has been starting or stopping this stack for {patience_s:.0f} s",
                        hint=f"see who holds {path}, for example with fuser, and run again",
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)

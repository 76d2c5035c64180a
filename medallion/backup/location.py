"""The second location: a folder, or a prefix of a bucket at another endpoint. Files appear in it whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import urllib3
from minio.error import MinioException, S3Error

from medallion.errors import InputError, MedallionError, ServiceUnavailable, SettingsError
from medallion.lakehouse.store import Store
from medallion.settings import S3, Backup, Settings

_PIECE = 1 << 20
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


@dataclass(frozen=True)
class Digest:
    """What a file holds: its size, SHA-256 and MD5 (which S3 calls its ETag)."""

    bytes: int
    sha256: str
    md5: str


def digest(path: Path) -> Digest:
    """That of a file on disk, read once."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
    return Digest(size, sha256.hexdigest(), md5.hexdigest())


class Location(Protocol):
    """What the backup needs of a second location. Names are paths with '/', relative to it."""

    name: str
    incoming: Path

    def prepare(self) -> None:
        """Make the folder `incoming` on disk, in which files wait to be put. Raises: SettingsError."""

    def reads(self, uri: str) -> bytes | None:
        """What lies at `s3://bucket/key` of the same object store; None if nothing does, or it is no object store."""

    def size(self, name: str) -> int | None:
        """The size of a file; None if there is none."""

    def get(self, name: str) -> bytes:
        """A file's bytes. Raises: InputError if there is none."""

    def fetch(self, name: str, to: Path) -> None:
        """Write a file to a path on disk. Raises: InputError if there is none."""

    def put(self, name: str, path: Path, known: Digest) -> None:
        """Take a file from disk, which is gone afterwards. What is stored has been compared with `known`."""

    def names(self, prefix: str) -> list[str]:
        """The names of all files in a folder and below it, sorted."""

    def remove(self, name: str) -> None:
        """Remove a file, which need not be there."""


def put_text(location: Location, name: str, text: str) -> None:
    """Write a small file, whole or not at all."""
    path = location.incoming / f"{secrets.token_hex(8)}.part"
    try:
        with on_disk(path):
            path.write_text(text, "utf-8")
        location.put(name, path, digest(path))
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Tell that a disk does not take a file as that, and not as the failure of the server that sent it. Raises: SettingsError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise SettingsError(
            f"{path.parent} takes no more files: {error.strerror}; what was copied is not lost",
            hint="make room on that disk, or have it writable, then run it again",
        ) from error


def get_json(location: Location, name: str) -> dict[str, Any]:
    """A JSON file. Raises: InputError if there is none, or if it is not JSON."""
    try:
        return dict(json.loads(location.get(name)))
    except ValueError as error:
        raise InputError(f"{location.name}/{name} is not JSON: {error}", hint="is that the location of a backup?") from error


class Folder:
    """A folder on disk: another disk, or one of a file server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.incoming = path / "incoming"

    def prepare(self) -> None:
        with self._usable():
            self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)

    def reads(self, uri: str) -> bytes | None:
        return None

    def size(self, name: str) -> int | None:
        with self._usable():
            path = self.path / name
            return path.stat().st_size if path.is_file() else None

    def get(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise _absent(self, name) from error

    def fetch(self, name: str, to: Path) -> None:
        try:
            with on_disk(to):
                shutil.copyfile(self.path / name, to)
        except FileNotFoundError as error:
            raise _absent(self, name) from error

    def put(self, name: str, path: Path, known: Digest) -> None:
        final = self.path / name
        with self._usable():
            final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.parent != self.incoming:
                path = Path(shutil.move(path, self.incoming / f"{secrets.token_hex(8)}.part"))
            with path.open("rb") as file:
                os.fsync(file.fileno())
            if digest(path) != known:
                raise _differs(self, name)
            path.replace(final)
            folder = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def names(self, prefix: str) -> list[str]:
        with self._usable():
            found = (path for path in (self.path / prefix).rglob("*") if path.is_file())
            return sorted(path.relative_to(self.path).as_posix() for path in found)

    def remove(self, name: str) -> None:
        with self._usable():
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SettingsError(
                f"the folder {self.path} of the setting backup.location cannot be used: {error}",
                hint="give this user a folder to write to, with space in it",
            ) from error


class Bucket:
    """A prefix of a bucket."""

    def __init__(self, s3: S3, bucket: str, prefix: str, incoming: Path) -> None:
        """Raises: SettingsError if there is no such bucket; ServiceUnavailable."""
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        self.incoming = incoming
        self._s3, self._bucket, self._prefix = s3, bucket, f"{prefix}/" if prefix else ""
        self._store = Store(s3)
        self.client = self._store.client
        with self._answering(""):
            if not self.client.bucket_exists(bucket):
                raise SettingsError(
                    f"the bucket {bucket} of the setting backup.location does not exist at {s3.endpoint}",
                    hint="create it, or correct backup.location and backup.endpoint",
                )

    def prepare(self) -> None:
        self.incoming.mkdir(mode=0o700, parents=True, exist_ok=True)

    def reads(self, uri: str) -> bytes | None:
        try:
            return self._store.get(uri)
        except MedallionError:  # no such bucket or object, or not with these keys
            return None

    def size(self, name: str) -> int | None:
        try:
            with self._answering(name):
                return int(self.client.stat_object(self._bucket, self._prefix + name).size or 0)
        except InputError:
            return None

    def get(self, name: str) -> bytes:
        with self._answering(name):
            answer = self.client.get_object(self._bucket, self._prefix + name)
            try:
                return answer.read()
            finally:
                answer.close()
                answer.release_conn()

    def fetch(self, name: str, to: Path) -> None:
        with self._answering(name), on_disk(to):
            self.client.fget_object(self._bucket, self._prefix + name, str(to))

    def put(self, name: str, path: Path, known: Digest) -> None:
        with self._answering(name):
            self.client.fput_object(self._bucket, self._prefix + name, str(path))
            there = self.client.stat_object(self._bucket, self._prefix + name)
        etag = str(there.etag or "").strip('"')
        if there.size != known.bytes or ("-" not in etag and etag != known.md5):
            self.remove(name)
            raise _differs(self, name)
        path.unlink()

    def names(self, prefix: str) -> list[str]:
        with self._answering(prefix):
            found = self.client.list_objects(self._bucket, f"{self._prefix}{prefix}/" if prefix else self._prefix, recursive=True)
            return sorted(str(item.object_name).removeprefix(self._prefix) for item in found)

    def remove(self, name: str) -> None:
        with self._answering(name):
            self.client.remove_object(self._bucket, self._prefix + name)

    @contextmanager
    def _answering(self, name: str) -> Iterator[None]:
        try:
            yield
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchObject", "NoSuchVersion"):
                raise _absent(self, name) from error
            raise ServiceUnavailable(
                f"{self._s3.endpoint}, the setting backup.endpoint, refuses {self.name}/{name}: {error.code}",
                hint="check backup.location, backup.access_key and backup.secret_key",
            ) from error
        except (urllib3.exceptions.HTTPError, MinioException) as error:
            raise ServiceUnavailable(
                f"{self._s3.endpoint}, the setting backup.endpoint, does not answer: {str(error)[:300]}",
                hint="run it again when it does: nothing that was copied is lost",
            ) from error


def _absent(location: Location, name: str) -> InputError:
    return InputError(f"{location.name}/{name} does not exist", hint="is that the location of a backup, and is it whole?")


def _differs(location: Location, name: str) -> MedallionError:
    return MedallionError(
        f"{location.name}/{name} is not what was written there; the recovery point is as it was",
        hint="look at that disk or endpoint, and back up again",
    )


def place(settings: Settings, where: str | None = None) -> Location:
    """The second location.

    Args:
        where: a folder or `s3://bucket/prefix`, at the endpoint of the settings, instead of the setting `backup.location`.
    Raises: SettingsError if there is none, or if it lies within the lake; ServiceUnavailable.
    """
    backup = settings.backup
    told = where or backup.location
    if not told:
        raise SettingsError(
            "the setting backup.location is empty: there is no second location",
            hint="set MEDALLION_BACKUP__LOCATION to a folder on another disk, or to s3://bucket/prefix with backup.endpoint",
        )
    if not told.startswith("s3://"):
        return Folder(_outside(settings, Path(told).expanduser().resolve()))
    bucket, _, prefix = told.removeprefix("s3://").strip("/").partition("/")
    s3 = _endpoint(settings, backup)
    return Bucket(s3, bucket, prefix, settings.home / "backup" / "incoming")


def _outside(settings: Settings, path: Path) -> Path:
    if path == settings.home or settings.home in path.parents or path in settings.home.parents:
        raise SettingsError(
            f"the setting backup.location, {path}, and the stack's own folder {settings.home} lie in each other: "
            "they would be lost together",
            hint="choose a folder elsewhere, best on another disk",
        )
    if path.exists() and not path.is_dir():
        raise SettingsError(f"the setting backup.location, {path}, is no folder", hint="name a folder")
    return path


def _endpoint(settings: Settings, backup: Backup) -> S3:
    if backup.endpoint is None or backup.access_key is None or backup.secret_key is None:
        raise SettingsError(
            "backup.location is a bucket, and backup.endpoint, backup.access_key or backup.secret_key is not set",
            hint="name the endpoint and its keys: it has to be another one than the lake's",
        )
    if backup.endpoint.rstrip("/") == settings.s3.endpoint.rstrip("/"):
        raise own_store(settings)
    return S3(
        endpoint=backup.endpoint,
        region=backup.region,
        access_key=backup.access_key,
        secret_key=backup.secret_key,
        path_style=backup.path_style,
    )


def own_store(settings: Settings) -> SettingsError:
    """The error for a second location that is the lake's own object store, whatever it is called."""
    return SettingsError(
        f"backup.endpoint, {settings.backup.endpoint}, is the lake's own object store, {settings.s3.endpoint}: "
        "both would be lost together",
        hint="name another endpoint, or a folder on another disk",
    )


def stored(uri: str) -> str:
    """The name in the location of a copy of `s3://bucket/key`, with `?versionId=…` where it has one.

    Raises: MedallionError for a key that cannot be one.
    """
    key = uri.removeprefix("s3://")
    if not uri.startswith("s3://") or any(part in ("", ".", "..") for part in key.split("/")):
        raise MedallionError(f"{uri} cannot be copied: no file can have that name", hint="rewrite the table that has it")
    return f"files/{key}"

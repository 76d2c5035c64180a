"""The object store: whole objects in and out, with errors that name them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from medallion import settings as settings_module
from medallion.errors import InputError, ServiceUnavailable
from medallion.lakehouse.steps import step


@dataclass(frozen=True)
class Object:
    """One version of one object. `uri` is `s3://bucket/key`, with `?versionId=…` where there is one."""

    uri: str
    modified: datetime
    bytes: int
    latest: bool

    @property
    def name(self) -> str:
        """What stands after the last slash of its key."""
        return self.uri.partition("?")[0].rpartition("/")[2]


class Store:
    """One S3 endpoint."""

    def __init__(self, settings: settings_module.S3) -> None:
        self.settings = settings
        address = urlsplit(settings.endpoint or f"https://s3.{settings.region}.amazonaws.com")
        self.client = Minio(
            address.netloc,
            access_key=settings.access_key,
            secret_key=settings.secret_key.get_secret_value(),
            secure=address.scheme == "https",
            region=settings.region,
            http_client=urllib3.PoolManager(
                maxsize=8,  # threads that read and write at a time keep their connections
                timeout=urllib3.Timeout(connect=5, read=60),
                retries=urllib3.Retry(2, backoff_factor=0.2),
            ),
        )

    def versions(self, bucket: str, prefix: str) -> list[Object]:
        """All versions of all objects under a prefix that still hold bytes, oldest first."""
        with self.answering(f"s3://{bucket}/{prefix}"):
            found = [
                Object(
                    uri=f"s3://{bucket}/{item.object_name}"
                    + (f"?versionId={item.version_id}" if item.version_id not in (None, "null") else ""),
                    modified=item.last_modified,
                    bytes=item.size or 0,
                    latest=str(item.is_latest).lower() != "false",
                )
                for item in self.client.list_objects(bucket, prefix, recursive=True, include_version=True)
                if not item.is_delete_marker and not item.is_dir and item.last_modified is not None
            ]
        return sorted(found, key=lambda o: (o.modified, o.uri))

    def get(self, uri: str) -> bytes:
        """An object's bytes. Raises: InputError if it does not exist."""
        bucket, key, version = split(uri)
        with self.answering(uri):
            answer = self.client.get_object(bucket, key, version_id=version)
            try:
                return answer.read()
            finally:
                answer.close()
                answer.release_conn()

    def holds(self, uri: str) -> bool:
        """Whether there is an object, of that version."""
        bucket, key, version = split(uri)
        try:
            with self.answering(uri):
                self.client.stat_object(bucket, key, version_id=version)
        except InputError:
            return False
        return True

    def put(self, uri: str, data: bytes, content_type: str) -> str:
        """Write an object. Returns: the SHA-256 of its bytes."""
        bucket, key, _ = split(uri)
        with self.answering(uri), step("object.put"):
            self.client.put_object(bucket, key, io.BytesIO(data), len(data), content_type=content_type)
        return hashlib.sha256(data).hexdigest()

    @contextmanager
    def answering(self, uri: str) -> Iterator[None]:
        """Tell the failures of the client as ours. Raises: InputError for what does not exist; ServiceUnavailable."""
        try:
            yield
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchVersion"):
                raise InputError(f"{uri} does not exist", hint="was it removed from the bucket?") from error
            if error.code == "NoSuchBucket":
                raise ServiceUnavailable(
                    f"the bucket of {uri} does not exist", hint="`medallion up` creates the buckets"
                ) from error
            if error.code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"):
                raise ServiceUnavailable(
                    f"the object store at {self.settings.endpoint} refuses us: {error.code}",
                    hint="check the settings s3.access_key and s3.secret_key",
                ) from error
            raise self._down(error) from error
        except (urllib3.exceptions.HTTPError, MinioException, OSError) as error:
            raise self._down(error) from error

    def _down(self, error: Exception) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"the object store at {self.settings.endpoint} does not answer: {str(error)[:300]}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        )


def split(uri: str) -> tuple[str, str, str | None]:
    """`s3://bucket/key?versionId=v` -> (bucket, key, v)."""
    plain, _, query = uri.partition("?versionId=")
    bucket, _, key = plain.removeprefix("s3://").partition("/")
    return bucket, key, parse_qs(f"v={query}")["v"][0] if query else None

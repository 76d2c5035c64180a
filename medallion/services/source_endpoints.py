"""The demo's sources as endpoints of the embedded stack, replaced by the settings `sources` elsewhere.

`weather_service` (HTTP) and `price_archive` (FTP) are one server of ours; `aircraft_registry` is a
database in the stack's PostgreSQL; `shop` is a folder whose Delta table `medallion landing` writes.
"""

from __future__ import annotations

import ftplib
import shutil
import sys
from pathlib import Path

import httpx
from psycopg import sql

from medallion import records
from medallion.errors import ServiceUnavailable
from medallion.lakehouse.certificates import trusted
from medallion.services import postgres
from medallion.services.service import Service, environment
from medallion.services.state import State
from medallion.settings import Postgres, Source

REGISTRY = "aircraft_registry"
_INDICES = ("sp500", "nasdaq")
_PLANES = (
    "CREATE TABLE planes (tailnum text PRIMARY KEY, year int, type text, manufacturer text, model text, "
    "engines int, seats int, speed int, engine text)"
)


def check(sources: dict[str, Source]) -> str:
    """Return where the weather service and the price archive are, if they let us in and answer.

    Raises: ServiceUnavailable saying which one does not.
    """
    weather, prices = sources["weather_service"], sources["price_archive"]
    try:
        answer = httpx.get(f"{weather.url}/health", timeout=5.0, verify=trusted(), trust_env=False)
        answer.raise_for_status()
        host, port = prices.url.removeprefix("ftp://").split(":")
        with ftplib.FTP() as ftp:
            ftp.connect(host, int(port), timeout=5.0)
            ftp.login(prices.user or "", prices.password.get_secret_value() if prices.password else "")
            found = ftp.nlst("indices")
        if len(found) < len(_INDICES):
            raise ValueError(f"{prices.url} lacks files: it has {', '.join(found) or 'none'}")
    except (httpx.HTTPError, ftplib.Error, EOFError, OSError, ValueError) as error:
        raise ServiceUnavailable(f"the demo's sources do not answer: {error}", hint="run `medallion up`") from error
    return f"{weather.url} and {prices.url}"


def answers(state: State) -> None:
    """Return if the server of this stack lets us in and answers."""
    check({name: Source.model_validate(value) for name, value in state.settings()["sources"].items()})


def describe(state: State) -> Service:
    """The server on the state's ports. Lays the price archive out.

    Raises: UsageError if the demo's records are not installed.
    """
    archive = state.home / "sources" / "price_archive"
    lay_out_archive(archive)
    program = Path(__file__).with_name("source_server.py")
    ports = {name: state.ports[name] for name in ("sources", "sources_ftp")}
    weather = records.folder(records.FLIGHTS) / "data" / "weather.csv"
    return Service(
        name="sources",
        title="The demo's sources",
        command=(sys.executable, "-I", str(program), str(weather), str(archive), "127.0.0.1", *map(str, ports.values())),
        environment=environment(archive.parent)
        | {name.upper(): state.passwords[name] for name in ("weather_service", "price_archive")},
        folder=archive.parent,
        ports=ports,
        answers=lambda: answers(state),
        configuration=program.read_text("utf-8"),
    )


def lay_out_archive(archive: Path) -> None:
    """Put the price archive's files into its folder. Raises: UsageError if the demo's records are not installed."""
    (archive / "indices").mkdir(mode=0o700, parents=True, exist_ok=True)
    data = records.folder(records.PRICES) / "data"
    for index in _INDICES:
        shutil.copyfile(data / index / f"{index}.csv.gz", archive / "indices" / f"{index}.csv.gz")


def fill_registry(server: Postgres, secret: str) -> bool:
    """Create the aircraft registry, whole or not at all: its database, its table, a login that may read it.

    Args:
        secret: the password of that login, which is called as the database.
    Returns: False if it is there already. Raises: UsageError if the demo's records are not installed.
    """
    with postgres.connect(server, "postgres") as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (REGISTRY,)).fetchone():
            return False
        login, password = sql.Identifier(REGISTRY), sql.Literal(secret)
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (REGISTRY,)).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(login))
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(login, password))
        connection.execute("DROP DATABASE IF EXISTS aircraft_registry_new")
        connection.execute("CREATE DATABASE aircraft_registry_new")
        with postgres.connect(server, "aircraft_registry_new") as registry:
            registry.execute(_PLANES)
            with registry.cursor().copy("COPY planes FROM STDIN (FORMAT csv, HEADER, NULL 'NA')") as copy:
                copy.write((records.folder(records.FLIGHTS) / "data" / "planes.csv").read_bytes())
            registry.execute(sql.SQL("GRANT SELECT ON planes TO {}").format(login))
        connection.execute("ALTER DATABASE aircraft_registry_new RENAME TO aircraft_registry")
    return True

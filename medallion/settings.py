"""Where the servers are and how to reach them.

Precedence, lowest first: defaults, `conf/<profile>.toml`, the running embedded stack (its ports
are chosen when it starts), environment variables (`MEDALLION_…`, with `__` between levels,
`SNOWFLAKE_…` and `DBT_TARGET`). The profile is `MEDALLION_PROFILE`, default `embedded`.
A key that does not exist is an error, wherever it stands. Secrets are never printed.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from medallion.errors import SettingsError
from medallion.settings_receivers import Alerts as Alerts
from medallion.settings_receivers import Lineage as Lineage
from medallion.settings_receivers import Part
from medallion.settings_sources import overlaid, read_profile, read_stack, snowflake_variables

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: holds `conf/`, `jobs/` and, by default, the state folder `.medallion/`."""

BUCKETS = (
    "bronze-raw-data", "bronze-streaming", "bronze-batch", "bronze-external",
    "silver-cleaned", "silver-validated", "silver-normalized",
    "gold-analytics", "gold-reporting", "gold-ml-features",
    "mlflow-artifacts", "feature-store", "backup-metadata", "dev-sandbox",
)  # fmt: skip
EVIDENCE_BUCKET = "backup-metadata"


class Nessie(Part):
    """The catalog. `uri` is the server's root, without `/api/…` or `/iceberg`."""

    uri: str = "http://127.0.0.1:19120"
    token: SecretStr | None = None
    timeout_s: float = 10.0

    @property
    def api_v1(self) -> str:
        return f"{self.uri.rstrip('/')}/api/v1"

    @property
    def api_v2(self) -> str:
        return f"{self.uri.rstrip('/')}/api/v2"

    @property
    def iceberg_rest(self) -> str:
        return f"{self.uri.rstrip('/')}/iceberg"


class S3(Part):
    """The object store. `endpoint` empty means AWS itself."""

    endpoint: str = "http://127.0.0.1:9000"
    region: str = "us-east-1"
    access_key: str = "medallion"
    secret_key: SecretStr = SecretStr("medallion-secret")
    path_style: bool = True


class Postgres(Part):
    """Metadata: the run journal, and Nessie's version store in a database of its own."""

    host: str = "127.0.0.1"
    port: int = 5432
    user: str = "medallion"
    password: SecretStr = SecretStr("medallion")
    database: str = "medallion"
    connect_timeout_s: int = 5

    def login(self, database: str | None = None) -> dict[str, Any]:
        """What psycopg connects with, to this database or another one of the server."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password.get_secret_value(),
            "dbname": database or self.database,
            "connect_timeout": self.connect_timeout_s,
        }


class Snowflake(Part):
    """The warehouse. With `host` set it is that endpoint (the emulator), else the real account."""

    account: str = "fakesnow"
    user: str = "medallion"
    password: SecretStr | None = SecretStr("medallion")
    private_key_path: Path | None = None
    private_key_passphrase: SecretStr | None = None
    role: str | None = None
    warehouse: str | None = None
    database: str = "gold"
    host: str | None = None
    port: int | None = None
    protocol: Literal["http", "https"] = "https"
    login_timeout_s: int = 10
    network_timeout_s: int = 60

    @property
    def emulated(self) -> bool:
        return self.host is not None


class WarehousePostgres(Postgres):
    """The warehouse, where `warehouse` is `postgres`."""

    database: str = "gold"


class Spark(Part):
    """Spark, as the session builder sets it; a cluster's own file may override it."""

    master: str | None = None  # None: what spark-submit says, else local[2]
    shuffle_partitions: int = 2
    ui: bool = False
    small: bool = False  # the quick compiler alone: half the CPU time of small work, a third of the speed of large
    small_rows: int = 50_000  # up to so many rows a write is done without generated code
    conf: dict[str, str] = Field(default_factory=dict)


class Runs(Part):
    """How runs behave."""

    conflict_retries: int = 5
    failed_branch_ttl_days: int = Field(default=30, ge=1)  # how long the branch of a failed run is kept


class Backup(Part):
    """Copies of the lake in a second location: a folder, or `s3://bucket/prefix` at an endpoint of its own. Without a
    location there are none. `after_merge`: back up after every merged run. A new base backup is taken when the WAL since
    the last one has grown to `base_after_mb`. A backup waits for another one no longer than `wait_s`."""

    location: str | None = None
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: SecretStr | None = None
    path_style: bool = True
    after_merge: bool = True
    base_after_mb: int = Field(default=1024, ge=64)
    wait_s: int = Field(default=300, ge=1)


MartTarget = Literal["postgres_local", "snowflake_dev", "snowflake_prod", "spark"]


class Marts(Part):
    """The marts: where dbt builds them (`DBT_TARGET`), and the folder of the dbt project."""

    target: MartTarget = "postgres_local"
    project: Path = ROOT / "dbt"


class Source(Part):
    """An endpoint that deliveries are asked for: the contracts name it (`delivery.source.endpoint`).

    `url` is `http(s)://…`, `ftp://host:port`, `jdbc:…` or, for Delta, the folder that holds the tables.
    What may pass (no answer, a 500) is asked again up to `tries` times, first after `first_wait_s`.
    """

    url: str
    user: str | None = None
    password: SecretStr | None = None
    timeout_s: float = 30.0
    tries: int = 4
    first_wait_s: float = 0.5


class Audit(Part):
    """The audit log. `who` is noted beside the user of the operating system: for whom a scheduler works, say. Records older
    than `keep_days` may be removed (`medallion audit prune`)."""

    who: str | None = None
    keep_days: int = Field(default=400, ge=1)


class Ports(Part):
    """Ports of the embedded stack; 0 chooses a free one, which is kept from then on."""

    postgres: int = 0
    minio: int = 0
    nessie: int = 0
    nessie_management: int = 0
    snowflake: int = 0
    sources: int = 0
    sources_ftp: int = 0


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(env_prefix="MEDALLION_", env_nested_delimiter="__", extra="forbid", frozen=True)

    profile: str = "embedded"
    home: Path = ROOT / ".medallion"
    domains: str = ""  # further domain folders, separated by ':'
    warehouse: Literal["snowflake", "postgres"] = "snowflake"
    nessie: Nessie = Nessie()
    s3: S3 = S3()
    postgres: Postgres = Postgres()
    snowflake: Snowflake = Snowflake()
    warehouse_postgres: WarehousePostgres = WarehousePostgres()
    spark: Spark = Spark()
    sources: dict[str, Source] = Field(default_factory=dict)
    runs: Runs = Runs()
    backup: Backup = Backup()
    marts: Marts = Marts()
    audit: Audit = Audit()
    alerts: Alerts = Alerts()
    lineage: Lineage = Lineage()
    ports: Ports = Ports()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over what `load` passes in (file and running stack)."""
        return (env_settings, init_settings)

    @property
    def stack_file(self) -> Path:
        """Where the running embedded stack says which ports it took."""
        return self.home / "stack.json"

    @property
    def restoring_file(self) -> Path:
        """What says that the stack is being restored, and not whole yet."""
        return self.home / "restoring"


def _refuse_unknown_variables() -> None:
    allowed = {"MEDALLION_CONF"}
    for name, field in Settings.model_fields.items():
        part = field.annotation
        allowed.add(f"MEDALLION_{name.upper()}")
        if isinstance(part, type) and issubclass(part, BaseModel):
            allowed.update(f"MEDALLION_{name.upper()}__{inner.upper()}" for inner in part.model_fields)
    for name in sorted(os.environ):
        upper = name.upper()
        if upper.startswith("MEDALLION_") and upper not in allowed:
            if upper.startswith(("MEDALLION_SPARK__CONF__", "MEDALLION_SOURCES__", "MEDALLION_ALERTS__CHANNELS__")):
                continue
            raise SettingsError(
                f"the environment variable {name} is no setting of medallion",
                hint=f"unset it, or use one of those in docs/settings.md (levels are joined by '__', "
                f"for example {sorted(allowed)[-1]})",
            )


def _below_environment(values: dict[str, Any], stack: dict[str, Any]) -> dict[str, Any]:
    """What `Settings` lays the environment over: the stack's values over others. Of a source whose address
    the environment has, the stack's secret is left out: it is not to be sent elsewhere."""
    told = EnvSettingsSource(Settings)().get("sources") or {}
    elsewhere = {name for name, each in told.items() if isinstance(each, dict) and "url" in each}
    if "sources" in stack:
        stack = stack | {"sources": {name: each for name, each in stack["sources"].items() if name not in elsewhere}}
    values = overlaid(values, stack)
    if target := os.environ.get("DBT_TARGET"):
        values = overlaid(values, {"marts": {"target": target}})
    overrides = snowflake_variables()
    return overlaid(values, {"snowflake": overrides}) if overrides else values


def over(settings: Settings, stack: dict[str, dict[str, Any]]) -> Settings:
    """Settings with a running stack's values over them, and the environment's over those.

    Args:
        stack: part -> its values, as `stack.json` has them.
    """
    parts = {name: part for name, part in settings.model_dump().items() if name in stack}
    found = Settings(**_below_environment(parts, stack))
    return settings.model_copy(update={name: getattr(found, name) for name in stack})


@cache
def load() -> Settings:
    """Read all settings once.

    Returns: the settings of this process; the same object at every call.
    Raises: SettingsError naming the key, its place and what is allowed.
    """
    _refuse_unknown_variables()
    profile = os.environ.get("MEDALLION_PROFILE", "embedded")
    values = read_profile(profile, ROOT / "conf")
    home = Path(os.environ.get("MEDALLION_HOME", values.get("home", ROOT / ".medallion")))
    values["home"] = home.expanduser().resolve()
    values["profile"] = profile
    stack_file = values["home"] / "stack.json"
    stack = read_stack(stack_file) if profile == "embedded" and stack_file.is_file() else {}
    try:
        return Settings(**_below_environment(values, stack))
    except UnreadableVariable as error:
        raise SettingsError(
            f"the environment holds no readable value: {error}",
            hint="write one variable per setting, such as MEDALLION_NESSIE__URI, or JSON for a whole part",
        ) from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors())
        raise SettingsError(
            f"settings of profile '{profile}' are not usable: {problems}",
            hint=f"look into conf/{profile}.toml and the MEDALLION_ variables of the environment",
        ) from error

"""The targets that `DBT_TARGET` chooses from: which settings each means, and what dbt is told of them."""

from __future__ import annotations

from typing import get_args

from medallion.errors import SettingsError, UsageError
from medallion.settings import MartTarget, Settings

_PROD = "snowflake_prod"


def named(name: str) -> MartTarget:
    """The target of a name. Raises: UsageError for one that does not exist."""
    for known in get_args(MartTarget):
        if name == known:
            return known  # type: ignore[no-any-return]  # `get_args` says nothing of what it gives
    raise UsageError(f"there is no target '{name}'", hint=f"known: {', '.join(get_args(MartTarget))}")


def settings_of(settings: Settings, target: MartTarget) -> Settings:
    """The settings whose warehouse is a target's; those of `spark` are as they are.

    Raises: SettingsError for `snowflake_prod` without an account.
    """
    settings = settings.model_copy(update={"marts": settings.marts.model_copy(update={"target": target})})
    if target == _PROD and settings.snowflake.emulated:
        raise SettingsError(
            "the target snowflake_prod needs a Snowflake account, and none is set",
            hint="set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PASSWORD or SNOWFLAKE_PRIVATE_KEY_PATH; "
            "DBT_TARGET=snowflake_dev uses the embedded endpoint where there is none",
        )
    if target == "spark":
        return settings
    return settings.model_copy(update={"warehouse": "postgres" if target == "postgres_local" else "snowflake"})


def variables(settings: Settings, target: MartTarget) -> dict[str, str]:
    """What `dbt/profiles.yml` reads from the environment for a target. Raises: as `settings_of`."""
    found = {"DBT_TARGET": target, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    settings = settings_of(settings, target)
    if target == "postgres_local":
        postgres = settings.warehouse_postgres
        return found | {
            "DBT_POSTGRES_HOST": postgres.host,
            "DBT_POSTGRES_PORT": str(postgres.port),
            "DBT_POSTGRES_USER": postgres.user,
            "DBT_ENV_SECRET_POSTGRES_PASSWORD": postgres.password.get_secret_value(),
            "DBT_POSTGRES_DATABASE": postgres.database,
        }
    if target == "spark":
        return found
    snowflake = settings.snowflake
    values: dict[str, object] = {
        "SNOWFLAKE_ACCOUNT": snowflake.account,
        "SNOWFLAKE_USER": snowflake.user,
        "SNOWFLAKE_PASSWORD": snowflake.password.get_secret_value() if snowflake.password else None,
        "SNOWFLAKE_PRIVATE_KEY_PATH": snowflake.private_key_path,
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": (
            snowflake.private_key_passphrase.get_secret_value() if snowflake.private_key_passphrase else None
        ),
        "SNOWFLAKE_ROLE": snowflake.role,
        "SNOWFLAKE_WAREHOUSE": snowflake.warehouse,
        "SNOWFLAKE_DATABASE": snowflake.database,
    }
    if snowflake.emulated:  # its transactions meet where Snowflake's wait: one after the other
        values |= {
            "DBT_SNOWFLAKE_HOST": snowflake.host,
            "DBT_SNOWFLAKE_PORT": snowflake.port,
            "DBT_SNOWFLAKE_PROTOCOL": snowflake.protocol,
            "DBT_SNOWFLAKE_THREADS": 1,
        }
    return found | {name: str(value) for name, value in values.items() if value is not None}

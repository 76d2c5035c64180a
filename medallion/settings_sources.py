"""What `medallion.settings` is read from: a profile's file, the running stack's, and Snowflake's own variables."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from medallion.errors import SettingsError

_SNOWFLAKE_VARIABLES = {
    "SNOWFLAKE_ACCOUNT": "account",
    "SNOWFLAKE_USER": "user",
    "SNOWFLAKE_PASSWORD": "password",
    "SNOWFLAKE_PRIVATE_KEY_PATH": "private_key_path",
    "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": "private_key_passphrase",
    "SNOWFLAKE_ROLE": "role",
    "SNOWFLAKE_WAREHOUSE": "warehouse",
    "SNOWFLAKE_DATABASE": "database",
}


def read_profile(profile: str, conf: Path) -> dict[str, Any]:
    """What `conf/<profile>.toml` says. `conf`: that folder, if MEDALLION_CONF names no other. Raises: SettingsError."""
    folder = Path(os.environ.get("MEDALLION_CONF", conf))
    path = folder / f"{profile}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.toml") if p.name != "alerts.toml")) or "none"
        raise SettingsError(
            f"profile '{profile}' has no file {path}",
            hint=f"set MEDALLION_PROFILE to one of: {known}",
        )
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}", hint="mend the file") from error


def read_stack(path: Path) -> dict[str, Any]:
    """How to reach the embedded stack, from its `stack.json`: part -> its values. Raises: SettingsError."""
    try:
        return dict(json.loads(path.read_text("utf-8"))["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path}, where the embedded stack says how to reach it, cannot be read: {error!r}",
            hint="restore it from a backup; without it the stack's secrets are lost",
        ) from error


def overlaid(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """Values laid over others, level by level."""
    merged = dict(low)
    for key, value in high.items():
        old = merged.get(key)
        merged[key] = overlaid(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def snowflake_variables() -> dict[str, Any]:
    """What the environment's SNOWFLAKE_ variables say, as values of the part `snowflake`."""
    values: dict[str, Any] = {field: os.environ[name] for name, field in _SNOWFLAKE_VARIABLES.items() if os.environ.get(name)}
    if "account" in values:  # a real account: the emulator's address and secret do not apply
        account = str(values["account"]).removeprefix("https://").rstrip("/")
        values["account"] = account.removesuffix(".snowflakecomputing.com")
        values |= {"host": None, "port": None, "protocol": "https"}
        values.setdefault("password", None)
    return values

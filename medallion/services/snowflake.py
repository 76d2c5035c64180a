"""The Snowflake endpoint: fakesnow's server on loopback, its databases as files."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.certificates import trusted
from medallion.services.service import Service, environment
from medallion.services.state import State
from medallion.settings import Snowflake


def check(snowflake: Snowflake) -> None:
    """Return if the endpoint lets us in and answers `SELECT 1`. Leaves no session behind.

    It speaks to the embedded endpoint only, and without the Snowflake client, which takes a second
    to import.

    Raises: ServiceUnavailable saying what is wrong.
    """
    uri = f"{snowflake.protocol}://{snowflake.host}:{snowflake.port}"
    password = snowflake.password.get_secret_value() if snowflake.password else ""
    login = {"LOGIN_NAME": snowflake.user, "PASSWORD": password, "SESSION_PARAMETERS": {}}
    try:
        with httpx.Client(base_url=uri, timeout=5.0, verify=trusted(), trust_env=False) as client:
            answer = client.post("/session/v1/login-request", json={"data": login}).raise_for_status().json()
            if not answer["success"]:
                raise ServiceUnavailable(
                    f"the Snowflake endpoint at {uri} refuses user '{snowflake.user}': {answer['message']}",
                    hint="unset SNOWFLAKE_USER and SNOWFLAKE_PASSWORD, or run `medallion up`",
                )
            client.headers["Authorization"] = f'Snowflake Token="{answer["data"]["token"]}"'
            try:
                selected = client.post("/queries/v1/query-request", json={"sqlText": "SELECT 1"})
                if not selected.raise_for_status().json()["success"]:
                    raise ValueError(selected.text[:200])
            finally:
                client.post("/session", params={"delete": "true"})
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise ServiceUnavailable(
            f"the Snowflake endpoint at {uri} does not answer: {error}", hint="run `medallion up`"
        ) from error


def answers(state: State) -> None:
    """Return if the server of this stack lets us in and answers."""
    check(Snowflake.model_validate(state.settings()["snowflake"]))


def describe(state: State) -> Service:
    """The server on the state's port. Creates its folders."""
    folder = state.home / "snowflake"
    for name in ("databases", "tmp"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    program = Path(__file__).with_name("snowflake_server.py")
    return Service(
        name="snowflake",
        title="Snowflake endpoint",
        command=(
            sys.executable,
            "-I",
            str(program),
            str(folder / "databases"),
            "127.0.0.1",
            str(state.ports["snowflake"]),
        ),
        environment=environment(folder) | {"PASSWORD": state.passwords["snowflake"]},
        folder=folder,
        ports={"snowflake": state.ports["snowflake"]},
        answers=lambda: answers(state),
        configuration=program.read_text("utf-8"),
    )

"""Who is at work in this process: what the audit log says of everything that is done here.

The names of secrets are kept, never what they are.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from medallion.settings import Settings

_LOGIN = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1
_told: dict[str, Any] = {}


def introduce(settings: Settings) -> None:
    """Say under which settings this process works from now on."""
    _told.update({"profile": settings.profile, "secrets": sorted(_secrets(settings)), "as": settings.audit.who})


def begin(command: str) -> None:
    """Say which command this process is about to do, as `medallion sql`."""
    _told["command"] = command


def who() -> str:
    """The user of the operating system; with `(login NAME)` where the one who logged in is another, as after `su` or `sudo`;
    with `as NAME` where the setting `audit.who` says for whom it is done."""
    by, login = _name(os.getuid()), _login()
    text = f"{by} (login {login})" if login and login != by else by
    return f"{text} as {_told['as']}" if _told.get("as") else text


def place() -> str:
    """Host and process."""
    return f"{socket.gethostname()} pid {os.getpid()}"


def command() -> str:
    """The command, or the program's name where none began."""
    return str(_told.get("command") or Path(sys.argv[0]).name or "python")


def as_json() -> dict[str, Any]:
    """`who`, `place`, `command`; also `profile` and `secrets` (names of settings), where they are known."""
    known = {key: _told[key] for key in ("profile", "secrets") if key in _told}
    return {"who": who(), "place": place(), "command": command()} | known


@cache
def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # as in a container that runs as any user
        return f"uid {uid}"


def _login() -> str | None:
    """Who logged in, as the kernel keeps it whatever becomes of the process; None where nobody did."""
    try:
        uid = int(_LOGIN.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == _NO_LOGIN else _name(uid)


def _secrets(part: BaseModel, prefix: str = "") -> list[str]:
    found = []
    for name in type(part).model_fields:
        value = getattr(part, name)
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for key, one in inner:
            at = f"{prefix}{name}" + (f".{key}" if key else "")
            if isinstance(one, SecretStr):
                found.append(at)
            elif isinstance(one, BaseModel):
                found += _secrets(one, f"{at}.")
    return found

"""Detached processes that are known by pid and start time, so that a recycled pid is never touched.

A process writes its own record (pid, start time, boot id) before it becomes the server. So there
is no moment at which a server runs and no file says so, even if whoever starts it is killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medallion.errors import ServiceUnavailable

TERMINATE = signal.SIGTERM
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# stdout is the record, stderr the log; afterwards the server writes both to the log
_LAUNCH = f"""
command -v "$1" >/dev/null || {{ printf '%s: not found\\n' "$1" >&2; exit 127; }}
read -r stat </proc/self/stat
read -r boot <{_BOOT_ID}
printf '%s\\n%s\\n' "$stat" "$boot"
exec "$@" >&2
"""
_children: list[subprocess.Popen[bytes]] = []  # kept, so that they are reaped and not warned about


@dataclass(frozen=True)
class Identity:
    """One process of this boot; two processes that get the same pid differ in `started_ticks`."""

    pid: int
    started_ticks: int
    boot_id: str


def _parse_stat(line: str) -> tuple[str, int]:
    """State letter and start time (clock ticks since boot) of a line of `/proc/<pid>/stat`."""
    fields = line.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def identify(pid: int) -> Identity | None:
    """The identity of a process that runs now; None if it does not, or is a zombie."""
    for child in _children:
        if child.pid == pid:
            child.poll()
    try:
        state, ticks = _parse_stat(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))
    except (OSError, IndexError, ValueError):
        return None
    return None if state in "ZX" else Identity(pid, ticks, _BOOT_ID.read_text().strip())


def recorded(record: Path) -> Identity | None:
    """The process that a record file names, if it still runs."""
    try:
        stat, boot_id = record.read_text("utf-8").splitlines()[:2]
        known = Identity(int(stat.split()[0]), _parse_stat(stat)[1], boot_id.strip())
    except (OSError, IndexError, ValueError):
        return None
    return known if identify(known.pid) == known else None


def uptime_s(process: Identity) -> float:
    """Seconds since the process started."""
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, since_boot - process.started_ticks / os.sysconf("SC_CLK_TCK"))


def launch(
    command: Sequence[str],
    *,
    record: Path,
    log: Path,
    folder: Path,
    environment: Mapping[str, str],
    user: tuple[int, int] | None = None,
) -> Identity:
    """Start a process in a session of its own; it outlives the caller.

    Args:
        command: the program and its arguments.
        record: file that will name the process.
        log: file that its output is appended to.
        folder: its working directory.
        environment: all of its environment; nothing is inherited.
        user: user and group id to run as, for which the caller must be root.

    Returns: the identity of the started process.
    Raises: ServiceUnavailable if it could not be started.
    """
    for file in (record, log):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    rights: dict[str, object] = {}
    if user is not None:
        rights = {"user": user[0], "group": user[1], "extra_groups": []}
    try:
        with record.open("wb") as out, log.open("ab") as err:
            child = subprocess.Popen(  # type: ignore[call-overload]  # of rights that may be none
                ["/bin/sh", "-c", _LAUNCH, "launch", *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
                umask=0o077,
                **rights,
            )
    except OSError as error:
        raise ServiceUnavailable(f"cannot start {command[0]}: {error}", hint="run `medallion doctor`") from error
    _children.append(child)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if started := recorded(record):
            return started
        if child.poll() is not None:
            break
        time.sleep(0.005)
    raise ServiceUnavailable(
        f"{Path(command[0]).name} ended at once; its log ends with:\n{tail(log)}", hint=f"the whole log is {log}"
    )


def stop(process: Identity, *, ask_with: int = TERMINATE, patience_s: float = 20.0) -> bool:
    """Ask one process to end, and kill it when it has not after `patience_s` seconds.

    Returns: True if it ended by itself when asked, False if it had to be killed.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if identify(process.pid) != process:  # the handle is of whoever has the pid now
            return True
        for number, wait_s in ((ask_with, patience_s), (signal.SIGKILL, 10.0)):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return True
            if _ends(handle, wait_s):
                identify(process.pid)  # reaps it if it is a child of ours
                return number == ask_with
    finally:
        os.close(handle)
    return False


def wait_for_end(process: Identity, patience_s: float | None = None) -> bool:
    """Return when a process, which need not be a child, has ended, or after so long. Returns: whether it has."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        return identify(process.pid) != process or _ends(handle, patience_s)
    finally:
        os.close(handle)


def _ends(handle: int, wait_s: float | None) -> bool:
    """Whether the process of a pidfd ends within a time. (`select` fails where a caller has 1,024 files open.)"""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(None if wait_s is None else wait_s * 1000))


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, indented; a note if there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace").rstrip().splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(f"    {line}" for line in text) or "    (its log is empty)"

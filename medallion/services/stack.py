"""Start, stop and look at the embedded stack.

MinIO, PostgreSQL with Nessie on it, the Snowflake endpoint and the demo's sources: real servers on
loopback, all state in one folder. What runs and is well is used; what died is started again; nothing is lost.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from medallion import settings as settings_module
from medallion.errors import MedallionError, ServiceUnavailable
from medallion.services import minio, nessie, ports, postgres, process, snowflake, source_endpoints
from medallion.services.service import Service, environment
from medallion.services.state import Started, State, exclusively, read, read_or_begin, refuse_half_restored
from medallion.settings import S3, Postgres, Settings

ORDER = ("postgres", "minio", "snowflake", "sources", "nessie")
"""The order in which servers start, as far as it matters; they stop in reverse."""
_WATCHDOG = "watchdog"

Report = Callable[[str], None]


@dataclass(frozen=True)
class ServiceStatus:
    """How one server is. `unhealthy` means that it runs and does not answer, or not to us."""

    name: str
    state: Literal["running", "stopped", "unhealthy"]
    pid: int | None
    address: str | None
    uptime_s: float | None
    log: str
    detail: str = ""


def up(settings: Settings, report: Report, *, guard: int | None = None, restoring: bool = False) -> Settings:
    """Make the whole stack run: start what does not, use what does.

    Args:
        settings: the home folder and the ports that are fixed.
        report: called with one line for each step, from several threads.
        guard: a process id; when this process ends, however it does, the stack is stopped and
            its home folder removed. For tests: what it holds outlives a server that is killed, but not
            the machine, so that nothing waits for the disk.
        restoring: only a restore, which fills the stack, starts one that is not whole yet.

    Returns: the settings with the stack's addresses and secrets; `medallion.settings.load` returns
        the same from now on, with the environment's variables over it.
    Raises: ServiceUnavailable if a server cannot be started or does not become well; the others
        keep running, and `up` may be called again. SettingsError for a stack that was restored in half.
    """
    if not restoring:
        refuse_half_restored(settings)
    cancelled = threading.Event()
    with exclusively(settings):
        state = read_or_begin(settings)
        ports.settle(state, settings.ports, report)
        state.save()
        if guard is not None:
            state.passing = True
            _start_watchdog(state, guard)
        with ThreadPoolExecutor(4) as pool:
            steps = [
                pool.submit(_start_catalog, state, report, cancelled),
                pool.submit(_start_store, state, report, cancelled),
                pool.submit(_start, state, snowflake.describe, report, cancelled),
                pool.submit(_start, state, source_endpoints.describe, report, cancelled),
            ]
            try:
                failures = [error for step in steps if (error := step.exception())]
            except BaseException:
                cancelled.set()
                raise
    for failure in failures:
        raise failure
    settings_module.load.cache_clear()
    return state.applied_to(settings)


def _start_catalog(state: State, report: Report, cancelled: threading.Event) -> None:
    _start(state, postgres.describe, report, cancelled)
    server = Postgres.model_validate(state.settings()["postgres"])
    postgres.create_databases(server)
    _start(state, nessie.describe, report, cancelled)
    if source_endpoints.fill_registry(server, state.passwords[source_endpoints.REGISTRY]):
        report(f"PostgreSQL: created the demo's source database {source_endpoints.REGISTRY}")


def _start_store(state: State, report: Report, cancelled: threading.Event) -> None:
    _start(state, minio.describe, report, cancelled)
    if created := minio.create_buckets(S3.model_validate(state.settings()["s3"])):
        report(f"MinIO: created {created} buckets, versioning on for {', '.join(minio.VERSIONED)}")


def _start(state: State, describe: Callable[[State], Service], report: Report, cancelled: threading.Event) -> None:
    """Make one server run as described, and wait until it is well."""
    begun = time.monotonic()
    service = describe(state)
    running = process.recorded(state.record(service.name))
    started = state.services.get(service.name)
    if running and started and started.fingerprint == service.fingerprint:
        if wait_until_well(service, running, 15, cancelled) is None:
            report(f"{service.title}: runs already on {service.address} (pid {running.pid})")
            return
        report(f"{service.title}: pid {running.pid} does not answer; starting it again")
    elif running:
        report(f"{service.title}: its settings have changed; starting it again")
    if running:
        process.stop(running, ask_with=service.stop_signal)
    log = state.log(service.name)
    launched = process.launch(
        service.command,
        record=state.record(service.name),
        log=log,
        folder=service.folder,
        environment=service.environment,
        user=service.user,
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    state.services[service.name] = Started(launched.pid, now, str(log), service.ports, service.fingerprint)
    state.save()
    problem = wait_until_well(service, launched, service.start_timeout_s, cancelled)
    if problem:
        raise ServiceUnavailable(
            f"{service.title} on {service.address} {problem}; its log ends with:\n{process.tail(log)}",
            hint=f"the whole log is {log}; `medallion doctor` checks what it needs; then run `medallion up` again",
        )
    report(f"{service.title}: started on {service.address} (pid {launched.pid}, {time.monotonic() - begun:.1f} s)")


def wait_until_well(
    service: Service, running: process.Identity, patience_s: float, cancelled: threading.Event | None = None
) -> str | None:
    """Wait until a server is well. Returns: None, or what is wrong with it."""
    interrupted = cancelled or threading.Event()
    deadline = time.monotonic() + patience_s
    while True:
        if process.identify(running.pid) != running:
            return "ended at start"
        try:
            service.answers()
            return None
        except Exception as error:  # whatever a client raises while its server is not ready
            reason = error.message if isinstance(error, MedallionError) else f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            return f"did not become ready within {patience_s:.0f} s ({reason.strip()})"
        if interrupted.wait(0.05):
            return "was not waited for: interrupted"


def down(settings: Settings, report: Report, *, remove: bool = False) -> int:
    """Stop every server of the stack, last started first; each by its own process id.

    Args:
        settings: the home folder.
        report: called with one line for each server.
        remove: also delete the state folder and what of it lies elsewhere; all data is lost.

    Returns: the number of servers that were stopped; 0 says that none ran.
    """
    if not settings.home.is_dir():
        return 0
    stopped = 0
    with exclusively(settings):
        state = read(settings)
        for name in (_WATCHDOG, *reversed(ORDER)):
            record = settings.home / "run" / f"{name}.pid"
            running = process.recorded(record)
            if running and running.pid != os.getpid():
                asked = process.stop(running, ask_with=stop_signal(name))
                report(f"{name}: stopped (pid {running.pid})" + ("" if asked else "; it had to be killed"))
                stopped += name != _WATCHDOG
            record.unlink(missing_ok=True)
        if state:
            state.services.clear()
            state.save()
            if remove and state.postgres_folder:
                shutil.rmtree(state.postgres_folder, ignore_errors=True)
        if remove:
            shutil.rmtree(settings.home, ignore_errors=True)
    settings_module.load.cache_clear()
    return stopped


def running(state: State) -> dict[str, process.Identity]:
    """The servers that run, by name, last started first."""
    found = {name: process.recorded(state.record(name)) for name in reversed(ORDER)}
    return {name: server for name, server in found.items() if server}


def stop_signal(name: str) -> int:
    """What asks a server to stop as it should."""
    return postgres.STOP_SIGNAL if name == "postgres" else process.TERMINATE


def status(settings: Settings) -> list[ServiceStatus]:
    """How each server is, asked now. Starts nothing.

    Raises: SettingsError if the state folder cannot be used.
    """
    state = read(settings)
    if state is None:
        return [ServiceStatus(name, "stopped", None, None, None, "") for name in ORDER]
    with ThreadPoolExecutor(len(ORDER)) as pool:
        return list(pool.map(lambda name: _look(state, name), ORDER))


def _look(state: State, name: str) -> ServiceStatus:
    log = str(state.log(name))
    running = process.recorded(state.record(name))
    if running is None:
        return ServiceStatus(name, "stopped", None, None, None, log)
    address = f"127.0.0.1:{state.ports[name]}"
    uptime_s = round(process.uptime_s(running), 1)
    try:
        _ANSWERS[name](state)
    except Exception as error:  # any client's failure means that it is not well
        return ServiceStatus(name, "unhealthy", running.pid, address, uptime_s, log, str(error))
    return ServiceStatus(name, "running", running.pid, address, uptime_s, log)


_ANSWERS: dict[str, Callable[[State], object]] = {
    "postgres": postgres.answers,
    "minio": minio.answers,
    "snowflake": snowflake.answers,
    "nessie": nessie.answers,
    "sources": source_endpoints.answers,
}


def _start_watchdog(state: State, guard: int) -> None:
    """Start the process that stops the stack when `guard` ends."""
    guarded = process.identify(guard)
    if guarded is None:
        raise ServiceUnavailable(
            f"process {guard}, which the stack is to end with, does not run", hint="give the id of a running process"
        )
    if watching := process.recorded(state.record(_WATCHDOG)):
        process.stop(watching)
    process.launch(
        [sys.executable, "-m", "medallion.services.watchdog", str(guard), str(guarded.started_ticks)],
        record=state.record(_WATCHDOG),
        log=state.log(_WATCHDOG),
        folder=Path(__file__).resolve().parents[2],
        environment=environment(state.home) | {"MEDALLION_HOME": str(state.home), "TMPDIR": "/tmp"},
    )

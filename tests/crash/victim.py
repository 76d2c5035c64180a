"""The process that something happens to: it runs one command in a place, and at one step the fault comes.

It is killed by its own hand, so that it happens at that very point; or what passes between it and a server is lost by
a relay; or its parent kills the server meanwhile.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import duckdb  # noqa: F401  # here and below: imported before the fork what a command imports when it needs it
import httpcore  # noqa: F401
import psycopg
import pyarrow.acero  # noqa: F401
from pynessie.client import _endpoints

from medallion import pipeline, recovery  # noqa: F401
from medallion.lakehouse import steps
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import Nessie
from medallion.lakehouse.run import fail, open_run
from medallion.publish import publication  # noqa: F401
from medallion.publish.postgres import PostgresTarget
from medallion.publish.snowflake import SnowflakeTarget
from medallion.settings import Settings
from tests.crash.faults import NO_ANSWER, SERVER_KILLED, Fault, Server
from tests.crash.place import Place, Told, nth_day
from tests.crash.relay import Relay

PATIENCE_S = 180.0
TIMEOUT_S = 2
"""After so long a client gives up a server that does not answer, where a setting says so."""


@dataclass(frozen=True)
class Happened:
    """The fault has come, or may come from now on (`no answer`)."""

    kind: str


@dataclass(frozen=True)
class Ended:
    """The command has ended by itself: what it told, which steps it passed, whether the fault came, seconds by step."""

    told: object
    seen: tuple[str, ...]
    happened: bool
    seconds: dict[str, float]


class Saboteur:
    """Enters every step (see `medallion.lakehouse.steps.around`)."""

    def __init__(self, pipe: Connection, fault: Fault | None, relays: dict[Server, Relay]) -> None:
        self._pipe, self._fault, self._relays = pipe, fault, relays
        self._random = random.Random(fault.seed if fault else 0)
        self.seen: list[str] = []
        self.seconds: dict[str, float] = {}
        self._count: Counter[str] = Counter()
        self.happened = False
        self._main = threading.get_ident()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.seen.append(name)
        self._count[name] += 1
        began, fault = time.monotonic(), self._fault
        hit = fault is not None and (fault.step, fault.nth) == (name, self._count[name])
        if not hit:
            yield
            self.seconds[name] = max(self.seconds.get(name, 0.0), time.monotonic() - began)
            return
        assert fault is not None
        if fault.kind == "killed before":
            self._die()
        elif fault.kind == "killed within":
            threading.Thread(target=self._die_soon, daemon=True).start()
        elif fault.kind == SERVER_KILLED:
            self.happened = True
            self._pipe.send(Happened(fault.kind))
            self._pipe.recv()
        elif fault.server:
            relay = self._relays[fault.server]
            if fault.kind == NO_ANSWER:
                self._pipe.send(Happened(fault.kind))  # from now on somebody waits
            relay.arm(fault.kind, changes_only=self._random.random() < 0.7)  # type: ignore[arg-type]  # kills went another way
        try:
            yield
        finally:
            if fault.kind in ("killed within", "killed after"):
                self._die()
            if fault.server and fault.kind != SERVER_KILLED:
                self._relays[fault.server].disarm()
                self.happened = self._relays[fault.server].fired

    def _die_soon(self) -> None:
        assert self._fault is not None
        longest = {"data": 0.3, "write": 0.3, "quarantine": 0.2, "init": 0.2, "gate": 0.03, "publish": 0.02, "table": 0.02}
        time.sleep(self._random.random() * longest.get(self._fault.step.partition(".")[0], 0.01))
        self._die()

    def _die(self) -> None:
        self._pipe.send(Happened(self._fault.kind if self._fault else ""))
        os.kill(os.getpid(), signal.SIGKILL)


def work(pipe: Connection, place: Place, fault: Fault | None, what: str, number: int) -> None:
    """Do what is asked for in a process of its own, and tell how it ended, if it does."""
    if fault is None:
        faulthandler.dump_traceback_later(PATIENCE_S - 10, file=sys.__stderr__)  # where it hangs, which it must not
    pipe.send(suffer(pipe, place, fault, what, number))


def suffer(pipe: Connection, place: Place, fault: Fault | None, what: str, number: int) -> Ended:
    """Do what is asked for, and meet the fault. Leaves `steps.around` set."""
    relays = _relays(place.settings)
    behind = replace(place, settings=_through(place.settings, relays))
    if fault and fault.kind == NO_ANSWER:
        behind = replace(behind, settings=_impatient(behind.settings))
        _endpoints.DEFAULT_TIMEOUT_SEC = TIMEOUT_S
    saboteur = Saboteur(pipe, fault, relays)
    day = nth_day(number)
    if what == "expire":
        _leave_a_failed_run(place, day)
    if what == "conflict":
        _be_outrun(place, day)
    if what == "outrun":
        _be_overtaken(place, day)
    run_id = _make_a_day(place, day) if what == "revert" else ""
    if what == "revert an earlier one":
        run_id = _make_a_day(place, day - timedelta(days=1), only_bronze=True)
        _make_a_day(place, day, only_bronze=True)
    steps.around = saboteur
    told: object = {
        "run": lambda: behind.run(day),
        "expire": lambda: behind.run(day),
        "outrun": lambda: behind.run(day),
        "revert": lambda: behind.revert(run_id),
        "revert an earlier one": lambda: behind.revert(run_id),
        "conflict": lambda: behind.run(day, only_bronze=True),
        "refused": lambda: behind.run(day, refused=True),
        "recover": lambda: _recover(place, day, only_bronze=False),
        "recover bronze": lambda: _recover(place, day, only_bronze=True),
    }[what]()
    return Ended(told, tuple(saboteur.seen), saboteur.happened, saboteur.seconds)


def heal(pipe: Connection, place: Place) -> None:
    """Recover as often as asked for, in one process, which has its Spark session after the first time. Asked with what and
    which day, until the pipe ends."""
    while True:
        what, number = pipe.recv()
        told = _recover(place, nth_day(number), only_bronze=what == "recover bronze")
        pipe.send(Ended(told, (), False, {}))


def _recover(place: Place, day: date, *, only_bronze: bool) -> tuple[Told, Told]:
    """`medallion resume`, again until no lock of a dead process is left, and the day's run once more."""
    for _ in range(100):
        resumed = place.resume()
        if resumed.code or not any(row["why"] == "a process works on it" for row in resumed.json):
            break
        time.sleep(0.1)
    return resumed, place.run(day, only_bronze=only_bronze)


def _relays(settings: Settings) -> dict[Server, Relay]:
    nessie, minio = urlsplit(settings.nessie.uri), urlsplit(str(settings.s3.endpoint))
    warehouse = settings.warehouse_postgres if settings.warehouse == "postgres" else settings.snowflake
    at: dict[Server, tuple[str | None, int | None]] = {
        "journal": (settings.postgres.host, settings.postgres.port),
        "nessie": (nessie.hostname, nessie.port),
        "minio": (minio.hostname, minio.port),
        "warehouse": (warehouse.host, warehouse.port),
    }
    return {name: Relay(str(host), int(port or 0)) for name, (host, port) in at.items()}


def _through(settings: Settings, relays: dict[Server, Relay]) -> Settings:
    """The settings with every server behind its relay."""
    ports = {name: relay.port for name, relay in relays.items()}
    home = {"host": "127.0.0.1", "port": ports["warehouse"]}
    changes = {
        "postgres": settings.postgres.model_copy(update={"host": "127.0.0.1", "port": ports["journal"]}),
        "nessie": settings.nessie.model_copy(update={"uri": f"http://127.0.0.1:{ports['nessie']}"}),
        "s3": settings.s3.model_copy(update={"endpoint": f"http://127.0.0.1:{ports['minio']}"}),
    }
    if settings.warehouse == "postgres":
        changes["warehouse_postgres"] = settings.warehouse_postgres.model_copy(update=home)
    else:
        changes["snowflake"] = settings.snowflake.model_copy(update=home)
    return settings.model_copy(update=changes)


def _impatient(settings: Settings) -> Settings:
    """The settings with short times to wait for an answer, where there is such a setting."""
    nessie = settings.nessie.model_copy(update={"timeout_s": float(TIMEOUT_S)})
    snowflake = settings.snowflake.model_copy(update={"network_timeout_s": TIMEOUT_S})
    return settings.model_copy(update={"nessie": nessie, "snowflake": snowflake})


def _leave_a_failed_run(place: Place, day: date) -> None:
    """A run that failed long ago, with its branch."""
    nessie = Nessie(place.settings.nessie)
    with Journal(place.settings.postgres) as journal:
        run = open_run(nessie, journal, "pipeline", day)
        fail(journal, run, "a test")
    nessie.close()
    with psycopg.connect(**place.settings.postgres.login(), autocommit=True) as connection:
        connection.execute("UPDATE ops.runs SET ended_at = ended_at - interval '1 year' WHERE run_id = %s", (run.id,))


def _make_a_day(place: Place, day: date, *, only_bronze: bool = False) -> str:
    """The day is merged, and published unless it is bronze alone. Returns: its run's id."""
    told = place.run(day, only_bronze=only_bronze)
    assert told.code == 0, told.err
    return str(told.json["run_id"])


def _be_outrun(place: Place, day: date) -> None:
    """The day before is brought in by another run, just as this one is about to merge the first time."""
    merge = pipeline.merge
    quicker: list[object] = []

    def outrun(*args: object, **more: object) -> object:
        if not quicker:
            quicker.append(day)
            around, steps.around = steps.around, None
            try:
                quicker.append(place.run(day - timedelta(days=1), only_bronze=True))
            finally:
                steps.around = around
        return merge(*args, **more)  # type: ignore[arg-type]  # handed on as they came

    pipeline.merge = outrun


def _be_overtaken(place: Place, day: date) -> None:
    """The day before is brought in and published by another process, just as this one begins its transaction."""
    of = PostgresTarget if place.settings.warehouse == "postgres" else SnowflakeTarget
    begin: Callable[[Any], None] = of.begin
    quicker: list[object] = []

    def overtaken(target: Any) -> None:
        if not quicker:
            quicker.append(day)
            around, steps.around = steps.around, None
            try:
                quicker.append(place.run(day - timedelta(days=1)))
            finally:
                steps.around = around
        begin(target)

    of.begin = overtaken  # type: ignore[method-assign]  # in this process alone, which then ends

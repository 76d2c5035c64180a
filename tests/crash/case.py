"""One case: a command meets a fault at a step; then everything is resumed, the day is run again, and all is checked."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from psycopg import sql

from medallion.errors import ServiceUnavailable
from medallion.services import postgres, process
from medallion.services import stack as services
from medallion.services.state import read
from medallion.settings import Settings
from tests.crash.faults import KILLS, NO_ANSWER, SERVER_KILLED, Fault, Server
from tests.crash.invariants import Watch
from tests.crash.place import Place, Told
from tests.crash.victim import PATIENCE_S, Ended, Happened, work
from tests.two_processes import Process

HUNG_S = 9.0
"""So long after it came to the step a person ends a command that hangs."""
_RECORDS: dict[Server, dict[str, str]] = {
    "journal": {"": "postgres"}, "nessie": {"": "nessie"}, "minio": {"": "minio"},
    "warehouse": {"postgres": "postgres", "snowflake": "snowflake"},
}  # fmt: skip

SERVERS: dict[str, tuple[Server, ...]] = {
    "journal": ("journal",), "run": ("nessie", "journal"), "init": ("nessie", "minio"), "table": ("minio",), "land": ("minio",),
    "fetch": ("minio",), "write": ("nessie", "minio", "journal"), "data": ("nessie", "minio"), "quarantine": ("nessie", "minio"),
    "branch": ("nessie",), "gate": ("minio", "nessie"), "object": ("minio",), "merge": ("nessie",), "merge.request": ("journal",),
    "rebase": ("nessie",), "rebase.rules": ("minio", "nessie"), "undo": ("nessie", "minio"), "publish": ("warehouse",),
    "ops": ("journal", "nessie"),
}  # fmt: skip
"""The servers that a step speaks to, by its name or the first part of that."""


@dataclass(frozen=True)
class Result:
    """What came of a case. `outcome` is how the command ended, and what that meant for main."""

    step: str
    kind: str
    seed: int
    warehouse: str
    outcome: str
    violations: tuple[str, ...]
    seconds: float
    server: str = ""
    spark: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Site:
    """A place, who watches it, and how far its days have come."""

    lasts: ClassVar = 15
    """So many cases; its tables grow by each."""
    nth: ClassVar = {"journal.state": (1, 2, 4, 5, 6, 8), "data.overwrite": (1, 2), "write": (1, 2, 3), "publish.copy": (1, 2)}
    """Which times of a step are hit, where a run passes it more than once."""

    def __init__(self, stack: Settings, warehouse: str) -> None:
        name = f"c{uuid.uuid4().hex[:10]}"
        with postgres.connect(stack.postgres) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        changes: dict[str, Any] = {
            "postgres": stack.postgres.model_copy(update={"database": name}),
            "warehouse": warehouse,
            "warehouse_postgres": stack.warehouse_postgres.model_copy(update={"database": name}),
            "snowflake": stack.snowflake.model_copy(update={"database": name}),
        }
        self.stack = stack
        self.database = name
        self.place = self.new_place(stack.model_copy(update=changes), f"d{name}")
        self.watch = self.new_watch()
        self.day = 0
        self.cases = 0

    def new_place(self, settings: Settings, domain: str) -> Place:
        return Place(settings, domain)

    def new_watch(self) -> Watch:
        return Watch(self.place)

    def scenario(self, step: str) -> str:
        """The command, and what it meets, in which a step is passed."""
        return scenario(step)

    def recover(self, what: str) -> Ended:
        """Resume, and run the day again, in a process that nothing happens to."""
        ended = self.child(None, what)
        assert isinstance(ended, Ended), ended
        return ended

    def close(self) -> None:
        """Forget it, with its database."""
        self.watch.close()
        with postgres.connect(self.stack.postgres) as connection:
            name = sql.Identifier(self.database)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def prepare(self) -> None:
        """Bring it to where runs go on from: its tables are there, and one day is published."""
        ended = self.child(None, "run")
        assert isinstance(ended, Ended)
        assert isinstance(ended.told, Told)
        assert ended.told.code == 0, ended.told.err
        assert not (wrong := self.watch.look(at_the_end=True)), wrong

    def child(self, fault: Fault | None, what: str) -> Ended | str:
        """A command in a process of its own. Returns: how it ended; `killed`, `hung`."""
        victim = Process(work, (self.place, fault, what, self.day))
        patience_s = PATIENCE_S
        restart: threading.Thread | None = None
        happened = ""
        try:
            while True:
                try:
                    message = victim.hear(patience_s)
                except (EOFError, ConnectionResetError):
                    victim.kill()
                    return happened
                except TimeoutError:
                    victim.kill()
                    return "hung"
                if isinstance(message, Ended):
                    return message
                assert isinstance(message, Happened)
                if message.kind == NO_ANSWER:
                    patience_s = HUNG_S
                    continue
                happened = "killed"
                if message.kind == SERVER_KILLED:
                    assert fault is not None
                    restart = self._kill_server(fault)
                    victim.say("go on")
        finally:
            victim.end()
            if restart:
                restart.join(PATIENCE_S)
            if fault and fault.kind == SERVER_KILLED:
                self.up()

    def _kill_server(self, fault: Fault) -> threading.Thread | None:
        """SIGKILL to a server; by chance it is started again at once, or when the command has ended."""
        state = read(self.stack)
        assert state is not None
        assert fault.server is not None
        names = _RECORDS[fault.server]
        running = process.recorded(state.record(names.get(self.place.settings.warehouse, names.get("", ""))))
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        process.wait_for_end(running)
        if random.Random(fault.seed).random() < 0.5:
            return None
        again = threading.Thread(target=self.up)
        again.start()
        return again

    def up(self) -> None:
        """Start the servers that do not run; on a machine that does too much at a time one may need more than a try."""
        for left in (2, 1, 0):
            try:
                services.up(self.stack, lambda _: None, guard=os.getpid())
                return
            except ServiceUnavailable:
                if not left:
                    raise


def scenario(step: str) -> str:
    """The command, and what it meets, in which a step is passed."""
    return {
        "init.tables": "first", "table.create": "first", "branch.commit": "first", "publish.create": "first",
        "publish.prepare": "first", "data.evolve": "columns", "publish.add_columns": "columns", "publish.describe": "columns",
        "publish.relate": "columns", "publish.widen": "wider", "rebase.branch": "conflict", "rebase.commit": "conflict",
        "run.branch.expire": "expire", "publish.rollback": "outrun", "undo.tables": "revert", "fetch": "fetched",
        "land": "fetched",
    }.get(step, "run")  # fmt: skip


def run_case(site: Site, step: str, kind: str, seed: int) -> Result | None:
    """Run one case in a place. Returns: what came of it; None if the fault could not come."""
    began, chance, what = time.monotonic(), random.Random(seed), site.scenario(step)
    servers = SERVERS.get(step) or SERVERS[step.partition(".")[0]]
    server = None if kind in KILLS else chance.choice(servers)
    nth = 1 if what != "run" else chance.choice(site.nth.get(step, (1,)))
    fault = Fault(step, kind, nth, server, seed)
    site.day += 2
    site.cases += 1
    site.watch.told = []
    if what == "columns":
        site.place = site.watch.place = replace(site.place, columns=site.place.columns + 1)
    if what == "wider":
        site.place = site.watch.place = replace(site.place, digits=site.place.digits + 1)
    site.place = site.watch.place = replace(site.place, fetched=what == "fetched")
    ended = site.child(fault, "run" if what in ("first", "columns", "wider", "fetched") else what)
    missed = isinstance(ended, Ended) and not ended.happened
    if isinstance(ended, Ended):
        site.watch.told.append((f"the command ({step}, {kind})", _told(ended)))
    wrong = site.watch.look(at_the_end=False)
    on_main = len(site.watch.commits)
    resumed, again = _both(site.recover("recover bronze" if what == "conflict" else "recover"))
    site.watch.told += [("resume", resumed), ("the next run", again)]
    wrong += [f"{name} failed: {told.err[-400:]}" for name, told in (("resume", resumed), ("the next run", again)) if told.code]
    wrong += [each for each in site.watch.look(at_the_end=True) if each not in wrong]
    if missed and not wrong:
        return None
    return Result(
        step, kind, seed, site.place.settings.warehouse, _outcome(ended, site, on_main), tuple(wrong),
        round(time.monotonic() - began, 2), server or "", site.place.with_spark,
    )  # fmt: skip


def _told(ended: Ended) -> Told:
    assert isinstance(ended.told, Told)
    return ended.told


def _both(ended: Ended) -> tuple[Told, Told]:
    assert isinstance(ended.told, tuple)
    first, second = ended.told
    return first, second


def _outcome(ended: Ended | str, site: Site, on_main: int) -> str:
    """In a few words."""
    if isinstance(ended, Ended):
        return "went on by itself" if _told(ended).code == 0 else "failed and said so"
    return f"{ended}; {'finished from main' if len(site.watch.commits) == on_main else 'done by the next run'}"


@contextmanager
def site(stack: Settings, warehouse: str, *, prepared: bool = True) -> Iterator[Site]:
    """A new site."""
    made = Site(stack, warehouse)
    try:
        if prepared:
            made.prepare()
        yield made
    finally:
        made.close()

"""Operating-system processes that a test starts, holds at a point, and kills.

with processes(work, [(settings, "a"), (settings, "b")]) as (a, b):   # work(pipe, settings, name)
    assert a.hear() == "at the merge"
    a.say("go")
    b.kill()                                                         # SIGKILL
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.protocol_runs", "tests.crash.victim"])  # imported once, so that a process starts at once
PATIENCE_S = 120


class Told(Exception):
    """What a process died of, as it told."""


class Process:
    """One process and the pipe to it."""

    def __init__(self, work: Callable[..., None], arguments: Sequence[Any]) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=_run, args=(work, theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def say(self, message: Any) -> None:
        """Send something to the process."""
        self._pipe.send(message)

    def hear(self, patience_s: float = PATIENCE_S) -> Any:
        """Wait for the next thing that the process says. Raises: Told, if it died instead."""
        if not self._pipe.poll(patience_s):
            raise TimeoutError(f"process {self._process.pid} said nothing for {patience_s:.0f} s")
        message = self._pipe.recv()
        if isinstance(message, Told):
            raise message
        return message

    def silent(self, for_s: float) -> bool:
        """Whether the process says nothing for so long."""
        return not self._pipe.poll(for_s)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.join(PATIENCE_S)

    def end(self) -> None:
        """Close the pipe, which ends a process that listens to it; kill one that does not."""
        self._pipe.close()
        self._process.join(10)
        if self._process.is_alive():
            self.kill()


def _run(work: Callable[..., None], pipe: Connection, *arguments: Any) -> None:
    try:
        work(pipe, *arguments)
    except EOFError:
        pass
    except BaseException as error:
        pipe.send(Told(f"{error!r}\n{traceback.format_exc()}"))
        raise


@contextmanager
def processes(work: Callable[..., None], arguments: Sequence[Sequence[Any]]) -> Iterator[list[Process]]:
    """One process for each set of arguments, `work(pipe, *arguments)`; none is left at the end."""
    started: list[Process] = []
    try:
        for each in arguments:
            started.append(Process(work, each))
        yield started
    finally:
        for process in started:
            process.end()

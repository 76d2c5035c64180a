"""Set-up as steps: each is done once per state of its inputs, those that can run at the same time."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

_HEARTBEAT_S = 15.0


class StepError(Exception):
    """A step that failed: what happened, and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass
class Step:
    """One step of set-up.

    Args:
        name: a file name; also what is shown.
        about: what it does and how long it takes, shown while it runs.
        action: does it; leaves either the whole result or the one before.
        inputs: strings and files; when none of them changes, the step is not done again.
        after: steps that come before. A step is done again when one of those was.
        behind: steps that come before, without any other consequence.
        results: files that have to exist, else the step is done again.
        optional: a failure is shown, and set-up goes on.
    """

    name: str
    about: str
    action: Callable[[], None]
    inputs: Sequence[str | Path]
    after: Sequence[str] = ()
    behind: Sequence[str] = ()
    results: Sequence[Path] = ()
    optional: bool = False


@dataclass
class Runner:
    """Runs steps and remembers in `folder` which are done."""

    folder: Path
    lock: int | None = None  # programs inherit it: what outlives a killed set-up holds the next one back
    keys: dict[str, str] = field(default_factory=dict)
    done_now: list[str] = field(default_factory=list)
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _stopping: bool = False
    _printing: threading.Lock = field(default_factory=threading.Lock)

    def say(self, name: str, text: str) -> None:
        """One line of progress."""
        with self._printing:
            print(f"  {name:<12} {text}", flush=True)

    def command(self, words: Sequence[str | Path], *, log: str, remedy: str, **environment: str) -> None:
        """Run a program, its output in `<folder>/<log>.log`.

        Raises: StepError with the end of its output.
        """
        path = self.folder / f"{log}.log"
        with path.open("ab") as out:
            try:
                child = subprocess.Popen(
                    [str(word) for word in words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=os.environ | environment,
                    start_new_session=True,
                    pass_fds=() if self.lock is None else (self.lock,),
                )
            except OSError as error:
                raise StepError(f"cannot run {words[0]}: {error}", remedy) from error
        self._running.append(child)
        try:
            code = child.wait()
        finally:
            self._running.remove(child)
        if code != 0:
            end = "\n".join(f"      {line}" for line in path.read_text("utf-8", "replace").splitlines()[-12:])
            raise StepError(f"{Path(str(words[0])).name} ended with code {code}:\n{end}\n    log: {path}", remedy)

    def run(self, steps: Sequence[Step]) -> bool:
        """Do all steps, each after those that it names. Returns: whether all that matter are done."""
        failed = False
        waiting = {step.name: step for step in steps}
        finished: set[str] = set()
        with ThreadPoolExecutor(4) as pool:
            futures: dict[Future[None], Step] = {}
            try:
                while (waiting and not failed) or futures:
                    ready = [] if failed else [s for s in waiting.values() if finished.issuperset([*s.after, *s.behind])]
                    for step in ready:
                        del waiting[step.name]
                        futures[pool.submit(self._once, step)] = step
                    for future in wait(futures, return_when=FIRST_COMPLETED).done:
                        step = futures.pop(future)
                        if problem := future.exception():
                            failed = self._failure(step, problem) or failed
                        if failed:
                            self.stop()
                        finished.add(step.name)
            except BaseException:
                self.stop()
                raise
        return not failed

    def _failure(self, step: Step, problem: BaseException) -> bool:
        """Show a failure. Returns: whether it ends set-up."""
        if self._stopping:
            self.say(step.name, "stopped; it goes on from here next time")
            return True
        kind = "left out" if step.optional else "FAILED"
        self.say(step.name, f"{kind}: {problem}" if isinstance(problem, StepError) else f"{kind}: {problem!r}")
        if isinstance(problem, StepError):
            self.say("", f"→ {problem.remedy}")
        return not step.optional

    def stop(self) -> None:
        """End the programs that steps are running, with their children."""
        self._stopping = True
        for child in list(self._running):
            try:
                os.killpg(child.pid, signal.SIGTERM)
            except ProcessLookupError:
                continue

    def _once(self, step: Step) -> None:
        digest = hashlib.sha256()
        for item in step.inputs:
            digest.update(item.read_bytes() if isinstance(item, Path) else item.encode())
            digest.update(b"\0")
        for name in step.after:
            digest.update(self.keys.get(name, "").encode())
        key = digest.hexdigest()
        stamp = self.folder / f"{step.name}.done"
        again = any(name in self.done_now for name in step.after)
        same = stamp.is_file() and stamp.read_text() == key and all(path.exists() for path in step.results)
        if same and not again:
            self.keys[step.name] = key
            return
        stamp.unlink(missing_ok=True)
        (self.folder / f"{step.name}.log").unlink(missing_ok=True)
        self.say(step.name, f"… {step.about}")
        begun = time.monotonic()
        ended = threading.Event()
        threading.Thread(target=self._heartbeat, args=(step, begun, ended), daemon=True).start()
        try:
            step.action()
        finally:
            ended.set()
        stamp.write_text(key)
        self.keys[step.name] = key
        self.done_now.append(step.name)
        self.say(step.name, f"done in {time.monotonic() - begun:.1f} s")

    def _heartbeat(self, step: Step, begun: float, ended: threading.Event) -> None:
        while not ended.wait(_HEARTBEAT_S):
            self.say(step.name, f"… {time.monotonic() - begun:.0f} s")


def fail(message: str, remedy: str) -> None:
    """End set-up before it began."""
    print(f"set-up cannot begin: {message}\n  → {remedy}", file=sys.stderr)
    raise SystemExit(1)

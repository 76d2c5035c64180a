"""How many seconds of CPU each test costs, with those of every process that it starts: JVMs and servers too.

    pytest -n 2 --dist loadgroup -p tests.cpu_seconds tests     # lists modules and tests, the dearest first

Beside other work the clock says little of a test; this says nearly the same on an idle and on a busy machine. Processes are
looked at a few times a second: of one that ends, what it used since the last look is left out. What servers do between two
tests counts to the later one.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

EVERY_S = 0.25
SHOWN = 40
LEAST_S = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_NAME = "cpu_s"


class Family:
    """This process and all that descend from it, wherever they have gone since."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], float] = {}  # by pid and start, for a pid may be given again
        self._lock = threading.Lock()
        self._said = 0.0

    def look(self) -> float:
        """CPU seconds of them all so far, also of those that have ended."""
        with self._lock:
            found = {}
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                except OSError:  # it has ended
                    continue
                found[folder.name] = (fields[1], fields[19], (int(fields[11]) + int(fields[12])) / _TICKS)
            for pid, (_, began, seconds) in found.items():
                if self._is_ours(pid, found):
                    self._seconds[pid, began] = seconds
            return sum(self._seconds.values())

    def since_last_said(self) -> float:
        """CPU seconds since this was asked last."""
        now, before = self.look(), self._said
        self._said = now
        return now - before

    def _is_ours(self, pid: str, found: dict[str, tuple[str, str, float]]) -> bool:
        while pid in found:
            parent, began, _ = found[pid]
            if pid == str(os.getpid()) or (pid, began) in self._seconds:
                return True
            pid = parent
        return False


def _watch(family: Family, ended: threading.Event) -> None:
    while not ended.wait(EVERY_S):
        family.look()


class _Count:
    def __init__(self, family: Family) -> None:
        self._family = family

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Any:
        report = yield
        report.user_properties = [*report.user_properties, (_NAME, self._family.since_last_said())]
        return report


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):  # the tests are run by other processes, which count for themselves
        return
    family, ended = Family(), threading.Event()
    family.since_last_said()
    threading.Thread(target=_watch, args=(family, ended), daemon=True).start()
    config.add_cleanup(ended.set)
    config.pluginmanager.register(_Count(family))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    modules: Counter[str] = Counter()
    phases: Counter[str] = Counter()
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        seconds = dict(getattr(report, "user_properties", ())).get(_NAME, 0.0)
        if seconds:
            name = report.nodeid.partition("@")[0]
            modules[name.partition("::")[0]] += seconds
            phases[f"{report.when} {name}"] += seconds
    terminalreporter.write_sep("=", f"seconds of CPU: {sum(modules.values()):.1f}")
    for one in (modules, phases):
        for name, seconds in one.most_common(SHOWN):
            if seconds >= LEAST_S:
                terminalreporter.write_line(f"{seconds:8.1f} {name}")
        terminalreporter.write_line("")

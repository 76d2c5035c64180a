"""How many seconds of CPU each test costs, with those of every process that it starts: JVMs and servers too; and how many JVMs.

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
_JVMS = "jvms"


class Family:
    """This process and all that descend from it, wherever they have gone since."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], float] = {}  # by pid and start, for a pid may be given again
        self._jvms: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._said = (0.0, 0)

    def look(self) -> tuple[float, int]:
        """CPU seconds of them all so far, and how many of them were JVMs, also of those that have ended."""
        with self._lock:
            found, java = {}, set()
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    name, _, rest = (folder / "stat").read_text().rpartition(")")
                except OSError:  # it has ended
                    continue
                fields = rest.split()
                if name.endswith("(java"):
                    java.add(folder.name)
                found[folder.name] = (fields[1], fields[19], (int(fields[11]) + int(fields[12])) / _TICKS)
            for pid, (_, began, seconds) in found.items():
                if self._is_ours(pid, found):
                    self._seconds[pid, began] = seconds
                    if pid in java:
                        self._jvms.add((pid, began))
            return sum(self._seconds.values()), len(self._jvms)

    def since_last_said(self) -> tuple[float, int]:
        """CPU seconds, and JVMs that were started, since this was asked last."""
        now, before = self.look(), self._said
        self._said = now
        return now[0] - before[0], now[1] - before[1]

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
        seconds, jvms = self._family.since_last_said()
        report.user_properties = [*report.user_properties, (_NAME, seconds), (_JVMS, jvms)]
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
    jvms: Counter[str] = Counter()
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        told = dict(getattr(report, "user_properties", ()))
        seconds = told.get(_NAME, 0.0)
        if seconds:
            name = report.nodeid.partition("@")[0]
            for one, each in ((modules, name.partition("::")[0]), (phases, f"{report.when} {name}")):
                one[each] += seconds
                jvms[each] += told[_JVMS]
    all_jvms = sum(jvms[each] for each in modules)
    terminalreporter.write_sep("=", f"seconds of CPU: {sum(modules.values()):.1f}, JVMs: {all_jvms}")
    for one in (modules, phases):
        for name, seconds in one.most_common(SHOWN):
            if seconds >= LEAST_S:
                terminalreporter.write_line(f"{seconds:8.1f} {jvms[name]:3} {name}")
        terminalreporter.write_line("")

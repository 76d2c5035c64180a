"""What Spark did for a piece of work, from its own status store: jobs, scans, exchanges, bytes; and time, CPU, memory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SCAN = re.compile(r"^(Scan (parquet|orc|json|csv|text)|BatchScan)")
_FILE_SIZES = ("size of files read", "total data file size (bytes)", "total delete file size (bytes)")
"""What Spark's own scans and Iceberg's call the sizes of their files."""
_EXCHANGE = re.compile(r"^(Exchange|BroadcastExchange)")


@dataclass
class Measured:
    """One piece of work. `seconds` of wall clock; `cpu_s` of the JVM and of this process; `peak_mib`: resident in the
    JVM; `scans` and `exchanges`: nodes of executed plans that rows went through; `read_mib`: the files
    of these scans, whole, also where only some columns are read."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    jobs: int = 0
    scans: int = 0
    exchanges: int = 0
    read_mib: float = 0.0
    peak_mib: float = 0.0


class Counters:
    """Looks at one Spark session; see `measuring`."""

    def __init__(self, spark: SparkSession) -> None:
        self._jvm: Any = spark.sparkContext._jvm
        self._context = spark.sparkContext._jsc.sc()
        self._executions = spark._jsparkSession.sharedState().statusStore()
        self._pid = int(self._jvm.java.lang.ProcessHandle.current().pid())

    @contextmanager
    def measuring(self) -> Iterator[Measured]:
        """Measure what is done within; the figures are there when it has ended."""
        self._settle()
        jobs, executions = self._last(self._jobs(), "jobId"), self._last(self._executed(), "executionId")
        found, cpu = Measured(), self._cpu()
        self._reset_peak()
        began = time.monotonic()
        yield found
        found.seconds = time.monotonic() - began
        found.cpu_s = self._cpu() - cpu
        found.peak_mib = self._peak()
        self._settle()
        found.jobs = sum(job.jobId() > jobs for job in self._jobs())
        for execution in self._executed():
            if execution.executionId() > executions:
                self._add_plan(execution.executionId(), found)

    def _add_plan(self, execution: int, found: Measured) -> None:
        values = self._executions.executionMetrics(execution)
        for node in _each(self._executions.planGraph(execution).allNodes()):
            told = {m.name(): values.get(m.accumulatorId()) for m in _each(node.metrics())}
            text = {name: value.get() for name, value in told.items() if value.isDefined()}
            if _SCAN.match(node.name()):
                if any(_number(text.get(name, "0")) for name in ("number of output rows", "number of files read")):
                    found.scans += 1
                found.read_mib += sum(_bytes(value) for name, value in text.items() if name in _FILE_SIZES) / 2**20
            elif _EXCHANGE.match(node.name()) and any(_number(value) for value in text.values()):
                found.exchanges += 1

    def _settle(self) -> None:
        self._context.listenerBus().waitUntilEmpty()

    def _jobs(self) -> list[Any]:
        return list(_each(self._context.statusStore().jobsList(None)))

    def _executed(self) -> list[Any]:
        return list(_each(self._executions.executionsList()))

    def _last(self, found: list[Any], identity: str) -> int:
        return max((int(getattr(one, identity)()) for one in found), default=-1)

    def _cpu(self) -> float:
        user, system = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") + time.process_time()

    def _reset_peak(self) -> None:
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")

    def _peak(self) -> float:
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def _each(scala: Any) -> Iterator[Any]:
    iterator = scala.iterator()
    while iterator.hasNext():
        yield iterator.next()


def _number(text: str) -> float:
    """The figure that a metric begins with, in Spark's own words: `1,234`, `total (min, med, max …)\\n1.5 s (…)`."""
    figure = re.match(r"[\d,.]+", text.rpartition("\n")[2])
    return float(figure[0].replace(",", "")) if figure else 0.0


def _bytes(text: str) -> float:
    line = text.rpartition("\n")[2]
    unit = re.match(r"[\d,.]+\s*([KMGT]iB|B)?", line)
    return _number(line) * _UNITS.get((unit[1] if unit else None) or "B", 1)

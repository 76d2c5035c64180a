"""Other checkers, each in an environment of its own, made when it is first needed and kept with the rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bench.quality.rules import Check

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PINNED = {"cuallee": "cuallee==0.15.4", "great_expectations": "great_expectations==1.24.1", "sparkdq": "sparkdq==0.12.1"}


def environment(folder: Path, tool: str) -> Path:
    """The tool's own Python. Raises: SystemExit if it cannot be installed; `--only` leaves the rivals out."""
    from pyspark import __version__ as spark_version

    home = folder / f"{PINNED[tool].replace('==', '-')}-spark-{spark_version}"
    python = home / "bin" / "python"
    if not (home / "done").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        wanted = [PINNED[tool], f"pyspark=={spark_version}"]
        told = subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True)
        if told.returncode:
            raise SystemExit(f"{PINNED[tool]} cannot be installed into {home}: {told.stderr[-500:]}")
        (home / "done").touch()
    return python


class Rival:
    """A running checker; see `rival.py`. Raises: SystemExit if it does not start."""

    def __init__(self, spark: SparkSession, python: Path, tool: str) -> None:
        self.tool = tool
        known = spark.sparkContext._gateway.gateway_parameters
        variables = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        } | {"PYSPARK_GATEWAY_PORT": str(known.port), "PYSPARK_GATEWAY_SECRET": known.auth_token, "PYSPARK_PYTHON": str(python)}
        command = [str(python), str(Path(__file__).parent / "rival.py"), tool]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables
        )
        self._answer()

    def judge(self, table: str, checks: list[Check]) -> dict[str, Any]:
        """Let it judge a table. Returns: how many rules it could express, and what it found broken."""
        assert self._process.stdin
        asked = [{"kind": c.kind, "column": c.column, "value": c.value, "sql": c.sql} for c in checks]
        self._process.stdin.write(json.dumps({"table": table, "checks": asked}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": f"it ended with {self._process.wait()}"}
        if "error" in told:
            raise SystemExit(f"{self.tool}: {told['error'][:800]}")
        return told

    def __enter__(self) -> Rival:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()

"""What a small `spark-submit jobs/bronze_ingest.py` costs, with and without our start-up.

Three variants in turn, on a stack of their own, each ingesting a day of its own:

- `ours`: the activated environment, as a user has it (jars on the class path, class-data archive, JVM options);
- `no archive`: the same without the archive;
- `plain`: neither archive nor options, Iceberg's jars handed over with `--jars`, as Spark's documentation has it.

Times are of the whole process, wall clock, medians; the ratios are of medians.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from medallion import settings as settings_module
from medallion.landing import land
from medallion.services import stack
from medallion.settings import ROOT

VARIANTS = ("ours", "no archive", "plain")


def measure(rounds: int) -> None:
    """Run every variant `rounds` times after one warm-up each and print a line per variant."""
    environment = _activated()
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        home = Path(folder) / "home"
        os.environ["MEDALLION_HOME"] = environment["MEDALLION_HOME"] = str(home)
        settings_module.load.cache_clear()
        settings = stack.up(settings_module.load(), lambda line: None, guard=os.getpid())
        jars = Path(environment["SPARK_HOME"]) / "jars"
        iceberg = sorted(jars.glob("iceberg-*.jar"))
        plain = _without(Path(folder), Path(environment["SPARK_HOME"]), iceberg)
        days = (date(2013, 1, 1) + timedelta(days=n) for n in range(365))
        taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for round_ in range(rounds + 1):
            for variant in VARIANTS:
                day = next(days)
                land(settings, day)
                used = dict(environment)
                command = ["spark-submit"]
                if variant != "ours":
                    used["SPARK_SUBMIT_OPTS"] = " ".join(o for o in used["SPARK_SUBMIT_OPTS"].split() if "Share" not in o)
                if variant == "plain":
                    used["SPARK_SUBMIT_OPTS"] = " ".join(o for o in used["SPARK_SUBMIT_OPTS"].split() if o.startswith("-D"))
                    used["SPARK_HOME"] = str(plain)
                    command += ["--jars", ",".join(str(jar) for jar in iceberg)]
                began = time.monotonic()
                subprocess.run(
                    [*command, "jobs/bronze_ingest.py", "--date", day.isoformat()],
                    cwd=ROOT, env=used, check=True, capture_output=True,
                )  # fmt: skip
                if round_:
                    taken[variant].append(time.monotonic() - began)
        stack.down(settings, lambda line: None, remove=True)
    base = statistics.median(taken["plain"])
    print(f"spark-submit jobs/bronze_ingest.py, {rounds} rounds, wall seconds")
    for variant in VARIANTS:
        median = statistics.median(taken[variant])
        spread = f"{min(taken[variant]):.1f} to {max(taken[variant]):.1f}"
        print(f"  {variant:<11} median {median:5.1f} ({spread}), {median / base:.2f} of plain, ", end="")
        print(f"{median / statistics.median(taken['no archive']):.2f} of no archive")


def _activated() -> dict[str, str]:
    """The environment after `. .venv/bin/activate`."""
    told = subprocess.run(
        ["bash", "-c", f". '{ROOT}/.venv/bin/activate' && env -0"], check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split("=", 1) for line in told.split("\0") if "=" in line)


def _without(folder: Path, spark: Path, jars: list[Path]) -> Path:
    """A Spark home like ours but without these jars: links, no copies."""
    home = folder / "spark"
    home.mkdir()
    for item in spark.iterdir():
        if item.name != "jars":
            (home / item.name).symlink_to(item)
    (home / "jars").mkdir()
    for jar in (spark / "jars").iterdir():
        if jar not in jars:
            (home / "jars" / jar.name).symlink_to(jar)
    shutil.copymode(spark, home)
    return home

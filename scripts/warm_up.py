"""Run the real pipeline over one day on a throw-away stack, and keep the classes that its JVMs loaded.

`python scripts/warm_up.py <environment>` writes `<environment>/spark.jsa` for Spark and
`<environment>/servers/nessie.jsa` for Nessie. The environment's variables for Spark must be set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path

from medallion.landing import land
from medallion.services import nessie, process, stack
from medallion.services.state import State, read
from medallion.settings import ROOT, load

DAY = date(2013, 1, 1)


def start_recording(state: State, archive: Path) -> process.Identity:
    """Start Nessie again, so that it writes its archive when it ends."""
    if running := process.recorded(state.record("nessie")):
        process.stop(running)
    service = nessie.describe(state)
    java, *options = (word for word in service.command if not word.startswith(("-XX:SharedArchiveFile", "-Xshare")))
    service = replace(service, command=(java, f"-XX:ArchiveClassesAtExit={archive}", *options))
    recording = process.launch(
        service.command,
        record=state.record("nessie"),
        log=state.log("nessie"),
        folder=service.folder,
        environment=service.environment,
    )
    problem = stack.wait_until_well(service, recording, patience_s=90)
    if problem:
        raise SystemExit(f"Nessie {problem}\n{process.tail(state.log('nessie'))}")
    return recording


def main() -> None:
    """Make both archives; each appears whole or not at all."""
    environment = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="warm-up-", dir=environment / ".setup") as folder:
        new = Path(folder)
        os.environ["MEDALLION_HOME"] = str(new / "home")
        os.environ["MEDALLION_PROFILE"] = "embedded"
        settings = stack.up(load(), print, guard=os.getpid())
        try:
            state = read(settings)
            if state is None:
                raise SystemExit("the stack has no state")
            recording = start_recording(state, new / "nessie.jsa")
            quick = "-XX:TieredStopAtLevel=1"  # which compiler ran makes no difference to an archive of classes
            options = f'-XX:ArchiveClassesAtExit="{new / "spark.jsa"}" {quick} {os.environ["SPARK_SUBMIT_OPTS"]}'
            submit = shutil.which("spark-submit") or "spark-submit"
            land(load(), DAY)
            job = [submit, str(ROOT / "jobs" / "pipeline.py"), "--date", DAY.isoformat(), "--no-publish"]
            subprocess.run(job, check=True, env=os.environ | {"SPARK_SUBMIT_OPTS": options})
            process.stop(recording, patience_s=60)
            for archive, place in (("nessie.jsa", environment / "servers"), ("spark.jsa", environment)):
                (new / archive).chmod(0o644)
                (new / archive).replace(place / archive)
        finally:
            stack.down(settings, print, remove=True)


if __name__ == "__main__":
    main()

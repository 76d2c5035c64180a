"""Stops a stack when the process that it was started for ends, even by SIGKILL.

Run as `python -m medallion.services.watchdog <pid> <start ticks>` with `MEDALLION_HOME` set.
"""

from __future__ import annotations

import shutil
import sys
import time

from medallion.services import process, stack
from medallion.services.process import Identity
from medallion.services.state import read
from medallion.settings import load

LOOK_S = 1.0


def main() -> None:
    """Wait for the end of the guarded process, then stop the stack and remove its folder. Whoever started it may have removed
    that first, with all that says which servers there are: so these are noted meanwhile."""
    settings = load()
    servers: dict[str, Identity] = {}
    elsewhere = None
    guarded = process.identify(int(sys.argv[1]))
    if guarded is not None and guarded.started_ticks == int(sys.argv[2]):
        while not process.wait_for_end(guarded, LOOK_S):
            if state := read(settings):
                servers |= stack.running(state)
                elsewhere = state.postgres_folder
    time.sleep(0.5)  # a server that was being started has written its record by then
    if settings.home.is_dir():
        stack.down(settings, print, remove=True)
        return
    for name, server in servers.items():
        process.stop(server, ask_with=stack.stop_signal(name))
    if elsewhere:
        shutil.rmtree(elsewhere, ignore_errors=True)


if __name__ == "__main__":
    main()

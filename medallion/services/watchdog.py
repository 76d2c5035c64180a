"""Stops a stack when the process that it was started for ends, even by SIGKILL.

Run as `python -m medallion.services.watchdog <pid> <start ticks>` with `MEDALLION_HOME` set.
"""

from __future__ import annotations

import sys
import time

from medallion.services import process, stack
from medallion.settings import load


def main() -> None:
    """Wait for the end of the guarded process, then stop the stack and remove its folder."""
    settings = load()
    guarded = process.identify(int(sys.argv[1]))
    if guarded is not None and guarded.started_ticks == int(sys.argv[2]):
        process.wait_for_end(guarded)
    time.sleep(0.5)  # a server that was being started has written its record by then
    stack.down(settings, print, remove=True)


if __name__ == "__main__":
    main()

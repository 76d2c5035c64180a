"""Attempts at a publication: again while others are faster, or an answer is lost."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from medallion.errors import ServiceUnavailable
from medallion.publish.target import Outrun, Unanswered

log = logging.getLogger(__name__)
Done = TypeVar("Done")


def in_attempts(what: str, attempt: Callable[[], Done], most: int, again: Callable[[Exception], None]) -> Done:
    """Attempt it until it is done, waiting longer each time.

    Args:
        what: for the log.
        attempt: one attempt; the next one asks the ledger what came of it.
        most: how many there are.
        again: called with the reason before each further one.
    Raises: Outrun if others were faster in the last attempt; Unanswered if what came of it is not known, also where the
        warehouse is not there to be asked; else what an attempt raises.
    """
    reason: Outrun | Unanswered | None = None
    for number in range(1, most + 1):
        if reason:
            time.sleep(min(0.1 * 2**number, 5.0) * random.uniform(0.5, 1.5))
            again(reason)
        try:
            return attempt()
        except (Outrun, Unanswered) as error:
            log.info("%s, attempt %s of %s", what, number, most, exc_info=True)
            reason = error
        except ServiceUnavailable:
            if not isinstance(reason, Unanswered):
                raise
    assert reason, "there was at least one attempt"
    raise reason

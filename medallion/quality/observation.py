"""What Spark has counted of rows on their way into a write."""

from __future__ import annotations

from typing import Any


def observed_counts(observation: Any) -> dict[str, int] | None:
    """The counters of an observation, by name; None where there are none: Spark has planned them away (an input that it knows
    to be empty), or has not told them within the 0.1 s that it waits, as on a busy machine."""
    row = observation._jo.getRowOrEmpty()  # its `getOrEmpty` fails where there are none
    if row.isEmpty() or row.get().schema() is None:
        return None
    names = row.get().schema().fieldNames()
    return {str(name): int(row.get().get(number)) for number, name in enumerate(names)} or None

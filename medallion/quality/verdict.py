"""What came of one rule."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from medallion.contract import Rule

SAMPLES = 3
"""How many broken rows a verdict shows."""


@dataclass(frozen=True)
class Verdict:
    """What came of one rule: `bad` of `judged` rows broke it; `samples` are some of them, as JSON,
    without the columns that the contract classifies as personal. A rule that compares a figure says in
    `allowed` what it must be, and its sample is the figure; one on change keeps its `figures`, to be compared with
    later."""

    rule: str
    severity: str
    bad: int
    judged: int
    tolerance: float
    passed: bool
    description: str
    samples: tuple[str, ...] = ()
    allowed: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        found = asdict(self) | {"samples": list(self.samples)}
        del found["figures"]  # they stand once for the whole write
        return found


def of_rows(rule: Rule, bad: int, judged: int, samples: tuple[str, ...] = ()) -> Verdict:
    """The verdict of a rule that `bad` of `judged` rows broke."""
    return Verdict(rule.name, rule.severity, bad, judged, rule.tolerance, rule.allows(bad, judged), rule.description, samples)

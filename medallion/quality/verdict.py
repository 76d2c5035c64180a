"""What comes of judging: the verdict of a rule, and of all rules on one write."""

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
    later. `decided_by` is what told:
    - `figures`: counts and bounds that the write left in its manifests; no row was read for it;
    - `dictionary`: the few distinct values of its column, from the files' dictionaries;
    - `plan`: the plan of the rows, which cannot bring one of them twice;
    - `pass`: the pass that wrote the rows;
    - `aggregate`: one look at the columns concerned of the new rows.
    """

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
    decided_by: str = "pass"

    def as_json(self) -> dict[str, Any]:
        found = asdict(self) | {"samples": list(self.samples)}
        del found["figures"]  # they stand once for the whole write
        return found


@dataclass
class Judged:
    """What came of one write: counts of rows and the verdict of every rule."""

    rows_in: int
    rows_out: int
    quarantined: int
    warned: int
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def refusals(self) -> list[Verdict]:
        """The error rules that were broken beyond their tolerance."""
        return [v for v in self.verdicts if v.severity == "error" and not v.passed]


def of_rows(rule: Rule, bad: int, judged: int, samples: tuple[str, ...] = (), decided_by: str = "pass") -> Verdict:
    """The verdict of a rule that `bad` of `judged` rows broke, by its tolerance."""
    return Verdict(
        rule.name, rule.severity, bad, judged, rule.tolerance, rule.allows(bad, judged), rule.description, samples,
        decided_by=decided_by,
    )  # fmt: skip

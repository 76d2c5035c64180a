"""The gate: one look at all verdicts of a run, before anything can be merged."""

from __future__ import annotations

from typing import Any

from medallion.errors import GateRefused

AS_USUAL = "as_usual"
"""The name of the verdict on what is unusual about a write, compared with the dataset's past; it has no bad rows."""


def refusals(writes: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The (write, verdict) pairs that forbid a merge: error rules broken beyond their tolerance."""
    return [
        (write, verdict)
        for write in writes
        for verdict in write.get("verdicts", ())
        if verdict["severity"] == "error" and not verdict["passed"]
    ]


def check(run_id: str, branch: str, writes: list[dict[str, Any]]) -> None:
    """Let a run pass, or not.

    Raises: GateRefused, naming every broken rule with its figures and sample rows.
    """
    refused = refusals(writes)
    if not refused:
        return
    lines = []
    for write, verdict in refused:
        share = verdict["bad"] / verdict["judged"] if verdict["judged"] else 0.0
        tolerance = verdict["tolerance"]
        allowed = verdict.get("allowed") or (f"{tolerance:.2%} allowed" if tolerance < 1 else f"{tolerance:.0f} rows allowed")
        date = f" {write['logical_date']}" if write.get("logical_date") else ""
        if verdict["rule"] == AS_USUAL:
            lines.append(f"  {write['dataset']}{date}: {verdict['rule']} — {verdict['description']}")
            lines += [f"      {sample}" for sample in verdict["samples"][1:]]
            continue
        lines.append(
            f"  {write['dataset']}{date}: {verdict['rule']} — {verdict['bad']} of {verdict['judged']} rows "
            f"({share:.2%}; {allowed}): {verdict['description']}"
        )
        lines += [f"      {sample}" for sample in verdict["samples"]]
    raise GateRefused(
        f"the gate refused run {run_id}: {len(refused)} rules broken beyond their tolerance\n"
        + "\n".join(lines)
        + f"\n  main and the warehouse are unchanged; branch {branch} is kept, sealed",
        hint=f"look at it with `medallion show {run_id}`, have the delivery corrected, and run the date again",
        run=run_id,
        branch=branch,
    )

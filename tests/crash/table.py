"""The table of docs/guarantees.md: what was tried, and what came of it. Results are lines of JSON in a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.crash.faults import FAULTS

BEGIN, END = "<!-- crash table: written by make crash -->", "<!-- end of the crash table -->"
Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """The results so far; a line that was being written when the process ended is left out."""
    found = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def markdown(results: Iterable[Line], seed: int) -> str:
    """How many cases there were and what became of the commands; then of each warehouse one row for each step, one column
    for each fault: how many cases, and how many of them violated something."""
    results = list(results)
    emulated = [each for each in results if each["warehouse"] == "snowflake"]
    outcomes = Counter(each["outcome"] for each in results)
    lines = [
        f"{len(results)} cases, seed {seed}, {sum(bool(each['violations']) for each in results)} violations; "
        f"{len(emulated)} of them with the emulated Snowflake, the others with "
        f"PostgreSQL as the warehouse; {sum(bool(each.get('spark')) for each in results)} went through the whole Spark pipeline.",
        "",
        "| what became of the command | cases |",
        "|---|---:|",
        *(f"| {outcome} | {count} |" for outcome, count in outcomes.most_common()),
        "",
        *_by_step(each for each in results if each["warehouse"] != "snowflake"),
    ]
    return "\n".join(lines + (["", "With the emulated Snowflake as the warehouse:", "", *_by_step(emulated)] if emulated else []))


def _by_step(results: Iterable[Line]) -> list[str]:
    results = list(results)
    cases = Counter((each["step"], each["kind"]) for each in results)
    wrong = Counter((each["step"], each["kind"]) for each in results if each["violations"])
    lines = ["| step | " + " | ".join(FAULTS) + " |", "|---|" + "---:|" * len(FAULTS)]
    for step in sorted({each["step"] for each in results}, key=_order):
        cells = [_cell(cases[step, fault], wrong[step, fault]) for fault in FAULTS]
        lines.append(f"| `{step}` | " + " | ".join(cells) + " |")
    return lines


def write(page: Path, table: str, first: str = BEGIN, last: str = END) -> None:
    """Put the table between two marks of the page. Raises: ValueError if they are not there."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"{page} lacks the marks {first} and {last}")
    page.write_text(f"{before}{first}\n{table}\n{last}{after}", "utf-8")


def _cell(cases: int, wrong: int) -> str:
    if wrong:
        return f"**{cases}, {wrong} WRONG**"
    return str(cases) if cases else "-"


def _order(step: str) -> int:
    from medallion.lakehouse.steps import STEPS

    return list(STEPS).index(step)

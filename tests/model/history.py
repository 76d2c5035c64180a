"""Whether a history of transactions is serializable, decided from what each read and wrote, and from nothing that merges.

Each transaction names whose version of a table it read, and which tables it wrote. From the versions in the order in
which they stood on main follow the dependencies (Adya 1999): who wrote after whom (ww), who read whose version (wr), and
who read a version that another replaced (rw). The history is serializable if these form no cycle. Of a table that is only
appended to, the rows are the versions: whoever read it saw a prefix.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

INITIAL = "(initial)"
"""Who wrote what was there in the beginning."""


@dataclass(frozen=True)
class Transaction:
    """One that is on main. `reads`: table -> the name of who wrote what it saw there, INITIAL if nobody yet."""

    name: str
    reads: Mapping[str, str] = field(default_factory=dict)
    writes: frozenset[str] = frozenset()


def violations(history: Iterable[Transaction], versions: Mapping[str, Sequence[str]]) -> list[str]:
    """What in a history no serial order can explain.

    Args:
        versions: table -> who wrote it, in the order in which main had it; for an appended table whose rows came.
    Returns: reads of what never was on main; writes that are not there exactly once; one cycle, with the reason of
        each of its edges.
    """
    every = list(history)
    wrong: list[str] = []
    edges: dict[str, dict[str, str]] = defaultdict(dict)

    def edge(first: str, second: str, why: str) -> None:
        if first not in (second, INITIAL):
            edges[first].setdefault(second, why)

    for table, order in versions.items():
        for first, second in itertools.pairwise(order):
            edge(first, second, f"wrote {table} before")
    for one in every:
        for table, writer in one.reads.items():
            order = [INITIAL, *versions.get(table, ())]
            if writer not in order:
                wrong.append(f"{one.name} read of {table} what {writer} wrote, which never was on main")
                continue
            edge(writer, one.name, f"wrote {table}, which was read by")
            after = [each for each in order[order.index(writer) + 1 :] if each != one.name]
            if after:
                edge(one.name, after[0], f"read {table} before it was replaced by")
        for table in one.writes:
            if (count := list(versions.get(table, ())).count(one.name)) != 1:
                wrong.append(f"what {one.name} wrote to {table} was on main {count} times")
    return wrong + _cycle(edges)


def _cycle(edges: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One cycle in words, if there is one."""
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(node: str) -> list[str] | None:
        state[node] = 1
        path.append(node)
        for following in edges.get(node, ()):
            if state.get(following) == 1:
                return [*path[path.index(following) :], following]
            if following not in state and (found := visit(following)):
                return found
        state[node] = 2
        path.pop()
        return None

    for start in list(edges):
        if start not in state and (found := visit(start)):
            steps = [f"{a} {edges[a][b]} {b}" for a, b in itertools.pairwise(found)]
            return ["no serial order: " + "; ".join(steps)]
    return []


def ledger_violations(entries: Sequence[Mapping[str, object]]) -> list[str]:
    """What is wrong in a ledger's rows (`sequence`, `publication_id`, `main_hash`): each publication is there once, the
    numbers have no gaps, and no commit is published twice."""
    numbers = sorted(int(str(row["sequence"])) for row in entries)
    wrong = [f"the ledger's numbers are {numbers}"] if numbers != list(range(1, len(entries) + 1)) else []
    for name in ("publication_id", "main_hash"):
        values = [row[name] for row in entries]
        wrong += [f"the ledger has {name} {value} {values.count(value)} times" for value in {*values} if values.count(value) > 1]
    return wrong

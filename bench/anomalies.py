"""How many of the anomalies planted into a year of flights are found, and how many alarms are false, seed by seed."""

from __future__ import annotations

from collections import Counter
from statistics import mean

from tests.planted_year import ALLOWED, PLANTED, play


def measure(first: int, seeds: int, planted: int = PLANTED) -> None:
    """Print a row for each seed from `first` on, what was missed, and the days of false alarms."""
    found, alarms = [], []
    missed: Counter[str] = Counter()
    told: Counter[str] = Counter()
    print("| seed | found | false alarms | missed |\n|---|---|---|---|")
    for seed in range(first, first + seeds):
        year = play(seed, planted)
        found.append(year.found)
        alarms.append(len(year.false_alarms))
        missed.update(year.missed.values())
        told.update(f"{when}" for when in year.false_alarms)
        lost = ", ".join(f"{what} ({when:%d %b})" for when, what in year.missed.items())
        print(f"| {seed} | {year.found} of {planted} | {len(year.false_alarms)} | {lost} |", flush=True)
    print(f"| mean | {mean(found):.1f} | {mean(alarms):.1f} | |\n| worst | {min(found)} | {max(alarms)} | |")
    print(
        f"\nmissed: {dict(missed.most_common())}\nfalse alarms: {dict(told.most_common())} (up to {ALLOWED} a year are allowed)"
    )

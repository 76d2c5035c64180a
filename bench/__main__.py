"""`python -m bench`: run the benchmarks and print what they measured. Never asserts a time."""

from __future__ import annotations

import argparse

from bench import start_up

parser = argparse.ArgumentParser(description="Measure, as ratios against a baseline in the same run.")
parser.add_argument("--rounds", type=int, default=5, help="how often each variant runs, in turn")
options = parser.parse_args()
start_up.measure(options.rounds)

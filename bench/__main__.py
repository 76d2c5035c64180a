"""`python -m bench [start-up|backfills|anomalies]`: run a benchmark and print what it measured. Never asserts a time."""

from __future__ import annotations

import argparse

parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, against a baseline in the same run.")
chosen = parser.add_subparsers(dest="what")
start_up = chosen.add_parser("start-up", help="what a small spark-submit costs")
backfills = chosen.add_parser("backfills", help="many days at once, on the same tables")
for each in (parser, start_up):
    each.add_argument("--rounds", type=int, default=5, help="how often each variant runs, in turn")
backfills.add_argument("--runs", type=int, default=32, help="how many days are filled at once")
backfills.add_argument("--processes", type=int, default=4, help="in how many processes")
anomalies = chosen.add_parser("anomalies", help="what is found of anomalies planted into a year of flights")
anomalies.add_argument("--first", type=int, default=1, help="the first seed")
anomalies.add_argument("--seeds", type=int, default=20, help="how many seeds")
anomalies.add_argument("--planted", type=int, default=20, help="on how many days of the year")

if __name__ == "__main__":
    options = parser.parse_args()
    if options.what == "backfills":
        from bench.backfills import measure

        measure(options.runs, options.processes)
    elif options.what == "anomalies":
        from bench.anomalies import measure as find

        find(options.first, options.seeds, options.planted)
    else:
        from bench import start_up as first

        first.measure(options.rounds)

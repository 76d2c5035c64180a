"""`python -m bench [start-up|backfills|anomalies|quality|publication|depth|drill|audit|dashboards|openlineage]`: run a
benchmark and print what it measured. It never asserts a time."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.quality import AT_SCALE_10, GROUPS
from medallion.settings import ROOT

parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, against a baseline in the same run.")
chosen = parser.add_subparsers(dest="what")
start_up = chosen.add_parser("start-up", help="what a small spark-submit costs")
backfills = chosen.add_parser("backfills", help="many days at once, on the same tables")
quality = chosen.add_parser("quality", help="what it costs that a write is judged")
for each in (parser, start_up):
    each.add_argument("--rounds", type=int, default=5, help="how often each variant runs, in turn")
backfills.add_argument("--runs", type=int, default=32, help="how many days are filled at once")
backfills.add_argument("--processes", type=int, default=4, help="in how many processes")
backfills.add_argument(
    "--skip", nargs="+", default=[], choices=["rebased", "run again"],
    help="variants to leave out: the work of 'run again' grows with the square of --runs",
)  # fmt: skip
anomalies = chosen.add_parser("anomalies", help="what is found of anomalies planted into a year of flights")
anomalies.add_argument("--first", type=int, default=1, help="the first seed")
anomalies.add_argument("--seeds", type=int, default=20, help="how many seeds")
anomalies.add_argument("--planted", type=int, default=20, help="on how many days of the year")
depth = chosen.add_parser("depth", help="fork, merge, publish and list with many runs behind them")
depth.add_argument("--runs", type=int, default=5_000, help="how many runs are behind")
depth.add_argument("--rounds", type=int, default=20, help="how often each operation is done on either stack, in turn")
publication = chosen.add_parser("publication", help="what it costs to publish, against write_pandas; 20 tables against one")
publication.add_argument("--rows", type=int, default=1_000_000, help="rows of the table that is prepared")
publication.add_argument("--rounds", type=int, default=5, help="how often each variant runs, in turn, after a round to warm up")
drill = chosen.add_parser("drill", help="a lake is lost in four ways, and restored from its second location")
drill.add_argument("--runs", type=int, default=20, help="how many runs there are before")
drill.add_argument("--rows", type=int, default=100_000, help="rows of each of three tables")
audit = chosen.add_parser("audit", help="what the audit log costs a command and a run")
audit.add_argument("--rounds", type=int, default=10, help="how often each variant runs, in turn, after a round to warm up")
audit.add_argument("--records", type=int, default=100_000, help="how many records are verified")
openlineage = chosen.add_parser("openlineage", help="our columns' lineage beside that of OpenLineage's listener in Spark")
openlineage.add_argument("--jar", type=Path, required=True, help="openlineage-spark_2.13-1.53.0.jar")
openlineage.add_argument("--events", type=Path, help="a file to keep what the listener tells")
quality.add_argument("--rounds", type=int, default=5, help="how often each variant runs, in turn, after a round to warm up")
quality.add_argument("--scale", type=float, default=1, help="TPC-H's scale factor: 1 is 6 million rows of lineitem")
quality.add_argument(
    "--only", nargs="+", help="groups of variants, or single ones; else all, from scale 10 on floor and ours: " + " ".join(GROUPS)
)
quality.add_argument("--data", type=Path, default=ROOT / ".medallion" / "bench", help="where the rows are kept for the next time")
quality.add_argument("--tpchgen", default="tpchgen-cli", help="the program that makes them")
quality.add_argument(
    "--upserted-part", type=int, default=6, metavar="N",
    help="the engine's own upsert is of one order in N; of all of them (1) with SPARK_DRIVER_MEMORY=8g, for the delivery",
)  # fmt: skip
quality.add_argument("--write", type=Path, help="a file for the table, as Markdown")

dashboards = chosen.add_parser("dashboards", help="what a page of the dashboards takes with a year behind it")
dashboards.add_argument("--runs", type=int, default=5_000, help="how many runs are behind, at least 4,745")
dashboards.add_argument("--rounds", type=int, default=3, help="how often each page is asked for, after a round to warm up")

if __name__ == "__main__":
    options = parser.parse_args()
    if options.what == "quality":
        from bench.quality import measure as first_of_quality

        first_of_quality.measure(
            first_of_quality.Options(
                options.scale,
                options.rounds,
                tuple(options.only or (GROUPS if options.scale < 10 else AT_SCALE_10)),
                options.data,
                options.tpchgen,
                options.upserted_part,
                options.write,
            )
        )
    elif options.what == "publication":
        from bench.publication import measure as publish

        publish(options.rows, options.rounds)
    elif options.what == "depth":
        from bench.depth import measure as go_deep

        go_deep(options.runs, options.rounds)
    elif options.what == "backfills":
        from bench.backfills import measure

        measure(options.runs, options.processes, options.skip)
    elif options.what == "anomalies":
        from bench.anomalies import measure as find

        find(options.first, options.seeds, options.planted)
    elif options.what == "dashboards":
        from bench.dashboards import measure as look

        look(options.runs, options.rounds)
    elif options.what == "drill":
        from bench.drill import drill as play

        play(options.runs, options.rows)
    elif options.what == "audit":
        from bench.audit import measure as record

        record(options.rounds, options.records)
    elif options.what == "openlineage":
        from bench.openlineage_spark import measure as beside

        beside(options.jar, options.events)
    else:
        from bench import start_up as first

        first.measure(options.rounds)

"""Counts of a write whose tasks failed and were done again, and of one that Spark computed twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from medallion.settings import ROOT

PROGRAM = """
import glob, json, os, sys
from pyspark import TaskContext
from pyspark.sql import functions as F
from medallion.contract import Rule
from medallion.lakehouse.counted import Counted
from medallion.quality import judge
from medallion.settings import load
from tests.judging import Desk, row

marks = sys.argv[1]
desk = Desk(load(), Rule("order", "error", 0.9, "", "low <= high"), Rule("light", "warning", 0, "", "weight < 5"))
assert desk.spark.sparkContext.master == "local[2,3]"

@F.udf("int")
def fragile(n):
    if TaskContext.get().attemptNumber() == 0 and n % 200 == 150:
        with open(marks, "a") as file:
            file.write("failed ")
        raise RuntimeError("planted")
    return n

rows = [row(n, low=n, high=n - 1 if n % 10 == 0 else n, weight=9.0 if n % 4 == 1 else 1.0) for n in range(600)]
frame = desk.frame(rows).repartition(2).withColumn("low", fragile("low"))
desk.spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "10")
overwrite, observed, found = desk.branch.overwrite, judge.observed_counts, {}
for way in ("staged", "counted", "sorted"):
    if way == "sorted":  # by ranges: Spark computes the rows twice, to draw its sample
        desk.branch.overwrite = lambda rows, *more: overwrite(rows.orderBy("id") if "id" in rows.columns else rows, *more)
    seen = {}
    judge.observed_counts = lambda o: seen.update(observed(o) or {}) or dict(seen)
    got = desk.write(frame, staged=way == "staged")
    counts = [got.rows_in, got.rows_out, got.quarantined, got.warned]
    found[way] = [*counts, desk.kept().count(), len(desk.ids()), seen.get("judged")]

sound = Desk(load(), Rule("order", "error", 0.9, "", "low <= high"))
clean, told, rows_of = frame.filter("low <= high"), [], Counted.rows
Counted.rows = lambda self: told.append(rows_of(self)) or told[-1]
replace = sound.branch.overwrite
for way in ("first", "whole", "computed twice"):
    if way == "computed twice":
        sound.branch.overwrite = lambda rows, *more: replace(rows.orderBy("id") if "id" in rows.columns else rows, *more)
    got = sound.write(clean)
    found[way] = [got.rows_in, got.rows_out, got.quarantined, len(sound.ids()), *told]
    told.clear()

@F.udf("int")
def loses_the_shuffle(kind, n):
    if kind == "A" and not os.path.exists(marks + ".lost"):
        open(marks + ".lost", "w").close()
        for path in glob.glob(os.environ["SPARK_LOCAL_DIRS"] + "/**/shuffle_*", recursive=True):
            os.remove(path)
    return n

again = Desk(load(), Rule("order", "error", 0.9, "", "low <= high"))
again.write(desk.frame([row(1)]))
told.clear()
bad_first = desk.frame([row(n, "ABC"[n // 200], low=n, high=n - 1 if n < 200 else n) for n in range(600)])
got = again.write(bad_first.repartitionByRange(3, "kind").withColumn("low", loses_the_shuffle("kind", "low")))
found["stage again"] = [got.rows_in, got.rows_out, got.quarantined, again.kept().count(), len(again.ids()), *told]
print(json.dumps(found))
"""


def test_rows_are_counted_once(stack_environment: dict[str, str], tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    environment = stack_environment | {"MEDALLION_SPARK__MASTER": "local[2,3]", "SPARK_LOCAL_DIRS": str(tmp_path / "spark")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(marks)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert marks.read_text().count("failed") >= 3, "tasks of each write were done again"
    right = [600, 540, 60, 150, 60, 540]
    assert found.pop("first") == [540, 540, 0, 540]
    assert found.pop("whole") == [540, 540, 0, 540, 540], "a plan's own figures leave failed tasks out"
    assert found.pop("computed twice") == [540, 540, 0, 540, 1080], "what Spark counted was not believed"
    assert Path(f"{marks}.lost").is_file()
    assert found.pop("stage again") == [600, 400, 200, 200, 400, None], "of a stage that is done again Spark counts a part"
    assert {way: counts[:6] for way, counts in found.items()} == dict.fromkeys(("staged", "counted", "sorted"), right)
    assert found["sorted"][6] == 1200, "the counter that was not believed"

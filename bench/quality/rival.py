"""One other checker in a process and an environment of its own, on the benchmark's own Spark session.

It runs under another interpreter, where nothing of this project is installed. The session is reached through the
gateway that Python and the JVM talk over, so all judges work in one warm JVM. From standard input come lines of JSON
(table and rules), to standard output goes one for each: `{"expressed": rules that it could say, "failed": …}`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

Check = dict[str, Any]
Answer = dict[str, int]


def session() -> Any:
    """The session of the process whose gateway the environment names."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    gateway = launch_gateway()
    jvm = gateway.jvm
    java = jvm.org.apache.spark.api.java.JavaSparkContext(jvm.org.apache.spark.SparkContext.getOrCreate())
    conf = SparkConf(_jvm=jvm, _jconf=java.getConf())
    return SparkSession(SparkContext(gateway=gateway, jsc=java, conf=conf))


def cuallee(frame: Any, checks: list[Check]) -> Answer:
    """Ranges of dates and conditions over several columns are said in SQL (`satisfies`)."""
    from cuallee import Check as Rules
    from cuallee import CheckLevel

    rules = Rules(CheckLevel.WARNING, "bench")
    ranges = {
        "minimum": rules.is_greater_or_equal_than, "maximum": rules.is_less_or_equal_than,
        "exclusiveMinimum": rules.is_greater_than, "exclusiveMaximum": rules.is_less_than,
    }  # fmt: skip
    for check in checks:
        column, value = check["column"], check["value"]
        match check["kind"]:
            case "null":
                rules.is_complete(column)
            case "range" if not isinstance(value[1], str):
                ranges[value[0]](column, value[1])
            case "set":
                rules.is_contained_in(column, tuple(value))
            case "regex":
                rules.has_pattern(column, value)
            case _:
                rules.satisfies(column, check["sql"])
    rows = rules.validate(frame).collect()
    return {"expressed": len(rows), "failed": sum(row["status"] != "PASS" for row in rows)}


def great_expectations(frame: Any, checks: list[Check]) -> Answer:
    """Conditions over several columns are queries for unexpected rows."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = (
        context.data_sources.add_spark("spark").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    ).get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(name="bench")
    for check in checks:
        column, value = check["column"], check["value"]
        match check["kind"]:
            case "null":
                suite.add_expectation(gxe.ExpectColumnValuesToNotBeNull(column=column))
            case "range":
                limit = date.fromisoformat(value[1]) if isinstance(value[1], str) else value[1]
                side = "min" if "min" in value[0].lower() else "max"
                bounds = {f"{side}_value": limit, f"strict_{side}": value[0].startswith("exclusive")}
                suite.add_expectation(gxe.ExpectColumnValuesToBeBetween(column=column, **bounds))
            case "set":
                suite.add_expectation(gxe.ExpectColumnValuesToBeInSet(column=column, value_set=value))
            case "regex":
                suite.add_expectation(gxe.ExpectColumnValuesToMatchRegex(column=column, regex=value))
            case _:
                query = f"SELECT * FROM {{batch}} WHERE NOT ({check['sql']})"
                suite.add_expectation(gxe.UnexpectedRowsExpectation(unexpected_rows_query=query))
    result = batch.validate(suite)
    return {"expressed": len(result.results), "failed": sum(not one.success for one in result.results)}


def sparkdq(frame: Any, checks: list[Check]) -> Answer:
    """Of conditions over several columns it knows the comparison of two columns only: others are left out."""
    from sparkdq import checks as known
    from sparkdq.engine import BatchDQEngine
    from sparkdq.management.check_set import CheckSet

    rules, expressed = CheckSet(), 0
    for number, check in enumerate(checks):
        column, value, own = check["column"], check["value"], {"check_id": f"rule_{number}"}
        match check["kind"]:
            case "null":
                config = known.NullCheckConfig(columns=[column], **own)
            case "range":
                side = "Min" if "min" in value[0].lower() else "Max"
                class_ = getattr(known, f"{'Date' if isinstance(value[1], str) else 'Numeric'}{side}CheckConfig")
                limit = {f"{side.lower()}_value": value[1], "inclusive": not value[0].startswith("exclusive")}
                config = class_(columns=[column], **limit, **own)
            case "set":
                config = known.IsContainedInCheckConfig(allowed_values={column: value}, **own)
            case "regex":
                config = known.RegexMatchCheckConfig(column=column, pattern=value, **own)
            case _:
                left, sign, right = check["sql"].partition(" > ")
                if not sign or not (left.isidentifier() and right.isidentifier()):
                    continue
                config = known.ColumnGreaterThanCheckConfig(column=left, limit=right, **own)
        rules.add_check(config)
        expressed += 1
    summary = BatchDQEngine(rules).run_batch(frame).summary()
    return {"expressed": expressed, "failed": summary.failed_records}


JUDGES: dict[str, Callable[[Any, list[Check]], Answer]] = {
    "cuallee": cuallee,
    "great_expectations": great_expectations,
    "sparkdq": sparkdq,
}

if __name__ == "__main__":
    judge, spark, answers = JUDGES[sys.argv[1]], session(), sys.stdout
    sys.stdout = sys.stderr  # what a tool prints is no answer
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            told: dict[str, Any] = judge(spark.table(asked["table"]), asked["checks"])
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=answers, flush=True)

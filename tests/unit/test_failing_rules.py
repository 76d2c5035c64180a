"""A rule that cannot be applied, or fails on a row, is named; what is not a rule's fault keeps its own error."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion.contract import Rule, Severity
from medallion.errors import ContractError
from medallion.quality.judge import judge
from tests.frames import frame_of
from tests.lake_tables import gold

COLUMNS = {"id": "bigint", "text": "string", "amount": "int"}
SOUND = Rule("sound", "error", 0, "", "id > 0")


def judged(frame: DataFrame, condition: str, severity: Severity = "error") -> None:
    contract = gold("amounts", COLUMNS, rules=(SOUND, Rule("the_rule", severity, 0, "", condition), SOUND))

    def write(rows: DataFrame) -> int:
        return len(rows.collect())

    judge(frame, contract, "run-1", None, write=write, quarantine=lambda bad: bad, written=lambda: frame, table=lambda: frame)


@pytest.fixture
def frame(spark: SparkSession) -> DataFrame:
    return frame_of(spark, [(1, "7", 2), (2, "x", 0)], "id bigint, text string, amount int")


@pytest.mark.parametrize(
    ("severity", "condition", "told"),
    [
        ("error", "NOT (10 / amount > 6)", "fails on a row of gold.operations.amounts: [DIVIDE_BY_ZERO] Division by zero"),
        (
            "warning",
            "NOT (cast(text AS int) > 6)",
            "fails on a row of gold.operations.amounts: [CAST_INVALID_INPUT] The value 'x'",
        ),
        ("error", "text RLIKE '['", "fails on a row of gold.operations.amounts: "),  # generated code words it differently
        ("warning", "amount + 2147483647 > 0", "fails on a row of gold.operations.amounts: [ARITHMETIC_OVERFLOW]"),
        ("error", "NOT (amount >)", "cannot be applied to gold.operations.amounts:"),
        ("warning", "NOT (total > 1)", "cannot be applied to gold.operations.amounts: [UNRESOLVED_COLUMN"),
        ("error", "NOT (amount)", "cannot be applied to gold.operations.amounts: [DATATYPE_MISMATCH"),
        ("warning", "no_such_function(amount)", "cannot be applied to gold.operations.amounts: [UNRESOLVED_ROUTINE]"),
    ],
)
def test_the_rule_is_named_with_its_file_and_what_spark_says(
    frame: DataFrame, severity: Severity, condition: str, told: str
) -> None:
    with pytest.raises(ContractError) as refused:
        judged(frame, condition, severity)
    assert f"gold.amounts.odcs.yaml: quality 'the_rule' {told}" in refused.value.message
    assert (refused.value.exit_code, refused.value.dataset) == (2, "gold.operations.amounts")
    assert (refused.value.hint or "").startswith("mend the rule's condition")


def test_a_frame_that_fails_by_itself_is_no_rule_s_fault(frame: DataFrame) -> None:
    failing = frame.withColumn("amount", F.expr("cast(text AS int)"))
    with pytest.raises((Py4JError, PySparkException), match="CAST_INVALID_INPUT"):
        judged(failing, "amount > 0")


def test_a_write_that_fails_is_no_rule_s_fault(frame: DataFrame) -> None:
    def write(rows: DataFrame) -> int:
        return int(rows.sparkSession.table("no_such_table").count())

    contract = gold("amounts", COLUMNS, rules=(SOUND,))
    with pytest.raises(PySparkException, match="no_such_table"):
        judge(frame, contract, "run-1", None, write=write, quarantine=lambda b: b, written=lambda: frame, table=lambda: frame)

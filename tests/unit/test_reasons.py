"""What quarantined rows tell about the rules, counted here or by Spark."""

from __future__ import annotations

import json

import pytest
from pyspark.sql import SparkSession

from medallion.contract import Rule
from medallion.quality import quarantine
from tests.lake_tables import gold


def test_few_rows_and_many_are_counted_alike(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [Rule(name, "error", 0, name, f"{name} > 0") for name in ("a", "b", "never")]
    contract = gold("things", {"a": "int", "b": "int"}, domain="d", rules=tuple(rules))
    names = [["a"], ["a", "b"], ["b"], ["a"], ["a"]]
    texts = [json.dumps({"a": n, "b": "é\U0001f600￿"[n % 3]}, ensure_ascii=False) for n in range(5, 0, -1)]
    kept = spark.createDataFrame(list(zip(names, texts, strict=True)), "rules array<string>, record string").coalesce(1)
    told = [quarantine.explain(kept, rules, contract, 2, rows) for rows in (5, 1_000_000)]
    assert told[0] == told[1]
    counts, examples = told[0]
    assert counts == {"a": 4, "b": 2}
    assert {name: [json.loads(text) for text in of_it] for name, of_it in examples.items()} == {
        "a": [{"a": 1}, {"a": 2}], "b": [{"b": "é"}, {"b": "\U0001f600"}]
    }  # fmt: skip

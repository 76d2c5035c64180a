"""What a contract asks of metrics and anomalies, and how a wrong word in it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion.contract import METRICS, Contract, Measure, Watch
from medallion.errors import ContractError
from medallion.odcs import reader
from tests.small_domain import BRONZE, GOLD, SILVER, Document, documents


def read(folder: Path, name: str, anomalies: Any = None, **metrics: Any) -> Contract:
    """The contract of the small domain, with these custom properties on it and on its columns."""
    document: Document = documents()[name]
    if anomalies is not None:
        document["customProperties"].append({"property": "anomalies", "value": anomalies})
    for column in document["schema"][0]["properties"]:
        if column["name"] in metrics:
            column.setdefault("customProperties", []).append({"property": "metrics", "value": metrics[column["name"]]})
    path = folder / name
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return reader.read(path)


SILVER_FILE, BRONZE_FILE, GOLD_FILE = (f"{d['id'].replace('.shop', '')}.odcs.yaml" for d in (SILVER, BRONZE, GOLD))


def test_what_comes_daily_is_watched_unless_the_contract_says_none(tmp_path: Path) -> None:
    for name in (BRONZE_FILE, SILVER_FILE, GOLD_FILE):
        assert read(tmp_path, name).anomalies == Watch("warning", METRICS, "normal", 14, None)
        assert read(tmp_path, name, "none").anomalies is None
    whole = documents()[SILVER_FILE]
    whole["customProperties"][2]["value"] = {"kind": "full"}
    path = tmp_path / "whole.odcs.yaml"
    path.write_text(yaml.safe_dump(whole))
    assert reader.read(path).anomalies is None


def test_what_is_asked_for_is_read(tmp_path: Path) -> None:
    asked = {"severity": "error", "metrics": ["volume"], "sensitivity": "high", "minimumHistory": 28, "holidays": "US"}
    contract = read(
        tmp_path, SILVER_FILE, asked, order_id=["distinct"], amount=["mean", {"edges": [0, 9.5]}], customer=["distinct"]
    )
    assert contract.anomalies == Watch("error", ("volume",), "high", 28, "US")
    assert contract.measures == (
        Measure("order_id", distinct=True),
        Measure("customer", distinct=True),
        Measure("amount", mean=True, edges=(0.0, 9.5)),
    )
    assert read(tmp_path, BRONZE_FILE, amount=["values"]).measures == (Measure("amount", values=True),)


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no mapping": ("often", {}, "anomalies: 'often' is neither"),
    "an unknown key": ({"level": 3}, {}, "unknown key 'level'"),
    "an unknown metric": ({"metrics": ["rows"]}, {}, r"anomalies\.metrics: \['rows'\] are no metrics"),
    "no metric": ({"metrics": []}, {}, r"\[\] are no metrics"),
    "an unknown severity": ({"severity": "fatal"}, {}, "severity: 'fatal' is unknown"),
    "an unknown sensitivity": ({"sensitivity": 4}, {}, "sensitivity: 4 is unknown"),
    "an unknown calendar": ({"holidays": "FR"}, {}, "holidays: 'FR' is unknown"),
    "too short a history": ({"minimumHistory": 6}, {}, "minimumHistory: 6 is no number of dates"),
    "too long a history": ({"minimumHistory": 91}, {}, "91 is no number of dates"),
    "a history that is a truth": ({"minimumHistory": True}, {}, "True is no number of dates"),
    "metrics that are no list": (None, {"amount": "mean"}, r"amount\.metrics: 'mean' is no list"),
    "an unknown metric of a column": (None, {"amount": ["median"]}, "'median' is no metric"),
    "a mean of a text": (None, {"customer": ["mean"]}, "customer is a string"),
    "edges of a date": (None, {"ordered_on": [{"edges": [1]}]}, "ordered_on is a date"),
    "two distributions": (None, {"amount": ["values", {"edges": [1]}]}, "values and edges together"),
    "personal values": (None, {"customer": ["values"]}, "its values are personal"),
    "edges out of order": (None, {"amount": [{"edges": [2, 1]}]}, r"\[2, 1\] are no edges"),
    "no edges": (None, {"amount": [{"edges": []}]}, r"\[\] are no edges"),
    "edges that are no numbers": (None, {"amount": [{"edges": ["a"]}]}, r"\['a'\] are no edges"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_word_is_refused_by_its_place(tmp_path: Path, case: str) -> None:
    anomalies, metrics, told = REFUSED[case]
    with pytest.raises(ContractError, match=told) as refused:
        read(tmp_path, SILVER_FILE, anomalies, **metrics)
    assert refused.value.hint
    assert str(tmp_path) in refused.value.message

"""The contract's word on rows that are one and the same: read, or refused by place and remedy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion.contract import Deduplication, Near
from medallion.errors import ContractError
from medallion.odcs import reader
from tests.small_domain import BRONZE, GOLD, SILVER, Document

READ: dict[str, tuple[Any, Deduplication]] = {
    "copies": ({"exact": True}, Deduplication(exact=True)),
    "the latest": ({"latestBy": "ordered_on"}, Deduplication(latest_by="ordered_on")),
    "both": ({"exact": True, "latestBy": "amount"}, Deduplication(True, "amount")),
    "nothing after all": ({"exact": False}, Deduplication()),
    "variants": ({"near": [{"column": "shop"}, {"column": "shop", "similarity": 1}]},
                 Deduplication(near=(Near("shop", 0.8), Near("shop", 1.0)))),
}  # fmt: skip
REFUSED: dict[str, tuple[Any, str]] = {
    "true": (True, "deduplicate: True says nothing of rows to drop"),
    "empty": ({}, "says nothing of rows to drop"),
    "an unknown key": ({"exact": True, "fuzzy": 1}, "says nothing of rows to drop"),
    "exact is no truth value": ({"exact": "yes"}, r"deduplicate\.exact: 'yes' is neither true nor false"),
    "latest by no column": ({"latestBy": "updated"}, r"deduplicate\.latestBy: there is no column 'updated'"),
    "latest by the key": ({"latestBy": "order_id"}, "'order_id' is part of the key"),
    "near is no list": ({"near": {"column": "shop"}}, r"deduplicate\.near: .* is no list"),
    "near of nothing": ({"near": ["shop"]}, "'shop' is no column to look at"),
    "near with an unknown key": ({"near": [{"column": "shop", "merge": True}]}, "is no column to look at"),
    "near of a number": ({"near": [{"column": "amount"}]}, r"near\.column: 'amount' is no column of text"),
    "near of no column": ({"near": [{"column": "shops"}]}, "'shops' is no column of text"),
    "near of persons": ({"near": [{"column": "customer"}]}, "'customer' is personal"),
    "similarity of nothing": ({"near": [{"column": "shop", "similarity": 0.2}]}, r"similarity: 0\.2 is no similarity"),
    "similarity in words": ({"near": [{"column": "shop", "similarity": "high"}]}, "'high' is no similarity"),
    "similarity is true": ({"near": [{"column": "shop", "similarity": True}]}, "True is no similarity"),
}


def read(folder: Path, value: Any, of: Document = SILVER, *more: Document) -> Deduplication:
    document = copy.deepcopy(of)
    document["customProperties"].append({"property": "deduplicate", "value": value})
    document["schema"][0]["properties"] += [{"name": "shop", "logicalType": "string"}, *more]
    path = folder / "orders.odcs.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return reader.read(path).deduplicate


@pytest.mark.parametrize("case", READ)
def test_what_the_contract_says_is_read(tmp_path: Path, case: str) -> None:
    assert read(tmp_path, READ[case][0]) == READ[case][1]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(ContractError, match=REFUSED[case][1]) as refused:
        read(tmp_path, REFUSED[case][0])
    assert str(tmp_path / "orders.odcs.yaml") in refused.value.message
    assert refused.value.hint


def test_maps_cannot_be_compared(tmp_path: Path) -> None:
    notes = {"name": "notes", "logicalType": "object", "physicalType": "map<string,string>"}
    with pytest.raises(ContractError, match="maps cannot be compared: notes"):
        read(tmp_path, {"exact": True}, SILVER, notes)


def test_without_a_key_there_is_no_latest(tmp_path: Path) -> None:
    keyless = copy.deepcopy(SILVER)
    del keyless["schema"][0]["properties"][0]["primaryKey"], keyless["schema"][0]["properties"][0]["primaryKeyPosition"]
    with pytest.raises(ContractError, match="the dataset has no key"):
        read(tmp_path, {"latestBy": "amount"}, keyless)


@pytest.mark.parametrize("layer", [BRONZE, GOLD], ids=["bronze", "gold"])
def test_only_silver_drops_rows(tmp_path: Path, layer: Document) -> None:
    with pytest.raises(ContractError, match=r"deduplicate: (bronze|gold) has none"):
        read(tmp_path, {"exact": True}, layer)

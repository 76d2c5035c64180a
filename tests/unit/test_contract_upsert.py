"""The contract's word on what is upserted by key: read, or refused by place and remedy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion import domain
from medallion.contract import Contract, Deduplication, Materialisation
from medallion.errors import ContractError
from medallion.odcs import reader
from medallion.settings import Settings
from tests.small_domain import GOLD, SILVER, SILVER_PY, Document, write

BY_KEY = {"kind": "upsert", "latestBy": "ordered_on"}


def upserted(of: Document = SILVER, how: Any = BY_KEY) -> Document:
    document = copy.deepcopy(of)
    next(each for each in document["customProperties"] if each["property"] == "materialisation")["value"] = how
    return document


def read(folder: Path, document: Document) -> Contract:
    path = folder / "orders.odcs.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return reader.read(path)


def test_it_is_read_and_says_the_same_of_one_date(tmp_path: Path) -> None:
    contract = read(tmp_path, upserted())
    assert contract.materialisation == Materialisation("upsert", latest_by="ordered_on")
    assert contract.deduplicate == Deduplication(latest_by="ordered_on")
    assert contract.partition_column is None, "a key's row may be of any date"
    assert contract.anomalies is not None, "each date can be compared with those before it"


def test_copies_within_a_date_may_be_dropped_as_copies(tmp_path: Path) -> None:
    document = upserted()
    document["customProperties"].append({"property": "deduplicate", "value": {"exact": True}})
    assert read(tmp_path, document).deduplicate == Deduplication(exact=True, latest_by="ordered_on")


def keyless(document: Document) -> None:
    del document["schema"][0]["properties"][0]["primaryKey"], document["schema"][0]["properties"][0]["primaryKeyPosition"]


def with_maps(document: Document) -> None:
    notes = {"name": "notes", "logicalType": "object", "physicalType": "map<string,string>"}
    document["schema"][0]["properties"].append(notes)


def twice(document: Document) -> None:
    document["customProperties"].append({"property": "deduplicate", "value": {"latestBy": "amount"}})


def of_the_key(name: str, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["schema"][0]["properties"][0]["customProperties"].append({"property": name, "value": value})

    return change


def nothing(document: Document) -> None:
    pass


PLACE = r"customProperties\.materialisation"
REFUSED: dict[str, tuple[Any, Callable[[Document], None], str]] = {
    "latest by nothing": ({"kind": "upsert"}, nothing, f"{PLACE}: does not say which row of a key is the latest"),
    "latest by no column": (BY_KEY | {"latestBy": "updated"}, nothing, rf"{PLACE}\.latestBy: there is no column 'updated'"),
    "latest by a list": (BY_KEY | {"latestBy": ["amount"]}, nothing, "there is no column"),
    "latest by the key": (BY_KEY | {"latestBy": "order_id"}, nothing, "'order_id' is part of the key"),
    "a date's column": (BY_KEY | {"column": "ordered_on"}, nothing, rf"{PLACE}\.column: unknown key 'column'"),
    "days": (BY_KEY | {"days": 3}, nothing, rf"{PLACE}\.days: unknown key 'days'"),
    "of a date": ({"kind": "date", "latestBy": "ordered_on"}, nothing, rf"{PLACE}\.latestBy: unknown key 'latestBy'"),
    "without a key": (BY_KEY, keyless, "the dataset has no key"),
    "maps": (BY_KEY, with_maps, "maps cannot be compared: notes"),
    "said twice": (BY_KEY, twice, r"deduplicate\.latestBy: the materialisation upsert says it already"),
    "keyless rows that stay": (BY_KEY, of_the_key("quarantine", "no"), r"properties\.order_id: is part of an upserted key"),
    "keyless rows that are warned of": (BY_KEY, of_the_key("severity", "warning"), "is part of an upserted key"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, case: str) -> None:
    how, change, told = REFUSED[case]
    document = upserted(SILVER, how)
    change(document)
    with pytest.raises(ContractError, match=told) as refused:
        read(tmp_path, document)
    assert str(tmp_path / "orders.odcs.yaml") in refused.value.message
    assert refused.value.hint
    assert all(problem.line > 1 and problem.hint for problem in refused.value.problems)


def test_gold_is_not_upserted(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=f"{PLACE}: gold is not upserted") as refused:
        read(tmp_path, upserted(GOLD))
    assert refused.value.problems[0].line > 1


def domains(folder: Path, reads: str, **delivery: str) -> None:
    def damage(contracts: dict[str, Document]) -> None:
        contracts["silver.orders.odcs.yaml"] = upserted()
        contracts["bronze.orders.odcs.yaml"]["customProperties"][-1]["value"] |= delivery
        other = copy.deepcopy(SILVER) | {"name": "others", "id": "silver.shop.others"}
        contracts["silver.others.odcs.yaml"] = other

    silver = SILVER_PY.replace("orders(bronze_orders)", f"orders({reads})")
    silver += SILVER_PY.replace("orders(bronze_orders)", "others(bronze_orders)")
    domain.load(Settings(domains=str(write(folder / "shop", damage, silver=silver))))


def test_it_is_made_of_one_table_that_comes_by_date(tmp_path: Path) -> None:
    domains(tmp_path / "one", "bronze_orders")
    cases = {
        "initial": ("bronze_orders", "of nothing that comes by date"),
        "two": ("bronze_orders, others", r"of bronze\.shop\.orders, silver\.shop\.others"),
        "silver": ("others", r"of silver\.shop\.others"),
    }
    for case, (reads, told) in cases.items():
        with pytest.raises(ContractError, match=rf"silver\.shop\.orders is upserted, and made {told}") as refused:
            domains(tmp_path / case, reads, **({"expected": "initial"} if case == "initial" else {}))
        (problem,) = refused.value.problems
        assert problem.file == str(tmp_path / case / "shop" / "silver.orders.odcs.yaml")
        assert problem.line > 1
        assert "exactly one table by date" in problem.hint

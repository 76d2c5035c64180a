"""Every rule of the contracts of sales and finance rejects the row planted for it, and not its neighbour."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from medallion.contract import Contract
from tests.unit.finance_rows import FINANCE
from tests.unit.planted_rows import Rows
from tests.unit.sales_rows import SALES

OF: dict[str, Rows] = {dataset: rows for rows in (SALES, FINANCE) for dataset in rows.contracts}
CONTRACTS: dict[str, Contract] = {dataset: rows.contracts[dataset] for dataset, rows in OF.items()}
KEYED = [dataset for dataset, contract in CONTRACTS.items() if contract.key]


@pytest.fixture(scope="module")
def broken(spark: SparkSession) -> dict[tuple[str, str], set[str]]:
    """(dataset, '<rule> bad' | '<rule> good' | 'sound') -> the rules that this row breaks."""
    found = {}
    for dataset, rows in OF.items():
        planted = {"sound": {}}
        for rule, (bad, good) in rows.planted[dataset].items():
            planted |= {f"{rule} bad": bad, f"{rule} good": good}
        breaks = [F.when(F.expr(f"NOT coalesce(({r.passes}), true)"), r.name) for r in CONTRACTS[dataset].row_rules]
        judged = rows.frame(spark, dataset, list(planted.values())).select(F.array_compact(F.array(*breaks)))
        found |= {(dataset, name): set(row[0]) for name, row in zip(planted, judged.collect(), strict=True)}
    return found


@pytest.mark.parametrize("dataset", OF)
def test_every_rule_has_a_planted_row_and_every_planted_row_a_rule(dataset: str) -> None:
    assert {rule.name for rule in CONTRACTS[dataset].row_rules} == set(OF[dataset].planted[dataset])


@pytest.mark.parametrize("dataset", OF)
def test_a_dataset_has_three_rules_that_types_alone_do_not_make(dataset: str) -> None:
    given = {rule.name for rule in CONTRACTS[dataset].rules if not rule.name.endswith("_required")} - {"parses", "key_unique"}
    assert len(given) >= 3


@pytest.mark.parametrize("dataset", OF)
def test_the_sound_row_passes_every_rule(broken: dict, dataset: str) -> None:
    assert broken[dataset, "sound"] == set()


@pytest.mark.parametrize(("dataset", "rule"), [(d, rule) for d in OF for rule in OF[d].planted[d]])
def test_a_rule_rejects_its_row_and_accepts_the_neighbour(broken: dict, dataset: str, rule: str) -> None:
    assert rule in broken[dataset, f"{rule} bad"]
    assert rule not in broken[dataset, f"{rule} good"]


@pytest.mark.parametrize("dataset", KEYED)
def test_a_key_tells_neighbours_apart_and_nothing_less_would(dataset: str) -> None:
    (rule,) = [rule for rule in CONTRACTS[dataset].table_rules if rule.unique]
    rows = [OF[dataset].sound[dataset] | row for row in ({}, *OF[dataset].neighbours[dataset])]

    def different(columns: set[str]) -> int:
        return len({tuple(row[c] for c in sorted(columns)) for row in rows})

    assert different(set(rule.unique)) == len(rows)
    assert len(rows) == 1 + len(rule.unique), "each column of the key has a neighbour"
    for column in rule.unique:
        assert different(set(rule.unique) - {column}) < len(rows), column


@pytest.mark.parametrize("dataset", OF)
def test_every_column_is_described_and_every_dataset_owned_and_kept_for_a_time(dataset: str) -> None:
    contract = CONTRACTS[dataset]
    assert contract.owner
    assert contract.retention_days
    assert [c.name for c in contract.columns if not c.description] == []


def test_rules_of_bronze_only_warn() -> None:
    """An error would keep the original out of bronze, and its reason out of silver's quarantine."""
    assert {rule.severity for c in CONTRACTS.values() if c.layer == "bronze" for rule in c.rules} == {"warning"}


def test_who_a_customer_is_stays_out_of_samples() -> None:
    """A customer's number leads to a person."""
    personal = {(c.dataset, column.name) for c in CONTRACTS.values() for column in c.columns if column.personal}
    assert personal == {(c.dataset, "customer_id") for c in CONTRACTS.values() if any(n.name == "customer_id" for n in c.columns)}


def test_a_hole_in_a_history_of_prices_is_not_tolerated() -> None:
    rules = CONTRACTS["silver.finance.index_prices"].rules
    assert {rule.tolerance for rule in rules if rule.severity == "error"} == {0}


def test_a_history_that_was_cut_short_is_noticed() -> None:
    (rule,) = CONTRACTS["bronze.finance.index_prices"].table_rules
    assert (rule.severity, rule.rows) == ("warning", (5031, float("inf")))

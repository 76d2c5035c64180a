"""Every rule of every contract of operations rejects the row planted for it, and not its neighbour."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from tests.unit.operations_rows import CONTRACTS, PLANTED, SOUND, frame
from tests.unit.row_parts import utc

DATASETS = sorted(CONTRACTS)


@pytest.fixture(scope="module")
def broken(spark: SparkSession) -> dict[tuple[str, str], set[str]]:
    """(dataset, '<rule> bad' | '<rule> good' | 'sound') -> the rules that this row breaks."""
    found = {}
    for dataset in DATASETS:
        planted = {"sound": {}}
        for rule, (bad, good) in PLANTED[dataset].items():
            planted |= {f"{rule} bad": bad, f"{rule} good": good}
        breaks = [F.when(F.expr(f"NOT coalesce(({r.passes}), true)"), r.name) for r in CONTRACTS[dataset].row_rules]
        rows = frame(spark, dataset, list(planted.values())).select(F.array_compact(F.array(*breaks)))
        found |= {(dataset, name): set(row[0]) for name, row in zip(planted, rows.collect(), strict=True)}
    return found


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_rule_has_a_planted_row_and_every_planted_row_a_rule(dataset: str) -> None:
    assert {rule.name for rule in CONTRACTS[dataset].row_rules} == set(PLANTED[dataset])


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_dataset_has_three_rules_that_types_alone_do_not_make(dataset: str) -> None:
    given = {rule.name for rule in CONTRACTS[dataset].rules if not rule.name.endswith("_required")} - {"parses"}
    assert len(given) >= 3


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_sound_row_passes_every_rule(broken: dict, dataset: str) -> None:
    assert broken[dataset, "sound"] == set()


@pytest.mark.parametrize(("dataset", "rule"), [(d, rule) for d in DATASETS for rule in PLANTED[d]])
def test_a_rule_rejects_its_row_and_accepts_the_neighbour(broken: dict, dataset: str, rule: str) -> None:
    assert rule in broken[dataset, f"{rule} bad"]
    assert rule not in broken[dataset, f"{rule} good"]


NEIGHBOURS = {  # rows that differ from the sound one in one column of the key only
    "silver.operations.flights": [{"origin": "LGA"}, {"flight_number": 2}, {"carrier": "AA"}],
    "silver.operations.airports": [{"airport_code": "HOU"}],
    "silver.operations.airlines": [{"airline_code": "AA"}],
    "silver.operations.weather": [{"origin": "LGA"}, {"time_hour": utc(8, 0)}],
    "silver.operations.planes": [{"tail_number": "N14229"}],
    "gold.operations.dim_aircraft": [{"aircraft_key": "N14229"}],
    "gold.operations.delay_features": [{"origin": "LGA"}, {"flight_number": 2}, {"carrier": "AA"}],
    "gold.operations.dim_airport": [{"airport_key": "HOU"}],
    "gold.operations.dim_airline": [{"airline_key": "AA"}],
    "gold.operations.fact_flight": [{"origin": "LGA"}, {"flight_number": 2}, {"carrier": "AA"}],
    "gold.operations.route_performance": [{"origin": "LGA"}, {"dest": "HOU"}],
}


@pytest.mark.parametrize("dataset", NEIGHBOURS)
def test_a_key_tells_neighbours_apart_and_nothing_less_would(dataset: str) -> None:
    (rule,) = [rule for rule in CONTRACTS[dataset].table_rules if rule.unique]

    def keys(columns: set[str]) -> list[tuple]:
        return [tuple((SOUND[dataset] | row)[c] for c in sorted(columns)) for row in ({}, *NEIGHBOURS[dataset])]

    assert len(set(keys(set(rule.unique)))) == 1 + len(NEIGHBOURS[dataset])
    for column in {name for row in NEIGHBOURS[dataset] for name in row}:
        assert len(set(keys(set(rule.unique) - {column}))) < 1 + len(NEIGHBOURS[dataset]), column


def test_every_key_is_tested() -> None:
    assert {d for d in DATASETS if CONTRACTS[d].key} == set(NEIGHBOURS)


SHORTEST = {
    "bronze.operations.flights": 500,
    "bronze.operations.airports": 1000,
    "bronze.operations.weather": 54,
    "bronze.operations.planes": 3000,
}


@pytest.mark.parametrize(("dataset", "least"), SHORTEST.items())
def test_a_file_that_was_cut_short_is_noticed(dataset: str, least: int) -> None:
    (rule,) = [rule for rule in CONTRACTS[dataset].table_rules if rule.rows]
    assert rule.severity == "warning"
    assert rule.rows == (least, float("inf"))


def test_every_column_is_described_and_every_dataset_owned_and_kept_for_a_time() -> None:
    for contract in CONTRACTS.values():
        assert contract.owner, contract.dataset
        assert contract.retention_days, contract.dataset
        assert [c.name for c in contract.columns if not c.description] == [], contract.dataset


def test_rules_of_bronze_only_warn() -> None:
    """An error would keep the original out of bronze, and its reason out of silver's quarantine."""
    assert {rule.severity for c in CONTRACTS.values() if c.layer == "bronze" for rule in c.rules} == {"warning"}

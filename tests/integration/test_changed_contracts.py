"""A contract that changes between two runs: a column more, a column less, another type, a rule that fails."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from medallion.errors import ContractError
from medallion.pipeline import Lake
from medallion.publish.reconcile import reconcile
from medallion.settings import Settings
from tests import toy_domains
from tests.domain_owner import FIRST, Change, Owner
from tests.warehouse import select, with_snowflake


@pytest.fixture(scope="module")
def owner(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Owner:
    """After one day, run and published."""
    folder = tmp_path_factory.mktemp("domains") / f"d{uuid.uuid4().hex[:10]}"
    toys = toy_domains.takings(folder.parent, folder.name)
    owner = Owner(with_snowflake(toy_domains.quick(stack), database=f"t{uuid.uuid4().hex[:10]}"), folder, toys)
    owner.deliver(1, 1, 5)
    assert owner.run(1).state == "merged"
    return owner


def gains_a_column(owner: Owner) -> None:
    column = {"name": "doubled", "logicalType": "integer", "physicalType": "int"}
    owner.contract("silver.counts", lambda table: table["properties"].append(column))
    owner.transform("silver", "select(day, amount,", 'select(day, amount, (F.col("amount").cast("int") * 2).alias("doubled"),')
    largest = {"name": "largest", "logicalType": "integer", "physicalType": "int"}
    owner.contract("gold.daily", lambda table: table["properties"].append(largest))
    owner.transform("gold", '"day").agg(', '"day").agg(F.max("doubled").alias("largest"), ')


def test_a_column_more_is_added_on_the_branch_and_in_the_warehouse_and_is_null_in_old_rows(owner: Owner) -> None:
    with owner.edited(gains_a_column):
        owner.deliver(2, 2, 7)
        outcome = owner.run(2)
        domain, day = owner.domain, [FIRST + timedelta(n) for n in range(3)]
        assert outcome.state == "merged"
        assert outcome.notes == [f"silver.{domain}.counts: added columns doubled", f"gold.{domain}.daily: added columns largest"]
        assert owner.main_moved_before == [], "the table was altered on the branch"
        silver = owner.lake(f"SELECT day, amount, doubled FROM silver.{domain}.counts ORDER BY amount")
        assert silver == [(day[1], 1, None), (day[2], 2, 4), (day[1], 5, None), (day[2], 7, 14)]
        daily = [(day[1], 2, 6, None), (day[2], 2, 9, 14)]
        assert owner.lake(f"SELECT day, counted, total, largest FROM gold.{domain}.daily ORDER BY day") == daily
        database = owner.settings.snowflake.database
        shown = select(owner.settings, f"SELECT day, counted, total, largest FROM {database}.{domain}.daily ORDER BY day")
        assert [tuple(row) for row in shown] == daily
        assert owner.steps.index("publish.add_columns") < owner.steps.index("publish.begin") < owner.steps.index("publish.commit")
        assert all(each.agreed for each in reconcile(owner.settings, owner.toys.load(owner.settings)))
    # its files are as before: what readers rely on is gone from the contract
    owner.deliver(3, 3)
    before = owner.state()
    with pytest.raises(ContractError, match=r"column 'doubled' is int in the table and nothing in the contract"):
        owner.run(3)
    assert owner.state() == before


def with_rule(condition: str) -> Change:
    rule = {"name": "the_rule", "type": "sql", "query": f"SELECT COUNT(*) FROM {{object}} WHERE {condition}", "mustBe": 0}
    return lambda owner: owner.contract("silver.counts", lambda table: table["quality"].append(rule))


def retyped(owner: Owner) -> None:
    owner.contract("silver.counts", lambda table: table["properties"][1].update(logicalType="string", physicalType="string"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (retyped, "column 'amount' is int in the table and string in the contract\n  column "),
        (with_rule("10 / (amount - 3) > 6"), "quality 'the_rule' fails on a row of {silver}: [DIVIDE_BY_ZERO]"),
        (
            with_rule("CAST(amount AS string) RLIKE '('"),
            "quality 'the_rule' fails on a row of {silver}: [INVALID_PARAMETER_VALUE.PATTERN]",
        ),
        (with_rule("price > 6"), "quality 'the_rule' cannot be applied to {silver}: [UNRESOLVED_COLUMN"),
    ],
    ids=["another type", "a division by zero", "no pattern", "no such column"],
)
def test_what_cannot_be_done_is_named_by_file_and_nothing_has_changed(owner: Owner, change: Change, told: str) -> None:
    owner.deliver(3, 3)
    before = owner.state()

    def changed(owner: Owner) -> None:
        gains_a_column(owner)
        change(owner)

    with owner.edited(changed), pytest.raises(ContractError) as refused:
        owner.run(3)
    assert str(owner.folder / "silver.counts.odcs.yaml") in refused.value.message
    assert told.format(silver=f"silver.{owner.domain}.counts") in refused.value.message
    assert refused.value.exit_code == 2
    assert refused.value.hint
    assert owner.state() == before
    with Lake(owner.settings) as lake:
        (run,) = lake.journal.runs(1)
    assert run["state"] == "failed"
    assert refused.value.message in run["error"]

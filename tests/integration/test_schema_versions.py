"""A schema that grows: columns and fields added, types widened, on the branch and in the warehouse; its versions."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from medallion.commands import schema
from medallion.errors import ContractError, UsageError
from medallion.publish.reconcile import reconcile
from medallion.settings import Settings
from tests import toy_domains
from tests.domain_owner import FIRST, Owner
from tests.warehouse import select, with_snowflake

BIG = 3_000_000_000
SILVER = 'F.struct(F.col("amount").cast("int").alias("low")).alias("parts")'


def column(name: str, logical: str, physical: str) -> dict[str, Any]:
    return {"name": name, "logicalType": logical, "physicalType": physical}


@pytest.fixture(scope="module")
def owner(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Owner:
    return new_owner(stack, tmp_path_factory)


def new_owner(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Owner:
    """Silver with a struct; gold with a whole number and a sum of money."""
    folder = tmp_path_factory.mktemp("domains") / f"v{uuid.uuid4().hex[:10]}"
    toys = toy_domains.takings(folder.parent, folder.name)
    owner = Owner(with_snowflake(toy_domains.quick(stack), database=f"t{uuid.uuid4().hex[:10]}"), folder, toys)
    owner.contract("silver.counts", lambda table: table["properties"].append(column("parts", "object", "struct<low:int>")))
    owner.transform("silver", "select(day, amount,", f"select(day, amount, {SILVER},")
    owner.contract(
        "gold.daily",
        lambda table: table["properties"].extend(
            [column("largest", "integer", "int"), column("worth", "number", "decimal(6,2)")]
        ),
    )
    made = 'F.max("amount").cast("int").alias("largest"), F.max("parts.low").cast("decimal(6,2)").alias("worth"), '
    owner.transform("gold", '"day").agg(', f'"day").agg({made}')
    return owner


def put(owner: Owner, contract: str, name: str, **keys: Any) -> None:
    def change(table: dict[str, Any]) -> None:
        next(each for each in table["properties"] if each["name"] == name).update(keys)

    owner.contract(contract, change)


def widened(owner: Owner) -> None:
    """A column becomes wider in silver and in gold, a struct gets a field in front, silver a column in the middle."""
    put(owner, "silver.counts", "amount", physicalType="bigint")
    put(owner, "silver.counts", "parts", physicalType="struct<high:int,low:int>")
    owner.contract("silver.counts", lambda table: table["properties"].insert(1, column("mark", "string", "string")))
    owner.transform("silver", 'F.col("amount").cast("int").alias("amount")', 'F.col("amount").cast("bigint").alias("amount")')
    owner.transform("silver", "F.struct(", 'F.lit("x").alias("mark"), F.struct(F.lit(7).alias("high"), ')
    owner.transform("silver", '.cast("int").alias("low")', '.try_cast("int").alias("low")')
    put(owner, "gold.daily", "largest", physicalType="bigint")
    owner.transform("gold", 'F.max("amount").cast("int")', 'F.max("amount")')


def fingerprint(owner: Owner, name: str) -> str:
    return hashlib.sha256((owner.folder / f"{name}.odcs.yaml").read_bytes()).hexdigest()


def test_a_schema_grows_on_the_branch_and_its_versions_are_kept(owner: Owner, monkeypatch, capsys) -> None:
    owner.deliver(1, 1, 5)
    first = owner.run(1)
    prints = [fingerprint(owner, "silver.counts")]
    domain, silver = owner.domain, f"silver.{owner.domain}.counts"
    widened(owner)
    path = owner.folder / "silver.counts.odcs.yaml"
    path.write_text(path.read_text().replace("version: 1.0.0", "version: 1.1.0"))
    prints.append(fingerprint(owner, "silver.counts"))
    owner.deliver(2, BIG)
    second = owner.run(2)
    assert (first.state, second.state, owner.main_moved_before) == ("merged", "merged", [])
    assert second.notes == [
        f"{silver}: added columns mark, parts.high; widened amount: int → bigint",
        f"gold.{domain}.daily: widened largest: int → bigint",
    ]
    # rows of the first day lie in files of the old types
    rows = owner.lake(f"SELECT amount, mark, parts.high, parts.low FROM {silver} ORDER BY amount")
    assert rows == [(1, None, None, 1), (5, None, None, 5), (BIG, "x", 7, None)]
    shown = f"SELECT day, largest, worth FROM {owner.settings.snowflake.database}.{domain}.daily ORDER BY day"
    days = [(FIRST + timedelta(1), 5, Decimal("5.00")), (FIRST + timedelta(2), BIG, None)]
    assert [tuple(row) for row in select(owner.settings, shown)] == days
    assert all(each.agreed for each in reconcile(owner.settings, owner.toys.load(owner.settings)))

    monkeypatch.setattr(schema, "load", lambda: owner.settings)
    schema.log(silver, as_json=True)
    log = json.loads(capsys.readouterr().out)
    assert [(v["version"], v["contract_version"], v["fingerprint"]) for v in log] == [
        (1, "1.0.0", prints[0]),
        (2, "1.1.0", prints[1]),
    ]
    assert (log[1]["hash"], log[1]["run"]) == (second.merged_hash, second.run_id)
    assert log[0]["run"].startswith("init-")
    assert log[1]["changed"] == ["mark: added, string", "amount: int → bigint", "parts.high: added, int"]
    assert list(log[1]["columns"])[:4] == ["day", "mark", "amount", "parts"]
    assert log[0]["columns"]["parts"] == "struct<low:int>"
    schema.log(silver)
    assert second.run_id in capsys.readouterr().out.replace("\n", "")
    monkeypatch.setenv("MEDALLION_DOMAINS", str(owner.folder))
    schema.diff(silver, 1, 2)
    assert "  amount        | int             | bigint                    widened" in capsys.readouterr().out.splitlines()
    schema.diff(silver, 1, 2, as_json=True)
    assert [one["breaks"] for one in json.loads(capsys.readouterr().out)] == [False] * 3
    with pytest.raises(UsageError, match="no version 3"):
        schema.diff(silver, 3, 1)
    with pytest.raises(UsageError, match=f"main has never had a table '{silver}s'"):
        schema.log(f"{silver}s")


def test_a_decimal_of_more_digits_is_wider_in_lake_and_warehouse(owner: Owner) -> None:
    put(owner, "gold.daily", "worth", physicalType="decimal(8,2)")
    owner.transform("gold", 'cast("decimal(6,2)")', 'cast("decimal(8,2)")')
    owner.deliver(3, 123456)
    owner.run(3)
    worth = f"SELECT worth FROM {owner.settings.snowflake.database}.{owner.domain}.daily WHERE worth > 99999"
    assert [Decimal(str(row[0])) for row in select(owner.settings, worth)] == [Decimal("123456.00")]
    assert owner.lake(f"SELECT worth FROM gold.{owner.domain}.daily WHERE worth > 99999") == [(Decimal("123456.00"),)]


def test_a_change_that_breaks_readers_is_shown_side_by_side(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    owner = new_owner(stack, tmp_path_factory)
    widened(owner)
    owner.deliver(3, 3)
    assert owner.run(3).state == "merged"
    owner.deliver(4, 4)
    before = owner.state()
    changes: list[Callable[[dict[str, Any]], Any]] = [lambda table: table["properties"].pop(3)]
    with owner.edited(lambda o: o.contract("silver.counts", changes[0])), pytest.raises(ContractError) as refused:
        owner.run(4)
    first, head, *lines = refused.value.message.splitlines()
    assert first.endswith("column 'parts' is struct<high:int,low:int> in the table and nothing in the contract")
    assert head.split() == ["column", "|", "the", "table", "|", "the", "contract"]
    assert [line for line in lines if line.split()[-1] == "GONE"] == [lines[-1]]
    assert "counts_v2" in (refused.value.hint or "")
    assert owner.state() == before

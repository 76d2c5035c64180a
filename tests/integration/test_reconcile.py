"""Reconcile finds what differs between lake and warehouse, however little it is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from medallion.errors import UsageError
from medallion.publish.publication import publish
from medallion.publish.reconcile import reconcile
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.warehouse import BOTH, agreed, database, select

pytest_plugins = ["tests.warehouse"]
pytestmark = [BOTH, pytest.mark.acceptance]

COLUMNS = {
    "id": "bigint", "text": "string", "ratio": "double", "money": "decimal(8,2)", "bytes": "binary",
    "seen": "timestamp",
}  # fmt: skip
DAMAGE = {
    "a_space": "UPDATE {table} SET text = 'line 13 ' WHERE id = 13",
    "emptied": "UPDATE {table} SET text = '' WHERE id = 7",
    "nulled": "UPDATE {table} SET text = NULL WHERE id = 0",
    "last_digit": "UPDATE {table} SET ratio = ratio + 0.0000000000000003 WHERE id = 13",
    "a_cent": "UPDATE {table} SET money = money + 0.01 WHERE id = 13",
    "null_is_not_1970": "UPDATE {table} SET seen = '1970-01-01 00:00:00' WHERE id = 13",
    "one_byte": "UPDATE {table} SET bytes = (SELECT bytes FROM {table} WHERE id = 12) WHERE id = 13",
    "exchanged": "UPDATE {table} SET text = 'line ' || (21 - id) WHERE id IN (10, 11)",
    "row_gone": "DELETE FROM {table} WHERE id = 13",
    "row_twice": "INSERT INTO {table} SELECT * FROM {table} WHERE id = 13",
    "table_gone": "DROP TABLE {table}",
    "untouched": "SELECT 1",
}
NOTES = {
    "row_gone": "not as many rows", "row_twice": "not as many rows", "untouched": "",
    "table_gone": "the warehouse has no such table, or not all its columns",
}  # fmt: skip


def line(number: int) -> dict[str, object]:
    money = Decimal(number) / 4
    return {"id": number, "text": f"line {number}", "ratio": number / 7, "money": money, "bytes": bytes([number])}


def test_one_changed_value_is_found(settings: Settings, lake: LakeTables, domain: str) -> None:
    tables = {name: gold(name, COLUMNS, domain=domain) for name in DAMAGE}
    contracts = Contracts(*tables.values())
    at = lake.commit({table: [line(number) for number in range(50)] for table in tables.values()})
    publish(settings, contracts)
    assert agreed(settings, contracts)

    for name, damage in DAMAGE.items():
        select(settings, damage.format(table=f"{database(settings)}.{domain}.{name}"))

    found = {each.dataset.split(".")[2]: each for each in reconcile(settings, contracts)}
    assert {name for name, each in found.items() if each.agreed} == {"untouched"}
    assert {name: each.note for name, each in found.items()} == {n: NOTES.get(n, "the rows differ") for n in DAMAGE}
    for each in found.values():
        assert (each.lake_rows, each.hash, each.main_moved) == (50, at, False)
        assert (each.lake_checksum == each.warehouse_checksum) == each.agreed


def test_it_says_that_main_has_moved(settings: Settings, lake: LakeTables, domain: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    published = lake.commit({one: [line(1)], two: [line(1)]})
    publish(settings, Contracts(one, two))
    now = lake.commit({two: [line(1), line(2)]})
    first, second = reconcile(settings, Contracts(one, two))
    assert (first.agreed, first.main_moved, first.note) == (True, False, "")
    assert (second.agreed, second.main_moved, second.lake_rows, second.warehouse_rows) == (True, True, 1, 1)
    assert second.note == f"the warehouse is at {published[:12]}, main at {now[:12]}"

    compared = reconcile(settings, Contracts(one, two), at=now)[1]
    assert (compared.agreed, compared.lake_rows, compared.warehouse_rows, compared.hash) == (False, 2, 1, now)


def test_the_ledger_keeps_the_same_checksums(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [line(number) for number in range(50)]})
    state = publish(settings, Contracts(one)).tables[one.dataset]
    (found,) = reconcile(settings, Contracts(one))
    assert (state.rows, state.checksum) == (found.warehouse_rows, found.warehouse_checksum)


def test_before_anything_is_published_it_says_so(settings: Settings, domain: str) -> None:
    with pytest.raises(UsageError, match="nothing has been published"):
        reconcile(settings, Contracts(gold("one", COLUMNS, domain=domain)))

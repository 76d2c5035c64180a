"""Every value arrives as it is, or is refused by name before anything is changed."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from medallion.contract import Contract
from medallion.errors import UsageError
from medallion.lakehouse.nessie import MAIN
from medallion.publish import lake_files
from medallion.publish.columns import from_iceberg
from medallion.publish.publication import history, publish
from medallion.publish.target import connect
from medallion.settings import Settings
from tests import odd_values
from tests.lake_tables import Contracts, LakeTables, gold
from tests.warehouse import BOTH, POSTGRES, agreed, columns, database, rows, select

pytest_plugins = ["tests.warehouse"]
pytestmark = pytest.mark.acceptance

COLUMNS = {"id": "bigint", "name": "string"}


@BOTH
def test_publishes_every_type_of_every_table_and_says_so(settings: Settings, lake: LakeTables, domain: str) -> None:
    every = gold(
        "every_type",
        {
            "flag": "boolean", "small": "int", "big": "bigint", "single": "float", "ratio": "double",
            "money": "decimal(20,4)", "day": "date", "instant": "timestamp", "local": "timestamp_ntz", "text": "string",
            "bytes": "binary",
        },
        domain=domain,
    )  # fmt: skip
    full: dict[str, Any] = {
        "flag": True, "small": -(2**31), "big": 2**63 - 1, "single": 0.5, "ratio": 0.1,
        "money": Decimal("-1234567890123456.7891"), "day": date(1905, 3, 1),
        "instant": datetime(1961, 2, 3, 4, 5, 6, 789012, tzinfo=UTC), "local": datetime(2013, 11, 3, 1, 30, 0, 1),
        "text": "Zürich 'quoted' \\ \"\n\t🛫", "bytes": b"\x00\xff'",
    }  # fmt: skip
    empty: dict[str, Any] = dict.fromkeys(full)
    odd = empty | {"ratio": float("nan"), "text": "", "bytes": b"", "small": 0, "money": Decimal("0.0000")}
    other = gold("other", COLUMNS, domain=domain)
    nothing = gold("nothing", COLUMNS, domain=domain)
    contracts = Contracts(every, other, nothing)
    at = lake.commit({every: [full, empty, odd, odd], other: [{"id": 1, "name": "a"}], nothing: []}, run="run-7")

    done = publish(settings, contracts)

    assert (done.outcome, done.hash, done.sequence, done.runs[-1]) == ("published", at, 1, "run-7")
    counted = {dataset: state.rows for dataset, state in done.tables.items()}
    assert counted == {every.dataset: 4, other.dataset: 1, nothing.dataset: 0}
    assert done.reencoded_bytes == 0 < done.staged_bytes
    assert agreed(settings, contracts)
    held = {each["text"]: each for each in lake.read(every).to_pylist()}
    table = f"{database(settings)}.{domain}.every_type"
    same = ("big", "ratio", "money", "day", "text", "bytes", "flag")
    in_warehouse = select(settings, f"SELECT {', '.join(same)} FROM {table} WHERE small < 0")
    assert in_warehouse == [tuple(held[full["text"]][column] for column in same)]
    count = f"SELECT COUNT(*) FROM {table} WHERE"
    assert select(settings, f"{count} instant = '1961-02-03 04:05:06.789012+00:00'") == [(1,)]
    assert select(settings, f"{count} instant IS NULL AND local IS NULL") == [(3,)]


def back(settings: Settings, lake: LakeTables, contract: Contract) -> list[dict[str, Any]]:
    """What the warehouse holds of a table, by `id`."""
    content = lake.nessie.tables(lake.nessie.reference(MAIN))[contract.dataset]
    found = from_iceberg(contract.dataset, lake_files.open_table(settings.s3, content).schema())
    with closing(connect(settings)) as target:
        held = target.fetch(contract.dataset, found)
    rows = held.rename_columns([name.lower() for name in held.column_names]).to_pylist()
    return sorted((odd_values.parsed(row | {"id": int(row["id"])}) for row in rows), key=lambda row: int(row["id"]))


@BOTH
def test_a_table_of_every_type_and_odd_value_goes_there_and_back(settings: Settings, lake: LakeTables, domain: str) -> None:
    every = gold("every", odd_values.TYPES, domain=domain)
    lake.commit({every: odd_values.rows()})

    done = publish(settings, Contracts(every))

    assert done.reencoded_bytes > 0, "what is nested is written anew"
    for held, expected in zip(back(settings, lake, every), odd_values.expected_back(), strict=True):
        for name, value in expected.items():
            exactly = value if name in odd_values.NESTED else repr(value)  # -0.0 is not 0.0, NaN is NaN
            assert (held[name] if name in odd_values.NESTED else repr(held[name])) == exactly, (name, expected["id"])
    assert agreed(settings, Contracts(every))
    in_words = "1969-12-31 23:59:59.999999"
    there = f"SELECT COUNT(*) FROM {database(settings)}.{domain}.every"
    assert select(settings, f"{there} WHERE instant = '{in_words}+00:00'") == [(3,)]
    assert select(settings, f"{there} WHERE local = '{in_words}'") == [(3,)]
    assert select(settings, f"{there} WHERE day = '0001-01-01'") == [(2,)]
    assert select(settings, f"{there} WHERE text = ''") == [(1,)]

    damage = {
        "snowflake": "UPDATE {table} SET stop = PARSE_JSON('{{\"fee\":1234567890123456.7801}}') WHERE id = 0",
        "postgres": "UPDATE {table} SET stop = jsonb_set(stop, '{{fee}}', '1234567890123456.7801') WHERE id = 0",
    }[settings.warehouse]
    select(settings, damage.format(table=f"{database(settings)}.{domain}.every"))
    assert not agreed(settings, Contracts(every)), "one digit within what is nested"


@POSTGRES
def test_reconcile_finds_an_odd_value_that_was_changed(settings: Settings, lake: LakeTables, domain: str) -> None:
    odd = gold("odd", {n: t for n, t in odd_values.TYPES.items() if n not in odd_values.NESTED}, domain=domain)
    lake.commit({odd: odd_values.flat_table()})
    publish(settings, Contracts(odd))
    assert agreed(settings, Contracts(odd))
    for name, damage in {"ratio": "0.0", "day": "'infinity'", "instant": "'-infinity'", "text": "NULL"}.items():
        (before,) = select(settings, f"SELECT {name} FROM {domain}.odd WHERE id = 0")[0]
        select(settings, f"UPDATE {domain}.odd SET {name} = {damage} WHERE id = 0")
        assert not agreed(settings, Contracts(odd)), name
        value = {"instant": "'1969-12-31 23:59:59.999999+00'", "day": "'0001-01-01'"}.get(name, f"'{before}'")
        select(settings, f"UPDATE {domain}.odd SET {name} = {value} WHERE id = 0")
        assert agreed(settings, Contracts(odd)), name


@POSTGRES
def test_what_postgresql_cannot_hold_is_refused_by_name(settings: Settings, lake: LakeTables, domain: str) -> None:
    long = gold("long", {"id": "bigint", "ä" * 32: "string"}, domain=domain)
    lake.commit({long: []})
    with pytest.raises(UsageError, match="63 bytes"):
        publish(settings, Contracts(long))
    assert columns(settings, long) == []

    zero = gold("zero", COLUMNS, domain=domain)
    lake.commit({zero: [{"id": 1, "name": "fine"}]})
    publish(settings, Contracts(zero))
    before = history(settings)
    lake.commit({zero: [{"id": 2, "name": "a\x00b"}]})
    with pytest.raises(UsageError, match="0x00") as refused:
        publish(settings, Contracts(zero))
    assert zero.dataset in str(refused.value)
    assert "U+0000" in (refused.value.hint or "")
    assert history(settings) == before
    assert rows(settings, zero) == [(1, "fine")]

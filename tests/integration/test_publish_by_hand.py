"""What somebody has changed in the warehouse by hand is not taken for ours."""

from __future__ import annotations

import uuid
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import EqualTo

from medallion.contract import Layout, PartitionBy
from medallion.publish.publication import publish
from medallion.publish.target import connect
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.warehouse import BOTH, agreed, database, select

pytest_plugins = ["tests.warehouse"]
pytestmark = BOTH

DAYS = [date(2013, 1, 1), date(2013, 1, 2)]


def same_again(settings: Settings) -> None:
    """The ledger goes on by an entry that changes no table, as a publication of marts does."""
    with closing(connect(settings)) as target:
        head = target.head()
        entry = target.entry(sequence=head.sequence)
        assert entry
        target.begin()
        target.lock()
        target.append(replace(entry, sequence=head.sequence + 1, publication_id=uuid.uuid4().hex, changed=()), head)
        target.commit()


def test_a_column_that_was_dropped_is_filled_in_every_partition(settings: Settings, lake: LakeTables, domain: str) -> None:
    """Also if the publisher that makes it again is overtaken before it has filled it."""
    layout = Layout((PartitionBy("day"),))
    daily = gold("daily", {"day": "date", "name": "string"}, domain=domain, layout=layout, publication="partitions")
    lake.commit({daily: [{"day": day, "name": "a"} for day in DAYS]})
    publish(settings, Contracts(daily))
    select(settings, f"ALTER TABLE {database(settings)}.{domain}.daily DROP COLUMN name")
    lake.commit({daily: lambda table: table.overwrite(pa.table({"day": DAYS[1:], "name": ["b"]}), EqualTo("day", DAYS[1]))})
    overtaken = []

    class Overtakes:
        def step(self, run_id: str, name: str, **detail: Any) -> Any:
            if name == "publish.begin" and not overtaken:
                overtaken.append(name)
                same_again(settings)
            return nullcontext()

    done = publish(settings, Contracts(daily), journal=Overtakes())
    assert (overtaken, done.sequence) == (["publish.begin"], 3)
    names = select(settings, f"SELECT name FROM {database(settings)}.{domain}.daily ORDER BY day")
    assert [tuple(row) for row in names] == [("a",), ("b",)]
    assert agreed(settings, Contracts(daily))

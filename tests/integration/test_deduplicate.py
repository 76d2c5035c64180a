"""Rows that are there twice, in a lake: dropped as the contract says, counted in the run's story, evidence and commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from medallion import evidence, story
from medallion.errors import GateRefused
from medallion.lakehouse.nessie import MAIN
from medallion.settings import Settings
from tests.shop import SILVER, Shop
from tests.small_domain import Document, csv, write

pytest_plugins = ["tests.shop"]

FIRST, SECOND = date(2020, 9, 1), date(2020, 9, 2)
ROWS = (
    "1,ann,1.00,2020-09-01",
    "1,ann,1.00,2020-09-01",  # a copy
    "1,ann,3.00,2020-08-31",  # older
    "2,bob,2.00,2020-09-01",
    "2,bob,5.00,2020-09-01",  # of the same day: the row further down
    "3,cid,x,2020-09-01",  # does not parse: the same as no other
    "3,cid,3.00,2020-09-01",
    "4,dee,-4.00,2020-09-02",  # the latest is bad: it goes to quarantine, and the older one does not stand in for it
    "4,dee,4.00,2020-09-01",
    "5,eve,5.00,2020-09-01",
    "6,Eve,6.00,2020-09-01",
)


def once(contracts: dict[str, Document]) -> None:
    silver = contracts["silver.orders.odcs.yaml"]
    silver["customProperties"].append({
        "property": "deduplicate",
        "value": {"exact": True, "latestBy": "ordered_on", "near": [{"column": "customer"}]},
    })  # fmt: skip
    silver["schema"][0]["properties"][1].pop("classification")


@pytest.fixture(scope="module")
def careful(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose contract says which orders are one and the same."""
    shop = Shop(stack, write(tmp_path_factory.mktemp("domains") / "shop", once))
    with shop.lake:
        yield shop


def test_rows_in_are_rows_out_quarantined_and_dropped(careful: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    careful.deliver(FIRST, csv(*ROWS))
    outcome = careful.run(FIRST)
    write_ = next(w for w in outcome.writes if w["dataset"] == SILVER)
    assert (write_["rows_in"], write_["rows_out"], write_["quarantined"]) == (11, 5, 2)
    assert write_["dropped"] == {"exact_copy": 1, "older": 3}
    rows = f"SELECT order_id, amount::VARCHAR FROM {SILVER} WHERE _logical_date = '{FIRST}' ORDER BY 1"
    assert careful.select(rows) == [(1, "1.00"), (2, "5.00"), (3, "3.00"), (5, "5.00"), (6, "6.00")]
    broken = f"SELECT _source_row FROM {SILVER}__quarantine WHERE _logical_date = '{FIRST}' ORDER BY 1"
    assert careful.select(broken) == [(6,), (8,)]
    assert [(v["bad"], v["decided_by"]) for v in write_["verdicts"] if v["rule"] == "key_unique"] == [(0, "plan")]
    assert write_["similar"] == [{"column": "customer", "canonical": "Eve", "names": {"Eve": 1, "eve": 1}, "score": 1.0}]

    assert any("11 rows in, 5 out, 2 quarantined, 1 dropped (exact_copy), 3 dropped (older)" in line for line in careful.told)
    kept: Any = evidence.read(careful.lake.store, outcome.run_id)
    assert [w["dropped"] for w in kept["writes"] if w["dataset"] == SILVER] == [{"exact_copy": 1, "older": 3}]
    commit = next(iter(careful.lake.nessie.log(careful.lake.nessie.reference(MAIN))))
    assert commit.properties["medallion.dropped"] == "4"
    story.tell(story.show(careful.lake.journal, careful.lake.store, outcome.run_id) | {"publications": []})
    told = " ".join(capsys.readouterr().out.split())
    assert "1 exact_copy" in told
    assert "3 older" in told
    assert "names that may be one" in told

    again = careful.run(FIRST)
    assert (again.state, again.writes) == ("unchanged", [])


def test_without_the_contract_s_word_the_gate_refuses_the_same_rows(shop: Shop) -> None:
    shop.deliver(SECOND, csv(*ROWS))
    with pytest.raises(GateRefused, match="key_unique — 3 of 9 rows"):
        shop.run(SECOND)

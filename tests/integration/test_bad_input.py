"""Bad input: an error that says what, where and what next, and nothing changed; or the row put aside."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest

from medallion import query, recovery
from medallion.domain import Domains
from medallion.errors import ContractError, GateRefused, InputError, MedallionError, ServiceUnavailable, UsageError
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.lakehouse.store import Store
from medallion.pipeline import Request, execute, merge_run
from medallion.settings import Settings
from tests.shop import BRONZE, GOLD, GOOD, SILVER, Shop
from tests.small_domain import HEADER, csv

pytest_plugins = ["tests.shop"]

DAYS = iter(date(2020, 1, 2) + timedelta(days=n) for n in range(200))

UNREADABLE: dict[str, tuple[bytes | None, tuple[str, ...]]] = {
    "missing": (None, ("no delivery for {day}", "s3://bronze-raw-data/domain=shop/orders/year={day:%Y}/month={day:%m}/day={day:%d}/")),
    "empty": (b"", ("{uri}", "the file is empty")),
    "only a header": (csv(), ("{uri}", "a header and no row")),
    "lost a column": (csv("1,ann,1.50", header="order_id,customer,amount"), ("{uri}", "lacks 'ordered_on'")),
    "renamed a column": (csv(*GOOD, header=HEADER.replace("amount", "total")), ("{uri}", "lacks 'amount'; it has 'total'")),
    "not UTF-8": (csv(*GOOD).replace(b"cid", b"c\xefd"), ("{uri}", "line 4 is not UTF-8", "0xef")),
    "an open quote": (csv(*GOOD, '5,"eve,1.00,', "6,fay,1.00,"), ("{uri}", "data row 5 opens a quote that is never closed")),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_delivery_that_cannot_be_read_changes_nothing(shop: Shop, case: str) -> None:
    data, told = UNREADABLE[case]
    day = next(DAYS)
    uri = shop.deliver(day, data) if data is not None else ""
    before = shop.state()
    with pytest.raises(InputError) as refused:
        shop.run(day)
    assert refused.value.exit_code == 6
    for text in (BRONZE, *told):
        assert text.format(day=day, uri=uri) in refused.value.message
    assert refused.value.hint
    assert shop.state() == before
    run = shop.newest_run()
    assert (run["logical_date"], run["state"]) == (day, "failed")
    assert refused.value.message in run["error"]
    assert shop.lake.nessie.references(run["branch"]) == [], "a branch without writes is not kept"


def test_bad_rows_are_put_aside_within_the_tolerance_and_a_correction_replaces_them(shop: Shop) -> None:
    day = next(DAYS)
    rows = (
        "1,ann,1.50,,x",
        "2,bob,much,,",
        "3,cid",
        "4,dee,4.00,,",
        "5,eve,5.00,,",
        "6,fay,6.00,,",
        "7,gus,7.00,,",
        "8,hal,8.00,,",
    )
    uri = shop.deliver(day, csv(*rows, header=f"{HEADER},gift"))
    outcome = shop.run(day)
    assert (outcome.state, shop.newest_run()["state"]) == ("merged", "merged")

    # bronze keeps all of it, the broken line as text, the unknown column beside
    of_day = f"WHERE _logical_date = '{day}'"
    held = shop.select(f"SELECT _source_row, amount, _malformed, _extra FROM {BRONZE} {of_day} ORDER BY 1")
    assert held[0] == (1, "1.50", None, [("gift", "x")])
    assert held[1] == (2, "much", None, [("gift", "")])
    assert held[2] == (3, "", "3,cid", None)
    assert len(held) == 8
    assert any("unknown columns gift kept in `_extra`" in line for line in shop.told)

    # silver puts the two aside, each pointing to its source row
    ((delivery, source),) = shop.select(f"SELECT DISTINCT _delivery, _source_uri FROM {BRONZE} {of_day}")
    assert source.startswith(f"{uri}?versionId=")
    aside = shop.select(
        f"SELECT _source_row, _delivery, rules, record, _run_id FROM {SILVER}__quarantine {of_day} ORDER BY _source_row"
    )
    assert [row[:3] for row in aside] == [(2, delivery, ["parses"]), (3, delivery, ["parses", "order_id_required"])]
    assert json.loads(aside[0][3])["order_id"] == 2
    assert not any("bob" in row[3] for row in aside), "a customer's name is personal"
    assert {row[4] for row in aside} == {outcome.run_id}
    write = next(w for w in outcome.writes if w["dataset"] == SILVER)
    parses = next(v for v in write["verdicts"] if v["rule"] == "parses")
    assert (parses["bad"], parses["judged"], parses["tolerance"], parses["passed"]) == (2, 8, 0.25, True)
    assert (write["rows_in"], write["rows_out"], write["quarantined"]) == (8, 6, 2)
    totals = f"SELECT orders, amount FROM {GOLD} WHERE ordered_on = '{day}'"
    assert shop.select(totals) == [(6, Decimal("31.50"))]

    # the same bytes again
    before = shop.state()
    shop.deliver(day, csv(*rows, header=f"{HEADER},gift"))
    again = shop.run(day)
    assert (again.state, again.writes) == ("unchanged", [])
    assert any(f"{uri}" in note and "the same bytes again" in note for note in again.notes)
    assert shop.state() == before

    # new bytes for the same day
    shop.deliver(day, csv("1,ann,1.50,", "2,bob,2.00,"))
    corrected = shop.run(day)
    assert any(f"a correction of orders.csv for {day}" in note for note in corrected.notes)
    assert shop.select(totals) == [(2, Decimal("3.50"))]
    assert shop.select(f"SELECT count(*) FROM {SILVER}__quarantine {of_day}") == [(0,)]
    assert shop.select(f"SELECT count(*), count(DISTINCT _delivery) FROM {BRONZE} {of_day}") == [(10, 2)]
    assert shop.run(day).state == "unchanged"


def test_bad_rows_beyond_the_tolerance_are_refused_and_the_branch_is_sealed(shop: Shop) -> None:
    day = next(DAYS)
    shop.deliver(
        day, csv("1,ann,1.50,", "x,bob,2.00,", "y,cid,3.25,", "4,dee,4.00,", "5,eve,5.00,", "6,fay,6.00,", "7,gus,7.00,")
    )
    before = shop.state()
    with pytest.raises(GateRefused) as refused:
        shop.run(day)
    told = str(refused.value)
    assert refused.value.exit_code == 3
    assert f"{SILVER} {day}: parses — 2 of 7 rows (28.57%; 25.00% allowed)" in told
    assert '"_source_row": 2' in told
    assert shop.state() == before
    run = shop.newest_run()
    assert (run["state"], run["merged_hash"]) == ("failed", None)
    assert f"medallion show {run['run_id']}" in told
    assert f"branch {run['branch']} is kept" in told
    assert shop.select(f"SELECT count(*) FROM {SILVER} WHERE _logical_date = '{day}'", run["branch"]) == [(5,)]
    with pytest.raises(UsageError, match="is failed: nothing can be written to it"):
        merge_run(shop.lake, run["run_id"])
    assert [one.after for one in recovery.resume(shop.lake.nessie, shop.lake.journal, run["run_id"])] == ["failed"]
    assert shop.state() == before


def test_a_transform_whose_columns_are_not_the_contract_s_is_named(shop: Shop) -> None:
    day = next(DAYS)
    shop.deliver(day, csv(*GOOD))
    before = shop.state()
    transform = shop.domains.transforms[SILVER]
    original = transform.function

    def other(bronze_orders):
        made = original(bronze_orders)
        return made.withColumnRenamed("customer", "client").withColumn("amount", made["amount"].cast("double"))

    changed = dataclasses.replace(transform, function=other)
    lake = shop.lake
    kept, lake.domains = lake.domains, Domains(shop.domains.contracts, shop.domains.transforms | {SILVER: changed})
    try:
        with pytest.raises(ContractError) as refused:
            execute(lake, Request(day), shop.told.append)
    finally:
        lake.domains = kept
    assert refused.value.exit_code == 2
    told = str(refused.value)
    assert "lacks customer (string)" in told
    assert "has client, which is not in the contract" in told
    assert "makes amount a double, the contract says decimal(10,2)" in told
    assert "silver.py and silver.orders.odcs.yaml" in told
    assert shop.state() == before
    assert shop.newest_run()["state"] == "failed"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request(date(2020, 1, 2), dataset="silver.shop.order"), "no dataset 'silver.shop.order'"),
        (Request(date(2020, 1, 2), domain="shopp"), "no domain 'shopp'"),
    ],
)
def test_a_request_for_what_is_not_there_opens_no_run(shop: Shop, request_: Request, told: str) -> None:
    before, runs = shop.state(), shop.newest_run()["run_id"]
    with pytest.raises(UsageError, match=told):
        execute(shop.lake, request_)
    assert (shop.state(), shop.newest_run()["run_id"]) == (before, runs)


# ── services ──────────────────────────────────────────────────────────────────────────────────────
def with_(settings: Settings, part: str, **changes: object) -> Settings:
    changed = getattr(settings, part).model_validate(getattr(settings, part).model_dump() | changes)
    return settings.model_copy(update={part: changed})


NOWHERE = "http://127.0.0.1:1"


def journal(settings: Settings) -> None:
    Journal(settings.postgres).close()


def catalog(settings: Settings) -> None:
    Nessie(settings.nessie).reference(MAIN)


def store(settings: Settings) -> None:
    Store(settings.s3).versions("bronze-batch", "")


def warehouse(settings: Settings) -> None:
    query.warehouse(settings, "SELECT 1")


def select(settings: Settings) -> None:
    query.lake(settings, f"SELECT 1 FROM {GOLD}")


UNREACHABLE: dict[str, tuple[str, dict[str, object], Callable[[Settings], None], str]] = {
    "PostgreSQL is down": ("postgres", {"port": 1}, journal, r"PostgreSQL at 127\.0\.0\.1:1/.* does not answer"),
    "PostgreSQL refuses": ("postgres", {"password": "open-sesame"}, journal, "refuses the user"),
    "no such database": ("postgres", {"database": "nothing"}, journal, 'database "nothing" does not exist'),
    "Nessie is down": ("nessie", {"uri": NOWHERE}, catalog, f"Nessie at {NOWHERE} does not answer"),
    "Nessie is down for SQL": ("nessie", {"uri": NOWHERE}, select, f"at {NOWHERE}/iceberg"),
    "the store is down": ("s3", {"endpoint": NOWHERE}, store, f"at {NOWHERE} does not answer"),
    "the store refuses": ("s3", {"secret_key": "open-sesame"}, store, "refuses us"),
    "the warehouse is down": ("snowflake", {"port": 1}, warehouse, r"127\.0\.0\.1:1.* does not answer"),
    "the warehouse refuses": ("snowflake", {"password": "open-sesame"}, warehouse, "refuses user"),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_a_service_that_is_down_or_refuses_is_named(shop: Shop, case: str) -> None:
    part, changes, use, told = UNREACHABLE[case]
    with pytest.raises(ServiceUnavailable, match=told) as refused:
        use(with_(shop.settings, part, **changes))
    assert (refused.value.exit_code, refused.value.retryable) == (5, True)
    assert ("check the setting" if "refuses" in case else "medallion up") in (refused.value.hint or "")
    assert "open-sesame" not in str(refused.value)


@pytest.mark.parametrize("changes", [{"endpoint": NOWHERE}, {"secret_key": "open-sesame"}])
def test_a_run_that_cannot_reach_the_store_says_so_and_changes_nothing(shop: Shop, changes: dict[str, object]) -> None:
    before = shop.state()
    broken = with_(shop.settings, "s3", **changes)
    kept = shop.lake.settings, shop.lake.store
    shop.lake.settings, shop.lake.store = broken, Store(broken.s3)
    try:
        with pytest.raises(MedallionError) as refused:
            shop.run(date(2020, 1, 1))
    finally:
        shop.lake.settings, shop.lake.store = kept
    assert refused.value.exit_code == 5
    assert "the object store at" in refused.value.message
    assert "open-sesame" not in str(refused.value)
    assert shop.state() == before
    assert shop.newest_run()["state"] == "failed"

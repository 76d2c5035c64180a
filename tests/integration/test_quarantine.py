"""Rows in quarantine are listed, shown, corrected and judged again: by the usual run, on real servers."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion import cli, corrections, domain, quarantined
from medallion.corrections import Replay
from medallion.domain import Domains
from medallion.errors import GateRefused, InputError, UsageError
from medallion.lakehouse.nessie import MAIN
from medallion.pipeline import Lake
from medallion.publish.publication import history
from medallion.settings import EVIDENCE_BUCKET, load
from tests.shop import BRONZE, GOLD, SILVER, Shop
from tests.small_domain import csv

pytest_plugins = ["tests.shop"]

ONE_BAD, REFUSED, RULE, MEANWHILE, COMMANDS = (date(2020, 10, day) for day in range(1, 6))


def listed(shop: Shop, on: date, **state: Any) -> list[tuple[str, str, int, str]]:
    found = quarantined.count(
        shop.lake.settings.s3, shop.domains, quarantined.look_at(shop.lake.nessie, shop.lake.journal, **state)
    )
    return [(a.dataset, a.rule, a.rows, a.since_run) for a in found if a.logical_date == on]


def shown(shop: Shop, on: date, **state: Any) -> list[dict[str, Any]]:
    of = quarantined.look_at(shop.lake.nessie, shop.lake.journal, **state)
    return quarantined.show(shop.lake.settings.s3, shop.domains, SILVER, of, on=on)


def replay(shop: Shop, on: date, folder: Path, rows: str | None = None, **more: Any) -> Replay:
    file = folder / "corrected.csv"
    file.write_text(rows or "")
    return corrections.replay(shop.lake, SILVER, on, rows=file if rows else None, report=shop.told.append, **more)


def bucket(shop: Shop, on: date) -> list[bytes]:
    """What was delivered for a date, oldest first."""
    prefix = f"domain=shop/orders/year={on:%Y}/month={on:%m}/day={on:%d}/"
    return [shop.lake.store.get(one.uri) for one in shop.lake.store.versions("bronze-raw-data", prefix)]


def silver(shop: Shop, on: date) -> list[tuple[Any, ...]]:
    sql = f"SELECT order_id, amount::VARCHAR, _source_row FROM {SILVER} WHERE _logical_date = '{on}' ORDER BY 1"
    return shop.select(sql)


def test_a_corrected_row_makes_a_correction_and_nothing_is_lost_or_doubled(shop: Shop, tmp_path: Path) -> None:
    bad = csv("1,ann,1.50,", '2,"bob, b",-2.00,', "3,cid,3.25,", "4,dee,0.00,")
    shop.deliver(ONE_BAD, bad)
    first = shop.run(ONE_BAD)
    assert listed(shop, ONE_BAD) == [(SILVER, "amount_minimum", 1, first.run_id)]
    (row,) = shown(shop, ONE_BAD)
    assert (row["rules"], row["source_row"], row["bronze"], row["run"]) == (["amount_minimum"], 2, BRONZE, first.run_id)
    assert {k: str(v) for k, v in row["record"].items() if k in ("order_id", "amount")} == {"order_id": "2", "amount": "-2.0"}
    assert "bob" not in json.dumps(row, default=str)
    assert shop.lake.store.get(row["uri"]) == bad
    contract = shop.domains.contracts[SILVER]
    columns = tuple(dataclasses.replace(c, personal=c.name == "amount") for c in contract.columns)
    domains = dataclasses.replace(
        shop.domains, contracts=shop.domains.contracts | {SILVER: dataclasses.replace(contract, columns=columns)}
    )
    main = quarantined.look_at(shop.lake.nessie, shop.lake.journal)
    (today,) = quarantined.show(shop.lake.settings.s3, domains, SILVER, main, on=ONE_BAD)
    assert row["record"].keys() - today["record"].keys() == {"amount"}, "what has become personal since is not shown either"

    corrected = f"_delivery,_source_row,amount\n{row['delivery']},2,2.00\n"
    found = replay(shop, ONE_BAD, tmp_path, corrected)

    assert (found.outcome.state, found.before, found.after) == ("merged", 1, 0)
    assert bucket(shop, ONE_BAD) == [bad, bad.replace(b"-2.00", b"2.00")]
    assert silver(shop, ONE_BAD) == [(1, "1.50", 1), (2, "2.00", 2), (3, "3.25", 3), (4, "0.00", 4)]
    assert shop.select(f"SELECT orders, amount::VARCHAR FROM {GOLD} WHERE ordered_on = '{ONE_BAD}'") == [(4, "6.75")]
    history = f"SELECT count(*), count(DISTINCT _delivery) FROM {BRONZE} WHERE _logical_date = '{ONE_BAD}'"
    assert shop.select(history) == [(8, 2)]
    assert (listed(shop, ONE_BAD), shown(shop, ONE_BAD)) == ([], [])
    assert found.corrected
    note = shop.lake.journal.run(found.outcome.run_id)["story"]["notes"][0]
    assert note == f"replay of {SILVER} {ONE_BAD}: rows 2 of {row['uri']} were replaced"
    kept = json.loads(shop.lake.store.get(f"s3://{EVIDENCE_BUCKET}/corrections/{found.corrected.sha256}.json"))
    assert (kept["corrects"], kept["rows"], kept["columns"]) == (row["uri"], [2], ["amount"])

    before = shop.state()
    again = replay(shop, ONE_BAD, tmp_path, corrected)
    assert (again.outcome.state, again.corrected and again.corrected.state) == ("unchanged", "already there")
    assert shop.state() == before
    assert len(bucket(shop, ONE_BAD)) == 2


def test_a_refused_day_is_corrected_row_by_row_and_nothing_passes_the_gate_s_side(shop: Shop, tmp_path: Path) -> None:
    shop.deliver(REFUSED, csv("1,ann,-1,", "2,bob,-2,", "3,cid,3,", "4,dee,4,"))
    before = shop.state()
    with pytest.raises(GateRefused):
        shop.run(REFUSED)
    failed = shop.newest_run()["run_id"]
    assert listed(shop, REFUSED) == []
    assert listed(shop, REFUSED, run=failed) == [(SILVER, "amount_minimum", 2, failed)]
    assert [r["source_row"] for r in shown(shop, REFUSED, at=failed)] == [1, 2]
    with pytest.raises(InputError, match=rf"row 1 of .* is not in the quarantine of {SILVER}, as main is now"):
        replay(shop, REFUSED, tmp_path, "_source_row,amount\n1,1\n")
    with pytest.raises(InputError, match=rf"row 3 of .* is not in the quarantine of {SILVER}, as run {failed} left it"):
        replay(shop, REFUSED, tmp_path, "_source_row,amount\n3,3.5\n", run=failed)
    with pytest.raises(InputError, match="the rows were corrected in delivery d0"):
        replay(shop, REFUSED, tmp_path, "_delivery,_source_row,amount\nd0,1,1\n", run=failed)
    assert len(bucket(shop, REFUSED)) == 1
    with pytest.raises(GateRefused):  # corrected, and as bad as before
        replay(shop, REFUSED, tmp_path, "_source_row,amount\n1,-7\n", run=failed)
    assert shop.state() == before
    failed = shop.newest_run()["run_id"]

    found = replay(shop, REFUSED, tmp_path, "_source_row,amount\n1,1\n", run=failed)

    assert (found.outcome.state, found.before, found.after) == ("merged", 0, 1), "one of four is within the tolerance"
    assert silver(shop, REFUSED) == [(1, "1.00", 1), (3, "3.00", 3), (4, "4.00", 4)]
    found = replay(shop, REFUSED, tmp_path, "_source_row,amount\n2,2\n")
    assert (found.outcome.state, found.before, found.after) == ("merged", 1, 0)
    assert silver(shop, REFUSED) == [(1, "1.00", 1), (2, "2.00", 2), (3, "3.00", 3), (4, "4.00", 4)]
    shop.lake.nessie.delete_branch(f"run/{failed}")
    with pytest.raises(UsageError, match=rf"run {failed} is failed and its branch is gone"):
        quarantined.look_at(shop.lake.nessie, shop.lake.journal, run=failed)


def test_a_corrected_rule_judges_the_rows_again(shop: Shop, tmp_path: Path) -> None:
    shop.deliver(RULE, csv("1,ann,1,", "2,bob,-2,", "3,cid,3,", "4,dee,4,"))
    shop.run(RULE)
    before = shop.state()
    unchanged = replay(shop, RULE, tmp_path)
    assert (unchanged.outcome.state, unchanged.before, unchanged.after) == ("unchanged", 1, 1)
    assert shop.state() == before
    with pytest.raises(UsageError, match=rf"{BRONZE} keeps what was delivered"):
        corrections.replay(shop.lake, BRONZE, RULE, report=shop.told.append)

    path = shop.domains.contracts[SILVER].path
    text = path.read_text()
    document = yaml.safe_load(text)
    document["schema"][0]["properties"][2]["logicalTypeOptions"]["minimum"] = -5
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    try:
        everything = domain.load(shop.settings)
        mine = {d: c for d, c in everything.contracts.items() if d in shop.domains.contracts}
        with Lake(shop.settings, Domains(mine, {d: t for d, t in everything.transforms.items() if d in mine})) as lake:
            found = corrections.replay(lake, SILVER, RULE, report=shop.told.append)
    finally:
        path.write_text(text)
    assert (found.outcome.state, found.corrected, found.before, found.after) == ("merged", None, 1, 0)
    assert [row[0] for row in silver(shop, RULE)] == [1, 2, 3, 4]
    assert len(bucket(shop, RULE)) == 1, "nothing was delivered"


def test_a_delivery_that_comes_meanwhile_is_not_hidden_without_a_word(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.deliver(MEANWHILE, csv("1,ann,1,", "2,bob,-2,", "3,cid,3,", "4,dee,4,"))
    shop.run(MEANWHILE)
    before, keep, owners = shop.state(), corrections._keep, csv("1,ann,1,", "2,bob,7,", "3,cid,3,", "4,dee,4,")

    def later(*arguments: Any) -> None:
        keep(*arguments)
        shop.deliver(MEANWHILE, owners)

    monkeypatch.setattr(corrections, "_keep", later)
    with pytest.raises(InputError, match=r"while rows of .* were corrected, .* was delivered"):
        replay(shop, MEANWHILE, tmp_path, "_source_row,amount\n2,2\n")
    assert shop.state() == before
    assert bucket(shop, MEANWHILE)[1] == owners


# ── at the terminal ───────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def commanding(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    os.environ["MEDALLION_DOMAINS"] = shop.settings.domains
    load.cache_clear()
    yield
    del os.environ["MEDALLION_DOMAINS"]
    load.cache_clear()


def test_the_commands(
    shop: Shop, commanding: None, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["medallion", "quarantine", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert (ended.value.code or 0) == code, err
        return err if code else out

    on = str(COMMANDS)
    shop.deliver(COMMANDS, csv("1,ann,1,", "2,bob,-2,", "3,cid,3,", "4,dee,4,"))
    run = shop.run(COMMANDS).run_id
    (one,) = [each for each in json.loads(command("list", "--json")) if each["logical_date"] == on]
    assert (one["dataset"], one["rule"], one["rows"], one["since_run"]) == (SILVER, "amount_minimum", 1, run)
    assert "amount_minimum" in command("list", "--at", MAIN)
    assert [each["since_run"] for each in json.loads(command("list", "--run", run, "--json"))] == [run]
    (row,) = json.loads(command("show", SILVER, "--date", on, "--rule", "amount_minimum", "--limit", "1", "--json"))
    assert (row["source_row"], row["record"]["order_id"]) == (2, 2)
    told = command("show", SILVER, "--date", on)
    assert f"the originals are in {BRONZE} under _delivery and _source_row, and in s3://" in told
    assert "bob" not in told
    assert "no such row" in command("show", GOLD)
    assert "there is no dataset" in command("show", "silver.shop.oders", code=2)
    assert "has no rule 'minimum'" in command("show", SILVER, "--rule", "minimum", code=2)
    assert "name two states" in command("list", "--run", run, "--at", MAIN, code=2)
    (tmp_path / "rows.csv").write_text("_source_row,amount\n2,2\n")
    words = ("replay", SILVER, "--date", on, "--rows", str(tmp_path / "rows.csv"))
    found = json.loads(command(*words, "--json"))
    assert found["publication"] == history(shop.settings)[0].sequence
    assert shop.lake.journal.run(found["outcome"]["run_id"])["state"] == "published"
    assert (found["outcome"]["state"], found["before"], found["after"], found["corrected"]["rows"]) == ("merged", 1, 0, [2])
    assert "nothing was corrected" in command(*words)
    assert "cannot be read" in command("replay", SILVER, "--date", on, "--rows", str(tmp_path / "none.csv"), code=6)
    assert "was delivered for 2019-01-01" in command(*words[:3], "2019-01-01", *words[4:], code=6)

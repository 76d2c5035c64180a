"""Real runs of a small domain, with all that follows them, as the dashboards show them: nothing here is made up."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest

from medallion import domain
from medallion.afterwards import followed_up
from medallion.domain import Domains
from medallion.errors import GateRefused
from medallion.lake import Lake
from medallion.pipeline import Outcome, Request, execute
from medallion.settings import Settings
from tests.small_domain import csv, till, write
from tests.ui.browsing import Site

pytest_plugins = ("tests.quick_sessions",)

BRONZE, SILVER, GOLD = "bronze.till.orders", "silver.till.orders", "gold.till.daily_totals"
_GOOD = tuple(f"{n},ann{n},{n}.50," for n in range(10))
ONE_BAD = (*_GOOD[:9], "9,ann9,much,")
"""One of ten amounts does not parse, a quarter may."""
REFUSED = (*_GOOD[:6], *(f"{n},ann{n},much," for n in range(6, 10)))
DAYS = tuple(date(2021, 6, n) for n in (1, 2))


@pytest.fixture(scope="module")
def real_runs(quick_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The ids of a run that is on main, with a row in quarantine, and of a later one that the gate refused."""
    folder = write(tmp_path_factory.mktemp("domains") / "till", till)
    settings = quick_settings.model_copy(update={"domains": str(folder)})
    told: list[str] = []
    everything = domain.load(settings)
    mine = {dataset: contract for dataset, contract in everything.contracts.items() if contract.domain == "till"}
    domains = Domains(mine, {dataset: made for dataset, made in everything.transforms.items() if dataset in mine})
    with Lake(settings, domains) as lake:

        def run(when: date, rows: tuple[str, ...]) -> Outcome:
            uri = f"s3://bronze-raw-data/domain=till/orders/year={when:%Y}/month={when:%m}/day={when:%d}/orders.csv"
            lake.store.put(uri, csv(*rows), "text/csv")
            with followed_up(lake, told.append):
                return execute(lake, Request(when), told.append)

        merged = run(DAYS[0], ONE_BAD).run_id
        with suppress(GateRefused):
            run(DAYS[1], REFUSED)
        (newest,) = lake.journal.runs(limit=1)
        assert newest["state"] == "failed"
    assert not [line for line in told if line.startswith("ops:")], "the projection is whole"
    return {"merged": merged, "refused": newest["run_id"]}


def test_a_merged_run_is_shown_as_it_is(real_site: Site, real_runs: dict[str, str]) -> None:
    real_site.open(f"run?run={real_runs['merged']}")
    assert "It is on main" in real_site.text
    real_site.charts(1)
    caught = real_site.page.locator(".m-table tr", has_text="within tolerance").first.inner_text()
    assert SILVER in caught
    assert "ann" not in caught, "the customer is personal"
    differences = real_site.page.locator(".m-table", has=real_site.page.get_by_text("Rows before"))
    gained = [cell.strip() for cell in differences.locator("tr", has_text=SILVER).first.locator("td").all_inner_texts()]
    assert gained[:4] == [SILVER, "0", "9", "+9"]
    assert "s3://bronze-raw-data/domain=till/orders/year=2021/month=06/day=01/orders.csv" in real_site.text


def test_a_refused_run_is_told_first_and_its_rows_are_shown(real_site: Site, real_runs: dict[str, str]) -> None:
    real_site.open()
    assert real_site.title.startswith("✖ Today is not all right")
    assert f"run for {DAYS[1]} failed at {SILVER}" in real_site.text, "an alert of the real rules"
    real_site.follow(f"run?run={real_runs['refused']}")
    assert "The gate refused it; main is as it was" in real_site.text
    assert "4 of 10" in real_site.text
    real_site.follow(f"quality?dataset={SILVER}")
    assert "refused" in real_site.text
    assert "Sample rows that broke rules" in real_site.text
    assert '_unparsed="amount"' in real_site.text
    assert "ann" not in real_site.page.locator(".m-table", has=real_site.page.get_by_text("Row", exact=True)).inner_text()


def test_the_alert_of_a_real_run_is_shown_with_what_to_do(real_site: Site, real_runs: dict[str, str]) -> None:
    real_site.open("alerts")
    card = real_site.page.locator("[class*=st-key-alert-]", has_text=f"failed at {SILVER}").first.inner_text()
    assert f"medallion show {real_runs['refused']}" in card or "medallion quarantine show" in card


def test_operations_and_quality_are_those_of_real_runs(real_site: Site, real_runs: dict[str, str]) -> None:
    real_site.open("operations")
    real_site.charts(5)
    assert "67 %" in real_site.page.locator(".m-section", has_text="How runs ended").inner_text(), (
        "the first of two, and the one that made the tables"
    )
    assert real_site.page.locator(".m-table tr", has_text=BRONZE).count() >= 1, "storage"
    real_site.open("quality").charts(1)
    assert real_site.page.locator(".m-table tr", has_text=GOLD).count() >= 1


def test_lineage_of_the_real_transforms_is_walked_from_gold_to_the_file(real_site: Site, real_runs: dict[str, str]) -> None:
    real_site.open("lineage").follow("lineage?domain=till&layer=gold")
    real_site.follow(f"lineage?dataset={GOLD}")
    real_site.follow(f"lineage?dataset={GOLD}&column=amount")
    real_site.follow(f"lineage?dataset={SILVER}&column=amount")
    real_site.follow(f"lineage?dataset={BRONZE}&column=amount")
    assert "s3://bronze-raw-data/domain=till/orders/year=2021/month=06/day=01/orders.csv" in real_site.text

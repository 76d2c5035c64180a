"""Four things go wrong in real runs, a webhook hears of each, and that each is over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from medallion import afterwards, domain
from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import GateRefused, MedallionError, SchemaViolation
from medallion.pipeline import Lake, Request, execute
from medallion.settings import Settings
from tests.alert_place import AlertPlace
from tests.crash.place import Place, nth_day
from tests.small_domain import GOLD_PY, HEADER, Document, csv, till, write
from tests.webhook import Webhook

BROKEN = GOLD_PY.replace("    return orders.groupBy", "    orders.agg(F.sum('nothing'))\n    return orders.groupBy")
"""The small domain's gold with a defect."""
GOOD = tuple(f"{n},ann{n},{n}.50," for n in range(10))
BAD = (*GOOD[:7], "7,ann7,much,", "8,ann8,more,", "9,ann9,most,")
"""Three of ten amounts do not parse: the score falls from 100 to 70."""
FIRST = date(2021, 6, 1)
BRONZE, SILVER, GOLD = "bronze.till.orders", "silver.till.orders", "gold.till.daily_totals"


def day(number: int) -> date:
    return FIRST + timedelta(number)


def promised(documents: dict[str, Document]) -> None:
    """The till, of which a day is promised each day."""
    till(documents)
    documents["bronze.orders.odcs.yaml"]["slaProperties"].append({"property": "frequency", "value": 1, "unit": "d"})


class Shop(Place):
    """A place whose last table is critical."""

    @property
    def latest(self) -> Contract:
        return dataclasses.replace(super().latest, critical=True)


class Till:
    """The domain in a lake; runs as `medallion run` has them, with what follows."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        everything = domain.load(settings.model_copy(update={"domains": str(folder)}))
        of_it = {dataset: c for dataset, c in everything.contracts.items() if c.domain == "till"}
        transforms = {dataset: t for dataset, t in everything.transforms.items() if dataset in of_it}
        self.lake = Lake(settings, Domains(of_it, transforms))
        self.told: list[str] = []

    def deliver(self, when: date, *rows: str, header: str = HEADER) -> None:
        uri = f"s3://bronze-raw-data/domain=till/orders/year={when:%Y}/month={when:%m}/day={when:%d}/orders.csv"
        self.lake.store.put(uri, csv(*rows, header=header), "text/csv")

    def run(self, when: date) -> str:
        with afterwards.alerted(self.lake, self.told.append):
            return execute(self.lake, Request(when), self.told.append).run_id


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with Webhook() as hook:
        yield hook


def test_the_commands_look_for_alerts_whatever_came_of_them(stack: Settings, hook: Webhook) -> None:
    with AlertPlace(stack) as place:
        place.clear(team=hook.url)
        where = {"warehouse": "postgres", "warehouse_postgres": place.settings.postgres}
        shop = Shop(place.settings.model_copy(update=where), f"d{place.settings.postgres.database}")
        refused = shop.run(nth_day(0), refused=True)
        assert refused.code == 3
        assert f"alert 1 (critical): a pipeline run for {nth_day(0)} failed at {shop.latest.dataset}: the gate" in refused.err
        merged = shop.run(nth_day(0))
        assert (merged.code, merged.json["state"]) == (0, "merged")
        assert f"alert 1 is over: run {merged.json['run_id']} ended well" in merged.err
        assert ["RESOLVED" in title for title in hook.titles] == [False, True]


def test_four_alerts_and_four_cleared(stack: Settings, hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BROKEN != GOLD_PY
    (tmp_path / "alerts.toml").write_text(
        "".join(f'[rules.{kind}]\nkind = "{kind}"\n' for kind in ("run_failed", "gap", "schema_violation", "anomaly"))
        + '[rules.quality_drop]\nkind = "quality_drop"\nleast = 1\n'  # so that one good day is a past
    )
    monkeypatch.setenv("MEDALLION_CONF", str(tmp_path))
    with AlertPlace(stack) as place:
        place.clear(team=hook.url)
        good, bad = (
            Till(place.settings, write(tmp_path / name, promised, **gold)) for name, gold in (("a", {}), ("b", {"gold": BROKEN}))
        )
        with good.lake, bad.lake:
            _four(good, bad, hook)


def _four(good: Till, bad: Till, hook: Webhook) -> None:
    good.deliver(day(0), *GOOD)
    good.run(day(0))
    assert hook.received == []

    good.deliver(day(1), *BAD)
    with pytest.raises(GateRefused):
        good.run(day(1))
    drop = hook.received[-1]
    assert drop["title"] == (
        f"[medallion] ERROR: quality of {SILVER} of {day(1)} fell by 30%, from 100.0 to 70.0; the run failed, main is unchanged"
    )
    assert "parses (error): 3 of 10 rows" in drop["message"]
    assert 'e.g. {"' in drop["message"]
    assert "ann" not in drop["message"], "the customer is personal"
    assert f"look further: medallion quarantine show {SILVER} --date {day(1)} --run " in drop["message"]
    good.deliver(day(1), *GOOD)
    good.run(day(1))

    good.deliver(day(2), *GOOD)
    with pytest.raises(Exception, match="nothing") as broken:
        bad.run(day(2))
    assert not isinstance(broken.value, MedallionError)
    failed = hook.received[-1]
    assert failed["title"].startswith(
        f"[medallion] CRITICAL: a pipeline run for {day(2)} failed at {GOLD}: it ended with an error"
    )
    assert "look further: medallion show " in failed["message"]
    good.run(day(2))

    good.deliver(day(4), *GOOD, header=HEADER.replace("amount", "total"))
    with pytest.raises(SchemaViolation):
        good.run(day(4))
    assert hook.titles[-1].startswith(f"[medallion] ERROR: the schema of {BRONZE} is violated by a delivery for {day(4)}")
    good.deliver(day(4), *(f"{row},book" for row in GOOD), header=f"{HEADER},gift")  # a column more is no violation
    good.run(day(4))
    assert hook.titles[-2] == f"[medallion] ERROR: {BRONZE} lacks {day(3)}: later dates are there, up to {day(4)}"
    good.deliver(day(3), *GOOD)
    good.run(day(3))

    opened = [title for title in hook.titles if "RESOLVED" not in title]
    over = [title.replace("RESOLVED: ", "") for title in hook.titles if "RESOLVED" in title]
    assert len(opened) == len(over) == 4
    assert sorted(over) == sorted(title.replace("ERROR: ", "").replace("CRITICAL: ", "") for title in opened)
    lines: list[Any] = [line for line in good.told if line.startswith("alert ")]
    assert len(lines) == 7, "the failure was told by the other one's run"

"""History, anomalies and scores on the real stack: what a run keeps of its writes, and what it makes of the past."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from medallion import cli, evidence
from medallion.errors import GateRefused, UsageError
from medallion.lakehouse.catalog import ensure_tables
from medallion.lakehouse.nessie import MAIN
from medallion.quality.gate import AS_USUAL
from medallion.quality.overview import overview
from medallion.quality.past import previous
from medallion.settings import load
from tests.conftest import new_stack
from tests.shop import SILVER, Shop
from tests.small_domain import Document, csv, write

DAY = date(2021, 3, 20)
ROWS = [f"{n},customer {n % 7},{n % 5}.50," for n in range(1, 41)]


def _watched(contracts: dict[str, Document]) -> None:
    silver = contracts["silver.orders.odcs.yaml"]
    silver["customProperties"].append({"property": "anomalies", "value": {"severity": "error"}})
    for column, metrics in (("customer", ["distinct"]), ("amount", ["mean", {"edges": [1, 3]}])):
        of = next(p for p in silver["schema"][0]["properties"] if p["name"] == column)
        of.setdefault("customProperties", []).append({"property": "metrics", "value": metrics})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop in a lake of its own: what is usual there is what these tests remember."""
    with new_stack() as settings:
        shop = Shop(settings, write(tmp_path_factory.mktemp("domains") / "shop", _watched))
        with shop.lake:
            ensure_tables(shop.settings, shop.lake.nessie, shop.lake.journal, shop.domains.contracts.values())
            yield shop


def remember(shop: Shop, day: date, rows: int, *, state: str = "merged", mean: float = 2.5) -> None:
    """A run of the past in the journal, as runs leave it."""
    run_id = f"{day}-pipeline-{rows:08d}-{state}"
    journal = shop.lake.journal
    journal.open(run_id, "pipeline", day, f"run/{run_id}", shop.lake.nessie.reference(MAIN).hash, None)
    metrics = {"rows": rows, "null_share": {}, "bad_share": {}, "quarantine_share": 0.0, "mean": {"amount": mean}}
    written = {"dataset": SILVER, "logical_date": day, "rows_in": rows, "metrics": metrics, "score": 100.0, "verdicts": []}
    journal.update(run_id, state=state, story={"writes": [written]})
    journal.release(run_id)


def test_a_write_is_measured_scored_and_compared_with_its_past(shop: Shop) -> None:
    for back in range(1, 31):
        remember(shop, DAY - timedelta(days=back), 40 + back % 2)
    remember(shop, DAY - timedelta(days=1), 39)  # made again: the last one counts
    remember(shop, DAY - timedelta(days=2), 5, state="failed")
    remember(shop, DAY + timedelta(days=1), 4_000)
    past = previous(shop.lake.journal, SILVER, DAY, 3)
    assert [(one["logical_date"], one["rows"]) for one in past] == [("2021-03-17", 41), ("2021-03-18", 40), ("2021-03-19", 39)]

    shop.deliver(DAY, csv(*ROWS[:38], "39,,-1,", "x,y,1.00,"))
    outcome = shop.run(DAY)
    silver = next(w for w in outcome.writes if w["dataset"] == SILVER)
    metrics = silver["metrics"]
    assert (metrics["rows"], metrics["files"] >= 1, metrics["bytes"] > 0) == (38, True, True)
    assert (metrics["null_share"]["customer"], metrics["min"]["order_id"], metrics["max"]["amount"]) == (0.0, 1, "4.50")
    assert metrics["bad_share"]["amount_minimum"] == metrics["bad_share"]["parses"] == 1 / 40
    assert (metrics["quarantine_share"], metrics["distinct"]) == (2 / 40, {"customer": 7})
    assert metrics["mean"]["amount"] == pytest.approx(2.5, abs=0.1)
    assert metrics["distribution"] == {"amount": {"< 1": 7, "[1, 3)": 16, ">= 3": 15}}
    usual = next(v for v in silver["verdicts"] if v["rule"] == AS_USUAL)
    assert (usual["passed"], silver["compared_with"], silver["score"]) == (True, 30, 95.0)
    kept = evidence.read(shop.lake.store, outcome.run_id)
    assert kept["scores"]["silver"] == 95.0
    contract = shop.domains.contracts[SILVER]
    judged_by = next(w["contract"] for w in kept["writes"] if w["dataset"] == SILVER)
    assert judged_by == {"version": contract.version, "fingerprint": contract.fingerprint}
    assert next(w for w in kept["writes"] if w["dataset"] == SILVER)["metrics"] == json.loads(json.dumps(metrics))
    properties = next(iter(shop.lake.nessie.log(shop.lake.nessie.reference(MAIN)))).properties
    assert properties["medallion.score.silver"] == "95.0"

    found = overview(shop.lake.journal, shop.domains.contracts, SILVER, 3)
    (one,) = found["datasets"]
    assert (one["newest"], one["dates"]) == ("2021-03-21", 3)
    worst = {rule["rule"] for rule in one["worst_rules"]}
    assert {"parses", "amount_minimum"} <= worst | {"order_id_required"}
    assert found["layers"][0]["mean_score"] == one["mean_score"] == 98.3
    with pytest.raises(UsageError, match="there is no dataset"):
        overview(shop.lake.journal, shop.domains.contracts, "silver.shop.nothing", 3)


def test_an_unusual_day_is_refused_where_the_contract_calls_it_an_error(shop: Shop) -> None:
    day = DAY + timedelta(days=7)
    for back in range(1, 29):
        remember(shop, day - timedelta(days=back), 400 + back % 2)
    shop.deliver(day, csv(*ROWS))
    before = shop.state()
    with pytest.raises(GateRefused, match=r"as_usual — 40 rows, usual for a Saturday in March: 3\d\d to 4\d\d; ") as refused:
        shop.run(day)
    assert "robust deviations below" in refused.value.message
    assert any("unusual: 40 rows" in line for line in shop.told)
    assert shop.state() == before
    (refused_run,) = shop.lake.journal.runs(1, states=("failed",))
    silver = next(w for w in refused_run["story"]["writes"] if w["dataset"] == SILVER)
    figures = next(one for one in silver["unusual"] if one["metric"] == "volume")
    assert (figures["value"], figures["text"][:7]) == (40, "40 rows")
    assert 300 < figures["low"] < figures["expected"] < figures["high"] < 500


def test_the_command_shows_scores_and_what_was_unusual(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_DOMAINS", shop.settings.domains)
    load.cache_clear()

    def type_(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["medallion", "quality", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    told = json.loads(type_(SILVER, "--last", "400", "--json"))
    assert told["datasets"][0]["dataset"] == SILVER
    assert "silver.shop.orders" in type_(SILVER)
    assert "nothing of it is on main yet" in type_("gold.finance.index_returns")
    load.cache_clear()

"""Two runs that write to the same tables: the second lands by metadata, where running again would write the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from urllib.parse import quote

import pytest
from pyiceberg.catalog.rest import RestCatalog

from medallion import session
from medallion.errors import ConflictError, GateRefused
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import MAIN
from medallion.lakehouse.table import io_properties
from medallion.quality.gate import AS_USUAL
from medallion.settings import Settings
from tests.meeting_runs import QUALITY_OF_ALL, MeetingShop
from tests.small_domain import HEADER, Document

pytest_plugins = ["tests.quick_sessions"]

D0, D1, D2, D3 = (date(2024, 5, day) for day in (1, 2, 3, 4))
MakeShop = Callable[..., MeetingShop]


@pytest.fixture
def make_shop(quick_settings: Settings, tmp_path: Path) -> Iterator[MakeShop]:
    shops: list[MeetingShop] = []

    def make(repeats: str = "file", damage: Callable[[dict[str, Document]], None] = lambda _: None) -> MeetingShop:
        shops.append(MeetingShop(quick_settings, tmp_path, repeats, damage))
        return shops[-1]

    yield make
    for shop in shops:
        shop.close()


def test_both_land_and_no_data_file_is_written_twice(
    make_shop: MakeShop, quick_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop("history")
    shop.deliver(D0, "1,ann,1.50,", "2,bob,-1,", "3,cid,1,", "4,dee,1,")  # one of four goes to quarantine
    assert shop.run(D0).attempts == 1
    shop.deliver(D1, "5,eve,10,", "6,fay,-1,", "7,gil,10,", "8,hal,10,")
    shop.deliver(D2, "9,ida,100,", "10,jon,-1,", "11,kim,100,", "12,lee,100,")
    written: list[set[str]] = []
    others = []
    shop.meet(monkeypatch, lambda: (others.append(shop.run(D2)), written.append(shop.stored_files())))

    outcome = shop.run(D1)

    (other,) = others
    assert (outcome.state, outcome.attempts, outcome.rebased) == ("merged", 2, 1)
    assert (other.state, other.attempts) == ("merged", 1)
    assert shop.stored_files() == written[0], "since the other run no data file was written"
    assert shop.data_files() == written[0], "and those that were are all on main"
    assert shop.totals() == [(D0, 3, 3.5), (D1, 3, 30.0), (D2, 3, 300.0)]
    assert shop.select("SELECT _logical_date, count(*) FROM silver.{}.orders__quarantine GROUP BY 1 ORDER BY 1") == [
        (D0, 1), (D1, 1), (D2, 1)
    ]  # fmt: skip
    _check_history(shop)
    _check_readers(shop, quick_settings)
    commits = list(shop.lake.nessie.log(shop.lake.nessie.reference(MAIN), limit=2))
    assert [commit.properties[RUN_PROPERTY] for commit in commits] == [outcome.run_id, other.run_id]
    # the tables can be gone on with, and what was made is known
    assert [shop.run(day).state for day in (D1, D2)] == ["unchanged", "unchanged"]
    shop.deliver(D1, "5,eve,11,", "8,hal,11,")
    assert shop.run(D1).state == "merged"
    assert shop.totals() == [(D0, 3, 3.5), (D1, 2, 22.0), (D2, 3, 300.0)]


def _check_history(shop: MeetingShop) -> None:
    """Snapshots in one line, in order, each with what its run noted."""
    for table, writes in ((("bronze", "orders"), 3), (("silver", "orders"), 3), (("gold", "daily_totals"), 3)):
        metadata = shop.table(*table).metadata
        line = sorted(metadata.snapshots, key=lambda s: s.sequence_number)
        assert [s.sequence_number for s in line] == list(range(1, writes + 1))
        assert [s.parent_snapshot_id for s in line] == [None, *(s.snapshot_id for s in line[:-1])]
        assert [s.summary["medallion.logical-date"] for s in line] == [str(D0), str(D2), str(D1)]
        assert metadata.current_snapshot_id == line[-1].snapshot_id


def _check_readers(shop: MeetingShop, settings: Settings) -> None:
    """Spark and Iceberg's REST protocol read what DuckDB reads."""
    spark = session.start(settings)
    catalog = session.attach(spark, settings, MAIN)
    rest = RestCatalog("reader", uri=settings.nessie.iceberg_rest, prefix=quote(MAIN, safe="@"), **io_properties(settings.s3))
    for table in (f"bronze.{shop.name}.orders", f"silver.{shop.name}.orders", f"silver.{shop.name}.orders__quarantine"):
        ((expected,),) = shop.select(f"SELECT count(*) FROM {table}")
        assert spark.table(f"{catalog}.{table}").count() == expected
        assert rest.load_table(table).scan().to_arrow().num_rows == expected
        for day in (D0, D1, D2):
            ((of_day,),) = shop.select(f"SELECT count(*) FROM {table} WHERE _logical_date = '{day}'")
            assert spark.table(f"{catalog}.{table}").filter(f"_logical_date = DATE '{day}'").count() == of_day
        assert spark.table(f"{catalog}.{table}.snapshots").count() == 3


def _compacting(documents: dict[str, Document]) -> None:
    for name in ("bronze.orders", "silver.orders"):
        documents[f"{name}.odcs.yaml"]["customProperties"].append({"property": "layout", "value": {"compactAbove": 1}})


def test_files_that_the_run_rewrote_are_taken_over_as_they_are(make_shop: MakeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction leaves two files of its day in bronze; the run makes them one, of which the first lies on main."""
    shop = make_shop("file", _compacting)
    shop.deliver(D1, "5,eve,10,", "6,fay,10,")
    shop.run(D1)
    shop.deliver(D1, "5,eve,11,")
    shop.deliver(D2, "7,gil,100,")
    written: list[set[str]] = []
    shop.meet(monkeypatch, lambda: (shop.run(D2), written.append(shop.stored_files())))

    outcome = shop.run(D1)

    assert (outcome.state, outcome.attempts, outcome.rebased) == ("merged", 2, 1)
    assert next(w["files_compacted"] for w in outcome.writes if w["dataset"] == f"bronze.{shop.name}.orders") == 2
    assert shop.stored_files() == written[0], "nothing was written twice"
    bronze = shop.table("bronze", "orders")
    assert len(list(bronze.scan().plan_files())) == 2, "one file a day"
    assert shop.select("SELECT _logical_date, order_id, amount FROM bronze.{}.orders ORDER BY ALL") == [
        (D1, "5", "10"), (D1, "5", "11"), (D1, "6", "10"), (D2, "7", "100"),
    ]  # fmt: skip
    assert shop.totals() == [(D1, 1, 11.0), (D2, 1, 100.0)]
    assert [shop.run(day).state for day in (D1, D2)] == ["unchanged", "unchanged"]


def _another_column(documents: dict[str, Document]) -> None:
    for name in ("bronze.orders", "silver.orders"):
        properties = documents[f"{name}.odcs.yaml"]["schema"][0]["properties"]
        properties.append({"name": "note", "logicalType": "string"})


def _same_day(shop: MeetingShop) -> None:
    assert shop.run(D1).state == "merged"


def _row_again(shop: MeetingShop) -> None:
    shop.deliver(D2, "5,eve,10,", "7,gil,100,")
    assert shop.run(D2).state == "merged"


def _by_hand(shop: MeetingShop) -> None:
    """Rows of another day, which no run wrote."""
    spark = session.start(shop.settings)
    table = f"{session.attach(spark, shop.settings, MAIN)}.silver.{shop.name}.orders"
    spark.sql(f"INSERT INTO {table} SELECT 99, 'zoe', 1, DATE'2024-06-01', DATE'2024-06-01', 'by hand', 1")


@pytest.mark.parametrize(
    ("repeats", "meanwhile", "why", "totals"),
    [
        pytest.param("file", _same_day, "a delivery for 2024-05-02 came in between", [(D1, 2, 20)], id="the same delivery"),
        pytest.param(
            "history", _row_again, "1 of its rows came in between", [(D1, 2, 20), (D2, 2, 110)], id="a row like one of ours"
        ),
        pytest.param("file", _by_hand, "something that is no run wrote to it", [(D1, 2, 20)], id="a write by hand"),
    ],
)
def test_what_is_no_blind_append_is_run_again(
    make_shop: MakeShop, monkeypatch: pytest.MonkeyPatch, repeats: str, meanwhile: Callable[..., None], why: str, totals: list
) -> None:
    shop = make_shop(repeats)
    shop.deliver(D1, "5,eve,10,", "6,fay,10,")
    shop.meet(monkeypatch, lambda: meanwhile(shop))

    outcome = shop.run(D1)

    assert (outcome.attempts, outcome.rebased) == (2, 0)
    again = shop.lake.journal.run(outcome.run_id)
    assert again["state"] == ("unchanged" if meanwhile is _same_day else "merged")
    first = shop.lake.journal.run(again["retry_of"])
    assert first["state"] == "conflicted"
    assert why in first["error"]
    assert shop.totals() == totals
    if meanwhile is _row_again:
        marked = shop.select("SELECT _logical_date, order_id FROM bronze.{}.orders WHERE _repeat = 'delivery'")
        assert marked == [(D1, "5")], "the run that came second saw the row of the first"


def test_a_run_that_others_outrun_in_every_attempt_gives_up_and_leaves_nothing(
    make_shop: MakeShop, quick_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop()
    shop.deliver(D1, "5,eve,10,", "6,fay,10,")
    shop.meet(monkeypatch, lambda: _by_hand(shop), lambda: _by_hand(shop))
    once = quick_settings.model_copy(update={"runs": quick_settings.runs.model_copy(update={"conflict_retries": 1})})
    before = {reference.name for reference in shop.lake.nessie.references()}

    with pytest.raises(ConflictError, match=rf"silver\.{shop.name}\.orders.* changed on main in each of 2 attempts") as given_up:
        shop.run(D1, settings=once)

    assert given_up.value.exit_code == 4
    assert "runs.conflict_retries" in (given_up.value.hint or "")
    last = shop.lake.journal.run(str(given_up.value.run))
    first = shop.lake.journal.run(last["retry_of"])
    assert [(run["state"], run["merged_hash"]) for run in (first, last)] == [("conflicted", None)] * 2
    assert "in each of 2 attempts" in last["error"]
    assert {reference.name for reference in shop.lake.nessie.references()} == before, "both branches are removed"
    assert shop.totals() == []
    assert shop.select("SELECT customer FROM silver.{}.orders") == [("zoe",), ("zoe",)], "main is as the others left it"


def test_a_column_that_others_added_makes_it_run_again(make_shop: MakeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make_shop()
    shop.deliver(D0, "1,ann,1,")
    shop.run(D0)
    wider = shop.contracts(_another_column)
    shop.deliver(D1, "5,eve,10,,early", header=f"{HEADER},note")
    shop.deliver(D2, "7,gil,100,,late", header=f"{HEADER},note")
    shop.meet(monkeypatch, lambda: shop.run(D2, wider, layers=("bronze",)))

    outcome = shop.run(D1, wider, layers=("bronze",))

    assert (outcome.state, outcome.attempts, outcome.rebased) == ("merged", 2, 0)
    assert (
        "its schema and properties changed" in shop.lake.journal.run(shop.lake.journal.run(outcome.run_id)["retry_of"])["error"]
    )
    assert shop.select("SELECT order_id, note FROM bronze.{}.orders ORDER BY 1") == [("1", None), ("5", "early"), ("7", "late")]


def _watched(documents: dict[str, Document]) -> None:
    silver = documents["silver.orders.odcs.yaml"]
    volume = {"change": "volume", "runs": 9, "within": 0.5}
    change = {"name": "as_many_rows", "type": "custom", "engine": "medallion", "implementation": volume, "severity": "warning"}
    silver["schema"][0]["quality"] = [QUALITY_OF_ALL, change]
    silver["customProperties"].append({"property": "anomalies", "value": {"severity": "warning", "minimumHistory": 9}})


def _remember(shop: MeetingShop) -> None:
    """Eight dates of two rows each that others merged."""
    journal, dataset = shop.lake.journal, f"silver.{shop.name}.orders"
    for day in range(1, 9):
        run_id, when = f"2024-04-{day:02}-pipeline-{shop.name}", date(2024, 4, day)
        journal.open(run_id, "pipeline", when, f"run/{run_id}", shop.lake.nessie.reference(MAIN).hash, None)
        written = {"dataset": dataset, "logical_date": when, "rows_in": 400, "metrics": {"rows": 400}, "verdicts": []}
        journal.update(run_id, state="merged", story={"writes": [written]})
        journal.release(run_id)


def test_a_rule_of_the_table_and_those_on_the_past_are_judged_again(make_shop: MakeShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused for what breaks only together. Other runs also brought the past that there was too little of."""
    shop = make_shop("file", _watched)
    shop.deliver(D1, "5,eve,10,", "6,fay,10,")
    shop.deliver(D2, "6,fay,99,", "7,gil,100,")
    mains, silver = [], f"silver.{shop.name}.orders"

    def meanwhile() -> None:
        (waiting,) = [run for run in shop.lake.journal.runs(limit=3) if run["logical_date"] == D2]
        written.append(waiting["story"]["writes"])
        shop.run(D1)
        _remember(shop)
        mains.append(shop.lake.nessie.reference(MAIN))

    written: list[list[dict]] = []
    shop.meet(monkeypatch, meanwhile)

    with pytest.raises(GateRefused, match=r"never_sold_twice — 1 of 4 rows") as refused:
        shop.run(D2)

    assert '"order_id":6' in str(refused.value)
    assert [shop.lake.nessie.reference(MAIN)] == mains, "main is as the other left it"
    row = shop.lake.journal.run(str(refused.value.run))
    assert (row["state"], row["retry_of"]) == ("failed", None)
    steps = [step["name"] for step in shop.lake.journal.steps(row["run_id"])]
    assert steps[-4:] == ["rebase.branch", "rebase.commit", "rebase.rules", "gate"]
    assert shop.lake.nessie.reference(row["branch"]), "its branch is kept, sealed"
    before, after = (
        next(write for write in writes if write["dataset"] == silver) for writes in (written[0], row["story"]["writes"])
    )
    judged = {of["compared_with"]: {v["rule"]: v for v in of["verdicts"]} for of in (before, after)}
    assert list(judged) == [0, 9]
    assert "not judged" in judged[0]["as_many_rows"]["samples"][0]
    assert AS_USUAL not in judged[0]
    assert '"usual": 400.0, "by": 0.995' in judged[9]["as_many_rows"]["samples"][0]
    assert judged[9][AS_USUAL]["judged"] == 9
    assert (before["score"], after["score"]) == (100.0, 45.0), "what broke takes its part: 0.5 and 0.9"

"""What an OpenLineage event says of a run: where each column comes from, by the specification's own classes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from medallion.contract import Delivery
from medallion.domain import Domains
from medallion.lineage.columns import Columns
from medallion.lineage.dbt_models import Model, Project
from medallion.lineage.events import Known, of_publication, of_run, run_id
from medallion.publish.ledger import Entry, MartState
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.lineage_events import ends

BEGAN = datetime(2024, 3, 1, 6, tzinfo=UTC)
BRONZE = gold(
    "one", {"a": "string"}, layer="bronze",
    delivery=Delivery("csv", "none", "", "domain=operations/one/year={year}/month={month}/day={day}/", "daily", "", "file"),
)  # fmt: skip
GOLD = gold("one", {"a": "int", "n": "bigint"})
MART = "gold.marts.ones"
KNOWN = Known(
    Settings(warehouse="postgres"),
    Domains({each.dataset: each for each in (BRONZE, GOLD)}, {}),
    Project({"ones": Model("ones", "", True, (), ("operations.one",), ("a",))}, sources={"operations.one": GOLD.dataset}),
    {
        GOLD.dataset: Columns(
            {"a": frozenset({(BRONZE.dataset, "a")}), "n": frozenset()}, frozenset({(BRONZE.dataset, "_repeat")})
        ),
        MART: Columns({"a": frozenset({(GOLD.dataset, "a")})}, frozenset(), frozenset({"a"})),
    },
)  # fmt: skip


def row(**more: Any) -> dict[str, Any]:
    writes = [
        {"dataset": BRONZE.dataset, "logical_date": "2024-02-29", "rows_out": 3},
        {"dataset": GOLD.dataset, "logical_date": "2024-02-29", "rows_out": 2, "inputs": {BRONZE.dataset: ["2024-02-29"]},
         "metrics": {"rows": 2, "bytes": 10, "files": 1, "null_share": {"a": 0.5}, "max": {"a": "Mrs Jones"}}},
    ]  # fmt: skip
    delivered = {
        "dataset": BRONZE.dataset, "uri": "s3://bronze-batch/domain=operations/one/year=2024/month=02/day=29/one.csv?versionId=7",
        "sha256": "ab", "rows": 3,
    }  # fmt: skip
    return {
        "run_id": "2024-02-29-pipeline-1", "kind": "pipeline", "logical_date": date(2024, 2, 29), "state": "merged",
        "error": None, "opened_at": BEGAN, "ended_at": BEGAN + timedelta(minutes=1),
        "story": {"writes": writes, "deliveries": [delivered]},
    } | more  # fmt: skip


def columns(of: dict[str, Any]) -> tuple[dict[str, list[tuple[str, ...]]], list[tuple[str, ...]]]:
    facet = of["facets"]["columnLineage"]

    def told(fields: list[dict[str, Any]]) -> list[tuple[str, ...]]:
        return [
            (each["namespace"], each["name"], each["field"], each["transformations"][0]["type"],
             each["transformations"][0].get("subtype", "")) for each in fields
        ]  # fmt: skip

    return {name: told(field["inputFields"]) for name, field in facet["fields"].items()}, told(facet["dataset"])


def test_a_run_from_landing_to_gold() -> None:
    at = [{"name": f"write.{GOLD.dataset}", "outcome": "done", "began_at": BEGAN + timedelta(seconds=9),
           "ended_at": BEGAN + timedelta(seconds=12), "detail": {"logical_date": "2024-02-29"}}]  # fmt: skip
    evidence = {
        "wrote": {BRONZE.dataset: {"snapshotId": 1}, GOLD.dataset: {"snapshotId": 2}},
        "read": {BRONZE.dataset: {"snapshotId": 0}},
    }
    events = of_run(row(), at, evidence, KNOWN)
    told = ends(events)
    assert {name: event["eventType"] for name, event in told.items()} == dict.fromkeys(
        ("pipeline", BRONZE.dataset, GOLD.dataset), "COMPLETE"
    )
    bronze, made = told[BRONZE.dataset], told[GOLD.dataset]
    [landed] = bronze["inputs"]
    assert (landed["namespace"], landed["name"]) == ("s3://bronze-batch", "domain=operations/one")
    assert landed["facets"]["version"]["datasetVersion"] == "ab"
    assert landed["facets"]["symlinks"]["identifiers"][0]["name"] == "domain=operations/one/year=2024/month=02/day=29/one.csv"
    lake = "nessie://127.0.0.1:19120"
    assert columns(bronze["outputs"][0])[0] == {"a": [("s3://bronze-batch", "domain=operations/one", "a", "DIRECT", "IDENTITY")]}
    [read], [written] = made["inputs"], made["outputs"]
    assert read["facets"]["version"]["datasetVersion"] == "1", "what the run itself had written before"
    assert written["facets"]["version"]["datasetVersion"] == "2"
    assert columns(written) == (
        {"a": [(lake, BRONZE.dataset, "a", "DIRECT", "TRANSFORMATION")], "n": []},
        [(lake, BRONZE.dataset, "_repeat", "INDIRECT", "")],
    )  # fmt: skip
    assert written["facets"]["dataQualityMetrics"]["columnMetrics"]["a"]["nullCount"] == 1
    assert (made["eventTime"], made["run"]["facets"]["parent"]["run"]["runId"]) == (
        "2024-03-01T06:00:12+00:00", run_id("2024-02-29-pipeline-1"),
    )  # fmt: skip
    assert "Jones" not in str(events), "no values of rows"


def test_a_run_that_failed_or_lost_a_conflict() -> None:
    for state, told in (("failed", "FAIL"), ("conflicted", "ABORT")):
        found = ends(of_run(row(state=state, error="Refused: Mrs Jones breaks 1 rule\n  name=Mrs Jones"), (), {}, KNOWN))
        assert {event["eventType"] for event in found.values()} == {told}
        assert found["pipeline"]["run"]["facets"]["errorMessage"]["message"] == "Refused"
        assert "Jones" not in str(found)


def test_what_was_taken_back_and_made_again() -> None:
    """The writes that take back come first, and have neither a delivery nor a step."""
    days = ("2024-02-28", "2024-02-29")
    back = [{"dataset": BRONZE.dataset, "logical_date": day, "rows_out": 0, "takes_back": "one"} for day in days]
    again = [{"dataset": BRONZE.dataset, "logical_date": day, "rows_out": 3} for day in days]
    deliveries = [
        {"dataset": BRONZE.dataset, "uri": f"s3://bronze-batch/one/{day}.csv", "sha256": day, "rows": 3} for day in days
    ]  # fmt: skip
    steps = [
        {"name": f"write.{BRONZE.dataset}", "outcome": "done", "detail": {"logical_date": day},
         "began_at": BEGAN + timedelta(seconds=n), "ended_at": BEGAN + timedelta(seconds=n + 1)}
        for n, day in enumerate((days[0], *days))
    ]  # fmt: skip
    story = {"writes": back + again, "deliveries": deliveries}
    told = of_run(row(kind="revert", logical_date=None, story=story), steps, {}, KNOWN)
    made = [event for event in told if event["job"]["name"] == BRONZE.dataset and event["eventType"] != "START"]
    read = [[each["facets"]["version"]["datasetVersion"] for each in event["inputs"]] for event in made]
    assert read == [[], [], [days[0]], [days[1]]]
    assert [event["eventTime"][:19] for event in made] == [
        "2024-03-01T06:01:00", "2024-03-01T06:01:00", "2024-03-01T06:00:02", "2024-03-01T06:00:03",
    ]  # fmt: skip


def test_no_secret_of_an_address_is_told() -> None:
    nessie = Settings().nessie.model_copy(update={"uri": "https://reader:open-sesame@catalog:19120/?token=open-sesame"})
    known = replace(KNOWN, settings=KNOWN.settings.model_copy(update={"nessie": nessie}))
    made = ends(of_run(row(), (), {}, known))[GOLD.dataset]["outputs"][0]
    assert (made["namespace"], made["facets"]["dataSource"]["uri"]) == ("nessie://catalog:19120", "https://catalog:19120")
    assert "sesame" not in str(of_run(row(), (), {}, known))


def test_marts_are_made_of_the_tables_of_the_warehouse() -> None:
    entry = Entry(3, "abc", "h" * 64, (), BEGAN, {}, (MART,), marts={"ones": MartState(5, "", "h" * 64, {})})
    told = ends(of_publication(entry, [{"began_at": BEGAN - timedelta(seconds=5)}], KNOWN))
    made = told[f"marts.postgres.{MART}"]
    place = "postgres://127.0.0.1:5432"
    assert [(each["namespace"], each["name"]) for each in made["inputs"]] == [(place, "gold.operations.one")]
    assert columns(made["outputs"][0]) == ({"a": [(place, "gold.operations.one", "a", "DIRECT", "IDENTITY")]}, [])
    assert made["outputs"][0]["name"] == "gold.marts.ones"
    assert made["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 5

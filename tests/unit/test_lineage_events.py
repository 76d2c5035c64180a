"""What an OpenLineage event says of a run: where each column comes from, by the specification's own classes."""

from __future__ import annotations

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
    delivery=Delivery("csv", "none", "", "domain=operations/one/{year}/{month}/{day}/", "daily", "", "file"),
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
        "dataset": BRONZE.dataset, "uri": "s3://bronze-batch/domain=operations/one/2024/02/29/one.csv?versionId=7",
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
           "ended_at": BEGAN + timedelta(seconds=12)}]  # fmt: skip
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
    assert landed["facets"]["symlinks"]["identifiers"][0]["name"] == "domain=operations/one/2024/02/29/one.csv"
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
        found = ends(of_run(row(state=state, error="Refused: 1 rule\n  name=Mrs Jones"), (), {}, KNOWN))
        assert {event["eventType"] for event in found.values()} == {told}
        assert found["pipeline"]["run"]["facets"]["errorMessage"]["message"] == "Refused: 1 rule"


def test_marts_are_made_of_the_tables_of_the_warehouse() -> None:
    entry = Entry(3, "abc", "h" * 64, (), BEGAN, {}, (MART,), marts={"ones": MartState(5, "", "h" * 64, {})})
    told = ends(of_publication(entry, [{"began_at": BEGAN - timedelta(seconds=5)}], KNOWN))
    made = told[f"marts.postgres.{MART}"]
    place = "postgres://127.0.0.1:5432"
    assert [(each["namespace"], each["name"]) for each in made["inputs"]] == [(place, "gold.operations.one")]
    assert columns(made["outputs"][0]) == ({"a": [(place, "gold.operations.one", "a", "DIRECT", "IDENTITY")]}, [])
    assert made["outputs"][0]["name"] == "gold.marts.ones"
    assert made["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 5

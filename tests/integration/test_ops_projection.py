"""The tables of `ops` say what main's log, the journal, the evidence, the ledgers and the contracts say."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from medallion import schema_log
from medallion.lakehouse.nessie import MAIN, NO_ANCESTOR, CommitConflict, Nessie
from medallion.lakehouse.run import fail
from medallion.lakehouse.store import Store
from medallion.ops import projection
from medallion.ops.projection import project
from medallion.ops.status import status
from medallion.publish.publication import history
from tests.crash.place import REFUSED, Place, nth_day
from tests.lake_tables import gold
from tests.ops_tables import Ops
from tests.protocol_runs import VALUE, ProtocolRuns, another_value

pytest_plugins = ("tests.ops_tables",)

UNUSUAL = {
    "metric": "volume", "column": "", "bin": "", "value": 3, "expected": 100.0, "low": 90.0, "high": None, "deviations": -20.0,
    "text": "3 rows, usual for a Saturday in February: 90 to more; 20.0 robust deviations below",
}  # fmt: skip


# ── it says what the sources say ──────────────────────────────────────────────────────────────────
def test_every_command_has_its_rows_there_when_it_ends(place: Place, ops: Ops, run: Any) -> None:
    before = ops.newest_commit()
    first, refused, second = run().json, run(refused=True), run().json
    assert refused.code == 3
    reverted = place.revert(second["run_id"])
    assert reverted.code == 0, reverted.err

    assert ops.wrong() == []
    ops.check_volumes()
    main = [
        row["run_id"] for row in ops.rows("SELECT run_id FROM ops.commits WHERE n > %s AND kind <> 'init' ORDER BY n", before)
    ]
    assert main == [first["run_id"], second["run_id"], reverted.json["run_id"]]
    (failed,) = ops.rows("SELECT run_id, logical_date FROM ops.runs WHERE state = 'failed' ORDER BY opened_at DESC LIMIT 1")
    rows = ops.rows("SELECT DISTINCT run_id, merged FROM ops.written WHERE run_id = ANY(%s)", [*main, failed["run_id"]])
    merged = {row["run_id"]: row["merged"] for row in rows}
    assert merged == dict.fromkeys(main, True) | {failed["run_id"]: False}, "also what was reverted since: it is in main's log"
    (state,) = ops.rows("SELECT state, reverted_by FROM ops.runs WHERE run_id = %s", second["run_id"])
    assert (state["state"], state["reverted_by"]) == ("reverted", reverted.json["run_id"])
    (rule,) = ops.rows("SELECT * FROM ops.rule_results WHERE NOT passed AND run_id = %s", failed["run_id"])
    assert (rule["rule"], rule["bad"], rule["judged"]) == (REFUSED["rule"], 1, 3)
    assert rule["logical_date"] == failed["logical_date"]
    (delivery,) = ops.rows("SELECT * FROM ops.deliveries WHERE run_id = %s", first["run_id"])
    assert (delivery["dataset"], delivery["logical_date"], delivery["rows"]) == (
        place.bronze.dataset,
        date.fromisoformat(first["run_id"][:10]),
        3,
    )
    scores = ops.rows("SELECT layer, score FROM ops.layer_scores WHERE run_id = %s", first["run_id"])
    assert scores == [], "the harness gives its writes none"
    assert [row["dataset"] for row in ops.rows("SELECT dataset FROM ops.datasets ORDER BY 1")] == sorted(place.domains.contracts)
    told = ops.rows("SELECT * FROM ops.publications ORDER BY sequence DESC")
    entries = history(place.settings)
    assert [(t["sequence"], t["publication_id"], t["main_hash"], t["runs"], t["published_at"]) for t in told] == [
        (e.sequence, e.publication_id, e.hash, list(e.runs), e.published_at) for e in entries
    ]
    assert told[0]["rows"] == {name: state.rows for name, state in entries[0].tables.items()}


def test_reads_name_the_version_of_each_table(place: Place, ops: Ops, run: Any) -> None:
    before = _tables(place)
    run_id = run().json["run_id"]
    (row,) = ops.rows("SELECT h0 FROM ops.runs WHERE run_id = %s", run_id)
    reads = ops.rows("SELECT * FROM ops.reads WHERE run_id = %s", run_id)
    assert {read["dataset"] for read in reads} == set(place.domains.contracts)
    for read in reads:
        content = before[read["dataset"]]
        assert (read["main_hash"], read["snapshot_id"], read["metadata_location"]) == (
            row["h0"], content["snapshotId"], content["metadataLocation"],
        )  # fmt: skip


def _tables(place: Place) -> dict[str, Any]:
    nessie = Nessie(place.settings.nessie)
    found = nessie.tables(nessie.reference(MAIN))
    nessie.close()
    return found


def test_what_nobody_noticed_at_the_time_is_made_up_for(place: Place, ops: Ops) -> None:
    """A conflict, a score, something unusual, a table that is dropped and comes again: in whatever order they are seen."""
    mine = gold("tallies", VALUE, domain=place.domain)
    with ProtocolRuns(place.settings) as runs:
        runs.merged({mine: another_value(1)})
        ops.project()
        late, judged = runs.written({mine: another_value(2)})
        other, its = runs.written({mine: another_value(3)})
        other.writes[0] |= {"score": 87.5, "unusual": [UNUSUAL], "dropped": {"exact": 2}, "reason": "new", "as_of": "2024-02-03"}
        other.save(runs.journal)
        runs.merge(other, its, **{"medallion.score.gold": "87.5", "medallion.kind": "test"})
        with pytest.raises(CommitConflict) as conflict:
            runs.merge(late, judged)
        fail(runs.journal, late, str(conflict.value), "conflicted")
        runs.tables.drop(mine)
        runs.merged({gold("tallies", VALUE | {"more": "string"}, domain=place.domain): another_value(4)})
    assert ops.project()
    assert ops.wrong() == []
    ops.check_volumes()
    rows = ops.rows(
        "SELECT run_id, merged, score, reason, dropped, logical_date FROM ops.written WHERE dataset = %s", mine.dataset
    )
    told = {row.pop("run_id"): row for row in rows}
    assert told[late.id]["merged"] is False
    assert told[other.id] == {
        "merged": True, "score": 87.5, "reason": "new", "dropped": {"exact": 2}, "logical_date": date(2024, 2, 3),
    }  # fmt: skip
    (anomaly,) = ops.rows("SELECT * FROM ops.anomalies")
    figures = (anomaly["run_id"], anomaly["metric"], anomaly["value"], anomaly["expected"], anomaly["low"], anomaly["high"])
    assert figures == (other.id, "volume", 3.0, 100.0, 90.0, None)
    assert anomaly["description"] == UNUSUAL["text"]
    assert ops.rows("SELECT run_id, layer, score FROM ops.layer_scores") == [{"run_id": other.id, "layer": "gold", "score": 87.5}]
    volumes = ops.rows("SELECT rows, added_rows, deleted_rows FROM ops.volumes v JOIN ops.commits USING (main_hash) "
                       "WHERE dataset = %s ORDER BY n", mine.dataset)  # fmt: skip
    assert [tuple(row.values()) for row in volumes] == [(1, 1, 0), (1, 1, 1), (0, 0, 1), (1, 1, 0)]


def test_schema_versions_are_those_that_the_log_tells(place: Place, ops: Ops) -> None:
    wider = replace(place, columns=1)
    assert wider.run(nth_day(500)).code == 0
    with ops.sources() as sources:
        for dataset in [*place.domains.contracts, f"gold.{place.domain}.tallies"]:
            told = ops.rows("SELECT * FROM ops.schema_versions WHERE dataset = %s ORDER BY version", dataset)
            for row, version in zip(told, schema_log.versions(place.settings.s3, sources.lake.nessie, dataset), strict=True):
                assert (row["version"], row["main_hash"], row["run_id"]) == (version.number, version.hash, version.run)
                columns = {column["name"]: column["type"] for column in row["columns"]}
                assert (row["changed"], [*columns.items()]) == (
                    version.as_row()["changed"],
                    [*version.as_row()["columns"].items()],
                )
    assert len(told) == 2, "it was dropped, and came again with one column more"
    assert told[1]["changed"] == ["more: added, string"]


def test_one_more_run_costs_the_same_however_many_there_are(ops: Ops, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    get, fetch = Nessie._get, Store.get
    monkeypatch.setattr(Nessie, "_get", lambda self, path, *more: (asked.append(path), get(self, path, *more))[1])
    monkeypatch.setattr(Store, "get", lambda self, uri: (asked.append(uri), fetch(self, uri))[1])
    fill, taken = projection.catch_up, []

    def counted(connection: Any, sources: Any) -> None:
        asked.clear()
        fill(connection, sources)
        taken.append([one.partition(":")[0].partition("/")[0] for one in asked])

    monkeypatch.setattr(projection, "catch_up", counted)
    for _ in range(3):
        assert run().code == 0
    assert taken == [taken[0]] * 3
    assert len(taken[0]) <= 4, "the log, main's tables before it, and the run's evidence"


# ── main moves elsewhere ──────────────────────────────────────────────────────────────────────────
def test_main_that_is_moved_to_another_history_is_noticed(place: Place, ops: Ops, run: Any) -> None:
    mine = gold("elsewhere", VALUE, domain=place.domain)
    with ops.sources() as sources, ProtocolRuns(place.settings) as runs:
        nessie = sources.lake.nessie
        first = nessie.reference(MAIN)
        run_id = run().json["run_id"]
        second = nessie.reference(MAIN)

        nessie._references.assign_branch(MAIN, MAIN, first.hash)
        assert project(sources)
        assert ops.wrong() == []
        assert [row["merged"] for row in ops.rows("SELECT DISTINCT merged FROM ops.written WHERE run_id = %s", run_id)] == [False]

        runs.merged({mine: another_value(1)})
        assert project(sources)
        nessie._references.assign_branch(MAIN, MAIN, second.hash)
        assert status(sources)[0].behind is None
        assert project(sources)
        assert ops.wrong() == []
        assert [row["merged"] for row in ops.rows("SELECT DISTINCT merged FROM ops.written WHERE run_id = %s", run_id)] == [True]
        assert ops.rows("SELECT 1 FROM ops.volumes WHERE dataset = %s", mine.dataset) == []
        assert status(sources)[0].behind == 0
    assert [line for line in ops.told if "another history" in line]


def test_main_that_is_emptied_leaves_nothing_behind(ops: Ops, run: Any) -> None:
    with ops.sources() as sources:
        nessie = sources.lake.nessie
        main = nessie.reference(MAIN)
        nessie._references.assign_branch(MAIN, MAIN, NO_ANCESTOR)
        try:
            assert status(sources)[0].behind is None
            assert project(sources)
            assert ops.rows("SELECT 1 FROM ops.commits UNION ALL SELECT 1 FROM ops.volumes") == []
            assert ops.rows("SELECT 1 FROM ops.written WHERE merged") == []
            assert (status(sources)[0].behind, ops.wrong()) == (0, [])
        finally:
            nessie._references.assign_branch(MAIN, MAIN, main.hash)
        assert project(sources)
    assert ops.wrong() == []

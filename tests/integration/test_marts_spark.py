"""Marts as Iceberg tables: built on a branch, merged as one commit that holds what they read; equal to the warehouse's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medallion.domain import Domains
from medallion.errors import ConflictError, UsageError
from medallion.lakehouse.nessie import MAIN
from medallion.lakehouse.run import Run
from medallion.marts import on_spark
from medallion.marts.build import build
from medallion.marts.compare import compare
from medallion.marts.dbt import Built, Mart
from medallion.pipeline import Lake
from medallion.publish.publication import publish
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.marts import poison, with_project, write_project
from tests.warehouse import POSTGRES, database, select

pytest_plugins = ["tests.warehouse"]

COLUMNS = {"id": "bigint", "version": "bigint"}
NAMES = ("copies", "counts")
MARTS = {f"gold.marts.{name}" for name in NAMES}


def version(of: int, count: int = 4) -> list[dict[str, int]]:
    return [{"id": number, "version": of} for number in range(count)]


@POSTGRES
def test_marts_of_what_has_changed_meanwhile_are_built_again(
    settings: Settings, lake: LakeTables, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The branch, the reads and the commit are a run's; Spark and dbt would add nothing but time."""
    one = gold("one", COLUMNS, domain=domain)
    mart = gold(f"copies_{domain}", COLUMNS, domain="marts")
    first = lake.commit({one: version(1)})
    seen: list[str] = []

    def writes(of: Lake, run: Run) -> Built:
        seen.append(run.h0.hash)
        lake.commit({mart: version(len(seen))}, branch=run.branch)
        if len(seen) == 1:
            seen.append(lake.commit({one: version(2)}))
        return Built((Mart(mart.name, (), frozenset({one.dataset})),), 1, 0)

    monkeypatch.setattr(on_spark, "_run_dbt", writes)
    with Lake(settings, Domains({one.dataset: one}, {})) as runs:
        lines: list[str] = []
        done = on_spark.build(runs, lines.append)
        assert any(f"conflict on {one.dataset}; building the marts again" in line for line in lines)
        assert seen[1:] == [done.hash, done.hash], "built again from what main is by now"
        assert seen[0] != first, "the missing tables of the contracts were made before"
        assert done.rows == {mart.name: 4}
        row = runs.journal.run(done.run_id)
        assert (row["state"], runs.journal.run(row["retry_of"])["state"]) == ("merged", "conflicted")
        [commit] = [each for each in runs.nessie.log(runs.nessie.reference(MAIN)) if each.hash == done.merged_hash]
        assert commit.properties["medallion.kind"] == "marts"
        assert {each["version"] for each in lake.read(mart).to_pylist()} == {3}

        none = settings.model_copy(update={"runs": settings.runs.model_copy(update={"conflict_retries": 0})})
        seen.clear()
        with (
            Lake(none, runs.domains) as impatient,
            pytest.raises(ConflictError, match="in each of 1 attempts; nothing was merged"),
        ):
            on_spark.build(impatient)
        assert {each["version"] for each in lake.read(mart).to_pylist()} == {3}


@POSTGRES
def test_marts_are_merged_whole_or_not_at_all(settings: Settings, lake: LakeTables, domain: str, tmp_path: Path) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    project = write_project(tmp_path, one, two)
    mine, theirs = with_project(settings, project, "spark"), with_project(settings, project, "postgres_local")
    at = lake.commit({one: version(1), two: version(1, 3)})
    with pytest.raises(UsageError, match="the target postgres_local shows no marts"):
        compare(mine, "postgres_local", "spark")
    with Lake(mine, Domains({one.dataset: one, two.dataset: two}, {})) as runs:
        done = on_spark.build(runs)
        assert (done.rows, runs.journal.run(done.run_id)["state"]) == ({"copies": 4, "counts": 1}, "merged")
        contents = {name: content for name, content in runs.nessie.tables(runs.nessie.reference(MAIN)).items() if name in MARTS}
        assert set(contents) == MARTS
        assert all(
            c["metadataLocation"].startswith(f"s3://gold-reporting/tables/marts/{done.run_id}/") for c in contents.values()
        )

        assert publish(theirs, Contracts(one, two), at=at).hash == at
        build(theirs)
        found = {each.mart: each for each in compare(mine, "postgres_local", "spark") if each.mart in NAMES}
        assert {mart: (each.agreed, each.rows, each.differences) for mart, each in found.items()} == {
            "copies": (True, 4, ()), "counts": (True, 1, ()),
        }  # fmt: skip
        assert {(each.hash, each.other_hash) for each in found.values()} == {(at, done.hash)}
        select(settings, f"UPDATE {database(settings)}.marts.copies SET version = 7 WHERE id = 3")
        [copies, counts] = [each for each in compare(mine, "spark", "postgres_local") if each.mart in NAMES]
        assert (copies.agreed, counts.agreed, copies.rows, copies.other_rows) == (False, True, 4, 4)
        assert copies.differences == ("only in spark: id=3, version=1", "only in postgres_local: id=3, version=7")

        # a model that cannot be run and a test that fails leave main as it is, and the branch sealed
        lake.commit({one: version(100)})
        poison(project)
        before = runs.nessie.reference(MAIN)
        with pytest.raises(UsageError, match="1 models cannot be built; the marts are as they were") as refused:
            on_spark.build(runs)
        assert re.search("\n  model counts: .*DIVIDE_BY_ZERO", refused.value.message)
        assert "\n  test within_copies_version__0__99: Got 4 results" in refused.value.message
        [failed] = runs.journal.runs(1)
        assert (failed["kind"], failed["state"]) == ("marts", "failed")
        assert runs.nessie.reference(failed["branch"]).hash != before.hash, "it is kept to be looked at"
        assert runs.nessie.reference(MAIN) == before

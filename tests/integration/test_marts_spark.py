"""Marts as Iceberg tables: built on a branch, merged as one commit that holds what they read; equal to the warehouse's."""

from __future__ import annotations

from pathlib import Path

import pytest

from medallion.domain import Domains
from medallion.errors import GateRefused, MedallionError, UsageError
from medallion.lakehouse.nessie import MAIN
from medallion.marts import on_spark
from medallion.marts.build import build
from medallion.marts.compare import compare
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
def test_marts_on_a_branch_are_merged_whole_or_not_at_all(
    settings: Settings, lake: LakeTables, domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    project = write_project(tmp_path, one, two)
    mine, theirs = with_project(settings, project, "spark"), with_project(settings, project, "postgres_local")
    lake.commit({one: version(1), two: version(1, 3)})
    with pytest.raises(UsageError, match="the target postgres_local shows no marts"):
        compare(mine, "postgres_local", "spark")
    with Lake(mine, Domains({one.dataset: one, two.dataset: two}, {})) as runs:
        # somebody changes what the models read while they are built: refused, and built again from what it is by now
        once, at = on_spark._run_dbt, ""

        def overtaken(*arguments: object) -> object:
            nonlocal at
            built = once(*arguments)  # type: ignore[arg-type]
            at = at or lake.commit({two: version(2, 3)})
            return built

        monkeypatch.setattr(on_spark, "_run_dbt", overtaken)
        lines: list[str] = []
        done = on_spark.build(runs, lines.append)
        monkeypatch.undo()
        assert any(f"conflict on gold.{domain}.two; building the marts again" in line for line in lines)
        assert (done.hash, done.rows) == (at, {"copies": 4, "counts": 1})
        [merged] = [commit for commit in runs.nessie.log(runs.nessie.reference(MAIN)) if commit.hash == done.merged_hash]
        assert merged.properties["medallion.kind"] == "marts"
        row = runs.journal.run(done.run_id)
        assert (row["state"], runs.journal.run(row["retry_of"])["state"]) == ("merged", "conflicted")
        contents = {name: content for name, content in runs.nessie.tables(runs.nessie.reference(MAIN)).items() if name in MARTS}
        assert set(contents) == MARTS
        assert all(
            c["metadataLocation"].startswith(f"s3://gold-reporting/tables/marts/{done.run_id}/") for c in contents.values()
        )

        publish(theirs, Contracts(one, two))
        build(theirs)
        found = {each.mart: each for each in compare(mine, "postgres_local", "spark") if each.mart in NAMES}
        assert {mart: (each.agreed, each.rows, each.differences) for mart, each in found.items()} == {
            "copies": (True, 4, ()), "counts": (True, 1, ()),
        }  # fmt: skip
        assert {each.other_hash for each in found.values()} == {at}
        select(settings, f"UPDATE {database(settings)}.marts.copies SET version = 7 WHERE id = 3")
        [copies, counts] = [each for each in compare(mine, "spark", "postgres_local") if each.mart in NAMES]
        assert (copies.agreed, counts.agreed, copies.rows, copies.other_rows) == (False, True, 4, 4)
        assert copies.differences == ("only in spark: id=3, version=1", "only in postgres_local: id=3, version=7")

        # a test that fails and a model that cannot be run leave main as it is, and their branches sealed
        lake.commit({one: version(100)})
        before = runs.nessie.reference(MAIN)
        refusals: list[tuple[type[MedallionError], str]] = [
            (GateRefused, "1 of the marts' tests failed; the marts are as they were\n  test within_copies"),
            (UsageError, "1 models cannot be built; the marts are as they were\n  model counts: .*DIVIDE_BY_ZERO"),
        ]
        for error, said in refusals:
            with pytest.raises(error, match=said):
                on_spark.build(runs)
            [failed] = runs.journal.runs(1)
            assert (failed["kind"], failed["state"]) == ("marts", "failed")
            assert runs.nessie.reference(failed["branch"]).hash != before.hash, "it is kept to be looked at"
            poison(project)
        assert runs.nessie.reference(MAIN) == before

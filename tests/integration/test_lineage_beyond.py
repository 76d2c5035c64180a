"""Lineage beyond gold, of runs by their evidence, and as rows of `ops.lineage`, against real servers and without Spark."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from medallion import settings as settings_module
from medallion.afterwards import fill_lineage
from medallion.cli import app
from medallion.domain import Domains
from medallion.errors import MedallionError, UsageError
from medallion.evidence import uri
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.store import Store
from medallion.lineage.edges import Edge, fill, refresh
from medallion.lineage.of_run import of_run
from medallion.ops import projection
from medallion.ops.tables import PROJECTION
from medallion.pipeline import Lake, merge_run
from medallion.services import postgres
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.protocol_runs import ProtocolRuns


@pytest.fixture
def connection(stack: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A database of its own, with the tables of the projection."""
    name = f"l{uuid.uuid4().hex[:10]}"
    with postgres.connect(stack.postgres) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        own = stack.postgres.model_copy(update={"database": name})
        with Journal(own), postgres.connect(own) as made:
            made.execute(PROJECTION)
            yield made
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def rows(connection: psycopg.Connection[Any]) -> list[Edge]:
    return [Edge(*row) for row in connection.execute("SELECT * FROM ops.lineage ORDER BY 2, 3, 5, 6").fetchall()]


def test_rows_are_replaced_all_at_once_and_only_when_something_changed(
    connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    def session() -> Any:
        nonlocal asked
        asked += 1

    asked = 0
    one = gold("one", {"k": "int"})
    domains = Domains({one.dataset: one}, {})
    assert refresh(connection, domains, tmp_path, session)
    table, column = Edge("dataset", one.dataset, "", "warehouse", one.dataset, "", "copied"), Edge(
        "dataset", one.dataset, "k", "warehouse", one.dataset, "k", "copied"
    )  # fmt: skip
    assert rows(connection) == [table, column]
    assert not refresh(connection, domains, tmp_path, session)
    assert asked == 1, "nothing is looked at where nothing has changed"

    two = gold("one", {"k": "int", "v": "int"}, fingerprint="two")
    assert refresh(connection, Domains({two.dataset: two}, {}), tmp_path, session)
    assert [edge.source_column for edge in rows(connection)] == ["", "k", "v"]
    twice = Edge("dataset", one.dataset, "", "warehouse", one.dataset, "", "read")
    with pytest.raises(psycopg.errors.UniqueViolation):
        fill(connection, [table, twice], "three")
    assert [edge.source_column for edge in rows(connection)] == ["", "k", "v"], "as it was"
    assert not refresh(connection, Domains({two.dataset: two}, {}), tmp_path, session), "and of what it was"


def test_a_table_that_is_locked_keeps_no_run_waiting(
    stack: Settings, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "LOCK_WAIT_S", 0.2)
    postgres = stack.postgres.model_copy(update={"database": connection.info.dbname})
    one, told = gold("one", {"k": "int"}), list[str]()
    with Lake(stack.model_copy(update={"postgres": postgres}), Domains({one.dataset: one}, {})) as lake:
        with connection.transaction():
            connection.execute("LOCK TABLE ops.lineage IN SHARE MODE")
            fill_lineage(lake, told.append, lake.domains)
        assert "the next run catches up: canceling statement due to lock timeout" in told[0]
        fill_lineage(lake, told.append, lake.domains)
    assert len(told) == 1
    assert [edge.target for edge in rows(connection) if edge.source == one.dataset] == [one.dataset] * 2


def test_what_a_run_read_and_wrote_by_the_evidence_that_its_commit_names(stack: Settings) -> None:
    domain = f"e{uuid.uuid4().hex[:10]}"
    one, two = (gold(name, {"k": "bigint"}, domain=domain) for name in ("one", "two"))
    store = Store(stack.s3)
    with ProtocolRuns(stack) as runs, Lake(stack, Domains({one.dataset: one, two.dataset: two}, {})) as lake:
        before = runs.merged({one: [{"k": 1}]})
        run = runs.handed_over({two: [{"k": 2}]}, reads={one})
        run.writes[0] |= {"quarantined": 0, "verdicts": []}
        run.save(runs.journal, "written")
        merged = merge_run(lake, run.id, lambda line: None).merged_hash
        contents = lake.nessie.tables(lake.nessie.reference("main"))
        runs.merged({one: [{"k": 3}]})
        told = of_run(lake.nessie, lake.journal, store, run.id)
        assert (told["run"], told["merged_hash"], told["h0"]) == (run.id, merged, before)
        read = {row["dataset"]: row for row in told["read"]}
        assert read[one.dataset] == {
            "dataset": one.dataset, "hash": before, "snapshot": contents[one.dataset]["snapshotId"],
            "metadata_location": contents[one.dataset]["metadataLocation"],
        }  # fmt: skip
        assert [(row["dataset"], row["snapshot"]) for row in told["wrote"]] == [
            (two.dataset, contents[two.dataset]["snapshotId"])
        ]

        open_, _ = runs.written({two: [{"k": 9}]}, reads={one})
        told = of_run(lake.nessie, lake.journal, store, open_.id)
        assert (told["merged_hash"], told["evidence"], {row["snapshot"] for row in told["read"]}) == (None, None, {None})

        data = store.get(uri(run.id))
        store.put(uri(run.id), data + b" ", "application/json")
        with pytest.raises(MedallionError, match="is not what its commit names: its SHA-256 is"):
            of_run(lake.nessie, lake.journal, store, run.id)
        store.put(uri(run.id), data, "application/json")
        with pytest.raises(UsageError, match="there is no run 'nobody'"):
            of_run(lake.nessie, lake.journal, store, "nobody")


def test_the_command_says_what_does_not_go_together(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_HOME", str(stack.home))
    settings_module.load.cache_clear()

    def refused(*words: str) -> str:
        done = CliRunner().invoke(app, ["lineage", *words])
        assert isinstance(done.exception, UsageError)
        return done.exception.message

    assert refused() == "which dataset?"
    assert refused("--run", "x", "--at", "main") == "--run does not go with --at"
    assert refused("airline_league", "--date", "2013-01-01") == "gold.marts.airline_league is made whole"
    assert refused("punctuality", "--column", "place") == "exposure:punctuality has no columns"
    below = json.loads(CliRunner().invoke(app, ["lineage", "airline_league", "--down", "--json"]).stdout)
    assert below == [{"dataset": "exposure:punctuality", "made_of": ["gold.marts.airline_league"]}]
    with ProtocolRuns(stack) as runs:
        run, _ = runs.written({gold("one", {"k": "bigint"}, domain=f"f{uuid.uuid4().hex[:8]}"): [{"k": 1}]})
    assert "nothing of it is on main" in refused("gold.operations.fact_flight", "--run", run.id)
    told = json.loads(CliRunner().invoke(app, ["lineage", "--run", run.id, "--json"]).stdout)
    assert (told["run"], told["state"]) == (run.id, "validated")

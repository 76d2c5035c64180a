"""Branches of failed runs are removed when their time to live has ended, those of merged runs at once; nothing else, no file."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from medallion.commands import undo as commands
from medallion.contract import Contract
from medallion.errors import UsageError
from medallion.janitor import Leaving, clean, leaving
from medallion.lakehouse.nessie import MAIN, Reference
from medallion.lakehouse.run import Run, fail
from medallion.lakehouse.store import Store
from medallion.services import postgres
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.protocol_runs import VALUE, ProtocolRuns
from tests.protocol_runs import another_value as value

TTL_DAYS = 7


@pytest.fixture(scope="module")
def runs(stack: Settings) -> Iterator[ProtocolRuns]:
    with ProtocolRuns(stack) as runs:
        yield runs


@pytest.fixture
def mine(runs: ProtocolRuns) -> Contract:
    contract = gold("mine", VALUE, domain=f"d{uuid.uuid4().hex[:10]}")
    runs.merged({contract: value(1)})
    return contract


def ended(runs: ProtocolRuns, run: Run, state: str, days_ago: float) -> Run:
    """Let a run have ended in this state, so long ago."""
    if state in ("failed", "conflicted"):
        fail(runs.journal, run, "the gate refused it", state)
    else:
        run.save(runs.journal, state)
        runs.journal.release(run.id)
    with postgres.connect(runs.settings.postgres) as connection:
        connection.execute(
            "UPDATE ops.runs SET ended_at = ended_at - make_interval(secs => %s), "
            "opened_at = opened_at - make_interval(secs => %s), changed_at = changed_at - make_interval(secs => %s) "
            "WHERE run_id = %s",
            (*[days_ago * 86_400] * 3, run.id),
        )
    return run


def test_only_expired_branches_of_failed_runs_are_removed_and_no_file(runs: ProtocolRuns, mine: Contract) -> None:
    def left(state: str, days_ago: float) -> Run:
        run, _ = runs.written({mine: value(2)})
        return ended(runs, run, state, days_ago)

    expired = [left("failed", TTL_DAYS + 0.01), left("conflicted", 400)]
    kept = [left("failed", TTL_DAYS - 0.01), *[left(state, 400) for state in ("written", "validated", "merging")]]
    others = ["dev-sandbox/old-model", f"run/{uuid.uuid4()}"]  # no run's
    for name in others:
        runs.nessie.create_branch(name, runs.main())
    main, tables = runs.main(), runs.nessie.tables(runs.main())
    prefix = f"tables/{mine.domain}/"
    files = Store(runs.settings.s3).versions(mine.bucket, prefix)
    written = runs.nessie.tables(runs.nessie.reference(expired[0].branch))[mine.dataset]
    assert written != tables[mine.dataset]
    clean(runs.nessie, runs.journal, 10_000)  # what other tests merged and left
    before = {reference.name for reference in runs.nessie.references()}

    told = leaving(runs.nessie, runs.journal, TTL_DAYS)
    assert {reference.name for reference in runs.nessie.references()} == before, "it only looked"
    found = clean(runs.nessie, runs.journal, TTL_DAYS)

    assert found == told
    assert {(one.run_id, one.state) for one in found} == {(expired[0].id, "failed"), (expired[1].id, "conflicted")}
    assert before - {reference.name for reference in runs.nessie.references()} == {run.branch for run in expired}
    assert {*others, *[run.branch for run in kept]} <= {reference.name for reference in runs.nessie.references()}
    assert (runs.main(), runs.nessie.tables(Reference(MAIN, main.hash))) == (main, tables)
    assert Store(runs.settings.s3).versions(mine.bucket, prefix) == files
    assert any(file.uri == written["metadataLocation"] for file in files)
    assert [runs.state(run) for run in expired] == ["failed", "conflicted"], "the journal still tells of them"
    assert runs.journal.steps(expired[0].id)[-1]["name"] == "run.branch.expire"
    with pytest.raises(UsageError, match="there is no branch"):
        runs.nessie.reference(expired[0].branch)
    assert clean(runs.nessie, runs.journal, TTL_DAYS) == []

    for name in [*others, *[run.branch for run in kept]]:
        runs.nessie.delete_branch(name)
    for run in kept:
        runs.journal.update(run.id, state="failed", error="left by a test")


@pytest.mark.parametrize("state", ["merged", "published", "reverted", "unchanged"])
def test_the_branch_that_a_run_left_behind_is_removed_at_once(runs: ProtocolRuns, mine: Contract, state: str) -> None:
    """As of a process that was killed after it had written down that the run is at an end."""
    run, _ = runs.written({mine: value(2)})
    ended(runs, run, state, 0)
    main, at = runs.main(), runs.nessie.reference(run.branch).hash

    found = [one for one in clean(runs.nessie, runs.journal, TTL_DAYS) if one.run_id == run.id]

    assert found == [Leaving(run.id, state, run.branch, at, f"it is {state}, and left it behind")]
    assert runs.nessie.references(run.branch) == []
    assert (runs.main(), runs.state(run)) == (main, state)
    assert runs.journal.steps(run.id)[-1]["name"] == "run.branch.remove"


def test_the_command_shows_what_would_go_and_removes_it_when_told_to(
    runs: ProtocolRuns, mine: Contract, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "load", lambda: runs.settings)
    clean(runs.nessie, runs.journal, TTL_DAYS)
    run, _ = runs.written({mine: value(2)})
    ended(runs, run, "failed", runs.settings.runs.failed_branch_ttl_days + 1)

    commands.janitor()
    assert "1 branch would be removed; `medallion janitor --yes` does it" in (told := capsys.readouterr().out)
    assert run.id in told
    assert runs.nessie.references(run.branch) != []
    commands.janitor(dry_run=True, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run_id"], row["branch"], row["state"]) == (run.id, run.branch, "failed")
    commands.janitor(dry_run=False)
    assert "1 branch removed" in capsys.readouterr().out
    assert runs.nessie.references(run.branch) == []
    commands.janitor()
    assert "0 branches would be removed" in capsys.readouterr().out

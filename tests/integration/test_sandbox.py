"""Sandboxes: made, listed and dropped; and none of them is ever merged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date

import pytest

import medallion
from medallion import job, recovery
from medallion.errors import UsageError
from medallion.lakehouse import sandbox as branches
from medallion.lakehouse.merge import merge
from medallion.lakehouse.nessie import MAIN, NO_ANCESTOR, Operation, Reference, commit_body
from medallion.lakehouse.run import Run, load_run
from medallion.pipeline import Lake
from tests.demo_lake import DAY, ROUTES
from tests.sandboxes import Command

pytest_plugins = ["tests.demo_lake", "tests.sandboxes"]


# ── create, list, drop ────────────────────────────────────────────────────────────────────────────
def test_a_sandbox_is_made_listed_and_dropped(sandbox_lake: Lake, command: Command) -> None:
    main = sandbox_lake.nessie.reference(MAIN)
    assert json.loads(command("sandbox", "list", "--json")) == []
    assert "sandbox create" in command("sandbox", "list")
    assert 'medallion.sandbox("first-try")' in command("sandbox", "create", "first-try")
    (listed,) = json.loads(command("sandbox", "list", "--json"))
    assert (listed["name"], listed["branch"], listed["commits"]) == ("first-try", "dev-sandbox/first-try", 0)
    assert (listed["forked_from"], listed["forked_at"]) == (MAIN, main.hash)
    assert "first-try" in command("sandbox", "list")
    assert command("sandbox", "diff", "first-try") == "nothing differs\n"
    assert command("diff", MAIN, "dev-sandbox/first-try") == "no table differs\n"
    assert "dropped" in command("sandbox", "drop", "first-try")
    assert json.loads(command("sandbox", "list", "--json")) == []
    assert sandbox_lake.nessie.references("dev-sandbox") == []
    assert sandbox_lake.nessie.reference(MAIN) == main


def test_a_sandbox_begins_where_it_is_told(sandbox_lake: Lake, command: Command) -> None:
    commits = [commit.hash for commit in sandbox_lake.nessie.log(sandbox_lake.nessie.reference(MAIN))]
    earlier = commits[1]
    command("sandbox", "create", "earlier", "--at", earlier)
    command("sandbox", "create", "of-another", "--at", "dev-sandbox/earlier")
    found = {one.name: one for one in branches.every(sandbox_lake.nessie)}
    assert (found["earlier"].forked_from, found["earlier"].forked_at) == (MAIN, earlier)
    assert found["of-another"].forked_from == "dev-sandbox/earlier"
    assert found["of-another"].forked_at == found["earlier"].head.hash
    for each in found:
        command("sandbox", "drop", each)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["create", "Try"], "'Try' cannot be a sandbox's name"),
        (["create", "a_b"], "'a_b' cannot be a sandbox's name"),
        (["create", ""], "'' cannot be a sandbox's name"),
        (["create", "x" * 41], "cannot be a sandbox's name"),
        (["create", "there"], "'there' exists already"),
        (["create", "dev-sandbox/there"], "'there' exists already"),
        (["create", "other", "--at", "nosuch"], "no branch 'nosuch'"),
        (["create", "other", "--at", "0123456789abcdef" * 4], "main has no commit '0123456789abcdef"),
        (["drop", "nosuch"], "no sandbox 'nosuch'\n  → there are: there"),
        (["drop", "main"], "no sandbox 'main'"),
        (["drop", "run/2013-01-01-pipeline-00000000"], "cannot be a sandbox's name"),
        (["diff", "nosuch"], "no sandbox 'nosuch'"),
        (["diff", "there", "gold.operations.nosuch"], "'there' has a table 'gold.operations.nosuch'"),
    ],
)
def test_wrong_usage_is_2_and_changes_nothing(sandbox_lake: Lake, command: Command, words: list[str], told: str) -> None:
    if "dev-sandbox/there" not in {reference.name for reference in sandbox_lake.nessie.references()}:
        command("sandbox", "create", "there")
    before = sandbox_lake.nessie.references()
    assert told in command("sandbox", *words, code=2)
    assert sandbox_lake.nessie.references() == before


def test_a_sandbox_needs_tables_and_a_commit_of_the_branch_it_names(sandbox_lake: Lake, command: Command) -> None:
    empty = sandbox_lake.nessie.create_branch("empty", Reference(MAIN, NO_ANCESTOR))
    assert "there is no table at empty@" in command("sandbox", "create", "other", "--at", "empty", code=2)
    sandbox_lake.nessie.delete_branch(empty.name)
    command("sandbox", "create", "a-hash")
    of_a_sandbox = sandbox_lake.nessie.reference("dev-sandbox/a-hash").hash
    assert f"main has no commit '{of_a_sandbox}'" in command("sandbox", "create", "other", "--at", of_a_sandbox, code=2)
    command("sandbox", "drop", "a-hash")


def test_a_creation_that_is_interrupted_leaves_no_sandbox(sandbox_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = sandbox_lake.nessie.references()
    with monkeypatch.context() as patched:
        patched.setattr(sandbox_lake.nessie, "commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            branches.create(sandbox_lake.nessie, sandbox_lake.store, "unlucky", sandbox_lake.nessie.reference(MAIN))
    assert sandbox_lake.nessie.references() == before
    assert branches.create(sandbox_lake.nessie, sandbox_lake.store, "unlucky", sandbox_lake.nessie.reference(MAIN)).commits == 0


def test_a_branch_made_by_other_means_is_no_sandbox_but_can_be_dropped(sandbox_lake: Lake, command: Command) -> None:
    sandbox_lake.nessie.create_branch("dev-sandbox/by-hand", sandbox_lake.nessie.reference(MAIN))
    with pytest.raises(UsageError, match="was not made by"):
        medallion.sandbox("by-hand")
    assert "by-hand" not in command("sandbox", "list")
    command("sandbox", "drop", "by-hand")
    with pytest.raises(UsageError, match="no sandbox 'by-hand'"):
        medallion.sandbox("by-hand")


# ── a sandbox never merges ────────────────────────────────────────────────────────────────────────
@pytest.fixture
def written(sandbox_lake: Lake) -> Iterator[Reference]:
    """A sandbox with a commit on it."""
    begun = branches.create(sandbox_lake.nessie, sandbox_lake.store, "unmerged", sandbox_lake.nessie.reference(MAIN))
    changed = sandbox_lake.nessie.tables(begun.head)[ROUTES] | {"snapshotId": -1}
    head = sandbox_lake.nessie.commit(begun.head, commit_body([Operation("PUT", ROUTES, changed)], "by hand", {}))
    yield Reference(begun.head.name, head)
    branches.drop(sandbox_lake.nessie, "unmerged")


def test_no_command_merges_or_publishes_a_sandbox(
    sandbox_lake: Lake, command: Command, written: Reference, capfd: pytest.CaptureFixture[str]
) -> None:
    recovery.resume(sandbox_lake.nessie, sandbox_lake.journal)  # what other modules have left behind
    main, runs = sandbox_lake.nessie.reference(MAIN), sandbox_lake.journal.runs(1000)
    told = command("merge", written.name, code=2)
    assert "is a sandbox, and a sandbox is never merged" in told
    assert "contract and transform" in told
    assert job.layer_job("silver", ["--date", str(DAY), "--run", written.name]) == 2
    assert "a sandbox is never merged" in capfd.readouterr().err
    for words in (["resume", written.name], ["merge", written.hash], ["publish", "--at", written.name],
                  ["publish", "--at", written.hash]):  # fmt: skip
        command(*words, code=2)
    assert sandbox_lake.nessie.reference(MAIN) == main
    assert sandbox_lake.journal.runs(1000) == runs


def test_the_merge_takes_no_other_branch_than_the_runs_own(sandbox_lake: Lake, written: Reference) -> None:
    main = sandbox_lake.nessie.reference(MAIN)
    run = Run("forged", "pipeline", DAY, main, "validated", sandbox_lake.nessie.contents(main))
    with pytest.raises(UsageError, match="is never merged"):
        merge(sandbox_lake.nessie, sandbox_lake.journal, run, written, "forged", {})
    with pytest.raises(UsageError, match="only its own branch"):
        merge(sandbox_lake.nessie, sandbox_lake.journal, run, main, "forged", {})
    assert sandbox_lake.nessie.reference(MAIN) == main


def test_no_run_begins_on_a_sandbox(sandbox_lake: Lake, command: Command, written: Reference) -> None:
    """A run is forked from main. Where the journal was forged to say otherwise, the catalog refuses the merge."""
    run_id = command("open", "--date", "2013-01-02").strip()
    main = sandbox_lake.nessie.reference(MAIN)
    assert load_run(sandbox_lake.nessie, sandbox_lake.journal, run_id).h0 == main
    command("abandon", run_id)
    forged = "2013-01-02-forged"
    sandbox_lake.journal.open(forged, "pipeline", date(2013, 1, 2), f"run/{forged}", written.hash, None)
    run = load_run(sandbox_lake.nessie, sandbox_lake.journal, forged)
    run.base = sandbox_lake.nessie.contents(main)
    run.save(sandbox_lake.journal, "validated")
    judged = sandbox_lake.nessie.create_branch(run.branch, written)
    with pytest.raises(UsageError, match="Could not find commit"):
        merge(sandbox_lake.nessie, sandbox_lake.journal, run, judged, "forged", {})
    assert sandbox_lake.nessie.reference(MAIN) == main
    run.save(sandbox_lake.journal, "failed")
    sandbox_lake.journal.release(forged)
    sandbox_lake.nessie.delete_branch(run.branch)

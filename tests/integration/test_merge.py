"""The one commit on main: what it says, when it passes, when it is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection

import pytest

from medallion.domain import Domains
from medallion.errors import UsageError
from medallion.lakehouse import merge as merge_module
from medallion.lakehouse.catalog import ensure_tables
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import AUDIT_HASH, AUDIT_SEQUENCE, RUN_PROPERTY, operations
from medallion.lakehouse.nessie import MAIN, CommitConflict, CommitRefused, Content, Nessie, Operation
from medallion.lakehouse.run import fail
from medallion.pipeline import Lake, merge_run
from medallion.services import postgres
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.protocol_runs import VALUE, ProtocolRuns
from tests.protocol_runs import another_value as value
from tests.two_processes import processes


@pytest.fixture(scope="module")
def runs(stack: Settings) -> Iterator[ProtocolRuns]:
    with ProtocolRuns(stack) as runs:
        yield runs


@pytest.fixture
def domain() -> str:
    return f"d{uuid.uuid4().hex[:10]}"


def test_operations_name_what_changed_and_what_was_read() -> None:
    base = {
        "gold": {"type": "NAMESPACE", "id": "n"},
        "kept": {"type": "ICEBERG_TABLE", "id": "1", "snapshotId": 1},
        "read": {"type": "ICEBERG_TABLE", "id": "2", "snapshotId": 2},
        "changed": {"type": "ICEBERG_TABLE", "id": "3", "snapshotId": 3},
        "dropped": {"type": "ICEBERG_TABLE", "id": "4", "snapshotId": 4},
    }
    changed = base["changed"] | {"snapshotId": 33}
    judged = {k: v for k, v in base.items() if k != "dropped"} | {
        "changed": changed,
        "new": {"type": "ICEBERG_TABLE", "id": "of the branch", "snapshotId": 5},
    }

    found = {(o.type, o.key): o.content for o in operations(base, judged, {"read", "changed", "dropped", "never seen"})}

    assert found == {
        ("PUT", "changed"): changed,
        ("PUT", "new"): {"type": "ICEBERG_TABLE", "snapshotId": 5},  # without the branch's id
        ("DELETE", "dropped"): None,
        ("UNCHANGED", "read"): None,
    }


def test_puts_deletes_and_reads_pass_in_one_commit_with_its_properties(runs: ProtocolRuns, domain: str) -> None:
    old, changed, read, new = (gold(name, VALUE, domain=domain) for name in ("old", "changed", "read", "new"))
    runs.merged({old: value(1), changed: value(1), read: value(1)})
    before = runs.main()
    run, judged = runs.written({changed: value(2), new: value(3)}, reads=[read], drops=[old])

    merged = runs.merge(run, judged, **{"medallion.kind": "test", "medallion.judged": judged.hash})

    (commit,) = runs.commits_of(run)
    assert (commit.hash, commit.parent) == (merged, before.hash)
    assert runs.main().hash == merged
    anchor = {name: commit.properties.pop(name) for name in (AUDIT_SEQUENCE, AUDIT_HASH)}
    assert commit.properties == {"medallion.kind": "test", "medallion.judged": judged.hash, RUN_PROPERTY: run.id}
    with postgres.connect(runs.settings.postgres) as connection:
        named = "SELECT run_id, action FROM ops.audit WHERE sequence = %s AND hash = %s"
        assert connection.execute(named, tuple(anchor.values())).fetchall() == [(run.id, "branch.created")]
    assert (runs.rows(changed), runs.rows(new), runs.rows(read)) == (value(2), value(3), value(1))
    assert old.dataset not in runs.nessie.tables(runs.main())
    row = runs.journal.run(run.id)
    assert (run.state, row["state"], row["merged_hash"], row["judged_hash"]) == ("merged", "merged", merged, judged.hash)


def test_what_stands_at_a_hash_is_asked_for_once_and_cannot_be_changed_here(runs: ProtocolRuns, domain: str) -> None:
    one = gold("one", VALUE, domain=domain)
    runs.merged({one: value(1)})
    asked: list[str] = []
    with closing(Nessie(runs.settings.nessie)) as nessie:
        nessie._http.event_hooks["request"].append(lambda request: asked.append(request.url.path))
        main = nessie.reference(MAIN)
        before = nessie.contents(main)
        runs.merged({one: value(2)})
        after = nessie.contents(nessie.reference(MAIN))
        assert before[one.dataset] != after[one.dataset], "another hash has other contents"
        wanted = dict(before)
        before.clear()
        assert nessie.contents(main) == wanted
    assert len([path for path in asked if path.endswith("/entries")]) == 2


def test_passes_when_only_other_tables_moved(runs: ProtocolRuns, domain: str) -> None:
    mine, read, other = (gold(name, VALUE, domain=domain) for name in ("mine", "read", "other"))
    runs.merged({mine: value(1), read: value(1), other: value(1)})
    run, judged = runs.written({mine: value(2)}, reads=[read])
    quicker = runs.merged({other: value(2)}, reads=[read, mine])

    merged = runs.merge(run, judged)

    (commit,) = runs.commits_of(run)
    assert (commit.hash, commit.parent) == (merged, quicker)
    assert (runs.rows(mine), runs.rows(other)) == (value(2), value(2))


@pytest.mark.parametrize("moved", ["read", "written", "dropped"])
def test_is_refused_when_a_table_that_it_names_moved(runs: ProtocolRuns, domain: str, moved: str) -> None:
    mine, read, gone = (gold(name, VALUE, domain=domain) for name in ("mine", "read", "gone"))
    runs.merged({mine: value(1), read: value(1), gone: value(1)})
    run, judged = runs.written({mine: value(2)}, reads=[read], drops=[gone])
    contested = {"read": read, "written": mine, "dropped": gone}[moved]
    quicker = runs.merged({contested: value(9)})

    with pytest.raises(CommitConflict) as refused:
        runs.merge(run, judged)

    assert refused.value.keys == (contested.dataset,)
    assert runs.main().hash == quicker
    assert (runs.commits_of(run), runs.rows(contested)) == ([], value(9))


def test_is_refused_when_a_table_that_it_read_was_dropped(runs: ProtocolRuns, domain: str) -> None:
    mine, read = (gold(name, VALUE, domain=domain) for name in ("mine", "read"))
    runs.merged({mine: value(1), read: value(1)})
    run, judged = runs.written({mine: value(2)}, reads=[read])
    dropping, at = runs.written({}, drops=[read])
    runs.merge(dropping, at)

    with pytest.raises(CommitConflict) as refused:
        runs.merge(run, judged)

    assert refused.value.keys == (read.dataset,)
    assert runs.rows(mine) == value(1)


def test_is_refused_when_another_created_the_same_table(runs: ProtocolRuns, domain: str) -> None:
    first, second = (gold(name, VALUE, domain=domain) for name in ("first", "second"))
    runs.merged({first: value(1)})  # the namespace is there
    run, judged = runs.written({second: value(2), first: value(2)})
    quicker = runs.merged({second: value(9)})

    with pytest.raises(CommitConflict) as refused:
        runs.merge(run, judged)

    assert refused.value.keys == (second.dataset,)
    assert (runs.main().hash, runs.rows(first), runs.rows(second)) == (quicker, value(1), value(9))


def test_a_run_that_changed_nothing_makes_no_commit(runs: ProtocolRuns, domain: str) -> None:
    read = gold("read", VALUE, domain=domain)
    before = runs.merged({read: value(1)})
    run, judged = runs.written({}, reads=[read])

    assert runs.merge(run, judged) is None
    assert runs.main().hash == before
    assert (run.state, runs.state(run)) == ("unchanged", "unchanged")


def test_what_is_written_after_the_judgement_is_not_merged(runs: ProtocolRuns, domain: str) -> None:
    mine = gold("mine", VALUE, domain=domain)
    runs.merged({mine: value(1)})
    run, judged = runs.written({mine: value(2)})
    runs.tables.commit({mine: value(3)}, branch=run.branch)

    runs.merge(run, judged)

    assert runs.rows(mine) == value(2)


@pytest.mark.parametrize("state", ["failed", "conflicted"])
def test_a_sealed_run_is_refused(runs: ProtocolRuns, domain: str, state: str) -> None:
    mine = gold("mine", VALUE, domain=domain)
    before = runs.merged({mine: value(1)})
    run, judged = runs.written({mine: value(2)})
    fail(runs.journal, run, "the rules refused it", state)

    with pytest.raises(UsageError, match=f"{run.id} is {state}: only a validated run can be merged"):
        runs.merge(run, judged)

    assert runs.main().hash == before
    assert runs.nessie.reference(run.branch) == judged, "the branch is kept"


def test_a_request_that_the_catalog_cannot_take_fails_the_run_for_good(
    runs: ProtocolRuns, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = gold("mine", VALUE, domain=domain)
    run = runs.handed_over({mine: value(1)})
    before = runs.main()

    def keep_the_id(base: dict[str, Content], judged: dict[str, Content], reads: set[str]) -> list[Operation]:
        return [Operation("PUT", mine.dataset, judged[mine.dataset])]  # new to main, yet with an id

    monkeypatch.setattr(merge_module, "operations", keep_the_id)
    with Lake(runs.settings, Domains({}, {})) as lake, pytest.raises(CommitRefused, match="Nessie refused a commit on main"):
        merge_run(lake, run.id, report=lambda line: None)

    assert runs.main() == before
    assert runs.state(run) == "failed"


def _create(pipe: Connection, settings: Settings, domain: str, names: list[str]) -> None:
    contracts = [gold(name, VALUE, domain=domain) for name in names]
    with closing(Nessie(settings.nessie)) as nessie, Journal(settings.postgres) as journal:
        pipe.send("ready")
        pipe.recv()
        pipe.send(ensure_tables(settings, nessie, journal, contracts))


def test_processes_that_create_the_catalog_at_once_make_each_table_once(stack: Settings, runs: ProtocolRuns, domain: str) -> None:
    before, branches = runs.main().hash, runs.nessie.references("run/init-")
    names = [f"t{i}" for i in range(4)]
    with processes(_create, [(stack, domain, names)] * 3) as creating:
        assert [process.hear() for process in creating] == ["ready"] * 3
        for process in creating:
            process.say("go")
        created = [process.hear() for process in creating]

    assert sorted(created) == [0, 0, 8], "each table and its quarantine, by one of them"
    assert len(list(runs.nessie.log(runs.main(), until=before))) == 1
    tables = [key for key in runs.nessie.tables(runs.main()) if f".{domain}." in key]
    assert sorted(tables) == sorted(f"gold.{domain}.{name}{q}" for name in names for q in ("", "__quarantine"))
    assert runs.nessie.references("run/init-") == branches, "no branch is left but those that other tests' failed runs left"

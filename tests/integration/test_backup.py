"""Copies in a second location, and a new stack from them alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medallion import evidence, recovery
from medallion.audit import log
from medallion.backup import points
from medallion.backup.backup import backup, status
from medallion.backup.copying import brought, fill
from medallion.backup.location import place, stored
from medallion.backup.own import OWN
from medallion.backup.recover import recover
from medallion.backup.restore import Restored, plan, restore_into, source
from medallion.errors import InputError, MedallionError, ServiceUnavailable, SettingsError, UsageError
from medallion.lake import Lake
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Nessie, Reference
from medallion.lakehouse.steps import STEPS
from medallion.lakehouse.store import Store
from medallion.publish.publication import history as ledger
from medallion.publish.reconcile import reconcile
from medallion.services import postgres, stack
from medallion.settings import Backup, Settings, load
from tests.backups import (
    DELIVERY,
    PRICES,
    SALES,
    SHOWN,
    History,
    appended,
    begun,
    come_back,
    command,
    digests,
    killed_at,
    lived,
    lost,
    merged,
    quiet,
    recovered,
    with_location,
    without_listing,
)  # fmt: skip
from tests.conftest import new_home, new_stack
from tests.protocol_runs import ProtocolRuns
from tests.two_processes import processes


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A stack of its own: two good versions, one of which no backup has a point for, then an hour of nonsense."""
    with new_stack() as plain:
        settings = with_location(plain, tmp_path_factory.mktemp("second")).model_copy(update={"warehouse": "postgres"})
        story = History(settings)
        with ProtocolRuns(settings) as runs:
            lived(story, runs)
            yield story


@pytest.fixture(scope="module")
def restored(lake: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Restored]]:
    """A new stack of the time before the nonsense, made while nothing of the old one can be reached."""
    with come_back(lake, tmp_path_factory.mktemp("lost"), new_home()) as made:
        yield made


def test_main_is_where_it_was_with_its_whole_history_value_by_value(lake: History, restored: tuple[Settings, Restored]) -> None:
    new, done = restored
    assert not new.restoring_file.exists()
    with closing(Nessie(new.nessie)) as nessie:
        main = nessie.reference(MAIN)
        log = list(nessie.log(main))
    assert main.hash == done.commit == lake.commits["good"]
    assert [one.hash for one in log][:3] == [lake.commits[name] for name in ("good", "appended", "first")]
    for name in ("first", "appended", "good"):
        at = Reference(MAIN, lake.commits[name])
        there = digests(new, at)
        assert there == digests(lake.settings, at)
        assert {dataset: one.rows for dataset, one in there.items()} == {
            SALES.dataset: {"first": 10, "appended": 15, "good": 30}[name], PRICES.dataset: 20,
        }  # fmt: skip


def test_the_warehouse_and_its_ledger_are_those_of_that_moment(lake: History, restored: tuple[Settings, Restored]) -> None:
    new, _ = restored
    assert [one.hash for one in ledger(new)] == [lake.commits["good"]]
    assert [one.hash for one in ledger(lake.settings)] == [lake.commits["nonsense"], lake.commits["good"]]
    assert [(one.dataset, one.agreed, one.warehouse_rows) for one in reconcile(new, SHOWN)] == [
        (PRICES.dataset, True, 20), (SALES.dataset, True, 30),
    ]  # fmt: skip


def test_what_was_under_way_has_ended_and_cannot_merge(lake: History, restored: tuple[Settings, Restored]) -> None:
    """Its request is in the journal, and its files were not copied: it must not be sent again."""
    new, done = restored
    assert lake.under_way
    assert done.ended == (lake.under_way.id,)
    with Journal(new.postgres) as journal, closing(Nessie(new.nessie)) as nessie:
        assert recovery.resume(nessie, journal) == []
        assert [one.name for one in nessie.references()] == [MAIN]
        states = {row["run_id"]: row["state"] for row in journal.runs()}
    assert states.pop(lake.under_way.id) == "failed"
    assert set(states.values()) == {"merged"}


def test_the_audit_log_is_that_of_then_and_says_that_it_was_restored(lake: History, restored: tuple[Settings, Restored]) -> None:
    new, done = restored
    found = log.verify(new)
    assert (found.problems, found.commits, len(found.restores)) == ((), 3, 1)
    (record,) = log.search(new, action="stack.restored")
    told = {"commit": done.commit, "newest": record["sequence"] - 1, "hash": record["previous"]}
    assert record["detail"].items() >= told.items()
    assert log.verify(lake.settings).last > found.last  # type: ignore[operator]  # neither is empty
    backups = {(row["object"], row["outcome"]) for row in log.search(lake.settings, action="lake.backed-up")}
    assert backups == {(place(lake.settings).name, outcome) for outcome in ("begun", "done")}


def test_evidence_and_deliveries_are_there(lake: History, restored: tuple[Settings, Restored]) -> None:
    new, _ = restored
    there, old = Store(new.s3), Store(lake.settings.s3)
    with Journal(new.postgres) as journal:
        run_ids = [row["run_id"] for row in journal.runs() if row["state"] == "merged"]
    for run_id in run_ids:
        assert there.get(evidence.uri(run_id)) == old.get(evidence.uri(run_id))
    assert there.get(DELIVERY) == lake.delivered
    assert len(there.versions("bronze-batch", "shop/")) == 1  # an older version would arrive as a correction of the newer


def test_a_restored_stack_has_copies_of_its_own(lake: History, restored: tuple[Settings, Restored], tmp_path: Path) -> None:
    new, done = restored
    with pytest.raises(SettingsError, match="backup of another lake"):
        backup(with_location(new, lake.settings.backup.location), quiet)
    made = backup(with_location(new, tmp_path / "own"), quiet)
    assert (made.commit, made.base, made.commits) == (done.commit, True, 3)
    assert recovered(with_location(new, tmp_path / "own"), None, tmp_path / "again") == done.commit


def test_another_endpoint_is_a_second_location(lake: History, restored: tuple[Settings, Restored], tmp_path: Path) -> None:
    s3 = restored[0].s3
    keys = {"endpoint": s3.endpoint, "access_key": s3.access_key, "secret_key": s3.secret_key}
    Store(s3).client.make_bucket("copies")
    settings = with_location(lake.settings, "s3://copies/of/a/lake", **keys)
    first, second = backup(settings, quiet), backup(settings, quiet)
    assert (first.commits, second.commits, second.files) == (5, 0, 0)
    assert first.files == len(list(place(settings).names("files"))) > 20
    assert recovered(settings, None, tmp_path / "again") == lake.commits["dropped"]
    with pytest.raises(UsageError, match="is before the first backup"):  # its files are there, and no base backup before it
        plan(place(settings), lake.commits["good"])
    with pytest.raises(SettingsError, match=r"the bucket other of the setting backup\.location does not exist"):
        backup(with_location(lake.settings, "s3://other/of", **keys), quiet)


# ── points and times ──────────────────────────────────────────────────────────────────────────────
def test_a_commit_that_no_backup_stopped_at_is_found_by_time(lake: History, tmp_path: Path) -> None:
    assert "appended" not in lake.points
    assert recovered(lake.settings, lake.commits["appended"], tmp_path / "again") == lake.commits["appended"]


@pytest.mark.parametrize("wrong", [timedelta(seconds=-0.3), timedelta(seconds=0.04)], ids=["too early", "too late"])
def test_where_clocks_differ_the_moment_is_looked_for(lake: History, tmp_path: Path, wrong: timedelta) -> None:
    location = place(lake.settings)
    _, point, base, goal = plan(location, lake.commits["appended"])
    assert goal.time
    with begun(lake.settings, tmp_path / "again") as state:
        recover(state, location, base, point.wal, replace(goal, time=goal.time + wrong))


def test_the_recovery_point_is_shown(lake: History) -> None:
    found = status(lake.settings)
    assert (found.commit, found.main, found.behind, found.lost_since) == (*[lake.commits["dropped"]] * 2, 0, None)
    location = place(lake.settings)
    sizes = [location.size(name) or 0 for name in location.names("files")]
    assert (found.points, found.files, found.bytes) == (4, len(sizes), sum(sizes))
    assert [one.hash for one in points.changes(points.every(location))] == list(lake.commits.values())


def test_with_its_buckets_left_a_stack_needs_no_second_location(lake: History, tmp_path: Path) -> None:
    gone = lake.settings.model_copy(update={"backup": Backup(), "postgres": lost(lake.settings, tmp_path).postgres})
    assert recovered(gone, lake.commits["good"], tmp_path / "again", OWN) == lake.commits["good"]
    location = source(gone, OWN)
    files = [one for one in brought(location, "~").values() if one.uri.startswith((f"s3://{SALES.bucket}", DELIVERY))]
    versioned = next(one for one in files if "?versionId=" in one.uri)
    fill(location, Store(gone.s3), [files[0], versioned], tmp_path, lambda bucket: None, quiet)  # compares their SHA-256


# ── making copies ─────────────────────────────────────────────────────────────────────────────────
def test_only_what_is_new_is_copied_and_no_bucket_is_listed(lake: History, tmp_path: Path) -> None:
    """With keys that may read and write objects, but list no bucket."""
    settings = with_location(lake.settings, tmp_path / "new")
    settings = settings.model_copy(update={"s3": without_listing(settings.s3)})
    with pytest.raises(ServiceUnavailable, match="AccessDenied"):
        Store(settings.s3).versions(SALES.bucket, "")
    backup(settings, quiet)
    before = set(place(settings).names("files"))
    with ProtocolRuns(lake.settings) as runs:
        merged(runs, {SALES: appended(2, 7.5)})
    made = backup(settings, quiet)
    new = set(place(settings).names("files")) - before
    ends = sorted(name.rpartition(".")[2] for name in new)
    assert ends == ["avro", "avro", "json", "json", "parquet"]  # list and manifest, metadata and evidence, rows
    assert (made.commits, made.files, made.base) == (1, 5, False)


def test_whoever_is_killed_at_a_step_leaves_what_the_next_one_goes_on_with(lake: History, tmp_path: Path) -> None:
    settings = with_location(lake.settings, tmp_path / "killed")
    location = place(settings)
    location.prepare()
    (location.incoming / "0123.part").touch()  # whoever was killed while it wrote the first file
    backups = [name for name in STEPS if name.startswith("backup.")]
    for step, when in [*((name, "before") for name in backups), ("backup.watermark", "after")]:
        assert points.newest(location) is None, step
        with processes(killed_at, [(settings, step, when)]) as (victim,), pytest.raises(EOFError):
            victim.hear()
    assert points.newest(location) is not None
    made = backup(settings, quiet)
    assert (made.files, made.base) == (0, False)
    assert len(location.names("brought")) == 1  # what was copied before a kill is not copied again
    assert not list(location.incoming.iterdir())
    assert recovered(settings, None, tmp_path / "again") == made.commit


def test_a_log_with_a_gap_begins_anew_with_a_base(lake: History, tmp_path: Path) -> None:
    settings = with_location(lake.settings, tmp_path / "gap", base_after_mb=64)
    assert backup(settings, quiet).base
    assert not backup(settings, quiet).base
    with postgres.connect(settings.postgres) as server:
        server.execute("SELECT pg_drop_replication_slot('medallion_backup')")
        assert backup(settings, quiet).base
        for _ in range(4):  # segments of 16 MB
            server.execute("SELECT pg_logical_emit_message(true, 'test', 'a record'), pg_switch_wal()")
        assert backup(settings, quiet).base
        with_another = with_location(lake.settings, tmp_path / "another")
        assert backup(with_another, quiet).base
        server.execute("SELECT pg_switch_wal()")
        assert not backup(with_another, quiet).base
        again = with_location(lake.settings, tmp_path / "gap")
        assert backup(again, quiet).base  # the end of a segment went to the other location alone
        assert not backup(again, quiet).base
    location = place(settings)
    assert recovered(settings, None, tmp_path / "again") == points.every(location)[-1].commit
    (tmp_path / "gap" / location.names("catalog/wal")[-1]).unlink()
    with pytest.raises(InputError, match="lacks a part of the catalog's log"):
        plan(location, None)
    assert not backup(again, quiet).base  # that segment is not full: it is copied anew each time
    (tmp_path / "gap" / location.names("catalog/wal")[-2]).unlink()
    assert backup(again, quiet).base


# ── what is refused ───────────────────────────────────────────────────────────────────────────────
KEYS = {"access_key": "medallion", "secret_key": "{key}"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"location": None}, r"backup\.location is empty"),
        ({"location": "{home}/copies"}, "lie in each other"),
        ({"location": "{tmp}/others"}, r"backup\.location, holds files that are no backup"),
        ({"location": "{tmp}/others/file"}, "is no folder"),
        ({"location": "s3://copies/x"}, r"backup\.endpoint, backup\.access_key or backup\.secret_key is not set"),
        ({"location": "s3://copies/x", "endpoint": "{s3}"} | KEYS, "own object store"),
        ({"location": "s3://dev-sandbox/x", "endpoint": "{localhost}"} | KEYS, "own object store"),
        ({"location": "s3://copies/x", "endpoint": "http://127.0.0.1:9"} | KEYS, "does not answer"),
    ],
    ids=["none", "within the stack", "not empty", "a file", "without keys", "the lake's", "the lake's by another name", "down"],
)
def test_a_location_that_cannot_be(lake: History, tmp_path: Path, more: dict[str, Any], told: str) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").touch()
    s3 = lake.settings.s3
    known = {
        "home": lake.settings.home, "tmp": tmp_path, "s3": s3.endpoint, "key": s3.secret_key.get_secret_value(),
        "localhost": s3.endpoint.replace("127.0.0.1", "localhost"),
    }  # fmt: skip
    wanted = {name: value and value.format(**known) for name, value in more.items()}
    settings = lake.settings.model_copy(update={"backup": Backup.model_validate(wanted)})
    with pytest.raises((SettingsError, ServiceUnavailable), match=told):
        backup(settings, quiet)


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("yesterday", "neither a commit's hash nor a time"),
        ("0123456789", "no commit of main in the backup begins so"),
        ("2999-01-01", "is after the recovery point"),
        ("29990101", "is after the recovery point"),
        ("2013-01-01T00:00:00Z", "is before the first commit"),
        (None, "is not empty"),
    ],
)
def test_a_restore_that_cannot_be(lake: History, tmp_path: Path, to: str | None, told: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=told):
        restore_into(lake.settings, to, tmp_path, lake.settings.backup.location, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no backup"):
        restore_into(lake.settings, to, tmp_path / "new", str(tmp_path / "empty"), quiet)


def test_a_damaged_copy_is_not_restored(lake: History, tmp_path: Path) -> None:
    shutil.copytree(str(lake.settings.backup.location), tmp_path / "copy")
    location = place(lake.settings, str(tmp_path / "copy"))
    files = list(brought(location, "~").values())
    with (tmp_path / "copy" / stored(files[0].uri)).open("r+b") as file:
        file.write(b"damaged")
    with pytest.raises(MedallionError, match="is not what was copied there"):
        fill(location, Store(lake.settings.s3), files[:1], tmp_path, lambda bucket: None, quiet)
    segment = tmp_path / "copy" / location.names("catalog/wal")[-1]
    packed = segment.read_bytes()
    for number, damaged in enumerate((packed[:1000], packed[:100] + b"\xff" * 1000 + packed[1100:])):
        segment.write_bytes(damaged)
        with pytest.raises(MedallionError, match="is damaged"):
            recovered(lake.settings, None, tmp_path / f"log{number}", location.name)
    (tmp_path / "copy" / next(name for name in location.names("catalog/bases") if name.endswith("gz"))).write_bytes(b"")
    with pytest.raises(MedallionError, match=r"base\.tar\.gz is not what was copied there"):
        recovered(lake.settings, None, tmp_path / "base", location.name)
    told: list[str] = []
    with pytest.raises(MedallionError, match=r"base\.tar\.gz is not what was copied there"):
        restore_into(lake.settings, None, tmp_path / "half", location.name, told.append)
    assert f"remove {tmp_path / 'half'}" in told[-1]
    with pytest.raises(SettingsError, match="half a stack: the restore into it has not ended"):
        Lake(lake.settings.model_copy(update={"home": tmp_path / "half"}))
    stack.down(lake.settings.model_copy(update={"home": tmp_path / "half"}), quiet, remove=True)


def test_the_commands_say_so(
    lake: History, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDALLION_BACKUP__LOCATION", str(tmp_path / "copies"))
    load.cache_clear()
    (tmp_path / "taken").touch()
    told = partial(command, monkeypatch, capfd)
    assert told("backup", "status", "--json")["commit"] is None
    made = told("backup", "--json")
    assert told("backup", "status", "--json")["commit"] == made["commit"] == told("backup", "points", "--json")[0]["hash"]
    assert "--into" in told("restore", "--into", str(tmp_path), code=2)
    load.cache_clear()

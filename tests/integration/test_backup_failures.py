"""What fails around a backup, and takes nothing from the run, the backup or a restore."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from medallion import afterwards
from medallion.backup import points
from medallion.backup.backup import after_merge, backup, status
from medallion.backup.copying import brought, download, fill
from medallion.backup.location import Bucket, place, put_text, stored
from medallion.backup.own import OWN
from medallion.backup.restore import restore_into, source
from medallion.errors import ConflictError, InputError, MedallionError, ServiceUnavailable, SettingsError, UsageError
from medallion.lake import Lake
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.store import Store, split
from medallion.lakehouse.table import open_static
from medallion.services import stack as services
from tests.backups import (
    DELIVERY,
    SALES,
    SHOWN,
    History,
    appended,
    deliver,
    limited_files,
    merged,
    out_of_order,
    quiet,
    restored_until,
    sales,
    with_location,
)
from tests.conftest import new_home, new_stack
from tests.protocol_runs import ProtocolRuns
from tests.two_processes import processes


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A stack of its own with one delivery, backed up."""
    with new_stack() as plain:
        settings = with_location(plain, tmp_path_factory.mktemp("second"))
        with ProtocolRuns(settings) as runs:
            merged(runs, {SALES: sales(10, 1.5)}, [deliver(settings, b"id,amount\n1,2.5\n")])
        backup(settings, quiet)
        yield History(settings)


@pytest.mark.parametrize("own", [False, True], ids=["second location", "the lake's buckets"])
def test_a_delivery_without_a_copy_is_told_and_stops_no_restore(lake: History, tmp_path: Path, own: bool) -> None:
    """A backup was killed before it had copied it, or its version was purged; then its owner removed it."""
    shutil.copytree(str(lake.settings.backup.location), tmp_path / "copy")
    location = source(lake.settings, OWN if own else str(tmp_path / "copy"))
    delivery, data = (
        next(one for one in brought(location, "~").values() if one.uri.startswith(part))
        for part in (DELIVERY, f"s3://{SALES.bucket}")
    )
    if own:
        delivery = replace(delivery, uri=f"{DELIVERY}?versionId=00000000-0000-0000-0000-000000000000")
        data = replace(data, uri=f"{data.uri}.gone")
    else:
        for one in (delivery, data):
            (tmp_path / "copy" / stored(one.uri)).unlink()
    put = partial(fill, location, Store(lake.settings.s3), work=tmp_path, ensure=lambda bucket: None, report=quiet)
    assert put(files=[delivery]) == [delivery.uri]
    with pytest.raises(InputError, match="does not exist"):
        put(files=[delivery, data])


def test_a_backup_that_hangs_holds_the_next_one_for_a_limited_time(lake: History) -> None:
    settings = lake.settings.model_copy(update={"backup": lake.settings.backup.model_copy(update={"wait_s": 1})})
    before, told = status(settings), list[str]()
    with Journal(settings.postgres) as hanging, hanging.queue(["medallion.backup"]):
        with pytest.raises(ConflictError, match=r"at work on medallion\.backup for 1 s and more"):
            backup(settings, quiet)
        after_merge(settings, told.append)
    assert "at work on medallion.backup" in told[-1]
    assert status(settings) == before
    backup(settings, quiet)


def test_what_was_merged_is_backed_up_though_the_publication_failed(lake: History, tmp_path: Path) -> None:
    settings = with_location(lake.settings, tmp_path / "second")
    with ProtocolRuns(settings) as runs:
        open_lake = SimpleNamespace(settings=settings, nessie=runs.nessie)
        with afterwards.backed_up(open_lake, quiet) as copied:
            pass
        assert copied == {}

        def unpublished() -> None:
            with afterwards.backed_up(open_lake, quiet):
                merged(runs, {SALES: appended(1, 8.5)})
                raise InputError("not published")

        with pytest.raises(InputError, match="not published"):
            unpublished()
        assert status(settings).commit == runs.main().hash
        with afterwards.backed_up(open_lake, quiet) as copied:
            commit = merged(runs, {SALES: appended(1, 8.5)})
        assert copied["backup"]["commit"] == commit


def test_whatever_ends_a_backup_takes_nothing_from_the_run(lake: History, tmp_path: Path) -> None:
    """A disk that takes no more, a store that answers 503 to a HEAD, a folder that cannot be made."""
    store, location = Store(lake.settings.s3), place(lake.settings)
    with limited_files(10):
        with pytest.raises(SettingsError, match=f"{tmp_path} takes no more files: File too large"):
            download(store, DELIVERY, tmp_path / "file")
        with pytest.raises(SettingsError, match=f"{location.incoming} takes no more files"):
            put_text(location, "text.json", "more than ten bytes")
    assert not list(location.incoming.iterdir())
    with out_of_order() as endpoint:
        down = lake.settings.s3.model_copy(update={"endpoint": endpoint})
        with pytest.raises(ServiceUnavailable, match="does not answer"):
            Store(down).holds(DELIVERY)
        with pytest.raises(ServiceUnavailable, match=r"the setting backup\.endpoint, does not answer"):
            Bucket(down, "copies", "", tmp_path)
    (tmp_path / "backup").touch()
    settings = lake.settings.model_copy(update={"home": tmp_path})
    lines: list[str] = []
    found = afterwards.back_up(SimpleNamespace(settings=settings), lines.append)["backup"]
    assert found["error"].startswith("FileExistsError")
    assert "the recovery point is as it was: FileExistsError" in lines[-1]


def test_a_file_that_is_gone_stops_the_backup_and_is_named(lake: History, tmp_path: Path) -> None:
    settings = with_location(lake.settings, tmp_path / "gone")
    with ProtocolRuns(lake.settings) as runs:
        content = runs.nessie.tables(runs.main())[SALES.dataset]
        uri = open_static(settings.s3, content).metadata.snapshots[-1].manifest_list
        bucket, key, _ = split(uri)
        store = Store(settings.s3)
        held = store.get(uri)
        store.client.remove_object(bucket, key)
        try:
            with pytest.raises(MedallionError, match=key):
                backup(settings, quiet)
            assert status(settings).commit is None
            assert afterwards.back_up(SimpleNamespace(settings=settings), quiet)["backup"]["error"]  # told, and the run is merged
        finally:
            store.put(uri, held, "avro/binary")
    assert afterwards.back_up(SimpleNamespace(settings=settings), quiet)["backup"]["commits"] == len(
        points.every(place(settings))[0].changes
    )
    assert afterwards.back_up(SimpleNamespace(settings=with_location(settings, "x", after_merge=False)), quiet) == {}


def test_a_restore_that_was_killed_leaves_no_stack_to_work_with(lake: History) -> None:
    for step in ("restore.catalog", "restore.files"):  # before there is a server, and when all of them run
        half = lake.settings.model_copy(update={"home": new_home()})
        try:
            with processes(restored_until, [(lake.settings, half.home, step)]) as (victim,), pytest.raises(EOFError):
                victim.hear()
            for use in (lambda half=half: services.up(half, quiet), lambda half=half: Lake(half)):
                with pytest.raises(SettingsError, match="half a stack: the restore into it has not ended"):
                    use()
            with pytest.raises(UsageError, match="is not empty"):
                restore_into(lake.settings, None, half.home, None, quiet, domains=SHOWN)
        finally:
            running = [one.name for one in services.status(half) if one.state == "running"]
            assert services.down(half, quiet, remove=True) == len(running)
        assert bool(running) == (step == "restore.files")
        assert not [one.name for one in services.status(half) if one.state == "running"]

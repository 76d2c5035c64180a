"""The restore drill: a lake is lost in four ways and comes back from its second location; what was lost, how long it took.

`make drill`, or `python -m bench drill`. Every stack is made for it and removed at the end.
"""

from __future__ import annotations

import secrets
import shutil
import statistics
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from medallion.backup.backup import backup
from medallion.backup.restore import Restored, restore_into
from medallion.lakehouse.nessie import MAIN, Nessie, Operation, Reference, commit_body
from medallion.publish.checksum import Digest
from medallion.publish.publication import publish
from medallion.publish.reconcile import reconcile
from medallion.services import process, stack
from medallion.services.state import read
from medallion.settings import ROOT, Ports, Settings
from tests.backups import digests, lost, merged, now, quiet, with_location
from tests.lake_tables import Contracts, gold
from tests.protocol_runs import ProtocolRuns

COLUMNS = {"id": "bigint", "day": "int", "amount": "double", "note": "string"}
TABLES = [gold(name, COLUMNS, domain="drill") for name in ("orders", "customers", "visits")]
SHOWN = Contracts(*TABLES)


def drill(runs: int, rows: int) -> None:
    """Run it and print the figures.

    Args:
        runs: how many good runs there are before the nonsense, at least 2; each replaces three tables of `rows` rows.
    """
    folder = ROOT / ".medallion" / "drill" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, folder, ignore_errors=True)
        settings = _stack(folder / "lake", ending)
        settings = with_location(settings, folder / "second")
        costs = []
        with ProtocolRuns(settings) as lake:
            for number in range(runs):
                merged(lake, {table: _rows(rows, number) for table in TABLES})
                publish(settings, SHOWN)
                costs.append(backup(settings, quiet))
            good, hashed = lake.main(), digests(settings, lake.main())
            before_nonsense = now(settings)
            merged(lake, {TABLES[0]: _rows(rows, -1)})
            publish(settings, SHOWN)
            backup(settings, quiet)
            merged(lake, {TABLES[1]: _rows(rows, runs)})
            publish(settings, SHOWN)
            backup(settings, quiet)
            before_drop, later, later_hashed = now(settings), lake.main(), digests(settings, lake.main())
            body = commit_body([Operation("DELETE", TABLES[2].dataset)], "dropped by hand", {})
            lake.nessie.commit(lake.main(), body)
            backup(settings, quiet)
            last, last_hashed = lake.main(), digests(settings, lake.main())
        first, later_ones = costs[0], costs[1:]
        seconds = statistics.median(one.seconds for one in later_ones)
        megabytes = statistics.median((one.bytes + one.log_bytes) / 1e6 for one in later_ones)
        files = statistics.median(one.files for one in later_ones)
        print(
            f"{runs} runs, each of which replaces three tables of {rows:,} rows; then nonsense, a further run, a table "
            "dropped by hand; a backup after each.\n"
            f"The first backup took {first.seconds:.1f} s ({(first.bytes + first.log_bytes) / 1e6:.1f} MB); each later one "
            f"{seconds:.1f} s in the median ({files:.0f} files, {megabytes:.1f} MB).\n"
        )
        print("| what happened | restored to | commits lost | catalog s | whole s | tables equal | reconcile |")
        print("|---|---|--:|--:|--:|---|---|")
        _try(settings, folder, "nonsense was published, and good runs came after it", before_nonsense, good, hashed, ending)
        _try(settings, folder, "a table was dropped on main by hand", before_drop, later, later_hashed, ending)
        _lose_catalog(settings)
        _try(settings, folder, "the catalog's database is lost", None, last, last_hashed, ending)
        shutil.rmtree(settings.home / "minio" / "data")
        stack.down(settings, quiet)
        _try(settings, folder, "the buckets are lost too", None, last, last_hashed, ending)


def _rows(count: int, number: int) -> pa.Table:
    """A run's rows."""
    random = np.random.default_rng(number + 10)
    return pa.table(
        {
            "id": pa.array(np.arange(count)),
            "day": pa.array(np.full(count, number, dtype=np.int32)),
            "amount": pa.array(random.random(count)),
            "note": pa.array([f"note {value}" for value in random.integers(0, 1000, count)]),
        }
    )


def _stack(home: Path, ending: ExitStack) -> Settings:
    settings = Settings(home=home, ports=Ports())
    ending.callback(stack.down, settings, quiet, remove=True)
    return stack.up(settings, quiet)


def _lose_catalog(settings: Settings) -> None:
    state = read(settings)
    assert state
    assert state.postgres_folder
    running = process.recorded(state.record("postgres"))
    assert running
    process.stop(running)
    shutil.rmtree(state.postgres_folder / "data")


def _try(
    settings: Settings,
    folder: Path,
    what: str,
    to: datetime | None,
    wanted: Reference,
    hashed: dict[str, Digest],
    ending: ExitStack,
) -> None:
    home = folder / secrets.token_hex(4)
    gone = lost(settings, folder)
    ending.callback(stack.down, gone.model_copy(update={"home": home}), quiet, remove=True)
    done: Restored = restore_into(gone, to.isoformat() if to else None, home, None, quiet, domains=SHOWN)
    new = gone.model_copy(update={"home": home})
    state = read(new)
    assert state
    new = state.applied_to(new)
    with closing(Nessie(new.nessie)) as nessie:
        main = nessie.reference(MAIN)
        missing = 0 if main == wanted else "another commit"
    equal = digests(new, main) == hashed
    agreed = all(one.agreed for one in reconcile(new, SHOWN))
    print(
        f"| {what} | {f'{to:%H:%M:%S}, a time' if to else 'the recovery point'} | {missing} | {done.catalog_seconds:.1f} | "
        f"{done.seconds:.1f} | {'yes' if equal else 'NO'} | {'agrees' if agreed else 'DIFFERS'} |",
        flush=True,
    )
    stack.down(new, quiet)

"""The tables of schema `ops`, and what they must hold, found out without the code that fills them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from medallion import afterwards
from medallion.domain import Domains
from medallion.lake import Lake
from medallion.lakehouse.nessie import MAIN, Reference
from medallion.lakehouse.table import open_static
from medallion.ops.projection import project
from medallion.ops.rebuild import rebuild
from medallion.ops.sources import Sources
from medallion.services import postgres
from medallion.settings import Settings
from tests.conftest import new_stack
from tests.crash.place import Place, Told, nth_day


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """A lake of its own: the projection is of all of main."""
    with new_stack(current=False) as settings:  # it lives until the last test, and others load theirs
        yield Place(settings.model_copy(update={"warehouse": "postgres"}), "shop")


@pytest.fixture(scope="session")
def ops(place: Place) -> Ops:
    """Its projection, in which one day is."""
    ops = Ops(place.settings, place.domains)
    assert place.run(nth_day(0)).code == 0
    return ops


@pytest.fixture
def run(place: Place, ops: Ops) -> Callable[..., Told]:
    """Runs the next day of the place, as `medallion run --json` does."""
    (row,) = ops.rows("SELECT count(DISTINCT logical_date) AS days FROM ops.runs")
    days = (nth_day(n) for n in range(row["days"], 10_000))
    return lambda **options: place.run(next(days), **options)


class Ops:
    """The projection of one lake. `told` is what it told people."""

    def __init__(self, settings: Settings, domains: Domains) -> None:
        self.settings, self.domains = settings, domains
        self.told: list[str] = []

    @contextmanager
    def sources(self) -> Iterator[Sources]:
        with Lake(self.settings, self.domains) as lake:
            yield afterwards.sources(lake, self.told.append)

    def project(self) -> bool:
        """What the end of a run does."""
        with self.sources() as sources:
            return project(sources)

    def wrong(self) -> list[str]:
        """What of the projection is not as its sources say."""
        with self.sources() as sources:
            return [one.text for one in rebuild(sources, check=True) if one.differing]

    def newest_commit(self) -> int:
        """Its number."""
        return int(self.rows("SELECT coalesce(max(n), 0) AS n FROM ops.commits")[0]["n"])

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        with postgres.connect(self.settings.postgres) as connection:
            connection.row_factory = dict_row  # type: ignore[assignment]  # it was made for tuples
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type,return-value]  # it asks for literals

    def do(self, statement: str) -> None:
        with postgres.connect(self.settings.postgres) as connection:
            connection.execute(statement)  # type: ignore[call-overload]  # it asks for literals

    @contextmanager
    def holding(self, statement: str) -> Iterator[psycopg.Connection]:
        """A transaction of somebody else that has done this and goes on."""
        with postgres.connect(self.settings.postgres) as connection, connection.transaction(force_rollback=False):
            connection.execute(statement)  # type: ignore[call-overload]  # it asks for literals
            yield connection

    def check_volumes(self) -> None:
        """Every table at every commit: its rows are those that a scan of it gives, its files those that the scan opens."""
        rows = self.rows("SELECT v.*, c.n FROM ops.volumes v JOIN ops.commits c USING (main_hash) ORDER BY c.n")
        assert rows
        before: dict[str, int] = {}
        with Lake(self.settings, self.domains) as lake:
            for row in rows:
                name = row["dataset"]
                content = lake.nessie.tables(Reference(MAIN, row["main_hash"])).get(name)
                found, files = 0, []
                if content and content["snapshotId"] != -1:
                    scan = open_static(self.settings.s3, content).scan()
                    found, files = scan.to_arrow().num_rows, [task.file for task in scan.plan_files()]
                told = (row["rows"], row["files"], row["bytes"])
                assert told == (found, len(files), sum(file.file_size_in_bytes for file in files)), row
                assert before.get(name, 0) + row["added_rows"] - row["deleted_rows"] == found, row
                before[name] = found

"""Delta tables: first whole, then only what the newer versions added; or nothing at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import tenacity

from medallion.errors import InputError, SettingsError
from medallion.lakehouse.store import Store
from medallion.sources import asking
from medallion.sources.fetch import fetch
from tests.asking import Port

pytest_plugins = ["tests.asking"]

DAYS = iter(date(2021, 1, 1) + timedelta(days=n) for n in range(300))


class Till:
    """The folder of Delta tables that the endpoint points at."""

    def __init__(self, port: Port, folder: Path) -> None:
        self.port, self.folder = port, folder
        port.point("till", str(folder))

    def add(
        self, *rows: tuple[str, str], table: str = "sales", mode: str = "append", columns: str = "id, item", **how: Any
    ) -> None:
        frame = self.port.lake.spark().createDataFrame(rows, ", ".join(f"{c.strip()} string" for c in columns.split(",")))
        writer = frame.coalesce(1).write.format("delta").mode(mode).options(**({"delta.enableChangeDataFeed": "true"} | how))
        writer.save(str(self.folder / table))

    def sql(self, statement: str, table: str = "sales") -> None:
        self.port.lake.spark().sql(statement.format(table=f"delta.`{self.folder / table}`"))

    def version(self, table: str = "sales") -> int:
        return max(int(path.stem) for path in (self.folder / table / "_delta_log").glob("0*.json"))


@pytest.fixture
def till(port: Port, tmp_path: Path) -> Till:
    """A till without tables."""
    return Till(port, tmp_path)


@pytest.fixture(scope="module")
def held(port: Port, tmp_path_factory: pytest.TempPathFactory) -> Till:
    """A table of which bronze holds versions 0 to 3, as its runs took them."""
    till = Till(port, tmp_path_factory.mktemp("till"))
    till.add(("2", "tea"), ("1", "oil"))
    till.add(("3", "rye"))
    assert port.run("sales", next(DAYS)).state == "merged"
    till.add(("4", "tea"))
    till.add(("1", "oil"), ("5", "gum"))
    assert port.run("sales", next(DAYS)).state == "merged"
    return till


def test_first_the_whole_table_then_what_the_versions_added(port: Port, held: Till) -> None:
    whole, more = port.held("sales")
    assert (whole.name, whole.rows, more.name, more.rows) == ("versions-0-1.parquet", 3, "versions-2-3.parquet", 3)
    assert port.rows("sales") == [("1", "oil"), ("2", "tea"), ("3", "rye"), ("1", "oil"), ("4", "tea"), ("5", "gum")]
    for one in (whole, more):
        assert hashlib.sha256(port.lake.store.get(one.uri)).hexdigest() == one.sha256


def test_nothing_new_is_no_error_and_starts_no_session(port: Port, held: Till) -> None:
    port.point("till", str(held.folder))
    day = next(DAYS)
    with port.without_spark():
        outcome = port.run("sales", day)
        assert (outcome.state, outcome.notes) == ("unchanged", [])
        assert port.run("sales", day, refetch=True).state == "unchanged"
    held.sql("OPTIMIZE {table}")
    held.sql("ALTER TABLE {table} SET TBLPROPERTIES ('till.owner' = 'me')")
    assert held.version() == 5
    with port.without_spark():
        assert port.run("sales", next(DAYS)).state == "unchanged", "versions that touch no row"
    held.add(("6", "nut"))
    assert port.run("sales", next(DAYS)).state == "merged"
    assert (port.held("sales")[-1].name, port.rows("sales")[-1]) == ("versions-4-6.parquet", ("6", "nut"))


def test_what_a_failed_run_fetched_is_used_and_nothing_comes_twice(port: Port, held: Till) -> None:
    port.point("till", str(held.folder))
    rows, day = port.rows("sales"), next(DAYS)
    first = held.version() + 1
    held.add(("7", "fig"))
    contract, sources = port.contract("sales"), port.lake.settings.sources
    # two runs look at the same time; the source grows between them, and both fail before they merge
    fetch(port.lake.store, sources, contract, day, port.held("sales"), port.lake.spark)
    early = port.lying("sales")[-1]
    held.add(("8", "ham"))
    late = Late(port.lake.store, hidden=early)
    fetch(late, sources, contract, day, port.held("sales"), port.lake.spark)
    names = [uri.partition("?")[0].rpartition("/")[2] for uri in port.lying("sales")[-2:]]
    assert names == [f"versions-{first}-{first}.parquet", f"versions-{first}-{first + 1}.parquet"]
    lying = port.lying("sales")
    held.add(("9", "jam"))
    outcome = port.run("sales", day)
    assert outcome.state == "merged"
    assert port.rows("sales")[len(rows) :] == [("7", "fig"), ("8", "ham"), ("9", "jam")]
    assert [d.name for d in port.held("sales")][-2:] == [names[1], f"versions-{first + 2}-{first + 2}.parquet"]
    assert len(port.lying("sales")) == len(lying) + 1, "only what did not lie there was fetched"
    with port.without_spark():
        assert port.run("sales", day).state == "unchanged"


class Late:
    """The store as a run saw it that looked before another one had put its object."""

    def __init__(self, store: Store, hidden: str) -> None:
        self.store, self.hidden = store, hidden

    def versions(self, bucket: str, prefix: str) -> list[Any]:
        return [one for one in self.store.versions(bucket, prefix) if one.uri != self.hidden]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def test_a_table_that_is_asked_for_whole_may_change_in_any_way(port: Port, till: Till) -> None:
    till.add(("2", "tea"), ("1", "oil"), table="stock", **{"delta.enableChangeDataFeed": "false"})
    first, second, third = next(DAYS), next(DAYS), next(DAYS)
    assert port.run("stock", first).state == "merged"
    assert port.held("stock")[0].name == "stock.parquet"
    till.sql("OPTIMIZE {table}", "stock")
    assert any("the same bytes again" in note for note in port.run("stock", second).notes)
    till.sql("DELETE FROM {table} WHERE id = '2'", "stock")
    assert port.run("stock", third).state == "merged"
    assert port.rows("stock") == [("1", "oil"), ("2", "tea"), ("1", "oil")]


def missing(till: Till) -> None:
    pass


def no_delta(till: Till) -> None:
    (till.folder / "sales").mkdir()
    (till.folder / "sales" / "part-0.parquet").write_bytes(b"PAR1")


def no_feed(till: Till) -> None:
    till.add(("1", "oil"), **{"delta.enableChangeDataFeed": "false"})


def lost_column(till: Till) -> None:
    till.add(("1", "oil"), columns="id, article")


def lost_file(till: Till) -> None:
    till.add(("1", "oil"))
    next((till.folder / "sales").glob("*.parquet")).unlink()


def damaged_file(till: Till) -> None:
    till.add(("1", "oil"))
    next((till.folder / "sales").glob("*.parquet")).write_bytes(b"x" * 900)


FIRST: dict[str, tuple[Any, str]] = {
    "no table": (missing, "there is no Delta table"),
    "no Delta table": (no_delta, "there is no Delta table"),
    "no change data feed": (no_feed, "versions 0 to 0: the table records no change data"),
    "a lost column": (lost_column, "lacks the columns 'item'"),
    "a lost file": (lost_file, "versions 0 to 0 cannot be read any more: files of it are gone"),
    "a damaged file": (damaged_file, "versions 0 to 0: Checksum error: file:/"),
}


@pytest.mark.parametrize("case", FIRST)
def test_a_table_that_cannot_be_begun_with_changes_nothing(port: Port, till: Till, case: str) -> None:
    damage, told = FIRST[case]
    damage(till)
    refuse(port, till, "refunds", told)
    assert port.held("refunds") == []


def refuse(port: Port, till: Till, name: str, told: str) -> None:
    refused = port.refused(name, next(DAYS))
    assert isinstance(refused.error, InputError)
    assert refused.error.exit_code == 6
    assert f"bronze.port.{name}: {till.folder}/sales: {told}" in refused.told
    assert "org.apache" not in refused.told


def vacuumed(till: Till) -> None:
    till.add(("3", "rye"))
    till.add(("4", "gum"))
    till.sql("OPTIMIZE {table}")
    options = {
        "spark.databricks.delta.retentionDurationCheck.enabled": "false",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",  # else it lists one folder in 10,000 tasks
    }
    for name, value in options.items():
        till.port.lake.spark().conf.set(name, value)
    till.sql("VACUUM {table} RETAIN 0 HOURS")
    for name in options:
        till.port.lake.spark().conf.unset(name)


def overwritten(till: Till) -> None:
    till.add(("9", "rye"), mode="overwrite")


def deleted(till: Till) -> None:
    till.add(("3", "rye"))
    till.sql("DELETE FROM {table} WHERE id = '1'")


def updated(till: Till) -> None:
    till.sql("UPDATE {table} SET item = 'oil, refined' WHERE id = '1'")


def feed_off(till: Till) -> None:
    till.sql("ALTER TABLE {table} SET TBLPROPERTIES (delta.enableChangeDataFeed = false)")
    till.add(("3", "rye"), **{"delta.enableChangeDataFeed": "false"})


def log_cleaned(till: Till) -> None:
    till.add(("3", "rye"))
    till.add(("4", "gum"))
    for name in ("json", "crc"):
        (till.folder / "sales" / "_delta_log" / f"{1:020}.{name}").unlink()
        (till.folder / "sales" / "_delta_log" / f".{1:020}.{name}.crc").unlink()
    till.port.lake.spark()._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


LATER: dict[str, tuple[Any, str]] = {
    "vacuumed": (vacuumed, "versions 1 to 5 cannot be read any more: files of it are gone (vacuumed?)"),
    "overwritten": (overwritten, "version 1 changed or deleted rows (delete)"),
    "rows deleted": (deleted, "version 2 changed or deleted rows (delete)"),
    "rows updated": (updated, "version 1 changed or deleted rows (update_preimage)"),
    "feed switched off": (feed_off, "versions 1 to 2: the table records no change data"),
    "log cleaned": (log_cleaned, "versions 1 to 2 cannot be read any more: files of it are gone (vacuumed?)"),
}


@pytest.fixture(scope="module")
def begun(port: Port, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bronze holds version 0."""
    till = Till(port, tmp_path_factory.mktemp("till"))
    till.add(("1", "oil"), ("2", "tea"))
    assert port.run("tips", next(DAYS)).state == "merged"


@pytest.mark.parametrize("case", LATER)
def test_versions_that_cannot_be_told_as_increments_change_nothing(port: Port, begun: None, till: Till, case: str) -> None:
    damage, told = LATER[case]
    till.add(("1", "oil"), ("2", "tea"))
    damage(till)
    refuse(port, till, "tips", told)
    assert [one.name for one in port.held("tips")] == ["versions-0-0.parquet"]


def test_a_table_that_was_made_anew_is_noticed(port: Port, held: Till, till: Till) -> None:
    till.add(("1", "oil"))
    refused = port.refused("sales", next(DAYS))
    assert isinstance(refused.error, InputError)
    assert "its newest version is 0, and " in refused.told
    assert "it was made anew" in refused.told


def not_mounted(folder: Path) -> str:
    return "the folder that holds the tables is not there"


def in_a_circle(folder: Path) -> str:
    folder.symlink_to(folder)
    return "Too many levels of symbolic links"


@pytest.mark.parametrize("away", [not_mounted, in_a_circle])
def test_a_folder_that_cannot_be_reached_is_waited_for(
    port: Port, till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: Callable[[Path], str]
) -> None:
    till.add(("1", away.__name__), table="stock")
    share = tmp_path / "share"
    told = away(share)
    port.point("till", str(share))
    refused = port.refused("stock", next(DAYS))
    assert refused.error.exit_code == 5
    assert told in refused.told
    assert str(share) in refused.told

    attempts: list[str] = []

    def comes_back(state: tenacity.RetryCallState) -> None:
        attempts.append(str(state.outcome and state.outcome.exception()))
        if len(attempts) == 2:
            share.unlink(missing_ok=True)
            share.symlink_to(till.folder)

    monkeypatch.setattr(asking, "_say_so", comes_back)
    assert port.run("stock", next(DAYS)).state == "merged"
    assert [told in one for one in attempts] == [True, True]


def test_a_folder_of_an_unknown_kind(port: Port) -> None:
    port.point("till", "nosuch://bucket/tables")
    refused = port.refused("sales", next(DAYS))
    assert isinstance(refused.error, SettingsError)
    assert "sources.till.url: " in refused.told

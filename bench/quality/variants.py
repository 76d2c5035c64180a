"""What is measured against each other: the bare write, ours, and what people do when they have nothing of the kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb

from bench.quality.lake import Dataset, again, on_main, run
from bench.quality.lineitem import Lineitem
from bench.quality.rivals import PINNED, Rival
from bench.quality.rules import MIXED, PROVABLE, Check, many
from medallion.pipeline import Lake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Variant:
    """One way of doing the work. `work` does it once, in tables named after the variant and the round; `group` is what
    `--only` selects; `over` names the variant that it is divided by, or two with a minus between them, for a marginal
    cost; `of` the variant to divide, where it is not this one."""

    name: str
    group: str
    work: Callable[[Lake, int], None]
    over: str = "floor"
    datasets: tuple[tuple[str, str, list[Check]], ...] = ()
    """(name, `clean` or `damaged`, rules) of each dataset that it needs in every round."""
    targets: str = ""
    of: str = ""
    told: str = ""
    keeps: bool = False
    """Whether a later variant of the round works on what this one wrote."""
    prepare: Callable[[Lake, int], None] | None = None
    """Done before, and not measured."""


def safe(checks: list[Check]) -> str:
    """What a row meets that breaks no rule."""
    return " AND ".join(f"coalesce(({check.sql}), true)" for check in checks)


@dataclass
class Variants:
    """All variants over one set of rows."""

    rows: Lineitem
    expressed: dict[str, int] = field(default_factory=dict)
    """How many of the 50 rules each rival could say."""

    def _frame(self, lake: Lake, kind: str = "clean") -> DataFrame:
        return lake.spark().read.parquet(str(getattr(self.rows, kind)))

    def floor(self, lake: Lake, round_: int) -> None:
        self._frame(lake).writeTo(on_main(lake, f"floor_{round_}")).append()

    def _ours(self, name: str, kind: str, checks: list[Check]) -> Callable[[Lake, int], None]:
        def work(lake: Lake, round_: int) -> None:
            outcome = run(lake, Dataset(f"{name}_{round_}", getattr(self.rows, kind), checks))
            self._expect(kind, outcome.writes[0])

        return work

    def _again(self, name: str, kind: str, checks: list[Check]) -> Callable[[Lake, int], None]:
        def work(lake: Lake, round_: int) -> None:
            outcome = again(lake, Dataset(f"{name}_{round_}", getattr(self.rows, kind), checks))
            self._expect(kind, outcome.writes[0])

        return work

    def _expect(self, kind: str, write: dict[str, Any]) -> None:
        """A time says nothing about work that was not done."""
        bad = self.rows.bad if kind == "damaged" else 0
        if (write["rows_out"], write["quarantined"]) != (self.rows.rows - bad, bad):
            raise SystemExit(
                f"{write['dataset']}: {write['rows_out']} rows, {write['quarantined']} quarantined; expected {bad} bad"
            )

    def filtered(self, lake: Lake, round_: int) -> None:
        self._frame(lake).filter(safe(MIXED)).writeTo(on_main(lake, f"filter_{round_}")).append()

    def two_scans(self, lake: Lake, round_: int) -> None:
        frame, condition = self._frame(lake, "damaged"), safe(MIXED)
        frame.filter(condition).writeTo(on_main(lake, f"two_scans_{round_}")).append()
        frame.filter(f"NOT ({condition})").writeTo(on_main(lake, f"two_scans_bad_{round_}")).append()

    def cached(self, lake: Lake, round_: int) -> None:
        from pyspark.sql import functions as f

        frame = self._frame(lake, "damaged").withColumn("_good", f.expr(safe(MIXED))).persist()
        try:
            frame.filter("_good").drop("_good").writeTo(on_main(lake, f"cached_{round_}")).append()
            frame.filter("NOT _good").drop("_good").writeTo(on_main(lake, f"cached_bad_{round_}")).append()
        finally:
            frame.unpersist(blocking=True)

    def all(self, rivals: dict[str, Rival]) -> list[Variant]:
        """Every variant, in the order in which they run within a round."""
        return [*self.written(), *self.judged(rivals), *appends(self.rows), self.in_duckdb()]

    def judged(self, rivals: dict[str, Rival]) -> list[Variant]:
        """Other checkers, their own way: over the table that the bare append wrote, when it is there."""

        def work(rival: Rival) -> Callable[[Lake, int], None]:
            def judge(lake: Lake, round_: int) -> None:
                told = rival.judge(on_main(lake, f"floor_{round_}"), MIXED)
                self.expressed[rival.tool] = told["expressed"]
                lake.spark().catalog.clearCache()
                if told["failed"]:
                    raise SystemExit(f"{rival.tool} finds {told['failed']} broken in clean rows")

            return judge

        return [
            Variant(
                tool,
                "rivals",
                work(rival),
                "mixed - floor",
                targets="≥ 3",
                told=f"{PINNED[tool]} after the write ÷ ours, marginal",
            )
            for tool, rival in rivals.items()
        ]

    def in_duckdb(self) -> Variant:
        """What DuckDB takes for the same rows and rules, to a local file; without catalog, branch or object store."""
        condition = safe(MIXED).replace("regexp_like", "regexp_matches")

        def work(lake: Lake, round_: int) -> None:
            with tempfile.TemporaryDirectory() as folder:
                duckdb.execute("SET threads = 2")
                rows = f"SELECT * FROM '{self.rows.clean}/*.parquet' WHERE {condition}"
                duckdb.execute(f"COPY ({rows}) TO '{folder}/rows.parquet' (FORMAT parquet, COMPRESSION zstd)")

        return Variant(
            "duckdb", "duckdb", work, "duckdb", of="mixed", told="ours, 50 mixed rules ÷ DuckDB to a local file, same rules"
        )

    def written(self) -> list[Variant]:
        """The bare write, ours, and the simple ways."""
        fifty, proven, five_hundred = MIXED, PROVABLE, many()
        return [
            Variant("floor", "floor", self.floor, datasets=(("floor", "clean", fifty),), keeps=True,
                    over="", told="bare append of the same rows (floor)"),
            Variant("provable", "ours", self._ours("provable", "clean", proven), datasets=(("provable", "clean", proven),),
                    targets="≤ 1.05", told="ours, 50 rules that file figures can prove"),
            Variant("mixed", "ours", self._ours("mixed", "clean", fifty), datasets=(("mixed", "clean", fifty),),
                    targets="≤ 1.35", told="ours, 50 mixed rules, clean rows"),
            Variant("bad", "ours", self._ours("bad", "damaged", fifty), datasets=(("bad", "damaged", fifty),),
                    targets="≤ 1.45", told="ours, 0.1 % bad rows quarantined, first write", keeps=True),
            Variant("bad_again", "ours", self._again("bad", "damaged", fifty),
                    targets="≤ 1.45", told="the same, second write (its history known)"),
            Variant("many", "many", self._ours("many", "clean", five_hundred), "mixed", (("many", "clean", five_hundred),),
                    targets="≤ 3", told="ours, 500 mixed rules ÷ 50 mixed rules"),
            Variant("filter", "simple", self.filtered, datasets=(("filter", "clean", fifty),),
                    told="simple: one null-safe AND as a filter, clean rows"),
            Variant("two_scans", "simple", self.two_scans,
                    datasets=(("two_scans", "clean", fifty), ("two_scans_bad", "clean", fifty)),
                    told="simple: filter, then a second scan for the 0.1 % bad rows"),
            Variant("cached", "simple", self.cached, datasets=(("cached", "clean", fifty), ("cached_bad", "clean", fifty)),
                    told="simple: cache, then two writes, 0.1 % bad rows"),
        ]  # fmt: skip


def appends(rows: Lineitem) -> list[Variant]:
    """The bare append into tables of other properties; the floor has those that this project gives every table."""

    def variant(name: str, told: str, properties: dict[str, str], tasks: int | None = None) -> Variant:
        def prepare(lake: Lake, round_: int) -> None:
            target = on_main(lake, f"{name}_{round_}")
            every = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
            if properties:
                lake.spark().sql(f"ALTER TABLE {target} SET TBLPROPERTIES ({every})")

        def work(lake: Lake, round_: int) -> None:
            frame = lake.spark().read.parquet(str(rows.clean))
            (frame.coalesce(tasks) if tasks else frame).writeTo(on_main(lake, f"{name}_{round_}")).append()

        return Variant(name, "append", work, "floor", ((name, "clean", []),), prepare=prepare, told=f"bare append, {told}")

    return [
        Variant("plain", "append", lambda lake, round_: _plain(lake, rows, round_), "plain", (("plain", "clean", []),),
                of="floor", prepare=_without_properties, targets="≤ 0.85", told="our append ÷ Iceberg's and Spark's defaults"),
        variant("zstd_1", "zstd level 1", {"write.parquet.compression-level": "1"}),
        variant("small_groups", "row groups of 32 MiB", {"write.parquet.row-group-size-bytes": str(2**25)}),
        variant("no_dictionary", "comments without a dictionary", {"write.parquet.dict-size-bytes": str(2**16)}),
        variant("one_task", "one task", {}, tasks=1),
    ]  # fmt: skip


def _without_properties(lake: Lake, round_: int) -> None:
    target = on_main(lake, f"plain_{round_}")
    names = "'write.distribution-mode', 'write.parquet.compression-codec', 'write.format.default'"
    lake.spark().sql(f"ALTER TABLE {target} UNSET TBLPROPERTIES IF EXISTS ({names})")


def _plain(lake: Lake, rows: Lineitem, round_: int) -> None:
    spark, key = lake.spark(), "spark.sql.codegen.hugeMethodLimit"
    ours = spark.conf.get(key)
    spark.conf.unset(key)
    try:
        spark.read.parquet(str(rows.clean)).writeTo(on_main(lake, f"plain_{round_}")).append()
    finally:
        spark.conf.set(key, str(ours))

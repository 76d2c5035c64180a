"""Runs the variants in turn, and tells what came of it as Markdown."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.quality import GROUPS, changes, lineitem, rivals
from bench.quality import lake as benchmark
from bench.quality.counters import Counters, Measured
from bench.quality.lake import Dataset
from bench.quality.variants import Variant, Variants
from medallion import settings as settings_module
from medallion.pipeline import Lake
from medallion.services import stack
from medallion.settings import Settings


@dataclass(frozen=True)
class Options:
    """As the command line says them."""

    scale: float
    rounds: int
    only: tuple[str, ...]
    data: Path
    tpchgen: str
    upserted_part: int
    write: Path | None


@contextmanager
def own_stack() -> Iterator[tuple[Settings, Path]]:
    """Real servers of the benchmark's own, and a folder; both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as folder:
        os.environ["MEDALLION_HOME"] = str(Path(folder) / "home")
        settings_module.load.cache_clear()
        settings = stack.up(settings_module.load(), lambda line: None, guard=os.getpid())
        # by the marker's one row a run would be held for a small one
        spark = settings.spark.model_copy(update={"small_rows": 0})
        try:
            yield settings.model_copy(update={"spark": spark}), Path(folder)
        finally:
            stack.down(settings, lambda line: None, remove=True)


def measure(options: Options, report: Callable[[str], None] = print) -> None:
    """Prepare the rows, run every chosen variant once to warm up and then in `rounds` rounds, and print the table."""
    rows = lineitem.prepare(options.data, options.scale, options.tpchgen)
    report(f"lineitem at scale {options.scale:g}: {rows.rows:,} rows, 16 columns, {rows.bad:,} of them damaged")
    asked = {"floor", *options.only} | ({"ours"} if {"many", "rivals", "duckdb"} & {*options.only} else set())
    wanted = [tool for tool in rivals.PINNED if {"rivals", tool} & asked]
    environments = {tool: rivals.environment(options.data, tool) for tool in wanted}
    with own_stack() as (settings, folder):
        variants = Variants(rows)
        upserts = [*changes.upserts(rows), *changes.own_upserts(rows, folder, options.upserted_part)]
        every = [*variants.all({}), *upserts, *changes.silvers(rows, folder)]
        chosen = [one for one in every if {one.group, one.name} & asked]
        if unknown := asked - {*GROUPS, *wanted} - {one.name for one in every}:
            raise SystemExit(f"--only: there is no {', '.join(sorted(unknown))}: use {', '.join(GROUPS)} or a variant's name")
        made = [
            Dataset(f"{name}_{round_}", getattr(rows, kind), checks)
            for variant in chosen
            for name, kind, checks in variant.datasets
            for round_ in range(options.rounds + 1)
        ]
        benchmark.write_domain(folder / "domain", made)
        if any(one.group in ("silver", "upsert") for one in chosen):
            changes.write_silver(folder / "domain", options.rounds + 1)
        with Lake(settings, benchmark.load(settings, folder / "domain")) as lake, ExitStack() as closing:
            benchmark.begin(lake)
            started = {t: closing.enter_context(rivals.Rival(lake.spark(), p, t)) for t, p in environments.items()}
            chosen += variants.judged(started)
            taken = rounds(lake, chosen, options.rounds, report)
    lines = result(chosen, taken)
    lines += [f"{tool} could say {count} of the 50 rules." for tool, count in variants.expressed.items()]
    report("\n".join(lines))
    if options.write:
        options.write.write_text("\n".join(lines) + "\n", "utf-8")


def rounds(lake: Lake, chosen: list[Variant], count: int, report: Callable[[str], None]) -> dict[str, list[Measured]]:
    """Every variant in turn, round after round; the first round warms up and is not counted, unless it is the only one."""
    counters = Counters(lake.spark())
    taken: dict[str, list[Measured]] = {one.name: [] for one in chosen}
    for round_ in range(count + 1):
        kept: list[str] = []
        for variant in chosen:
            if variant.prepare:
                variant.prepare(lake, round_)
            lake.spark()._jvm.System.gc()
            with counters.measuring() as found:
                variant.work(lake, round_)
            if round_ or not count:
                taken[variant.name].append(found)
            report(f"  round {round_} {variant.name}: {found.seconds:.1f} s, {found.cpu_s:.1f} s of CPU, {found.jobs} jobs")
            written = [f"gold.{benchmark.NAME}.{name}_{round_}" for name, _, _ in variant.datasets]
            if variant.keeps:
                kept += written
            else:
                benchmark.forget(lake, written)
        benchmark.forget(lake, kept)
    return taken


def median(of: list[Measured], what: str = "seconds") -> float:
    return float(statistics.median(getattr(one, what) for one in of))


def result(chosen: list[Variant], taken: dict[str, list[Measured]]) -> list[str]:
    """The table, as Markdown: ratios of medians of the wall clock and of the JVM's CPU time."""
    lines = [
        "| what | target | ÷ | wall | CPU | seconds | jobs | scans | exchanges | read MiB | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in chosen:
        mine, own = taken[one.of or one.name], taken[one.name]
        ratios = [_ratio(mine, one.over, taken, what) for what in ("seconds", "cpu_s")]
        all_, last = [m.seconds for m in own], own[-1]
        lines.append(
            f"| {one.told} | {one.targets} | {one.over} | {ratios[0]} | {ratios[1]} "
            f"| {median(own):.2f} ({min(all_):.2f} to {max(all_):.2f}) | {last.jobs} | {last.scans} | {last.exchanges} "
            f"| {median(own, 'read_mib'):.0f} | {median(own, 'peak_mib'):.0f} |"
        )
    return lines


def _ratio(mine: list[Measured], over: str, taken: dict[str, list[Measured]], what: str) -> str:
    """A ratio of medians; over a difference of two where `over` is one."""
    names = over.split(" - ") if over else []
    if not names or any(not taken.get(name) for name in names):
        return ""
    base = median(taken[names[0]], what) - sum(median(taken[name], what) for name in names[1:])
    return f"{median(mine, what) / base:.2f}" if base > 0 else "∞"

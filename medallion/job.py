"""What the files in `jobs/` do: take arguments, run one request, show what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medallion.afterwards import followed_up, told
from medallion.contract import LAYERS, Layer
from medallion.errors import InputError
from medallion.terminal import guard, parse_date, reporter, reporter_beside_json, show_json, show_table

if TYPE_CHECKING:
    from medallion.domain import Domains
    from medallion.pipeline import Lake
    from medallion.settings import Settings

Report = Callable[[str], None]
_COLUMNS = ("dataset", "logical_date", "rows_in", "rows_out", "quarantined", "warned", "score", "seconds")


def layer_job(layer: Layer, arguments: Sequence[str] | None = None) -> int:
    """Make one layer of one date: alone as a run of its own, with `--run` as a part of an open one.

    Returns: the exit code (see `medallion.errors`).
    """
    parser = _parser(f"Make the {layer} datasets of one logical date.")
    options = parser.parse_args(arguments)
    return guard(lambda: run((layer,), options, publish=False))


def pipeline_job(arguments: Sequence[str] | None = None) -> int:
    """Make all layers of one date in one run and publish gold. Returns: the exit code."""
    parser = _parser("Make bronze, silver and gold of one logical date in one run, and publish.")
    parser.add_argument("--no-publish", action="store_true", help="leave the warehouse as it is")
    parser.add_argument("--marts", action="store_true", help="build, test and publish the dbt marts afterwards (DBT_TARGET)")
    options = parser.parse_args(arguments)
    publish = not options.no_publish and not options.run
    return guard(lambda: run(LAYERS, options, publish=publish, marts=options.marts and publish))


def publish_job(arguments: Sequence[str] | None = None) -> int:
    """Publish gold as it is on main. Returns: the exit code."""
    parser = argparse.ArgumentParser(description="Show the newest version of gold in the warehouse, in one transaction.")
    parser.add_argument("--date", help="refuse unless a run of this logical date was merged")
    parser.add_argument("--at", help="a hash on main; else the newest")
    parser.add_argument(
        "--allow-rewind",
        action="store_true",
        help="also show a commit that is older, or of another history; replaces every table",
    )
    parser.add_argument(
        "--allow-breaking", action="append", default=[], metavar="DATASET.COLUMN",
        help="the warehouse may lose this column, because the lake has it no more or with another type; may be repeated",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args(arguments)
    return guard(lambda: publish(options.at, options.json, options.date, options.allow_rewind, options.allow_breaking))


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--date", required=True, help="the logical date, e.g. 2013-01-05")
    parser.add_argument("--domain", help="only this domain")
    parser.add_argument("--dataset", help="only this dataset, e.g. silver.operations.flights")
    parser.add_argument("--refetch", action="store_true", help="ask sources again that were asked for this date before")
    parser.add_argument("--run", help="write into this open run instead of one of its own")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    return parser


def run(layers: tuple[Layer, ...], options: Any, *, publish: bool, marts: bool = False) -> None:
    """Run a request and print its outcome. Raises: MedallionError."""
    from medallion.janitor import clean
    from medallion.pipeline import Lake, Request, execute, write
    from medallion.recovery import resume
    from medallion.settings import load

    report = reporter_beside_json() if options.json else reporter()
    request = Request(parse_date(options.date), layers, options.domain, options.dataset, publish, options.refetch)
    with Lake(load()) as lake, followed_up(lake, report) as copied:
        for one in resume(lake.nessie, lake.journal):
            if one.before != one.after:
                report(f"run {one.run_id} was left {one.before}: {one.why}")
        for gone in clean(lake.nessie, lake.journal, lake.settings.runs.failed_branch_ttl_days):
            report(f"branch {gone.branch} is removed: {gone.why}")
        outcome = write(lake, options.run, request, report) if options.run else execute(lake, request, report)
        shown = publish_gold(lake, report) if publish else None
        made = build_marts(lake, report) if marts else None
    if options.json:
        show_json(vars(outcome) | {"publication": shown, "marts": made} | copied)
        return
    if outcome.writes:
        show_table(outcome.writes, _COLUMNS)
    print(f"run {outcome.run_id}: {outcome.state}" + (f", main is at {outcome.merged_hash}" if outcome.merged_hash else ""))


def publish(
    at: str | None, as_json: bool, date: str | None = None, allow_rewind: bool = False, allow_breaking: Sequence[str] = ()
) -> None:
    """Publish and print what came of it.

    Args:
        date: a logical date that must have been merged; main is published whole in any case.
        allow_rewind, allow_breaking: as in `medallion.publish.publication.publish`.
    Raises: InputError if nothing of that date was merged; any other MedallionError.
    """
    from medallion.pipeline import Lake
    from medallion.settings import load

    wanted = parse_date(date) if date else None
    report = reporter_beside_json() if as_json else reporter()
    with Lake(load()) as lake:
        if wanted and not lake.journal.merged(wanted):
            raise InputError(
                f"no run of {wanted} was merged: main holds nothing of it to publish",
                hint=f"`medallion run --date {wanted}` first",
            )
        with told(lake, report):
            shown = publish_gold(lake, report, at, allow_rewind=allow_rewind, allow_breaking=allow_breaking)
    if as_json:
        show_json(shown)


def marts(as_json: bool = False) -> None:
    """Build, test and publish the marts of the settings' target, and print what came of it. Raises: MedallionError."""
    from medallion.pipeline import Lake
    from medallion.settings import load

    with Lake(load()) as lake:
        report = reporter_beside_json() if as_json else reporter()
        with followed_up(lake, report) as copied:
            shown = build_marts(lake, report)
    if as_json:
        show_json(shown | copied)


def build_marts(lake: Lake, report: Report) -> dict[str, Any]:
    """Build, test and publish the marts where `marts.target` says: in a warehouse, after gold as it is on main is
    published there; in the lake, in a run of its own.

    Returns: what came of it, as JSON. Raises: as `medallion.marts.build.build`, and `publish_gold`.
    """
    from medallion.marts import build, on_spark, targets

    if lake.settings.marts.target == "spark":
        merged = on_spark.build(lake, report)
        return vars(merged) | {"outcome": "merged" if merged.merged_hash else "unchanged", "target": "spark"}
    settings = targets.settings_of(lake.settings, lake.settings.marts.target)
    publish_gold(lake, report, settings=settings)
    done = build.build(settings, report, lake.journal)
    return vars(done) | {"target": settings.marts.target, "marts": {mart: vars(state) for mart, state in done.marts.items()}}


def publish_gold(
    lake: Lake,
    report: Report,
    at: str | None = None,
    domains: Domains | None = None,
    *,
    allow_rewind: bool = False,
    allow_breaking: Sequence[str] = (),
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Publish, and note which runs the lake's own warehouse shows from now on.

    Args:
        domains: whose gold, if not that of the lake's.
        settings: which warehouse, if not that of the lake's.

    Returns: what came of it, as JSON. Raises: as `medallion.publish.publication.publish`.
    """
    from medallion.publish import publication as publishing
    from medallion.recovery import mark_published

    publication = publishing.publish(
        settings or lake.settings,
        domains or lake.domains,
        at=at,
        allow_rewind=allow_rewind,
        allow_breaking=allow_breaking,
        report=report,
        journal=lake.journal,
    )
    elsewhere = settings is not None and settings.warehouse != lake.settings.warehouse
    marked = [] if elsewhere else mark_published(lake.nessie, lake.journal, publication.shown)
    return {
        "outcome": publication.outcome,
        "publication_id": publication.publication_id,
        "sequence": publication.sequence,
        "hash": publication.hash,
        "shown": publication.shown,
        "changed": list(publication.changed),
        "runs": list(publication.runs),
        "marked": marked,
        "rows": {dataset: state.rows for dataset, state in publication.tables.items()},
        "staged_bytes": publication.staged_bytes,
        "reencoded_bytes": publication.reencoded_bytes,
    }

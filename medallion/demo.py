"""The demo: three days of real flights, a spoiled day that the gate must refuse, its correction, the proof."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from medallion.errors import GateRefused, MedallionError
from medallion.landing import land
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from medallion.terminal import show_table

DAYS = (date(2013, 1, 1), date(2013, 1, 2), date(2013, 1, 3))
SPOILED = date(2013, 1, 4)
Report = Callable[[str], None]


def demo(settings: Settings, report: Report) -> None:
    """Play the demo on the embedded stack, starting it if need be.

    Raises: MedallionError if the gate let the spoiled day pass, or lake and warehouse differ.
    """
    from medallion.services import stack

    report("1/6  the stack: PostgreSQL, MinIO, Nessie, a Snowflake endpoint")
    settings = stack.up(settings, lambda line: report(f"     {line}"))
    small = settings.model_copy(update={"spark": settings.spark.model_copy(update={"small": True})})
    with Lake(small) as lake:

        def inner(line: str) -> None:
            report(f"     {line}")

        outcomes: list[Outcome] = []
        for number, day in enumerate(DAYS, start=2):
            report(f"{number}/6  {day}: landing → bronze → silver → gold on a branch → gate → one commit → one transaction")
            outcomes.append(_day(lake, day, inner))
        report(f"5/6  {SPOILED}: damaged on purpose, then the true delivery")
        outcomes.append(_spoiled_day(lake, inner))
        report("6/6  reconcile: lake and warehouse, value by value")
        _proof(lake, outcomes)


def _day(lake: Lake, day: date, report: Report) -> Outcome:
    from medallion.job import publish_gold

    for landed in land(lake.settings, day, spark=lake.spark):
        report(f"{landed.uri}: {landed.rows} rows, {landed.state}")
    outcome = execute(lake, Request(day, publish=True), report)
    publish_gold(lake, report)
    return outcome


def _spoiled_day(lake: Lake, report: Report) -> Outcome:
    if lake.journal.merged(SPOILED):
        report("the spoiled delivery was refused in an earlier demo (`medallion runs`); only news would be run")
        return _day(lake, SPOILED, report)
    main = lake.nessie.reference("main").hash
    for landed in land(lake.settings, SPOILED, spoiled=True, spark=lake.spark):
        report(f"{landed.uri}: {landed.rows} rows, {landed.state}, damaged")
    try:
        execute(lake, Request(SPOILED), report)
    except GateRefused as refusal:
        for line in str(refusal).splitlines():
            report(line[:220])
    else:
        raise MedallionError("the gate let the spoiled day pass", hint="that is a defect of medallion; please report it")
    if (now := lake.nessie.reference("main").hash) != main:
        raise MedallionError(f"main moved from {main} to {now} though the gate refused", hint="please report it")
    report(f"main is still at {main[:12]}, the warehouse still shows {DAYS[-1]}")
    return _day(lake, SPOILED, report)


def _proof(lake: Lake, outcomes: list[Outcome]) -> None:
    from medallion.publish.reconcile import reconcile

    agreements = {one.dataset: one for one in reconcile(lake.settings, lake.domains)}
    summary: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        for write in outcome.writes:
            row = summary.setdefault(
                write["dataset"], {"dataset": write["dataset"], "rows_in": 0, "rows_out": 0, "quarantined": 0}
            )
            for key in ("rows_in", "rows_out", "quarantined"):
                row[key] += write[key]
            row["commit_on_main"] = (outcome.merged_hash or "")[:12]
    for dataset in lake.domains.order:
        row = summary.setdefault(
            dataset, {"dataset": dataset, "rows_in": 0, "rows_out": 0, "quarantined": 0, "commit_on_main": "unchanged"}
        )
        found = agreements.get(dataset)
        row["rows_in_warehouse"] = found.warehouse_rows if found else None
        row["agreed"] = found.agreed if found else None
    columns = ("dataset", "rows_in", "rows_out", "quarantined", "commit_on_main", "rows_in_warehouse", "agreed")
    show_table([summary[d] for d in lake.domains.order], columns)
    if all(not outcome.writes for outcome in outcomes):
        print("Nothing had to be changed: main and the warehouse held all of it.")
    if differing := [d for d, one in agreements.items() if not one.agreed]:
        raise MedallionError(f"lake and warehouse differ in {', '.join(differing)}", hint="`medallion reconcile`")
    print(
        "\nWorth trying next (after `. .venv/bin/activate`):\n"
        '  medallion sql "SELECT origin, dest, flights, on_time_share FROM gold.operations.route_performance '
        'ORDER BY flights DESC LIMIT 5"\n'
        "  medallion runs\n"
        "  medallion landing --date 2013-01-05 && spark-submit jobs/pipeline.py --date 2013-01-05"
    )

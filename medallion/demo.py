"""The demo: three days of real flights, a spoiled day that the gate must refuse, its correction, the proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from medallion import domain as domain_module
from medallion.domain import Domains
from medallion.errors import GateRefused, MedallionError
from medallion.landing import DATASETS, Landed, land
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from medallion.terminal import show_table

DAYS = (date(2013, 1, 1), date(2013, 1, 2), date(2013, 1, 3))
SPOILED = date(2013, 1, 4)
SPOILS = "operations"
"""The domain whose delivery is damaged."""
Report = Callable[[str], None]


def demo(settings: Settings, report: Report, domain: str | None = None) -> None:
    """Play the demo on the embedded stack, starting it if need be.

    Args:
        domain: only this one of the domains that come with medallion. Others have no part in it: it has
            no deliveries for them. Without `operations` there is no spoiled day.

    Raises: UsageError for another domain; MedallionError if the gate let the spoiled day pass, or lake
        and warehouse differ.
    """
    from medallion.services import stack

    everything = domain_module.load(settings)
    domain_module.built_in(everything).select(domain=domain)
    report("1/6  the stack: PostgreSQL, MinIO, Nessie, a Snowflake endpoint")
    settings = stack.up(settings, lambda line: report(f"     {line}"))
    small = settings.model_copy(update={"spark": settings.spark.model_copy(update={"small": True})})
    with Lake(small, domain_module.built_in(everything)) as lake:
        show = _Show(lake, everything, domain, lambda line: report(f"     {line}"))
        for number, day in enumerate(DAYS, start=2):
            report(f"{number}/6  {day}: landing → bronze → silver → gold on a branch → gate → one commit → one transaction")
            show.day(day)
        if domain in (None, SPOILS):
            report(f"5/6  {SPOILED}: damaged on purpose, then the true delivery")
            show.spoiled_day()
        else:
            report(f"5/6  {SPOILED}: left out, what is damaged on purpose is of {SPOILS}")
        report("6/6  reconcile: lake and warehouse, value by value")
        _proof(lake, show.outcomes, lake.domains.select(domain=domain))


@dataclass
class _Show:
    """One performance: in a lake of the built-in domains; `everything` is published, as after any run."""

    lake: Lake
    everything: Domains
    domain: str | None
    report: Report
    outcomes: list[Outcome] = field(default_factory=list)

    def day(self, day: date) -> None:
        from medallion.afterwards import followed_up
        from medallion.job import publish_gold

        self._land(day)
        with followed_up(self.lake, self.report, self.everything):
            self.outcomes.append(execute(self.lake, Request(day, domain=self.domain, publish=True), self.report))
            publish_gold(self.lake, self.report, domains=self.everything)

    def spoiled_day(self) -> None:
        from medallion.afterwards import told

        lake, report = self.lake, self.report
        if lake.journal.merged(SPOILED):
            report("the spoiled delivery was refused in an earlier demo (`medallion runs`); only news would be run")
            return self.day(SPOILED)
        main = lake.nessie.reference("main").hash
        self._land(SPOILED, spoiled=True)
        try:
            with told(lake, report, self.everything):
                execute(lake, Request(SPOILED, domain=self.domain), report)
        except GateRefused as refusal:
            for line in str(refusal).splitlines():
                report(line[:220])
        else:
            raise MedallionError("the gate let the spoiled day pass", hint="that is a defect of medallion; please report it")
        if (now := lake.nessie.reference("main").hash) != main:
            raise MedallionError(f"main moved from {main} to {now} though the gate refused", hint="please report it")
        report(f"main is still at {main[:12]}, the warehouse still shows {DAYS[-1]}")
        return self.day(SPOILED)

    def _land(self, day: date, *, spoiled: bool = False) -> None:
        wanted = [d for d in DATASETS if self.domain in (None, d.split(".")[1])]
        landed: list[Landed] = []
        for dataset in wanted:
            landed += land(self.lake.settings, day, spoiled=spoiled, only=dataset, spark=self.lake.spark)
        for one in landed:
            self.report(
                f"{one.uri}: {one.rows} rows, {one.state}" + (", damaged" if spoiled and one.state != "already there" else "")
            )


def _proof(lake: Lake, outcomes: list[Outcome], datasets: tuple[str, ...]) -> None:
    from medallion.publish.reconcile import reconcile

    shown = Domains({dataset: lake.domains.contracts[dataset] for dataset in datasets}, {})
    agreements = {one.dataset: one for one in reconcile(lake.settings, shown)}
    summary: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        for write in outcome.writes:
            row = summary.setdefault(
                write["dataset"], {"dataset": write["dataset"], "rows_in": 0, "rows_out": 0, "quarantined": 0}
            )
            for key in ("rows_in", "rows_out", "quarantined"):
                row[key] += write[key]
            row["commit_on_main"] = (outcome.merged_hash or "")[:12]
    for dataset in datasets:
        row = summary.setdefault(
            dataset, {"dataset": dataset, "rows_in": 0, "rows_out": 0, "quarantined": 0, "commit_on_main": "unchanged"}
        )
        found = agreements.get(dataset)
        row["rows_in_warehouse"] = found.warehouse_rows if found else None
        row["agreed"] = found.agreed if found else None
    columns = ("dataset", "rows_in", "rows_out", "quarantined", "commit_on_main", "rows_in_warehouse", "agreed")
    show_table([summary[d] for d in datasets], columns)
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

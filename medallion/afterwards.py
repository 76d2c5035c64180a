"""What follows whatever ends runs, merges or publishes: `ops` is filled in, alerts and lineage are sent, copies are made.

    with followed_up(lake, report) as copied:
        execute(lake, request, report)

Each of these also follows where that has failed, says in a line what is wrong with itself, takes nothing from what was
done, and is caught up with by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from medallion.errors import MedallionError, SettingsError

if TYPE_CHECKING:
    from medallion.domain import Domains
    from medallion.ops.sources import Sources
    from medallion.pipeline import Lake

log = logging.getLogger(__name__)
Report = Callable[[str], None]


@contextmanager
def followed_up(lake: Lake, report: Report, domains: Domains | None = None) -> Iterator[dict[str, Any]]:
    """Do what may merge.

    Args:
        domains: whose contracts count, if not those of the lake.
    Yields: a dict that has what came of the backup at the end.
    """
    with backed_up(lake, report) as copied, told(lake, report, domains):
        yield copied


@contextmanager
def told(lake: Lake, report: Report, domains: Domains | None = None) -> Iterator[None]:
    """Do what merges nothing, but may end runs or publish: all but the backup follows."""
    with lineage_sent(lake, report), alerted(lake, report, domains), projected(lake, report, domains):
        yield


@contextmanager
def _and_then(follow: Callable[[], object]) -> Iterator[None]:
    """Do something, and then what follows, also where it has failed."""
    try:
        yield
    except Exception:
        follow()
        raise
    follow()


def back_up(lake: Lake, report: Report) -> dict[str, Any]:
    """What is to follow a merge: copies in the second location, if the settings name one and want it then. A backup that
    fails is told, and takes nothing from the run.

    Returns: what came of it as `backup`, for JSON; nothing if there is none.
    """
    if not (lake.settings.backup.location and lake.settings.backup.after_merge):
        return {}
    from medallion.backup.backup import after_merge

    return {"backup": after_merge(lake.settings, report)}


@contextmanager
def alerted(lake: Lake, report: Report, domains: Domains | None = None) -> Iterator[None]:
    """Do what may end runs, and look for alerts afterwards, also where it has failed; an interruption leaves that to the next."""
    from medallion.alerts.evaluate import tell

    with _and_then(lambda: tell(lake.settings, (domains or lake.domains).contracts, report)):
        yield


@contextmanager
def lineage_sent(lake: Lake, report: Report) -> Iterator[None]:
    """Do what may be a run or a publication, and send its lineage afterwards, if the settings say where to: of what has failed
    too; an interruption leaves that to the next. It takes nothing from what was done that it cannot be sent."""
    if lake.settings.lineage.transport == "off":
        yield
        return
    from medallion.lineage import sending
    from medallion.marts.targets import settings_of

    target = lake.settings.marts.target
    began = lake.journal.now()

    def tell() -> None:
        sending.send(lake, began, report, lambda: () if target == "spark" else (settings_of(lake.settings, target),))

    with _and_then(tell):
        yield


@contextmanager
def backed_up(lake: Lake, report: Report) -> Iterator[dict[str, Any]]:
    """Do what may merge, and `back_up` afterwards if main has moved: also where what came after the merge has failed.

    Yields: a dict that has what came of the backup at the end.
    """
    from medallion.lakehouse.nessie import MAIN

    copied: dict[str, Any] = {}
    if not (lake.settings.backup.location and lake.settings.backup.after_merge):
        yield copied
        return
    before = lake.nessie.reference(MAIN)
    try:
        yield copied
    except Exception:
        with suppress(MedallionError):  # Nessie does not answer: what has failed is told, and nothing can be copied
            if lake.nessie.reference(MAIN) != before:
                back_up(lake, report)
        raise
    if lake.nessie.reference(MAIN) != before:
        copied |= back_up(lake, report)


@contextmanager
def projected(lake: Lake, report: Report, domains: Domains | None = None) -> Iterator[None]:
    """Do what ends a run or publishes, and fill in afterwards what is new in the projection (see `medallion.ops.projection`):
    also where it has failed, which the journal tells.

    Args:
        domains: whose contracts it shows, if not those of the lake.
    """
    with _and_then(lambda: _project(lake, report, domains)):
        yield


def _project(lake: Lake, report: Report, domains: Domains | None) -> None:
    from medallion.ops.projection import project

    if project(sources(lake, report, domains)) and lake.has_spark:  # columns' lineage alone is not worth a session's start
        fill_lineage(lake, report, domains or lake.domains)


def fill_lineage(lake: Lake, report: Report, domains: Domains) -> None:
    """Fill in what comes from what, by tables and by columns, if contracts, transforms or the dbt project have changed. Never
    raises: what fails is told in one line."""
    from medallion.lakehouse.journal import Journal
    from medallion.lineage.edges import refresh
    from medallion.ops.projection import LOCK_WAIT_S, STATEMENT_S, limit

    try:
        with Journal(lake.settings.postgres) as own, own.transaction() as connection:
            limit(connection, LOCK_WAIT_S, STATEMENT_S)
            refresh(connection, domains, lake.settings.marts.project, lake.spark, report)
    except Exception as error:
        log.exception("the lineage of tables and columns could not be filled in")
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        report(f"ops: lineage could not be filled in, the next run catches up: {first}")


def sources(lake: Lake, report: Report, domains: Domains | None = None) -> Sources:
    """What the projection is made from: the lake, and the warehouses that gold and the marts are published to."""
    from medallion.marts import targets
    from medallion.ops.sources import Sources

    warehouses = [lake.settings]
    with suppress(SettingsError):  # of marts that cannot be built
        warehouses.append(targets.settings_of(lake.settings, lake.settings.marts.target))
    one_of_each = {settings.warehouse: settings for settings in reversed(warehouses)}
    return Sources(lake, domains or lake.domains, tuple(reversed(one_of_each.values())), report)

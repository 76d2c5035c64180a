"""Sends what came to an end to whoever collects OpenLineage events, at the end of runs and publications.

The journal is what is still to be sent: a run or a publication that has no step `lineage.send` that was done. Its events are
made from the journal, the evidence and the ledger, so nothing is lost if the receiver is down or a process is killed: whoever
ends next sends it. It is sent once, unless a process is killed between the sending and the step's end: then again, the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from medallion import evidence
from medallion.errors import InputError, MedallionError
from medallion.lake import Lake
from medallion.lineage import dbt_models, mart_columns
from medallion.lineage.columns import Columns, of_transform
from medallion.lineage.dbt_models import Project
from medallion.lineage.edges import published
from medallion.lineage.events import Event, Known, of_publication, of_run
from medallion.publish.publication import history
from medallion.settings import Lineage, Settings

if TYPE_CHECKING:
    from openlineage.client.transport import Transport

log = logging.getLogger(__name__)

_AT_ONCE = 100
"""So many runs, and publications, one process sends at the most: those of others, after a long time, in several goes."""
_LOOK_BACK = 200
"""So many entries of a ledger are looked through for publications that were not sent."""
Report = Callable[[str], None]
Warehouses = Callable[[], Sequence[Settings]]
_Made = tuple[str, Callable[[], list[Event]]]
"""A run's or a publication's id, and what makes its events."""


def send(lake: Lake, since: datetime, report: Report, warehouses: Warehouses = tuple) -> int:
    """Send what came to an end and was not sent. Never raises: what cannot be sent is told in one line, and kept.

    Args:
        since: what ended earlier is left alone, if nothing was ever sent.
        warehouses: where publications may be, beside the lake's own.
    Returns: how many runs and publications were sent.
    """
    sent = 0
    try:
        runs, publications = lake.journal.unsent("lineage.send", since, _AT_ONCE)
        if not runs and not publications:
            return 0
        transport = _transport(lake.settings.lineage)
        of = _Columns(lake)
        ended: Iterator[_Made] = ((str(row["run_id"]), partial(_of_run, lake, of, row)) for row in runs)
        for name, events in chain(ended, _of_publications(lake, of, publications, warehouses)):
            with lake.journal.step(name, "lineage.send", since=since, to=lake.settings.lineage.transport) as found:
                told = events()
                for event in told:
                    transport.emit(event)  # type: ignore[arg-type]  # as it came out of the library's own classes
                found["events"] = len(told)
            sent += 1
        transport.close()
    except Exception as error:
        log.exception("lineage could not be sent")
        why = (
            error.message if isinstance(error, MedallionError) else f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        )
        report(f"lineage could not be sent, and will be by the next run: {why}")
    return sent


def _transport(settings: Lineage) -> Transport:
    try:
        from openlineage.client.transport.file import FileConfig, FileTransport
        from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport
    except ImportError as error:
        raise InputError("openlineage-python is not installed", hint="it is medallion's extra `openlineage`") from error

    if settings.transport == "file":
        assert settings.path is not None, "the settings see to it"
        settings.path.expanduser().parent.mkdir(parents=True, exist_ok=True)
        return FileTransport(FileConfig(log_file_path=str(settings.path.expanduser()), append=True))
    assert settings.url is not None, "the settings see to it"
    config = HttpConfig(url=settings.url, endpoint=settings.endpoint, timeout=settings.timeout_s, retry={"total": 1})
    if settings.token:
        config.auth = ApiKeyTokenProvider({"apiKey": settings.token.get_secret_value()})
    return HttpTransport(config)


class _Columns:
    """The columns of datasets and marts, each worked out when it is first asked for."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._known: dict[str, Columns | None] = {}
        self._marts: dict[str, Columns] | None = None
        self.project: Project = dbt_models.read(lake.settings.marts.project)

    def known(self, datasets: Iterable[str], settings: Settings | None = None) -> Known:
        lake, found = self._lake, {}
        for dataset in dict.fromkeys(datasets):
            if dataset not in self._known:
                self._known[dataset] = self._of(dataset)
            if made := self._known[dataset]:
                found[dataset] = made
        return Known(settings or lake.settings, lake.domains, self.project, found)

    def _of(self, dataset: str) -> Columns | None:
        if dataset in self._lake.domains.transforms:
            return of_transform(self._lake.spark(), self._lake.domains, dataset)
        if dataset not in self.project.marts:
            return None
        if self._marts is None:
            self._marts = mart_columns.of_marts(self.project, published(self._lake.domains))
        return self._marts.get(dataset)


def _of_run(lake: Lake, of: _Columns, row: dict[str, Any]) -> list[Event]:
    try:
        kept = evidence.read(lake.store, row["run_id"])
    except InputError:
        kept = {}  # it passed no gate
    datasets = [write["dataset"] for write in row["story"].get("writes", ())]
    return of_run(row, lake.journal.steps(row["run_id"]), kept, of.known(datasets))


def _of_publications(lake: Lake, of: _Columns, unsent: Sequence[dict[str, Any]], warehouses: Warehouses) -> Iterator[_Made]:
    """Those of these publications that were done, as ledgers say; of one that was not there is nothing to tell."""
    missing = dict.fromkeys(str(row["publication_id"]) for row in unsent)
    if not missing:
        return
    for settings in (lake.settings, *warehouses()):
        for entry in history(settings, _LOOK_BACK):
            if entry.publication_id in missing:
                del missing[entry.publication_id]
                marts = [dataset for dataset in entry.changed if dataset.startswith(f"{dbt_models.MARTS}.")]
                steps = lake.journal.steps(entry.publication_id)
                yield entry.publication_id, partial(of_publication, entry, steps, of.known(marts, settings))
    for each in missing:
        yield each, list

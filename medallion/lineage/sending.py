"""Sends what came to an end to whoever collects OpenLineage events, at the end of runs and publications.

The journal is what is still to be sent: a run or a publication that has no step `lineage.send` that was done. Its events are
made from the journal, the evidence and the ledger, so nothing is lost if the receiver is down or a process is killed: whoever
ends next sends it. One process sends at a time, whoever ends meanwhile leaves it to that one. It is sent once, unless a
process is killed between the sending and the step's end: then again, the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import chain
from time import monotonic
from typing import Any

from medallion import evidence
from medallion.errors import InputError, MedallionError, ServiceUnavailable, SettingsError
from medallion.lake import Lake
from medallion.lineage import dbt_models, mart_columns
from medallion.lineage.columns import Columns, of_transform
from medallion.lineage.dbt_models import Project
from medallion.lineage.edges import published
from medallion.lineage.events import Event, Known, of_publication, of_run
from medallion.lineage.transports import RefusedError, Transport, transport
from medallion.publish.ledger import Entry
from medallion.publish.publication import history
from medallion.settings import Settings

log = logging.getLogger(__name__)

_AT_ONCE = 100
"""So many runs, and publications, one process sends at the most: those of others, after a long time, in several goes."""
_BUDGET_S = 10.0
"""So many seconds a command sends; then it leaves the rest to the next."""
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
    Returns: how many runs and publications were sent; 0 if another process is sending.
    """
    sending = _Sending(lake, since, report, warehouses)
    try:
        with lake.journal.alone("lineage.send") as alone:
            if alone:
                sending.all()
        if sending.kept:
            raise sending.kept
    except _OutOfTimeError:
        report(f"lineage: after {_BUDGET_S:g} s the rest is left to the next run")
    except Exception as error:
        log.exception("lineage could not be sent")
        report(f"lineage could not be sent, and will be by the next run: {_why(error)}")
    return sending.sent


def _why(error: Exception) -> str:
    if isinstance(error, MedallionError):
        return error.message
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


class _OutOfTimeError(Exception):
    """The rest is left to the next."""


class _Sending:
    """What one process sends. `sent`: how much it was; `kept`: why some of it could not be told yet, if so."""

    def __init__(self, lake: Lake, since: datetime, report: Report, warehouses: Warehouses) -> None:
        self._lake, self._since, self._report, self._warehouses = lake, since, report, warehouses
        self._until = monotonic() + _BUDGET_S
        self._tried: set[str] = set()
        self._opened: Transport | None = None
        self.sent = 0
        self.kept: MedallionError | None = None

    def all(self) -> None:
        """Send all, also what comes to an end meanwhile. Raises: what the transport does; _OutOfTimeError."""
        runs, publications = self._unsent()
        if not runs and not publications:
            return
        of = _Columns(self._lake)
        try:
            while runs or publications:
                ended: Iterator[_Made] = ((str(row["run_id"]), partial(_of_run, self._lake, of, row)) for row in runs)
                for name, events in chain(ended, self._of_publications(of, publications)):
                    self._one(name, events)
                    if monotonic() > self._until:
                        raise _OutOfTimeError
                runs, publications = self._unsent()
        finally:
            if self._opened:
                self._opened.close()

    def _way(self) -> Transport:
        """Opened within a step: what fails there is noted, with the time from which on all is to be sent."""
        self._opened = self._opened or transport(self._lake.settings.lineage)
        return self._opened

    def _unsent(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """What is to be sent and was not tried yet."""
        runs, publications = self._lake.journal.unsent("lineage.send", self._since, _AT_ONCE)
        runs = [row for row in runs if row["run_id"] not in self._tried]
        publications = [row for row in publications if row["publication_id"] not in self._tried]
        self._tried |= {row["run_id"] for row in runs} | {row["publication_id"] for row in publications}
        return runs, publications

    def _one(self, name: str, events: Callable[[], list[Event]]) -> None:
        """Send one run or publication. One that cannot be told is left out, so that it is not in the way of those after it."""
        journal, untold = self._lake.journal, {}
        try:
            told = events()
        except ServiceUnavailable as error:  # it can be told when that answers again
            log.warning("the lineage of %s could not be told yet", name, exc_info=True)
            self.kept = error
            return
        except Exception as error:
            log.exception("the lineage of %s could not be told", name)
            self._report(f"lineage of {name} cannot be told, and is left out: {_why(error)}")
            told, untold = [], {"untold": type(error).__name__}
        before = [step["detail"].get("sent", 0) for step in journal.steps(name) if step["name"] == "lineage.send"]
        begin = max(before, default=0)  # more than 0 if the time was over in the midst of it
        to = self._lake.settings.lineage.transport
        refused: list[str] = []
        try:
            with journal.step(name, "lineage.send", since=self._since, to=to, **untold) as found:
                for n, event in enumerate(told[begin:], start=begin + 1):
                    try:
                        self._way().send(event)
                    except RefusedError as error:
                        refused.append(f"{event['eventType']} of {event['job']['name']}: {error}")
                        found["refused"] = refused
                    if n < len(told) and monotonic() > self._until:
                        found["sent"] = n
                        raise _OutOfTimeError
                found["events"] = len(told)
        finally:
            if refused:
                many = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
                self._report(f"lineage of {name}: the receiver refuses an event, which is left out: {refused[0]}{many}")
        self.sent += 1

    def _of_publications(self, of: _Columns, unsent: Sequence[dict[str, Any]]) -> Iterator[_Made]:
        """Those of these publications that were done, as ledgers say; of one that was not there is nothing to tell."""
        lake, missing = self._lake, {str(row["publication_id"]): bool(row["over"]) for row in unsent}
        if not missing:
            return
        places = [lake.settings]
        with suppress(SettingsError):  # of marts that cannot be built
            places += self._warehouses()
        unread = False
        for settings in places:
            try:
                entries = history(settings, _LOOK_BACK)
            except MedallionError as error:
                log.warning("a ledger could not be read", exc_info=True)
                self.kept, unread = error, True
                continue
            for entry in entries:
                if entry.publication_id in missing:
                    del missing[entry.publication_id]
                    yield entry.publication_id, partial(_of_entry, lake, of, entry, settings)
        for name, over in missing.items():
            if over and not unread:
                yield name, list


class _Columns:
    """The columns of datasets and marts, each worked out when it is first asked for; what cannot be is left out."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._known: dict[str, Columns | None] = {}
        self._marts: dict[str, Columns] | None = None
        self.project = Project()
        try:
            self.project = dbt_models.read(lake.settings.marts.project)
        except Exception:
            log.warning("the marts' project cannot be read; events are sent without it", exc_info=True)

    def known(self, datasets: Iterable[str], settings: Settings | None = None) -> Known:
        lake, found = self._lake, {}
        for dataset in dict.fromkeys(datasets):
            if dataset not in self._known:
                self._known[dataset] = self._tried(dataset)
            if made := self._known[dataset]:
                found[dataset] = made
        return Known(settings or lake.settings, lake.domains, self.project, found)

    def _tried(self, dataset: str) -> Columns | None:
        try:
            return self._of(dataset)
        except Exception:
            log.warning("the columns of %s cannot be told", dataset, exc_info=True)
            return None

    def _of(self, dataset: str) -> Columns | None:
        if dataset in self._lake.domains.transforms:
            if not self._lake.has_spark:  # columns alone are not worth a session's start
                return None
            return of_transform(self._lake.spark(), self._lake.domains, dataset)
        if dataset not in self.project.marts:
            return None
        if self._marts is None:
            self._marts = {}
            self._marts = mart_columns.of_marts(self.project, published(self._lake.domains))
        return self._marts.get(dataset)


def _of_run(lake: Lake, of: _Columns, row: dict[str, Any]) -> list[Event]:
    try:
        kept = evidence.read(lake.store, row["run_id"])
    except InputError:
        kept = {}  # it passed no gate
    except (ValueError, TypeError):
        log.warning("the evidence of %s is damaged", row["run_id"], exc_info=True)
        kept = {}
    datasets = [write["dataset"] for write in row["story"].get("writes", ())]
    return of_run(row, lake.journal.steps(row["run_id"]), kept, of.known(datasets))


def _of_entry(lake: Lake, of: _Columns, entry: Entry, settings: Settings) -> list[Event]:
    marts = [dataset for dataset in entry.changed if dataset.startswith(f"{dbt_models.MARTS}.")]
    return of_publication(entry, lake.journal.steps(entry.publication_id), of.known(marts, settings))

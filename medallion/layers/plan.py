"""What a run has to make: only what its inputs' recorded hashes say is stale.

Each write of silver and gold records a hash of what it was made from (deliveries, and the identity
of every table read) and of its code. A dataset's rows of one date are made again when that hash
would come out differently: so a corrected delivery, a late day or a changed reference table finds
everything that depends on it, and a run without news makes nothing. A date that was never made is
made only when it is the run's own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

from medallion.contract import Contract
from medallion.domain import Domains
from medallion.lakehouse.history import Delivered, Made, deliveries, made, total_records
from medallion.lakehouse.nessie import Content
from medallion.settings import S3

NOTHING = "-"
"""The identity of rows that do not exist."""


@dataclass(frozen=True)
class Task:
    """Make a dataset's rows of one date; of all dates where `date` is None."""

    dataset: str
    date: date | None
    made: Made
    reason: str


class Plan:
    """The plan of one run, over the contents that its branch started from."""

    def __init__(
        self, s3: S3, domains: Domains, contents: dict[str, Content], selected: tuple[str, ...], logical_date: date
    ) -> None:
        self.s3 = s3
        self.domains = domains
        self.contents = contents
        self.selected = frozenset(selected)
        self.logical_date = logical_date
        self._deliveries: dict[str, list[Delivered]] = {}
        self._made: dict[str, dict[date | None, Made]] = {}
        self._identity = cache(self._identity_of)

    # ── bronze ────────────────────────────────────────────────────────────────────────────────
    def deliveries(self, dataset: str) -> list[Delivered]:
        """The deliveries in a bronze table and those that `arrived` in this run, oldest first."""
        if dataset not in self._deliveries:
            self._deliveries[dataset] = deliveries(self.s3, self.contents[dataset])
        return self._deliveries[dataset]

    def arrived(self, dataset: str, delivered: Delivered) -> None:
        """Count with a delivery that this run writes."""
        self._deliveries[dataset] = sorted([*self.deliveries(dataset), delivered])

    def counting(self, dataset: str, when: date | None) -> list[Delivered]:
        """The deliveries that count downstream, of one date or (None) of all: the newest of each date;
        the newest of each file, where every delivery is the whole dataset; all, where each brings only
        what is new."""
        there, delivery = self.deliveries(dataset), self.domains.contracts[dataset].delivery
        if self.whole(dataset):
            parts = delivery.parts if delivery else ()
            return list({one.name if parts else "": one for one in there if not parts or one.name in parts}.values())
        of_date = [one for one in there if when in (None, one.logical_date)]
        if delivery is not None and delivery.expected == "increments":
            return of_date
        return list({one.logical_date: one for one in of_date}.values())

    def whole(self, dataset: str) -> bool:
        """Whether each delivery of a bronze dataset replaces the one before (reference data)."""
        delivery = self.domains.contracts[dataset].delivery
        return delivery is not None and delivery.expected == "initial"

    def by_its_date(self, dataset: str) -> bool:
        """Whether a run needs to know only of its own date's deliveries to see what is new."""
        delivery = self.domains.contracts[dataset].delivery
        return delivery is not None and delivery.expected == "daily"

    # ── silver and gold ───────────────────────────────────────────────────────────────────────
    def tasks(self, dataset: str) -> list[Task]:
        """What must be made of one silver or gold dataset, oldest date first."""
        found = []
        for when in sorted(self.dates(dataset), key=lambda d: d or date.min):
            old, new = self.made(dataset).get(when), self.wanted(dataset, when)
            if self._stale(dataset, when):
                reason = "new" if old is None else "its inputs changed" if old.inputs != new.inputs else "its code changed"
                found.append(Task(dataset, when, new, reason))
        return found

    def made(self, dataset: str) -> dict[date | None, Made]:
        if dataset not in self._made:
            self._made[dataset] = made(self.s3, self.contents[dataset])
        return self._made[dataset]

    def by_date(self, dataset: str) -> bool:
        """Whether one date's rows are a part of the dataset, which can be read alone."""
        contract = self.domains.contracts[dataset]
        return not self.whole(dataset) if contract.layer == "bronze" else contract.materialisation.replaces_its_date

    def made_by_date(self, dataset: str) -> bool:
        """Whether the dataset is made a date at a time; what is upserted is so, and read whole all the same."""
        return self.by_date(dataset) or self.domains.contracts[dataset].materialisation.kind == "upsert"

    def dates(self, dataset: str) -> set[date | None]:
        """The dates that a dataset has or, from its inputs, could have; {None} if it is made whole."""
        if not self.made_by_date(dataset):
            return {None}
        if self.domains.contracts[dataset].layer == "bronze":
            return {one.logical_date for one in self.deliveries(dataset)}
        inputs = [i for i in self.domains.transforms[dataset].inputs.values() if self.by_date(i)]
        return {self.logical_date, *self.made(dataset)}.union(*(self.dates(i) for i in inputs)) - {None}

    def read_dates(self, contract: Contract, input_: str, when: date | None) -> list[date | None]:
        """Which dates of an input a task reads: [None] stands for all of it."""
        if when is None or not self.by_date(input_):
            return [None]
        return [when - timedelta(days=back) for back in reversed(range(contract.materialisation.days))]

    def rows(self, dataset: str, when: date | None) -> int:
        """About how many rows a dataset has for a date (None: for all), or will have after this run."""
        contract = self.domains.contracts[dataset]
        if contract.layer == "bronze":
            return sum(one.rows for one in self.counting(dataset, when))
        below = self.rows_read(dataset, when)
        return below if when is not None else max(below, total_records(self.s3, self.contents[dataset]))

    def rows_read(self, dataset: str, when: date | None) -> int:
        """About how many rows are read to make a dataset for a date; what is upserted is compared with what is there."""
        contract = self.domains.contracts[dataset]
        inputs = self.domains.transforms[dataset].inputs.values()
        held = total_records(self.s3, self.contents[dataset]) if contract.materialisation.kind == "upsert" else 0
        return held + sum(self.rows(i, d) for i in inputs for d in self.read_dates(contract, i, when))

    def _stale(self, dataset: str, when: date | None) -> bool:
        old, new = self.made(dataset).get(when), self.wanted(dataset, when)
        own = when in (None, self.logical_date)
        upserted = self.domains.contracts[dataset].materialisation.kind == "upsert"
        if old is None:
            # what was made whole until now held the rows of all dates
            return own or (upserted and next(reversed(self.made(dataset)), when) is None)
        # one key's row is chosen among those of all dates: they have to be of one code
        own |= upserted
        return old.inputs != new.inputs or (own and old.code != new.code)

    def wanted(self, dataset: str, when: date | None) -> Made:
        """How a dataset's rows of one date would be made now: hashes of inputs and of code."""
        contract, transform = self.domains.contracts[dataset], self.domains.transforms[dataset]
        inputs = {
            parameter: [[str(d), self._identity(input_, d)] for d in self.read_dates(contract, input_, when)]
            for parameter, input_ in transform.inputs.items()
        }
        # which rows are put aside is decided by what they point into as well
        deciding = {rule.reference.to for rule in contract.rules if rule.reference and rule.puts_aside}
        inputs |= {f"into {to}": [[str(None), self._identity(to, None)]] for to in sorted(deciding)}
        return Made(_hash(inputs), _hash([transform.fingerprint, contract.fingerprint]))

    def _identity_of(self, dataset: str, when: date | None) -> str:
        """A hash that changes when the rows of that date may have changed."""
        contract = self.domains.contracts[dataset]
        if contract.layer == "bronze":
            return _hash([one.delivery for one in self.counting(dataset, when)]) if self.deliveries(dataset) else NOTHING
        if when is None and self.made_by_date(dataset):
            dates = sorted(d for d in self.dates(dataset) if d is not None)
            return _hash([[str(d), self._identity(dataset, d)] for d in dates if self._identity(dataset, d) != NOTHING])
        known = self.made(dataset).get(when)
        if dataset in self.selected and when in self.dates(dataset) and self._stale(dataset, when):
            known = self.wanted(dataset, when)
        return _hash([known.inputs, known.code]) if known else NOTHING


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

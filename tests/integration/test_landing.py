"""The demo's deliveries in the real bucket: where they are put, and when they are put again."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import uuid
from dataclasses import dataclass
from datetime import date

import pytest

from medallion import domain, landing
from medallion.domain import Domains
from medallion.lakehouse.store import Object, Store
from medallion.settings import Settings

FLIGHTS, AIRPORTS, AIRLINES = landing.FILES
DAY_1, DAY_4 = date(2013, 1, 1), date(2013, 1, 4)
NEW = [(FLIGHTS, "landed"), (AIRPORTS, "landed"), (AIRLINES, "landed")]


@dataclass(frozen=True)
class Shelf:
    """A prefix of the bronze buckets that nobody has delivered to."""

    settings: Settings
    prefix: str
    store: Store

    def land(self, day: date, **how: object) -> list[tuple[str, str]]:
        return [(file.dataset, file.state) for file in landing.land(self.settings, day, **how)]

    def versions(self) -> list[Object]:
        return [each for bucket in ("bronze-raw-data", "bronze-batch") for each in self.store.versions(bucket, self.prefix)]


@pytest.fixture
def shelf(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The contracts' own paths under a prefix of its own: other tests deliver to the same buckets."""
    prefix, load = f"landing-{uuid.uuid4().hex[:10]}/", domain.load

    def moved(settings: Settings) -> Domains:
        domains = load(settings)
        contracts = {
            name: dataclasses.replace(c, delivery=dataclasses.replace(c.delivery, path=prefix + c.delivery.path))
            for name, c in domains.contracts.items()
            if c.delivery
        }
        return Domains(domains.contracts | contracts, domains.transforms)

    monkeypatch.setattr(domain, "load", moved)
    return Shelf(stack.model_copy(update={"sources": {}}), prefix, Store(stack.s3))


def test_files_lie_where_the_contracts_say_and_are_what_was_reported(shelf: Shelf) -> None:
    landed = landing.land(shelf.settings, DAY_1)
    assert [file.uri for file in landed] == [
        f"s3://bronze-raw-data/{shelf.prefix}domain=operations/flights/year=2013/month=01/day=01/flights.csv",
        f"s3://bronze-batch/{shelf.prefix}domain=operations/airports/year=2013/month=01/day=01/airports.csv",
        f"s3://bronze-batch/{shelf.prefix}domain=operations/airlines/year=2013/month=01/day=01/airlines.csv",
    ]
    for file in landed:
        data = shelf.store.get(file.uri)
        rows = list(csv.DictReader(data.decode("utf-8").splitlines(), strict=True))
        assert (file.bytes, file.sha256, file.rows) == (len(data), hashlib.sha256(data).hexdigest(), len(rows))


def test_the_same_bytes_are_not_put_again(shelf: Shelf) -> None:
    assert shelf.land(DAY_1) == NEW
    assert shelf.land(DAY_1) == [(FLIGHTS, "already there"), (AIRPORTS, "already there"), (AIRLINES, "already there")]
    assert len(shelf.versions()) == 3


def test_reference_data_comes_again_only_when_it_changed(shelf: Shelf) -> None:
    shelf.land(DAY_1)
    assert shelf.land(DAY_4) == [(FLIGHTS, "landed"), (AIRPORTS, "already there"), (AIRLINES, "already there")]
    where = f"s3://bronze-batch/{shelf.prefix}domain=operations/airlines/year=2013/month=01/day=03/airlines.csv"
    shelf.store.put(where, b"carrier,name\nZZ,Changed\n", "text/csv")
    assert shelf.land(date(2013, 1, 2), only="airlines") == [(AIRLINES, "already there")]  # it changed later
    assert shelf.land(DAY_4, only="airlines") == [(AIRLINES, "landed")]


def test_whoever_starts_in_the_middle_gets_reference_data_too(shelf: Shelf) -> None:
    assert shelf.land(DAY_4) == NEW


def test_the_true_day_corrects_the_spoiled_one_and_both_are_kept(shelf: Shelf) -> None:
    assert shelf.land(DAY_4, only=FLIGHTS, spoiled=True) == [(FLIGHTS, "landed")]
    assert shelf.land(DAY_4, only=FLIGHTS, spoiled=True) == [(FLIGHTS, "already there")]
    assert shelf.land(DAY_4, only="flights") == [(FLIGHTS, "corrected")]
    old, new = shelf.versions()
    assert (old.latest, new.latest) == (False, True)
    assert shelf.store.get(old.uri) == landing.content(FLIGHTS, DAY_4, spoiled=True)
    assert shelf.store.get(new.uri) == landing.content(FLIGHTS, DAY_4)

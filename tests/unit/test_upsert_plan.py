"""What is upserted is made a date at a time, and read whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from medallion.domain import Domains
from medallion.lakehouse.history import Delivered, Made
from medallion.layers.plan import Plan, Task
from medallion.settings import Settings
from tests.toy_domains import changes

D1, D2, D3 = date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)
BRONZE, LATEST, CITIES = "bronze.toy.changes", "silver.toy.latest", "gold.toy.cities"


@pytest.fixture
def domains(tmp_path: Path) -> Domains:
    return changes(tmp_path, "toy").load(Settings())


def plan(
    domains: Domains, on: date, made: dict[str, dict[date | None, Made]], *days: date, corrected: date | None = None
) -> Plan:
    """The plan of a run, over a lake that has deliveries of these days and was made so."""
    empty = {dataset: {"snapshotId": -1} for dataset in domains.contracts}
    found = Plan(Settings().s3, domains, empty, tuple(domains.contracts), on)
    found._made.update({dataset: dict(made.get(dataset, {})) for dataset in domains.transforms})
    for day in days:
        found.arrived(BRONZE, Delivered(day, f"{day}-1", f"s3://{day}.csv", "1", 10))
    if corrected:
        found.arrived(BRONZE, Delivered(corrected, f"{corrected}-2", f"s3://{corrected}.csv", "2", 10))
    return found


def of(tasks: list[Task]) -> list[tuple[date | None, str]]:
    return [(task.date, task.reason) for task in tasks]


def after(*plans: Plan) -> dict[str, dict[date | None, Made]]:
    """How tables were made once these plans were carried out."""
    made: dict[str, dict[date | None, Made]] = {LATEST: {}, CITIES: {}}
    for each in plans:
        for dataset in made:
            made[dataset] |= {task.date: task.made for task in each.tasks(dataset)}
    return made


def test_its_dates_are_made_one_by_one(domains: Domains) -> None:
    first = plan(domains, D2, {}, D1, D2)
    assert of(first.tasks(LATEST)) == [(D2, "new")], "a date that was never made is made only when it is the run's own"
    made = after(first)
    assert of(plan(domains, D2, made, D1, D2).tasks(LATEST)) == []
    assert of(plan(domains, D3, made, D1, D2, D3).tasks(LATEST)) == [(D3, "new")]
    assert of(plan(domains, D3, made, D1, D2, D3, corrected=D2).tasks(LATEST)) == [(D2, "its inputs changed"), (D3, "new")]


def test_others_read_all_of_it(domains: Domains) -> None:
    first = plan(domains, D1, {}, D1)
    assert first.made_by_date(LATEST)
    assert not first.by_date(LATEST)
    by_date = replace(domains.contracts[CITIES], materialisation=replace(domains.contracts[CITIES].materialisation, kind="date"))
    assert first.read_dates(by_date, LATEST, D1) == [None]
    assert of(first.tasks(CITIES)) == [(None, "new")]
    made = after(first)
    assert of(plan(domains, D1, made, D1).tasks(CITIES)) == []
    assert of(plan(domains, D2, made, D1, D2).tasks(CITIES)) == [(None, "its inputs changed")]
    assert of(plan(domains, D1, made, D1, corrected=D1).tasks(CITIES)) == [(None, "its inputs changed")]


def test_its_identity_is_the_same_in_any_order(domains: Domains) -> None:
    """So that a reader made after the days in one order is not made again after the days in another."""
    one, other = (
        after(plan(domains, first, {}, D1, D2), plan(domains, second, {}, D1, D2)) for first, second in ((D1, D2), (D2, D1))
    )
    identities = {plan(domains, D2, made, D1, D2)._identity(LATEST, None) for made in (one, other)}
    assert len(identities) == 1


def test_changed_code_makes_all_dates_again(domains: Domains) -> None:
    """One key's row is chosen among those of all dates: with rows of two codes side by side it would be chosen wrongly."""
    made = after(plan(domains, D1, {}, D1, D2), plan(domains, D2, {}, D1, D2))
    latest = domains.transforms[LATEST]
    changed = Domains(domains.contracts, domains.transforms | {LATEST: replace(latest, fingerprint="another")})
    assert of(plan(changed, D2, made, D1, D2).tasks(LATEST)) == [(D1, "its code changed"), (D2, "its code changed")]


def test_how_much_is_read_counts_what_rows_are_compared_with(domains: Domains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medallion.layers.plan.total_records", lambda s3, content: 1_000_000)
    assert plan(domains, D2, {}, D1, D2).rows_read(LATEST, D2) == 1_000_010

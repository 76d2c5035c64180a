"""A publication that failed is told, and over when a later one has ended well; what was planned again, or is there, is silent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse import steps
from medallion.publish import marts
from medallion.publish.publication import publish
from medallion.settings import Settings
from tests.alert_place import AlertPlace, over, told
from tests.lake_tables import Contracts, LakeTables, gold
from tests.warehouse import POSTGRES, with_warehouse
from tests.webhook import Webhook

pytest_plugins = ["tests.alerting", "tests.warehouse"]

COLUMNS = {"id": "bigint", "v": "bigint"}
FAILED = [("publication_failed", None, None)]


def version(number: int) -> list[dict[str, Any]]:
    return [{"id": 1, "v": number}, {"id": 2, "v": number}]


@contextmanager
def at_first(step: str, error: BaseException | None = None, do: Any = None) -> Iterator[None]:
    """Do something, or fail, when a step is come to for the first time."""
    passed = []

    @contextmanager
    def around(name: str) -> Iterator[None]:
        if name == step and not passed:
            passed.append(name)
            if do:
                do()
            if error:
                raise error
        yield

    steps.around = around
    try:
        yield
    finally:
        steps.around = None
    assert passed


@POSTGRES
def test_a_publication_that_fails_is_told_until_one_ends_well(
    settings: Settings, lake: LakeTables, domain: str, alert_place: AlertPlace, hook: Webhook
) -> None:
    one, place = gold("one", COLUMNS, domain=domain), alert_place
    lake.commit({one: version(1)})
    down = with_warehouse(settings, port=1)
    for opened in (FAILED, []):
        with pytest.raises(ServiceUnavailable):
            publish(down, Contracts(one), journal=place.journal)
        assert told(place.look()) == opened, "it is told once"
    [message] = hook.received
    assert message["title"] == (
        "[medallion] ERROR: a publication of gold to postgres failed: what is shown there is whole, and may be older than main"
    )
    assert "ServiceUnavailable: " in message["message"]
    assert "look further: medallion publish" in message["message"]

    assert publish(settings, Contracts(one), journal=place.journal).outcome == "published"
    look = place.look()
    assert (told(look), over(look)) == ([], FAILED)
    assert look.resolved[0]["resolved_why"] == "a later publication of gold to postgres ended well"

    with pytest.raises(ServiceUnavailable):
        publish(down, Contracts(one), journal=place.journal)
    assert told(place.look()) == FAILED, "it may occur again"
    assert publish(settings, Contracts(one), journal=place.journal).outcome == "already"
    assert over(place.look()) == FAILED, "what is to be shown is shown"


@POSTGRES
def test_what_is_no_failed_publication(settings: Settings, lake: LakeTables, domain: str, alert_place: AlertPlace) -> None:
    one, place = gold("one", COLUMNS, domain=domain), alert_place
    lake.commit({one: version(1)})
    publish(settings, Contracts(one), journal=place.journal)

    lake.commit({one: version(2)})
    with at_first("publish.begin", do=lambda: publish(settings, Contracts(one))):  # somebody else is faster
        assert publish(settings, Contracts(one), journal=place.journal).outcome == "already"
    assert told(place.look()) == []
    lake.commit({one: version(3)})
    with at_first("publish.begin", KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        publish(settings, Contracts(one), journal=place.journal)
    assert told(place.look()) == [], "somebody has interrupted it"
    with pytest.raises(UsageError):
        publish(settings, Contracts(one), at="0" * 64, journal=place.journal)
    assert told(place.look()) == [], "somebody has asked for what is not there"
    with at_first("publish.begin", UsageError("a column is gone")), pytest.raises(UsageError):
        publish(settings, Contracts(one), journal=place.journal)
    assert told(place.look()) == FAILED


@POSTGRES
def test_marts_are_told_beside_gold(settings: Settings, lake: LakeTables, domain: str, alert_place: AlertPlace) -> None:
    one, place = gold("one", COLUMNS, domain=domain), alert_place
    lake.commit({one: version(1)})
    publish(settings, Contracts(one), journal=place.journal)

    def broken(*_: Any) -> marts.Columns:
        raise UsageError("dbt failed at 'ann'")

    with pytest.raises(UsageError):
        marts.publish(settings, broken, journal=place.journal)
    [alert] = place.look().opened
    assert (alert["kind"], alert["command"], alert["detail"]["error"]) == (
        "publication_failed", "medallion marts", "UsageError: dbt failed at '…'",
    )  # fmt: skip
    publish(settings, Contracts(one), journal=place.journal)
    assert over(place.look()) == [], "gold is not the marts"
    marts.publish(settings, lambda *_: {}, journal=place.journal)
    assert over(place.look()) == FAILED


def test_a_publication_whose_process_was_killed(alert_place: AlertPlace) -> None:
    place, now = alert_place, datetime.now(UTC)
    with pytest.raises(GeneratorExit), place.journal.step("p", "publish.whole", of="gold", warehouse="postgres", at=None):
        raise GeneratorExit
    place.rows("UPDATE ops.steps SET outcome = NULL, ended_at = NULL RETURNING 1")
    assert told(place.look(now + timedelta(minutes=50))) == [], "it may still be under way"
    look = place.look(now + timedelta(minutes=70))
    assert (told(look), look.opened[0]["detail"]["error"]) == (FAILED, "its process ended")
    assert told(place.look(now + timedelta(hours=169))) == []


def test_marts_in_the_lake_are_a_run(alert_place: AlertPlace) -> None:
    place = alert_place
    place._ended(None, "failed", "interrupted", [], [], kind="marts")
    assert told(place.look()) == []
    run = place._ended(None, "failed", "ValueError: no", [], [], kind="marts")
    look = place.look()
    assert (told(look), look.opened[0]["command"]) == (FAILED, f"medallion show {run}")
    place.merged(None, {}, kind="marts")
    assert over(place.look()) == FAILED

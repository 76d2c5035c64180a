"""What people do about alerts on the dashboards, and what comes of it in the database. In order: each changes the alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator

from medallion.settings import Settings
from tests.ops_databases import connect
from tests.ui.browsing import Site

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def ask(stack: Settings, seeded_database: str) -> Ask:
    def ask(statement: str) -> list[tuple[Any, ...]]:
        with connect(stack.postgres, seeded_database) as db:
            return db.execute(statement).fetchall()

    return ask


def sign(site: Site, who: str) -> None:
    """Say who one is."""
    name = site.page.get_by_role("textbox", name="Your name")
    name.fill(who)
    name.press("Enter")
    site.ready()


def card(site: Site, words: str) -> Locator:
    return site.page.locator("[class*=st-key-alert-]", has_text=words).first


def test_an_alert_is_acknowledged_by_name(site: Site, ask: Ask) -> None:
    site.open("alerts")
    sign(site, "ann")
    card(site, "amount_positive").get_by_role("button", name="Acknowledge").click()
    site.page.get_by_text("1 alert acknowledged by ann").wait_for()
    assert ask("SELECT rule, acknowledged_by FROM ops.alerts WHERE acknowledged_at IS NOT NULL AND resolved_at IS NULL") == [
        ("run_failed", "ann")
    ]
    assert "acknowledged by ann" in card(site, "amount_positive").inner_text()
    assert site.open().title.startswith("✖ Today is not all right: 3 things"), "what somebody takes care of is no news"


def test_an_alert_is_silenced_with_a_reason(site: Site, ask: Ask) -> None:
    site.open("alerts")
    card(site, "score 71.3").get_by_role("button", name="Silence").click()
    site.page.get_by_role("button", name="Silence it").click()
    site.page.get_by_text("Say why").wait_for()
    assert ask("SELECT count(*) FROM ops.silences") == [(0,)]
    why = site.page.get_by_label("Why")
    why.fill("the source is being moved")
    why.press("Tab")
    site.page.get_by_role("button", name="Silence it").click()
    site.page.get_by_text("Silence 1: rule quality_drop of").wait_for()
    assert ask("SELECT rule, why, until > now() + interval '7 hours' FROM ops.silences") == [
        ("quality_drop", "the source is being moved", True)
    ]
    assert "the source is being moved" in site.text


def test_nothing_is_done_without_a_name(site: Site, ask: Ask) -> None:
    site.open("alerts")
    sign(site, "")
    card(site, "has not come").get_by_role("button", name="Acknowledge").click()
    site.page.get_by_text("Say who you are").wait_for()
    assert ask("SELECT count(*) FROM ops.alerts WHERE rule = 'time_gap' AND acknowledged_at IS NOT NULL") == [(0,)]


def test_all_that_are_shown_are_acknowledged_at_once(site: Site, ask: Ask) -> None:
    site.open("alerts")
    site.page.get_by_role("button", name="Acknowledge all 3 shown").click()
    site.page.get_by_text("3 alerts acknowledged").wait_for()
    assert ask("SELECT count(*) FROM ops.alerts WHERE resolved_at IS NULL AND acknowledged_at IS NULL") == [(0,)]

"""Each page, each kind of link, over a seeded month; narrow, dark, empty, and without a database."""

from __future__ import annotations

import re

import pytest

from tests.ui.browsing import Site

PAGES = {
    "": "Today is not all right",
    "quality": "Quality",
    "operations": "Operations",
    "lineage": "Lineage",
    "run": "Run",
    "alerts": "Alerts",
}
GOLD = "gold.customers.orders_per_day"


def failed_run(site: Site) -> str:
    """The failed run that Today tells of."""
    return next(link for link in site.open().links() if link.startswith("run?run=")).partition("=")[2]


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────
def test_today_says_what_is_wrong_and_links_to_the_cause(site: Site) -> None:
    site.open()
    assert site.title.startswith("✖ Today is not all right: 4 things to look at")
    assert "run_failed" in site.text
    assert "<b>discount</b>" in site.text, "what others wrote is text"
    reds = site.page.locator(".m-list li", has=site.page.locator(".m-bad"))
    assert reds.count() == 4
    for n in range(4):
        assert reds.nth(n).locator("a").count() >= 1
    site.follow(next(link for link in site.links() if link.startswith("run?run=")))
    assert "The gate refused it; main is as it was" in site.text
    assert "medallion quarantine show" in site.text


def test_the_menu_leads_to_every_page(site: Site) -> None:
    site.open()
    for path, title in [*PAGES.items()][1:]:
        site.page.get_by_role("link", name=title, exact=True).first.click()
        site.page.wait_for_url(f"**/{path}")
        site.page.locator("h1", has_text=title).first.wait_for()
        assert site.ready().title.startswith(title)


def test_every_kind_of_link_leads_to_its_page(site: Site) -> None:
    seen: dict[str, str] = {}
    for path in (*PAGES, f"quality?dataset={GOLD}", f"lineage?dataset={GOLD}"):
        for link in site.open(path).links():
            kind = re.sub(r"=[^&]*", "=", link)
            seen.setdefault(kind, link)
    expected = (
        "run?run=", "quality?dataset=", "lineage?dataset=", "lineage?dataset=&column=", "lineage?domain=&layer=", "operations",
        "alerts?alert=", "lineage", "quality", "lineage?domain=", "lineage?dataset=&kind=",
    )  # fmt: skip
    assert set(expected) <= set(seen)
    for link in seen.values():
        site.open(link.replace("&amp;", "&"))
        assert "There is no run" not in site.text
        assert "Nothing is known of it" not in site.text
        assert "No dataset of this name" not in site.text


def test_quality_marks_what_was_unusual_and_shows_rows_in_quarantine(site: Site) -> None:
    site.open("quality")
    site.charts(1)
    site.page.get_by_placeholder("Name, domain or owner").fill("customers.orders")
    site.page.get_by_placeholder("Name, domain or owner").press("Enter")
    site.page.locator(".m-table td", has_text=GOLD).first.wait_for()
    worst = site.page.locator("h2", has_text="Most rows in quarantine")
    worst.wait_for()
    link = site.page.locator(".m-table", has=site.page.get_by_text("Put aside")).locator("a[href^='quality?dataset=']").first
    href = str(link.get_attribute("href"))
    site.follow(href)
    assert site.title == href.partition("=")[2]
    assert "Sample rows that broke rules" in site.text
    assert "amount=" in site.text


def test_operations_shows_what_is_late_and_how_runs_ended(site: Site) -> None:
    site.open("operations")
    for heading in ("Runs", "Freshness", "How runs ended", "Durations by step", "Volume per layer", "Publications", "Storage"):
        assert site.page.locator("h2", has_text=heading).count() >= 1, heading
    site.charts(5)
    assert site.page.locator(".m-table td", has_text="late").count() >= 1
    site.page.get_by_text("24 hours", exact=True).click()
    site.page.get_by_text("The last 24 hours; each bar").wait_for()


def test_a_run_tells_its_whole_story(site: Site) -> None:
    run = failed_run(site)
    site.open(f"run?run={run}")
    for heading in ("Gate", "Differences to main", "Written", "Steps", "Read", "Alerts", "Before and after it"):
        assert site.page.locator("h2", has_text=heading).count() >= 1, heading
    site.open("run?run=nobody")
    assert "There is no run of this id" in site.text


# ── lineage ───────────────────────────────────────────────────────────────────────────────────────
def test_lineage_is_walked_from_domain_to_dataset_to_column(site: Site) -> None:
    site.open("lineage")
    assert site.page.locator(".m-node").count() == 9, "domains by layer, no dataset yet"
    site.follow("lineage?domain=customers&layer=gold")
    assert site.page.locator(".m-node").count() == 15
    site.follow(f"lineage?dataset={GOLD}")
    assert site.page.locator(".m-node.chosen").count() == 1
    nodes = site.page.locator(".m-node").count()
    site.page.locator(".st-key-up").get_by_text("1", exact=True).click()
    site.page.wait_for_function("n => document.querySelectorAll('.m-node').length < n", arg=nodes)
    site.follow(f"lineage?dataset={GOLD}&column=amount_share")
    assert site.title == f"{GOLD}.amount_share"
    assert "silver.customers.orders_clean" in site.text
    site.follow("lineage?dataset=silver.customers.orders_clean&column=unit_price")
    site.follow("lineage?dataset=bronze.customers.orders&column=unit_price")
    assert re.search(r"s3://bronze-batch/customers/orders/\d{4}/\d\d/\d\d/orders.csv", site.text)


def test_lineage_is_searched(site: Site) -> None:
    site.open("lineage")
    box = site.page.get_by_placeholder("Search a table, a column or a landing path")
    box.fill("orders_per_day")
    box.press("Enter")
    site.page.locator(".m-columns a").first.wait_for()
    site.follow(f"lineage?dataset={GOLD}")
    box.fill("no such thing")
    box.press("Enter")
    site.page.get_by_text("No table and no column has this in its name.").wait_for()


# ── windows, themes, and when there is nothing ────────────────────────────────────────────────────
@pytest.mark.parametrize("path", [*PAGES, f"quality?dataset={GOLD}", f"lineage?dataset={GOLD}"])
def test_a_narrow_window_is_enough(narrow_site: Site, path: str) -> None:
    content, window = narrow_site.open(path).widest()
    assert content <= window, "nothing sticks out: what is wide scrolls by itself"


def test_dark_is_dark_and_legible(dark_site: Site) -> None:
    dark_site.open()
    colours = dark_site.page.evaluate(
        """() => [document.querySelector('[data-testid=stApp]'), document.querySelector('.m-verdict h1'),
                  document.querySelector('.m-list .m-bad'), document.querySelector('.m-table td a')]
            .map((e, n) => getComputedStyle(e)[n ? 'color' : 'backgroundColor'].match(/[0-9.]+/g).slice(0, 3).map(Number))"""
    )
    ground, *words = [_luminance(colour) for colour in colours]
    assert ground < 0.05
    for word in words:
        assert (word + 0.05) / (ground + 0.05) > 4.5, "contrast, WCAG 2.2 level AA"


def _luminance(colour: list[float]) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("path", PAGES)
def test_without_any_run_a_page_says_what_to_do_first(empty_site: Site, path: str) -> None:
    empty_site.open(path)
    assert "Nothing has run yet" in empty_site.title
    assert "make demo" in empty_site.text


@pytest.mark.parametrize("path", ["", "alerts"])
def test_without_a_database_a_page_says_so(down_site: Site, path: str) -> None:
    down_site.open(path)
    assert "The database does not answer" in down_site.title
    assert "medallion up" in down_site.text
    assert "Traceback" not in down_site.text

"""The dashboards in headless Chromium: as `medallion dashboards` serves them, over databases of the tests' own stack."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from medallion.settings import Settings
from tests.ops_databases import fresh, seeded
from tests.ui.browsing import CHROMIUM, Site, browsing, chromium, served


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.exit(
            f"the dashboards' tests need Chromium, and none of {', '.join(CHROMIUM)} is in PATH: "
            "`apt-get install chromium` (as root) brings it",
            returncode=2,
        )
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def seeded_database(stack: Settings) -> Iterator[str]:
    """Each module has one of its own, as what people do about alerts changes it."""
    with seeded(stack.postgres) as name:
        yield name


@pytest.fixture(scope="module")
def seeded_address(seeded_database: str) -> Iterator[str]:
    with served(MEDALLION_POSTGRES__DATABASE=seeded_database) as address:
        yield address


@pytest.fixture(scope="session")
def empty_address(stack: Settings) -> Iterator[str]:
    with fresh(stack.postgres) as name, served(MEDALLION_POSTGRES__DATABASE=name) as address:
        yield address


@pytest.fixture(scope="session")
def down_address(stack: Settings) -> Iterator[str]:
    """The database's port is one that nobody listens on."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with served(MEDALLION_POSTGRES__PORT=str(closed.getsockname()[1])) as address:
            yield address


@pytest.fixture(scope="session")
def real_address(stack: Settings) -> Iterator[str]:
    with served() as address:
        yield address


@contextmanager
def _tab(browser: Browser, address: str, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> Iterator[Site]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page: Page = context.new_page()
    site = Site(page, address)
    yield site
    context.close()
    assert site.strangers == set(), "nothing is fetched from elsewhere"


@pytest.fixture
def site(browser: Browser, seeded_address: str) -> Iterator[Site]:
    with _tab(browser, seeded_address) as site:
        yield site


@pytest.fixture
def narrow_site(browser: Browser, seeded_address: str) -> Iterator[Site]:
    with _tab(browser, seeded_address, 375) as site:
        yield site


@pytest.fixture
def dark_site(browser: Browser, seeded_address: str) -> Iterator[Site]:
    with _tab(browser, seeded_address, scheme="dark") as site:
        yield site


@pytest.fixture
def empty_site(browser: Browser, empty_address: str) -> Iterator[Site]:
    with _tab(browser, empty_address) as site:
        yield site


@pytest.fixture
def down_site(browser: Browser, down_address: str) -> Iterator[Site]:
    with _tab(browser, down_address) as site:
        yield site


@pytest.fixture
def real_site(browser: Browser, real_address: str) -> Iterator[Site]:
    with _tab(browser, real_address) as site:
        yield site

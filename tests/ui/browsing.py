"""What a person does with the dashboards in a browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, sync_playwright

from medallion.settings import ROOT

PATIENCE_MS = 90_000
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """The machine's browser."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextmanager
def browsing() -> Iterator[Browser]:
    """The machine's browser, without a window."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


@contextmanager
def served(**environment: str) -> Iterator[str]:
    """The address of dashboards of their own, started as a user does."""
    words = [shutil.which("medallion") or "medallion", "dashboards"]
    process = subprocess.Popen(
        words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told.startswith("dashboards: http://127.0.0.1:"), told
        address = told.split()[1]
        _wait_for(urlsplit(address).port or 0)
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _wait_for(port: int) -> None:
    """Wait until somebody listens there."""
    until = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


class Site:
    """One tab. `strangers` are the hosts, other than ours, that anything was asked of."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.strangers: set[str] = set()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != urlsplit(self.address).netloc:
            self.strangers.add(parts.netloc)

    def open(self, path: str = "") -> Site:
        """Go to a page of the dashboards."""
        self.page.goto(f"{self.address}/{path}")
        return self.ready()

    def ready(self) -> Site:
        """Wait until the page is whole. Fails if the program has."""
        self.page.locator("h1").first.wait_for()
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        assert self.page.locator(".stException").count() == 0, self.page.locator(".stException").all_inner_texts()
        return self

    @property
    def title(self) -> str:
        return self.page.locator("h1").first.inner_text()

    @property
    def text(self) -> str:
        return self.page.locator("[data-testid=stMain]").inner_text()

    def charts(self, number: int) -> None:
        """Wait until so many charts are drawn, which is after the page is there. Fails if there are more."""
        drawn = self.page.locator(".stVegaLiteChart:has(svg.marks)")
        drawn.nth(number - 1).wait_for()
        assert drawn.count() == number

    def links(self) -> list[str]:
        """The addresses of all links in the page, each once, relative to ours."""
        found = self.page.locator(".m a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        return list(dict.fromkeys(found))

    def follow(self, href: str) -> Site:
        """Click the first link to an address, and wait for its page."""
        self.page.locator(f'.m a[href="{href}"]').first.click()
        self.page.wait_for_url(f"**/{href}")
        return self.ready()

    def widest(self) -> tuple[int, int]:
        """How wide the page's content is, and the window."""
        main = self.page.locator("[data-testid=stMain]")
        return main.evaluate("e => e.scrollWidth"), main.evaluate("e => e.clientWidth")

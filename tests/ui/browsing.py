"""What a person does with the dashboards in a browser."""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Page, Request

PATIENCE_MS = 120_000


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

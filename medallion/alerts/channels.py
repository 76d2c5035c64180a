"""Where messages go: any channel of Apprise (https://github.com/caronc/apprise), by its URL, which holds secrets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medallion.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import SecretStr

_TYPES = {"critical": "failure", "error": "failure", "warning": "warning", "resolved": "success"}
_TALKATIVE = ("apprise", "urllib3")
PATIENCE_S = 20.0
"""After so long a message is given up for now; it may have arrived all the same, and comes again."""


class Channel:
    """One channel, as long as messages are sent to it."""

    def __init__(self, name: str, url: SecretStr) -> None:
        """Raises: SettingsError if Apprise is not installed, or takes no such URL; the URL is never told."""
        try:
            import apprise
        except ImportError as error:
            raise SettingsError(
                "alerts are sent with Apprise, which is not installed", hint="pip install 'medallion[alerts]'"
            ) from error
        self.name = name
        self._apprise: Any = apprise.Apprise()
        with _silent():
            taken = self._apprise.add(url.get_secret_value())
        if not taken:
            raise SettingsError(
                f"the setting alerts.channels.{name} is no URL that Apprise takes",
                hint="see https://appriseit.com for each service's URL, e.g. json://host/path or mailto://…",
            )

    def send(self, title: str, body: str, kind: str) -> bool:
        """Send one message. Returns: whether the channel took it, in time.

        Args:
            kind: `critical`, `error`, `warning` or `resolved`.
        """
        taken: list[bool] = []

        def notify() -> None:
            with _silent():
                taken.append(bool(self._apprise.notify(title=title, body=body, notify_type=_TYPES[kind])))

        # Apprise's own limits are for each read: a server that answers a byte at a time would hold whoever sends
        sending = threading.Thread(target=notify, daemon=True)
        sending.start()
        sending.join(PATIENCE_S)
        return taken == [True]


@contextmanager
def _silent() -> Iterator[None]:
    """Apprise and what it sends with write URLs into the log, with the secrets in them."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    before = [one.disabled for one in loggers]
    children = [
        one for name, one in logging.root.manager.loggerDict.items()
        if isinstance(one, logging.Logger) and name.startswith(tuple(f"{each}." for each in _TALKATIVE))
    ]  # fmt: skip
    loggers, before = [*loggers, *children], [*before, *(one.disabled for one in children)]
    for one in loggers:
        one.disabled = True
    try:
        yield
    finally:
        for one, was in zip(loggers, before, strict=True):
            one.disabled = was

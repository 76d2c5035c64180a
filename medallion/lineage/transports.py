"""What takes OpenLineage events to their receiver: the library's own transports, and what a refusal of one means."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from medallion.errors import InputError
from medallion.lineage.events import Event
from medallion.settings import Lineage

if TYPE_CHECKING:
    from openlineage.client.transport.file import FileTransport
    from openlineage.client.transport.http import HttpTransport

log = logging.getLogger(__name__)

_NOT_OF_THE_EVENT = (401, 403, 404, 405, 407, 408, 421, 425, 429)
"""Answers from 400 to 499 that say nothing of what was sent: the key or the address, which are settings; or that it is the
wrong moment."""


class RefusedError(Exception):
    """The receiver does not take this event, and never will."""


class Transport(Protocol):
    """The way to one receiver."""

    def send(self, event: Event) -> None:
        """Return when the receiver has the event. Raises: RefusedError; any other, if it may take the event later."""

    def close(self) -> object:
        """End the connection; nothing is under way."""


def transport(settings: Lineage) -> Transport:
    """The way that the settings name; it is not `off`.

    Raises: InputError if a package is missing; what the transport raises if it cannot begin.
    """
    try:
        from openlineage.client.transport.file import FileConfig, FileTransport
        from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport
    except ImportError as error:
        raise InputError("openlineage-python is not installed", hint="it is medallion's extra `openlineage`") from error

    if settings.transport == "file":
        assert settings.path is not None, "the settings see to it"
        settings.path.expanduser().parent.mkdir(parents=True, exist_ok=True)
        return _File(FileTransport(FileConfig(log_file_path=str(settings.path.expanduser()), append=True)))
    if settings.transport == "kafka":
        return _kafka(settings)
    assert settings.url is not None, "the settings see to it"
    config = HttpConfig(url=settings.url, endpoint=settings.endpoint, timeout=settings.timeout_s, retry={"total": 1})
    if settings.token:
        config.auth = ApiKeyTokenProvider({"apiKey": settings.token.get_secret_value()})
    return _Http(HttpTransport(config))


def _kafka(settings: Lineage) -> Transport:
    try:
        from medallion.lineage.kafka import KafkaTopic
    except ImportError as error:
        raise InputError("confluent-kafka is not installed", hint="it is medallion's extra `kafka`") from error
    return KafkaTopic(settings)


class _File:
    def __init__(self, transport: FileTransport) -> None:
        self._transport = transport

    def send(self, event: Event) -> None:
        self._transport.emit(event)  # type: ignore[arg-type]  # as it came out of the library's own classes

    def close(self) -> None:
        self._transport.close()


class _Http:
    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    def send(self, event: Event) -> None:
        from requests import HTTPError

        try:
            self._transport.emit(event)  # type: ignore[arg-type]  # as it came out of the library's own classes
        except HTTPError as error:
            answer = error.response
            if answer is None or not 400 <= answer.status_code < 500 or answer.status_code in _NOT_OF_THE_EVENT:
                raise
            log.warning("an event was refused: %s", answer.text[:2000])
            raise RefusedError(f"{answer.status_code} {answer.reason}") from error

    def close(self) -> None:
        self._transport.close()

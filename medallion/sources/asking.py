"""What every source that is asked has in common: its endpoint, what it gives, and patience."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

import tenacity

from medallion.contract import Contract, Origin
from medallion.errors import MedallionError, ServiceUnavailable, SettingsError
from medallion.settings import Source

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Parcel:
    """What a source gave: the bytes, the name of the file that they are kept as, and where they came from."""

    name: str
    data: bytes
    content_type: str
    uri: str


def endpoint(sources: dict[str, Source], contract: Contract, origin: Origin) -> Source:
    """The settings of the endpoint that a contract names. Raises: SettingsError if there are none."""
    if origin.endpoint not in sources:
        raise SettingsError(
            f"{contract.dataset} comes from the endpoint '{origin.endpoint}', and no setting says where that is",
            hint=f"set MEDALLION_SOURCES__{origin.endpoint.upper()}__URL, or `sources.{origin.endpoint}.url` in the profile; "
            "`medallion up` starts the demo's endpoints",
        )
    return sources[origin.endpoint]


def address(source: Source, origin: Origin, schemes: tuple[str, ...], example: str) -> SplitResult:
    """An endpoint's URL in its pieces. Raises: SettingsError if it is of another kind, or holds a secret."""
    pieces = urlsplit(source.url)
    if pieces.scheme not in schemes or not pieces.hostname:
        raise SettingsError(
            f"sources.{origin.endpoint}.url is no address of kind {origin.kind}: '{source.url.rpartition('@')[2]}'",
            hint=f"write {example}",
        )
    if "@" in pieces.netloc:
        raise SettingsError(
            f"sources.{origin.endpoint}.url holds a user or password, which addresses show to everybody",
            hint=f"set sources.{origin.endpoint}.user and .password instead",
        )
    return pieces


def patiently(source: Source, attempt: Callable[[], Answer]) -> Answer:
    """Ask again, up to `source.tries` times, waiting longer each time, for what may pass (`retryable`).

    Raises: what the last attempt raised; at once what will not pass by waiting.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(source.tries),
        wait=tenacity.wait_exponential_jitter(multiplier=source.first_wait_s, max=30, jitter=source.first_wait_s),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, MedallionError) and error.retryable),
        before_sleep=_say_so,
        reraise=True,
    )
    return retrying(attempt)


def _say_so(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s; asking again in %.1f s", getattr(error, "message", error), state.upcoming_sleep)


def unreachable(contract: Contract, uri: str, problem: object) -> ServiceUnavailable:
    """The error for a source that does not answer now, but may later."""
    return ServiceUnavailable(
        f"{contract.dataset}: {uri}: {str(problem)[:300]}",
        hint="nothing was landed; run again when the source answers",
        dataset=contract.dataset,
    )


class Denied(ServiceUnavailable):
    """A source that refuses our credentials: asking again would not help."""

    retryable = False

    def __init__(self, contract: Contract, origin: Origin, uri: str, problem: object) -> None:
        super().__init__(
            f"{contract.dataset}: {uri} refuses us: {str(problem)[:300]}",
            hint=f"check the settings sources.{origin.endpoint}.user and .password",
            dataset=contract.dataset,
        )

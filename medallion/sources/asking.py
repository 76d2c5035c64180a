"""What every source that is asked has in common: its endpoint, what it gives, and patience."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

import tenacity

from medallion.contract import Contract, Origin, date_fields
from medallion.errors import MedallionError, ServiceUnavailable, SettingsError
from medallion.settings import Source

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Parcel:
    """What a source gave: the bytes, the name of the file that they are kept as, and where they came from."""

    name: str
    data: bytes
    content_type: str
    uri: str


@dataclass(frozen=True)
class Asked:
    """What a source is asked for: the delivery of a dataset for a date.

    `last` is the newest version that is held, -1 for none; it counts where increments are expected.
    `session` gives a Spark session, for the kinds that need one.
    """

    source: Source
    contract: Contract
    origin: Origin
    when: date
    last: int
    session: Callable[[], SparkSession]

    @property
    def parts(self) -> tuple[str, ...]:
        """The files that make up the delivery; one, of any name, where the contract lists none."""
        delivery = self.contract.delivery
        return (delivery.parts if delivery else ()) or ("",)

    @property
    def increments(self) -> bool:
        """Whether only what is new is asked for."""
        return self.contract.delivery is not None and self.contract.delivery.expected == "increments"

    def path(self, part: str) -> str:
        """The contract's address, with the date and the part put in."""
        return self.origin.address.format(**date_fields(self.when), part=part)


class Fetcher(Protocol):
    """What the module of each kind has as `fetch`.

    Yields: the parcels of the delivery, none where nothing is new; each whole.
    Raises: ServiceUnavailable after the last attempt if the source does not answer, at once if it
        refuses us; InputError for what it does not have; SettingsError for an address it cannot have.
    """

    def __call__(self, asked: Asked) -> Iterator[Parcel]: ...


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
    """An endpoint's URL in its pieces.

    Raises: SettingsError if it is of another kind, has no host or port that can be, or holds a secret.
    """
    place = f"sources.{origin.endpoint}.url"
    shown = source.url.rpartition("@")[2]
    try:
        pieces = urlsplit(source.url)
        host, port = pieces.hostname or "", pieces.port
        _check_host(host, pieces.netloc)
    except ValueError as error:  # a port that is no number or too great, a bracket that is not closed, …
        raise SettingsError(f"{place} is no address: '{shown}': {error}", hint=f"write {example}") from error
    if pieces.scheme not in schemes or not host or port == 0:
        raise SettingsError(f"{place} is no address of kind {origin.kind}: '{shown}'", hint=f"write {example}")
    if "@" in pieces.netloc:
        raise SettingsError(
            f"{place} holds a user or password, which addresses show to everybody",
            hint=f"set sources.{origin.endpoint}.user and .password instead",
        )
    return pieces


def _check_host(host: str, netloc: str) -> None:
    """Raises: ValueError for what is no IP address and can be the name of no host (RFC 1123, RFC 5891)."""
    if "[" in netloc:
        ipaddress.IPv6Address(host)
        if not re.search(r"\](:\d*)?$", netloc):
            raise ValueError("after ] comes the port")
    elif not host.isprintable() or set(host) & set(" \"#$%&'()*+,;<=>?@[\\]^`{|}~"):
        raise ValueError(f"'{host}' is the name of no host")
    else:
        host.encode("idna")  # a UnicodeError is a ValueError


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

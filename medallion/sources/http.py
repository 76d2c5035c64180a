"""A document that an HTTP server gives (RFC 9110)."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from medallion.contract import Contract
from medallion.errors import InputError
from medallion.sources.asking import Asked, Denied, Parcel, address, patiently, unreachable

_MAY_PASS = {408, 425, 429}


def fetch(asked: Asked) -> Iterator[Parcel]:
    """The documents of a date, one after the other. Raises: as `get`."""
    return (get(asked, part) for part in asked.parts)


def get(asked: Asked, part: str = "") -> Parcel:
    """Get the document of a date.

    Returns: the body as the server holds it (no compression is asked for), named after the part, else
        after the last piece of the path, else after the dataset.
    Raises: ServiceUnavailable after the last of `source.tries` attempts (no answer, cut off, 408, 425,
        429, 5xx), at once if we are refused (401, 403); InputError for any other answer than 200;
        SettingsError for a URL that is not HTTP's.
    """
    source, contract, origin = asked.source, asked.contract, asked.origin
    address(source, origin, ("http", "https"), "https://host")
    url = f"{source.url.rstrip('/')}/{asked.path(part).lstrip('/')}"
    secret = (source.user, source.password.get_secret_value()) if source.user and source.password else None

    def attempt() -> Parcel:
        try:
            answer = httpx.get(
                url, auth=secret, timeout=source.timeout_s, headers={"Accept-Encoding": "identity"}, follow_redirects=True
            )
        except httpx.TooManyRedirects as error:
            raise _unusable(contract, url, str(error)) from error
        except httpx.HTTPError as error:
            raise unreachable(contract, url, str(error) or f"no answer within {source.timeout_s:g} s") from error
        status = f"{answer.status_code} {answer.reason_phrase}".strip()
        if answer.status_code in (401, 403):
            raise Denied(contract, origin, url, status)
        if answer.status_code in _MAY_PASS or answer.status_code >= 500:
            raise unreachable(contract, url, f"answers {status}")
        if answer.status_code != 200:
            raise _unusable(contract, url, f"answers {status}")
        name = part or posixpath.basename(urlsplit(url).path) or contract.name
        return Parcel(name, answer.content, answer.headers.get("Content-Type", "application/octet-stream"), url)

    return patiently(source, attempt)


def _unusable(contract: Contract, url: str, problem: str) -> InputError:
    return InputError(
        f"{contract.dataset}: {url}: {problem}",
        hint="nothing was landed; has the source this document yet, and is the contract's path right?",
        dataset=contract.dataset,
    )

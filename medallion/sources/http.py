"""A document that an HTTP server gives (RFC 9110)."""

from __future__ import annotations

import posixpath
from datetime import date
from urllib.parse import urlsplit

import requests

from medallion.contract import Contract, Origin, date_fields
from medallion.errors import InputError
from medallion.settings import Source
from medallion.sources.asking import Denied, Parcel, patiently, unreachable

_MAY_PASS = {408, 425, 429}


def get(source: Source, contract: Contract, origin: Origin, when: date, part: str = "") -> Parcel:
    """Get the document of a date.

    Raises: ServiceUnavailable after the last of `source.tries` attempts (no answer, cut off, 408, 425,
        429, 5xx), at once if we are refused (401, 403); InputError for any other answer than 200.
    """
    path = origin.address.format(**date_fields(when), part=part)
    url = f"{source.url.rstrip('/')}/{path.lstrip('/')}"
    secret = (source.user, source.password.get_secret_value()) if source.user and source.password else None

    def attempt() -> Parcel:
        try:
            answer = requests.get(url, auth=secret, timeout=source.timeout_s)
        except requests.RequestException as error:
            raise unreachable(contract, url, error) from error
        if answer.status_code in (401, 403):
            raise Denied(contract, origin, url, f"{answer.status_code} {answer.reason}")
        if answer.status_code in _MAY_PASS or answer.status_code >= 500:
            raise unreachable(contract, url, f"answers {answer.status_code} {answer.reason}")
        if answer.status_code != 200:
            raise InputError(
                f"{contract.dataset}: {url}: answers {answer.status_code} {answer.reason}",
                hint="nothing was landed; has the source this document yet, and is the contract's path right?",
                dataset=contract.dataset,
            )
        content_type = answer.headers.get("Content-Type", "application/octet-stream")
        return Parcel(posixpath.basename(urlsplit(url).path), answer.content, content_type, url)

    return patiently(source, attempt)

"""The authorities that our clients trust when a server is asked over HTTPS."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def trusted() -> ssl.SSLContext:
    """Those of the package certifi, whatever the environment says. Read once: it takes longer than a request."""
    return httpx.create_ssl_context(trust_env=False)

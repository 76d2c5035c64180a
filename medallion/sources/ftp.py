"""A file that an FTP server gives (RFC 959); `ftps://` speaks TLS (RFC 4217) and checks the certificate.

fsspec's client reports every trouble of a transfer as a missing file, so Python's own is used.
"""

from __future__ import annotations

import ftplib
import posixpath
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress

from medallion.errors import InputError
from medallion.settings import Source
from medallion.sources.asking import Asked, Denied, Parcel, address, patiently, unreachable

_ENCODING = "latin-1"
"""Of what the server says: RFC 959 has ASCII, RFC 2640 UTF-8, old servers their own. Any byte can be read."""


def fetch(asked: Asked) -> Iterator[Parcel]:
    """The files of a date, one after the other. Raises: as `get`."""
    return (get(asked, part) for part in asked.parts)


def get(asked: Asked, part: str = "") -> Parcel:
    """Get the file of a date, in one passive transfer.

    Raises: ServiceUnavailable after the last of `source.tries` attempts (no answer, cut off, a passing
        refusal), at once if the login is refused; InputError if the server does not have the file;
        SettingsError for a URL that is not FTP's.
    """
    source, contract, origin = asked.source, asked.contract, asked.origin
    server = address(source, origin, ("ftp", "ftps"), "ftp://host:port")
    path = posixpath.join("/", server.path.lstrip("/"), asked.path(part).lstrip("/"))
    uri = f"{server.scheme}://{server.hostname}:{server.port or ftplib.FTP_PORT}{path}"

    def attempt() -> Parcel:
        try:
            with closing(_connection(source, server.scheme)) as ftp:
                ftp.connect(server.hostname or "", server.port or ftplib.FTP_PORT)
                data = _file(ftp, source, path)
        except _RefusedError as error:
            raise Denied(contract, origin, uri, error) from error
        except ftplib.error_perm as error:
            raise InputError(
                f"{contract.dataset}: {uri}: the server does not give it: {error}",
                hint="nothing was landed; is the file there yet, and is the contract's path right?",
                dataset=contract.dataset,
            ) from error
        except (OSError, EOFError, ftplib.Error) as error:
            raise unreachable(contract, uri, str(error) or "the connection was closed") from error
        return Parcel(part or posixpath.basename(path), data, "application/octet-stream", uri)

    return patiently(source, attempt)


class _RefusedError(Exception):
    """The server's answer to a login that it refuses."""


def _connection(source: Source, scheme: str) -> ftplib.FTP:
    if scheme == "ftps":
        return ftplib.FTP_TLS(timeout=source.timeout_s, context=ssl.create_default_context(), encoding=_ENCODING)
    return ftplib.FTP(timeout=source.timeout_s, encoding=_ENCODING)


def _file(ftp: ftplib.FTP, source: Source, path: str) -> bytes:
    """Log in and fetch a file whole. Raises: OSError if it is shorter than the server says it is."""
    try:
        ftp.login(source.user or "", source.password.get_secret_value() if source.password else "")
    except ftplib.error_perm as error:
        raise _RefusedError(str(error)) from error
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()
    pieces: list[bytes] = []
    ftp.voidcmd("TYPE I")  # in text mode a size is refused
    expected = None
    with suppress(ftplib.error_perm):  # not every server knows SIZE, which RFC 3659 added
        expected = ftp.size(path)
    ftp.retrbinary(f"RETR {path}", pieces.append)
    data = b"".join(pieces)
    if expected is not None and len(data) != expected:
        raise OSError(f"the connection gave {len(data)} of {expected} bytes")
    return data

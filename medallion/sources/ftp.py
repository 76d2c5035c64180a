"""A file that an FTP server gives (RFC 959), through fsspec; `ftps://` speaks TLS (RFC 4217)."""

from __future__ import annotations

import ftplib
import posixpath
from datetime import date
from urllib.parse import urlsplit

from fsspec.implementations.ftp import FTPFileSystem

from medallion.contract import Contract, Origin, date_fields
from medallion.errors import InputError, SettingsError
from medallion.settings import Source
from medallion.sources.asking import Denied, Parcel, patiently, unreachable


def get(source: Source, contract: Contract, origin: Origin, when: date, part: str = "") -> Parcel:
    """Get the file of a date.

    Raises: ServiceUnavailable after the last of `source.tries` attempts (no answer, cut off, a passing
        refusal), at once if the login is refused; InputError if the server does not have the file;
        SettingsError for a URL that is not FTP's.
    """
    server = urlsplit(source.url)
    if server.scheme not in ("ftp", "ftps") or not server.hostname:
        raise SettingsError(f"sources.{origin.endpoint}.url: '{source.url}' is no FTP address", hint="write ftp://host:port")
    path = posixpath.join("/", server.path.lstrip("/"), origin.address.format(**date_fields(when), part=part).lstrip("/"))
    uri = f"{server.scheme}://{server.hostname}:{server.port or 21}{path}"

    def attempt() -> Parcel:
        try:
            files = FTPFileSystem(
                server.hostname,
                port=server.port or 21,
                username=source.user or "",
                password=source.password.get_secret_value() if source.password else "",
                timeout=source.timeout_s,
                tls=server.scheme == "ftps",
                skip_instance_cache=True,  # a connection that broke must not be used again
            )
            expected = files.size(path)
            data = files.cat_file(path)
        except FileNotFoundError as error:
            raise _lacks(contract, uri, error) from error
        except ftplib.error_perm as error:
            if str(error).startswith("530"):
                raise Denied(contract, origin, uri, error) from error
            raise _lacks(contract, uri, error) from error
        except (OSError, EOFError, ftplib.Error) as error:
            raise unreachable(contract, uri, error or "the connection was closed") from error
        if expected is not None and len(data) != expected:
            raise unreachable(contract, uri, f"gave {len(data)} of {expected} bytes")
        return Parcel(posixpath.basename(path), data, "application/octet-stream", uri)

    return patiently(source, attempt)


def _lacks(contract: Contract, uri: str, error: Exception) -> InputError:
    return InputError(
        f"{contract.dataset}: {uri}: the server does not have it ({error})",
        hint="nothing was landed; is the file there yet, and is the contract's path right?",
        dataset=contract.dataset,
    )

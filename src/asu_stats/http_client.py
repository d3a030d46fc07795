"""Connections to an asu-stats server, with the standard library alone."""

from typing import TYPE_CHECKING

from asu_stats import urls
from asu_stats.exceptions import InvalidSettingError

if TYPE_CHECKING:
    from http.client import HTTPConnection


def server_of(url: str, *, name: str) -> tuple[urls.Origin, str]:
    """Return the origin of a server and the path prefix of its `url`.

    Raises `InvalidSettingError`, which starts with `name`, for a URL without host, with a scheme
    other than http and https, or with a query or fragment.
    """
    found = urls.parse(url)
    if found is None or found.parts.query or found.parts.fragment:
        raise InvalidSettingError(f"{name}: expected http://HOST or https://HOST, got {url[:80]}")
    return found.origin, found.parts.path.rstrip("/")


def connection_to(origin: urls.Origin, *, timeout_seconds: float) -> "HTTPConnection":
    """Return a connection to a server. It opens with the first request."""
    # Importing this takes as long as the rest of the emitter.
    from http.client import HTTPConnection, HTTPSConnection

    scheme, host, port = origin
    if scheme == "http":
        return HTTPConnection(host, port, timeout=timeout_seconds)
    import ssl

    context = ssl.create_default_context()
    return HTTPSConnection(host, port, timeout=timeout_seconds, context=context)


def retry_after_seconds(header: str | None, longest: float) -> float | None:
    """Return the seconds of `Retry-After`, at most `longest`. `None` for a date and without it."""
    if header is None or not header.strip().isdecimal():
        return None
    return min(float(header), longest)

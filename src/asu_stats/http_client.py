"""Connections to an asu-stats server, with the standard library alone."""

import http.client
import ssl
from urllib.parse import urlsplit

from asu_stats.exceptions import InvalidSettingError


def connection_to(
    url: str, *, name: str, timeout_seconds: float
) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection to the host of `url`, not open yet, and the path prefix of `url`.

    Raises `InvalidSettingError`, which starts with `name`, for a URL without host, with a scheme
    other than http and https, or with a query or fragment.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise InvalidSettingError(f"{name}: expected http://HOST or https://HOST, got {url[:80]}")
    prefix = parts.path.rstrip("/")
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_seconds), prefix
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context), prefix


def retry_after_seconds(header: str | None, longest: float) -> float | None:
    """Return the seconds of `Retry-After`, at most `longest`. `None` for a date and without it."""
    if header is None or not header.strip().isdecimal():
        return None
    return min(float(header), longest)

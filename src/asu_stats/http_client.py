"""Connections to an asu-stats server, with the standard library alone."""

import http.client
import ssl

from asu_stats import urls
from asu_stats.exceptions import InvalidSettingError


def connection_to(
    url: str, *, name: str, timeout_seconds: float
) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection to the host of `url`, not open yet, and the path prefix of `url`.

    Raises `InvalidSettingError`, which starts with `name`, for a URL without host, with a scheme
    other than http and https, or with a query or fragment.
    """
    found = urls.parse(url)
    if found is None or found.parts.query or found.parts.fragment:
        raise InvalidSettingError(f"{name}: expected http://HOST or https://HOST, got {url[:80]}")
    scheme, host, port = found.origin
    prefix = found.parts.path.rstrip("/")
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_seconds), prefix
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context), prefix


def retry_after_seconds(header: str | None, longest: float) -> float | None:
    """Return the seconds of `Retry-After`, at most `longest`. `None` for a date and without it."""
    if header is None or not header.strip().isdecimal():
        return None
    return min(float(header), longest)

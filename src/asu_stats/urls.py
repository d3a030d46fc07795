"""Parses URLs: origin, path, and the URL without user and password."""

from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

WEB: Final = ("http", "https")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}


class Origin(NamedTuple):
    """Scheme, host and port (RFC 6454), in lower case; the default port is filled in."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the origin as browsers write it: without the default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class Url(NamedTuple):
    """An absolute URL with a host: its origin, and all its parts."""

    origin: Origin
    parts: SplitResult


def parse(text: str, schemes: tuple[str, ...] = WEB) -> Url | None:
    """Return the parts of an absolute URL.

    `None` for text that is not a URL, and for one without host or with a scheme other than
    `schemes`.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in schemes or not parts.hostname:
        return None
    default = _DEFAULT_PORTS[parts.scheme]
    return Url(Origin(parts.scheme, parts.hostname, default if port is None else port), parts)


def without_user(text: str) -> str:
    """Return a URL without user and password. Raises `ValueError` for other text."""
    parts = urlsplit(text)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

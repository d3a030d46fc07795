"""Whether a request was made by a page of our own: scheme, host and port of its `Origin`."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SECURE: Final = {"https", "wss"}


def is_own(connection: HTTPConnection, origin: str) -> bool:
    """Tell whether `origin` is the place that the request was sent to.

    A proxy may have taken off TLS, so a page by https may be answered without it; never the other
    way round.
    """
    page = _place(origin)
    here = _place(f"{connection.url.scheme}://{connection.headers.get('host', '')}")
    if page is None or here is None:
        return False
    page_secure, page_host, page_port = page
    secure, host, port = here
    same_port = page_port == port or (not secure and (page_port, port) == (443, 80))
    return page_host == host and same_port and (page_secure or not secure)


def _place(address: str) -> tuple[bool, str, int] | None:
    """Return whether an address is secure, its host and its port; `None` if it has none."""
    try:
        parts = urlsplit(address.lower())
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    if not parts.hostname or parts.username is not None or parts.path not in {"", "/"}:
        return None
    return parts.scheme in _SECURE, parts.hostname, port

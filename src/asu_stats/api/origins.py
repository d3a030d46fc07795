"""Whether a request was made by a page of our own: scheme, host and port of its `Origin`."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PAGES_OF: Final = {"ws": "http", "wss": "https"}


def is_own(connection: HTTPConnection, origin: str) -> bool:
    """Tell whether `origin` is the place that the request was sent to.

    A proxy may have taken off TLS, so a page by https may be answered without it; never the other
    way round.
    """
    scheme = connection.scope["scheme"]
    page = _place(origin)
    here = _place(f"{_PAGES_OF.get(scheme, scheme)}://{connection.headers.get('host', '')}")
    if page is None or here is None:
        return False
    page_secure, page_host, page_port = page
    secure, host, port = here
    same_port = page_port == port or (not secure and (page_port, port) == (443, 80))
    return page_host == host and same_port and (page_secure or not secure)


def _place(address: str) -> tuple[bool, str, int] | None:
    """Return whether an origin (RFC 6454 §6.2) is secure, its host and its port.

    `None` for what no page has as its origin.
    """
    try:
        parts = urlsplit(address.lower())
        default = _DEFAULT_PORTS[parts.scheme]
        port = default if parts.port is None else parts.port
    except (ValueError, KeyError):
        return None
    if address.lower() != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        return None
    return (parts.scheme == "https", parts.hostname, port) if parts.hostname else None

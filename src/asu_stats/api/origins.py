"""Whether a request was made by a page of this server: scheme, host and port of its `Origin`."""

from typing import Final

from starlette.requests import HTTPConnection

from asu_stats import urls
from asu_stats.urls import Origin

_PAGES_OF: Final = {"ws": "http", "wss": "https"}


def is_own(connection: HTTPConnection, origin: str) -> bool:
    """Return whether `origin` is the server that the request was sent to.

    A proxy may terminate TLS: requests of a page loaded by https may arrive by http, but never the
    other way round.
    """
    scheme = connection.scope["scheme"]
    page = _origin(origin)
    here = _origin(f"{_PAGES_OF.get(scheme, scheme)}://{connection.headers.get('host', '')}")
    if page is None or here is None or page.host != here.host:
        return False
    if here.scheme == "https":
        return page == here
    return page.port == here.port or (page.port, here.port) == (443, 80)


def _origin(text: str) -> Origin | None:
    """Return an origin (RFC 6454 §6.2), `None` for text that is not the origin of a page."""
    text = text.lower()
    url = urls.parse(text)
    if url is None or text != f"{url.origin.scheme}://{url.parts.netloc}" or "@" in text:
        return None
    return url.origin

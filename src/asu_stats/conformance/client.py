"""How a conformance run talks to a server. Standard library only."""

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from asu_stats.exceptions import AsuStatsError, reason
from asu_stats.http_client import connection_to, retry_after_seconds, server_of

EVENTS: Final = "/api/v1/stats/events"
_BATCH: Final = "application/cloudevents-batch+json"
_RESPONSE_BYTES: Final = 16 << 20
_ATTEMPTS: Final = 5
_LONGEST_WAIT: Final = 60.0
_RETRIED: Final = frozenset({408, 429, 503})


class UnusableServerError(AsuStatsError):
    """A server that can't be tried, or must not be."""


class Server(Protocol):
    """A server that is tried."""

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        """Return status and JSON of a response, `None` for what is no JSON."""

    def post(self, events: object, *, token: bool = True) -> tuple[int, Any]:
        """Send a batch of events; `token` says whether with authorization."""


def url_of(path: str, query: Mapping[str, str]) -> str:
    """Return path and query as they are sent."""
    return quote(path) + (f"?{urlencode(query)}" if query else "")


class HttpServer:
    """A server at a URL, with its path prefix. Raises `InvalidSettingError` for no such URL.

    408, 429 and 503 are retried, after `Retry-After` seconds if the server says so. Raises
    `UnusableServerError` for a server that can't be reached.
    """

    def __init__(self, url: str, token: str, read_token: str = "") -> None:
        origin, self._prefix = server_of(url, name="--url")
        self._connection = connection_to(origin, timeout_seconds=30)
        self._ingest = {"Authorization": f"Bearer {token}"}
        self._read = {"Authorization": f"Bearer {read_token}"} if read_token else {}

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        """Return status and JSON of a response."""
        return self._exchange("GET", url_of(path, query), None, self._read)

    def post(self, events: object, *, token: bool = True) -> tuple[int, Any]:
        """Send a batch of events."""
        headers = {"Content-Type": _BATCH, **(self._ingest if token else {})}
        return self._exchange("POST", EVENTS, json.dumps(events).encode(), headers)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _exchange(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._connection.request(method, self._prefix + url, body, dict(headers))
                response = self._connection.getresponse()
                content = response.read(_RESPONSE_BYTES)
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if attempt < _ATTEMPTS and isinstance(error, ConnectionError):
                    continue  # an idle connection that the server has closed
                words = reason(error) if isinstance(error, OSError) else "no HTTP response"
                raise UnusableServerError(f"{method} {url}: {words}") from error
            if response.status not in _RETRIED or attempt == _ATTEMPTS:
                break
            pause = retry_after_seconds(response.headers.get("Retry-After"), _LONGEST_WAIT)
            time.sleep(attempt if pause is None else pause)
        return response.status, _parsed(content)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None

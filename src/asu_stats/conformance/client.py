"""HTTP client of a conformance run, with the standard library only."""

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
_MAX_WAIT_SECONDS: Final = 60.0
_RETRIED: Final = frozenset({408, 429, 503})


class UnusableServerError(AsuStatsError):
    """A server that is unreachable, or has data in the days of the history."""


class Server(Protocol):
    """The server under test."""

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        """Return status and JSON of a response; `None` for a body that is not JSON."""

    def post(self, events: object, *, token: bool = True) -> tuple[int, Any]:
        """Send a batch of events, with or without the token. Return the same."""


def url_of(path: str, query: Mapping[str, str]) -> str:
    """Return the encoded path and query string."""
    return quote(path) + (f"?{urlencode(query)}" if query else "")


class HttpServer:
    """A server at a URL, which may have a path prefix.

    Responses 408, 429 and 503 are retried, after `Retry-After` if it is present. Raises
    `InvalidSettingError` for an invalid URL, and `UnusableServerError` for an unreachable server.
    """

    def __init__(self, url: str, token: str, read_token: str = "") -> None:
        origin, self._prefix = server_of(url, name="--url")
        self._connection = connection_to(origin, timeout_seconds=30)
        self._ingest = {"Authorization": f"Bearer {token}"}
        self._read = {"Authorization": f"Bearer {read_token}"} if read_token else {}

    def get(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        return self._exchange("GET", url_of(path, query), None, self._read)

    def post(self, events: object, *, token: bool = True) -> tuple[int, Any]:
        headers = {"Content-Type": _BATCH, **(self._ingest if token else {})}
        return self._exchange("POST", EVENTS, json.dumps(events).encode(), headers)

    def close(self) -> None:

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
                problem = reason(error) if isinstance(error, OSError) else "not an HTTP response"
                raise UnusableServerError(f"{method} {url}: {problem}") from error
            if response.status not in _RETRIED or attempt == _ATTEMPTS:
                break
            pause = retry_after_seconds(response.headers.get("Retry-After"), _MAX_WAIT_SECONDS)
            time.sleep(attempt if pause is None else pause)
        return response.status, _parsed(content)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None

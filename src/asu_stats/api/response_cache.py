"""Serves repeated requests from memory, before routing, while no figure has changed."""

from collections.abc import Callable
from datetime import date
from typing import Final, TypeAlias

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from asu_stats import compression
from asu_stats.api.accept import wants_csv
from asu_stats.caches import LruCache
from asu_stats.store.database.changes import ChangeCounter

_MAX_RESPONSES: Final = 1024
_BYTES: Final = 16 << 20
# Requests with one of these headers are not cached here.
_SPECIAL: Final = frozenset({b"authorization", b"cookie", b"if-none-match", b"range"})

Key: TypeAlias = tuple[bytes, bytes, bool, compression.Coding]
# State of the change counter, day, and response.
Cached: TypeAlias = tuple[int, date, Response]


def _key(scope: Scope) -> Key | None:
    """Return the cache key of a request, `None` if it cannot be cached.

    Of the headers, only the meaning of `Accept` and `Accept-Encoding` is part of the key.
    """
    if scope["method"] != "GET":
        return None
    accepted: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in {b"accept", b"accept-encoding"}:
            if name in accepted:
                return None
            accepted[name] = value.decode("latin-1")
        elif name in _SPECIAL:
            return None
    return (
        scope.get("raw_path") or scope["path"].encode(),
        scope["query_string"],
        wants_csv(accepted.get(b"accept", "")),
        compression.preferred(accepted.get(b"accept-encoding", "")),
    )


def _size(key: Key, cached: Cached) -> int:
    response = cached[2]
    headers = sum(len(name) + len(value) for name, value in response.raw_headers)
    return len(key[0]) + len(key[1]) + headers + len(response.body)


class CachedResponses:
    """Responses by request, each valid for one state of the change counter and one day."""

    def __init__(self, counter: ChangeCounter, today: Callable[[], date]) -> None:
        self._counter = counter
        self._today = today
        self._responses: LruCache[Key, Cached] = LruCache(
            entries=_MAX_RESPONSES, size_bytes=_BYTES, size=_size
        )

    def find(self, scope: Scope) -> Response | None:
        """Return the cached response if it is still valid."""
        key = _key(scope)
        found = self._responses.get(key) if key else None
        if key is None or found is None:
            return None
        changes, day, response = found
        if day != self._today() or changes != self._counter.read():
            return None
        return response

    def remember(self, scope: Scope, changes: int, day: date, response: Response) -> None:
        """Cache a response; the least recently used ones are dropped."""
        key = _key(scope)
        if key is not None:
            self._responses.put(key, (changes, day, response))

    def close(self) -> None:
        self._counter.close()


class ServeCached:
    """Middleware that responds from the cache, and passes all other requests on."""

    def __init__(self, app: ASGIApp, cached: CachedResponses) -> None:
        self._app = app
        self._cached = cached

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._cached.find(scope) if scope["type"] == "http" else None
        await (found or self._app)(scope, receive, send)

"""The same request again: answered from memory while nothing has changed, before any routing.

A dashboard asks the same few questions all day. What they cost should be what sending bytes costs.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import date
from typing import Final, TypeAlias

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from asu_stats.api.accept import wants_csv
from asu_stats.store.database.changes import ChangeCounter

_ANSWERS: Final = 1024
_BYTES: Final = 16 << 20
# Requests with one of these are looked at properly.
_SPECIAL: Final = frozenset({b"authorization", b"cookie", b"if-none-match", b"range"})

Key: TypeAlias = tuple[bytes, bytes, bool]


def _key(scope: Scope) -> Key | None:
    """Return what tells requests apart, `None` for one that is no plain question.

    Of headers that is what they mean: as they are, they may be long and no two alike.
    """
    if scope["method"] != "GET":
        return None
    accept = None
    for name, value in scope["headers"]:
        if name == b"accept":
            if accept is not None:
                return None
            accept = value
        elif name in _SPECIAL:
            return None
    as_csv = accept is not None and wants_csv(accept.decode("latin-1"))
    return scope.get("raw_path") or scope["path"].encode(), scope["query_string"], as_csv


def _size(key: Key, response: Response) -> int:
    headers = sum(len(name) + len(value) for name, value in response.raw_headers)
    return len(key[0]) + len(key[1]) + headers + len(response.body)


class Repeats:
    """Answers by request, each as of a state of the change counter and a day."""

    def __init__(self, counter: ChangeCounter, today: Callable[[], date]) -> None:
        self._counter = counter
        self._today = today
        self._answers: OrderedDict[Key, tuple[int, date, Response, object]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, scope: Scope) -> Response | None:
        """Return the answer to a request that was answered before, if it still holds.

        The request then has the route that it took before.
        """
        key = _key(scope)
        found = self._answers.get(key) if key else None
        if key is None or found is None:
            return None
        changes, day, response, route = found
        if day != self._today() or changes != self._counter.read():
            return None
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
        scope["route"] = route
        return response

    def remember(self, scope: Scope, changes: int, day: date, response: Response) -> None:
        """Keep an answer; those not asked for longest make room."""
        key = _key(scope)
        if key is None:
            return
        with self._lock:
            before = self._answers.pop(key, None)
            self._bytes += _size(key, response) - (_size(key, before[2]) if before else 0)
            self._answers[key] = changes, day, response, scope["route"]
            while len(self._answers) > _ANSWERS or self._bytes > _BYTES:
                oldest, (_, _, dropped, _) = self._answers.popitem(last=False)
                self._bytes -= _size(oldest, dropped)

    def close(self) -> None:
        """Give up what reads the counter."""
        self._counter.close()


class FromMemory:
    """Sends what `repeats` finds, and passes other requests on."""

    def __init__(self, app: ASGIApp, repeats: Repeats) -> None:
        self._app = app
        self._repeats = repeats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        found = self._repeats.find(scope) if scope["type"] == "http" else None
        await (found or self._app)(scope, receive, send)

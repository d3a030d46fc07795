"""Turns a query into an HTTP response: snapshot, ETag, result cache, JSON or CSV, pages."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import quote, urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from asu_stats import compression, etags
from asu_stats.api import csv_rows
from asu_stats.api.response_cache import CachedResponses
from asu_stats.caches import LruCache
from asu_stats.connections import route_path
from asu_stats.reports import floor
from asu_stats.reports.listing import ROWS_AT_A_TIME, Listing, Page
from asu_stats.store.database.changes import figures, send_figures
from asu_stats.store.database.reading import Reading

JSON: Final = "application/json"
# The response 304 in the OpenAPI document.
NOT_MODIFIED: Final[dict[str, Any]] = {
    "description": "Nothing changed since the ETag of If-None-Match."
}
_CACHED_ANSWERS: Final = 512
_CACHED_BYTES: Final = 32 << 20
_CACHED_LISTS: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """Body and headers of a response."""

    body: bytes
    media_type: str
    headers: Mapping[str, str]
    # For a body that is too long to be cached: yields it in parts.
    parts: Callable[[], Iterator[bytes]] | None = None


class Lists:
    """Long sorted lists, each valid for one state of the change counter.

    The next page of a list is then not computed again.
    """

    def __init__(self) -> None:
        self._lists: LruCache[tuple[str, ...], tuple[int, Listing[Any]]] = LruCache(
            entries=_CACHED_LISTS
        )

    def get(self, query_key: tuple[str, ...], changes: int) -> Listing[Any] | None:
        """Return the list for a query, if it is cached for `changes`."""
        found = self._lists.get(query_key)
        return found[1] if found and found[0] == changes else None

    def put(self, query_key: tuple[str, ...], changes: int, rows: Listing[Any]) -> None:
        """Cache a list if it is long. The least recently used ones are dropped."""
        if len(rows) > ROWS_AT_A_TIME:
            self._lists.put(query_key, (changes, rows))


class ResultCache:
    """Responses by query, each valid for one state of the change counter: never stale.

    Limited in bytes, including the queries, whose length clients choose.
    """

    def __init__(self) -> None:
        self._answers: LruCache[tuple[str, ...], tuple[int, Answer]] = LruCache(
            entries=_CACHED_ANSWERS, size_bytes=_CACHED_BYTES, size=_size
        )

    def get(self, query_key: tuple[str, ...], changes: int) -> Answer | None:
        """Return the response to a query, if it is cached for `changes`."""
        known, answer = self.last(query_key)
        return answer if known == changes else None

    def last(self, query_key: tuple[str, ...]) -> tuple[int, Answer] | tuple[None, None]:
        """Return the cached response to a query, and the counter for which it is valid."""
        return self._answers.get(query_key) or (None, None)

    def put(self, query_key: tuple[str, ...], changes: int, answer: Answer) -> None:
        """Cache a response. The least recently used ones are dropped."""
        self._answers.put(query_key, (changes, answer))


def _size(query_key: tuple[str, ...], known: tuple[int, Answer]) -> int:
    _, answer = known
    words = (*query_key, *answer.headers.values())
    return len(answer.body) + sum(map(len, words))


class Answering:
    """Responds to queries, each from one snapshot of the database."""

    def __init__(self, reading: Reading, cached: CachedResponses) -> None:
        self._reading = reading
        self._cached = cached
        self._cache = ResultCache()

    def answer(
        self,
        request: Request,
        query_key: tuple[str, ...],
        make: Callable[[Connection, int], Answer],
        *,
        send_first: Callable[[Connection, int | None], None] | None = None,
        today: date,
        vary: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the response to a query. `make` computes it unless nothing changed since.

        `make` gets a connection to a snapshot, and its change counter. `send_first` is called
        before: it asks for what `make` needs first, which costs no round trip then, unless the
        counter still has the number that it gets. `query_key` contains
        everything that the response depends on, except the data. While it is `today`, the same
        request always means the same query. A request whose `If-None-Match` names this state
        gets 304. `headers` are added to all these responses.
        """
        query_key = (*query_key, f"names with {floor.min_requests()} requests")
        digest = blake2b("\0".join(query_key).encode("utf-8", "replace"), digest_size=8)

        def stamp(changes: int) -> dict[str, str]:
            return {
                **(headers or {}),
                "ETag": f'W/"{changes}-{digest.hexdigest()}"',
                "Cache-Control": "no-cache",
                "Vary": _varied(vary),
            }

        def read(connection: Connection) -> tuple[int, Answer | None]:
            known, answer = self._cache.last(query_key)
            send_figures(connection)
            if send_first:
                send_first(connection, known)
            changes = figures(connection).changes
            if etags.matches(request.headers.get("if-none-match"), stamp(changes)["ETag"]):
                return changes, None
            if answer is None or known != changes:
                answer = make(connection, changes)
                if answer.parts is None:
                    self._cache.put(query_key, changes, answer)
            return changes, answer

        changes, answer = self._reading.run(read)
        if answer is None:
            return Response(status_code=304, headers=stamp(changes))
        response = _response(request, answer, stamp(changes))
        if answer.parts is not None:
            return response
        self._cached.remember(request.scope, changes, today, response)
        return response

    def answer_now(
        self, request: Request, make: Callable[[Connection], Answer], *, vary: str = ""
    ) -> Response:
        """Return a response that depends on the clock, too: computed for each request."""
        return by_content(request, self._reading.run(make), vary=vary)


def by_content(request: Request, answer: Answer, *, vary: str = "") -> Response:
    """Return a response with an ETag of its content, or 304 if the client has this content.

    For responses that change without a change of the data. Parts of long ones are not known yet,
    so these have no ETag.
    """
    headers = {"Cache-Control": "no-cache", "Vary": _varied(vary)}
    if answer.parts is None:
        headers["ETag"] = etags.of_content(answer.body)
        if etags.matches(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
    return _response(request, answer, headers)


def _varied(vary: str) -> str:
    return f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"


def _response(request: Request, answer: Answer, headers: Mapping[str, str]) -> Response:
    """Return a response, compressed if it is long and the client accepts that."""
    coding = compression.preferred(request.headers.get("accept-encoding", ""))
    if answer.parts is None and len(answer.body) < compression.SHORTEST:
        coding = ""
    given = {**headers, **answer.headers, **({"Content-Encoding": coding} if coding else {})}
    if answer.parts is not None:
        parts = compression.encode_parts(coding, answer.parts())
        return StreamingResponse(parts, headers=given, media_type=answer.media_type)
    body = compression.encode(coding, answer.body)
    return Response(body, headers=given, media_type=answer.media_type)


def to_json(value: object) -> Answer:
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Answer(body, JSON, {})


def to_csv(row_type: type, rows: Sequence[Mapping[str, Any]], filename: str) -> Answer:
    """Return rows as a CSV download named `filename`; long ones are streamed."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    parts = partial(csv_rows.to_csv, csv_rows.columns_of(row_type), rows)
    if len(rows) > ROWS_AT_A_TIME:
        return Answer(b"", csv_rows.MEDIA_TYPE, headers, parts)
    return Answer(b"".join(parts()), csv_rows.MEDIA_TYPE, headers)


def page_headers(
    request: Request, given: Mapping[str, str], page: Page, total: int
) -> dict[str, str]:
    """Return `X-Total-Count` and, if the page has a limit, RFC 8288 links to the other pages.

    `given` holds the query parameters; the links keep all except those of the page.
    """
    if page.limit is None:
        return {"X-Total-Count": str(total)}
    last = max(0, (total - 1) // page.limit * page.limit)
    offsets = {"first": 0, "last": last}
    if page.offset > 0:
        offsets["prev"] = min(max(0, page.offset - page.limit), last)
    if page.offset + page.limit < total:
        offsets["next"] = page.offset + page.limit
    path = quote(request.scope.get("root_path", "") + route_path(request))
    kept = [item for item in given.items() if item[0] not in {"limit", "offset"}]
    links = []
    for relation in ("next", "prev", "first", "last"):
        if relation in offsets:
            query = urlencode(
                [*kept, ("limit", page.limit), ("offset", offsets[relation])],
                quote_via=quote,  # by default a space becomes `+`
                errors="surrogateescape",
            )
            links.append(f'<{path}?{query}>; rel="{relation}"')
    return {"X-Total-Count": str(total), "Link": ", ".join(links)}

"""Serves the legacy endpoints as before, and marks them as deprecated."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from email.utils import format_datetime
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy import Connection

from asu_stats.api import problems
from asu_stats.api.answering import Answer, Answering, to_json
from asu_stats.legacy import upstream_server
from asu_stats.legacy.endpoints import GUIDE, Endpoint, endpoints
from asu_stats.policies import declare
from asu_stats.settings import Settings
from asu_stats.store.database.reading import Reading
from asu_stats.times import aware, midnight

_TEXT: Final = "text/plain; charset=utf-8"


class LegacyApi:
    """The endpoints of older servers, in the response format of one of them."""

    def __init__(
        self,
        answering: Answering,
        reading: Reading,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        queue_length: Callable[[Connection], int],
    ) -> None:
        self._answering = answering
        self._reading = reading
        self._settings = settings
        self._now = now
        self._queue_length = queue_length

    def router(self) -> APIRouter:
        """Return the routes."""
        routes = APIRouter(tags=["legacy"])
        for endpoint in endpoints(self._settings.legacy_shape):
            self._add(routes, endpoint)
        return routes

    def _add(self, routes: APIRouter, endpoint: Endpoint) -> None:
        special = {"stats/summary": self._summary}
        respond = special.get(endpoint.name, partial(self._respond, endpoint))

        @declare("read", "read")
        def ask(request: Request) -> Response:
            headers = deprecation(self._settings, endpoint, request.scope.get("root_path", ""))
            if self._is_gone():
                new = f": use {endpoint.successor}" if endpoint.successor else ""
                return problems.problem(410, f"{endpoint.path} is gone{new}", headers=headers)
            return respond(request, headers)

        media = "text/plain" if endpoint.response is str else "application/json"
        routes.add_api_route(
            endpoint.path,
            ask,
            methods=["GET"],
            name=endpoint.name,
            summary=endpoint.summary,
            description=endpoint.description,
            deprecated=True,
            response_model=None if endpoint.response is str else endpoint.response,
            response_class=PlainTextResponse if endpoint.response is str else Response,
            responses={
                200: {"content": {media: {"example": endpoint.example}}},
                304: {"description": "Nothing changed since the ETag of If-None-Match."},
                **problems.documented(429, 503, *([410] if self._settings.legacy_gone else [])),
            },
            openapi_extra={
                "parameters": [parameter.documented() for parameter in endpoint.parameters]
            },
        )

    def _is_gone(self) -> bool:
        sunset = self._settings.legacy_sunset
        return self._settings.legacy_gone and sunset is not None and self._now().date() >= sunset

    def _respond(
        self, endpoint: Endpoint, request: Request, headers: Mapping[str, str]
    ) -> Response:
        today = self._now().date()
        given = [_first(request, parameter.name) for parameter in endpoint.parameters]

        def make(connection: Connection, _: int) -> Answer:
            found = endpoint.read(connection, today, *given)
            return Answer(found.encode(), _TEXT, {}) if isinstance(found, str) else to_json(found)

        query_key = (request.scope["path"], today.isoformat(), ascii(given))
        return self._answering.answer(request, query_key, make, today=today, headers=headers)

    def _summary(self, _: Request, headers: Mapping[str, str]) -> Response:
        """Compute the response for each request: queue and hours change without an event."""

        def read(connection: Connection) -> Answer:
            waiting = self._queue_length(connection)
            builds = upstream_server.builds_24h(connection, self._now())
            return to_json({"queue_length": waiting, "builds_24h": builds})

        response = self._reading.run(read)
        return Response(
            response.body,
            headers={**headers, "Cache-Control": "no-cache"},
            media_type=response.media_type,
        )


def _first(request: Request, name: str) -> str | None:
    """Return the first value of a parameter. Like the older servers, ignore all others."""
    values = request.query_params.getlist(name)
    return values[0] if values else None


def deprecation(settings: Settings, endpoint: Endpoint, root: str) -> dict[str, str]:
    """Return the headers that tell a client to move on (RFC 9745, RFC 8594)."""
    links = [f'<{root}{GUIDE}>; rel="deprecation"; type="text/html"']
    warning = "deprecated"
    if endpoint.successor:
        links.append(f'<{root}{endpoint.successor}>; rel="successor-version"')
        warning = f"deprecated: use {root}{endpoint.successor}"
    found = {
        "Deprecation": f"@{int(_midnight(settings.legacy_deprecated_since).timestamp())}",
        "Link": ", ".join(links),
        "Warning": f'299 - "{warning}"',
    }
    if settings.legacy_sunset:
        found["Sunset"] = format_datetime(_midnight(settings.legacy_sunset), usegmt=True)
    return found


def _midnight(day: date) -> datetime:
    return aware(midnight(day))


def router(
    answering: Answering,
    reading: Reading,
    settings: Settings,
    *,
    now: Callable[[], datetime],
    queue_length: Callable[[Connection], int],
) -> APIRouter:
    """Return the routes, in the response format that the settings select."""
    return LegacyApi(answering, reading, settings, now=now, queue_length=queue_length).router()

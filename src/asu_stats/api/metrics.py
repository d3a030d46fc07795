"""`GET /metrics` for Prometheus (docs/metrics.md), and the middleware that measures requests."""

import time
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asu_stats.metrics.exposition import Exposition
from asu_stats.metrics.process import OTHER, ProcessMetrics
from asu_stats.policies import declare

_ASKED: Final = "asu_stats.asked"
_NOT_ANSWERED: Final = 499  # the client left, or the server was stopped


def router(exposition: Exposition) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={
            200: {
                "content": {
                    media: {"schema": {"type": "string"}}
                    for media in ("text/plain", "application/openmetrics-text")
                }
            }
        },
    )
    @declare("read", "none")
    def metrics(request: Request) -> Response:
        """Return all metrics, as OpenMetrics if `Accept` asks for it."""
        body, media = exposition.text(request.headers.get("accept", ""))
        headers = {"Content-Type": media, "Vary": "Accept", "Cache-Control": "no-cache"}
        return Response(body, headers=headers)

    return routes


def expect(process: ProcessMetrics, routes: APIRouter) -> None:
    """Let the routes of a router be in the metrics from the start."""
    for route in routes.routes:
        if isinstance(route, Route):
            for method in route.methods or ():
                process.expect(method, route.path_format)


class Measured:
    """Counts and times what the rest answers; the outermost layer."""

    def __init__(self, app: ASGIApp, process: ProcessMetrics) -> None:
        self._app = app
        self._process = process

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code = _NOT_ANSWERED
        asked: dict[str, str] = {}

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app({**scope, _ASKED: asked}, receive, send_and_note)
        except Exception:
            code = 500  # the response to an exception comes from further out
            self._process.crashed(asked.get("route", OTHER))
            raise
        finally:
            seconds = time.perf_counter() - began
            self._process.answered(scope["method"], asked.get("route", OTHER), code, seconds)


class NotesRoute:
    """Tells `Measured` which route took a request: layers in between copy the scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if _ASKED in scope:
                scope[_ASKED]["route"] = _template(scope)


def _template(scope: Scope) -> str:
    """Return the path template of the route that a request took, never a path that was sent."""
    route = scope.get("route")
    if route is not None:
        return str(route.path_format)
    if "app_root_path" in scope:  # a mounted application
        mounted: str = scope["root_path"].removeprefix(scope["app_root_path"])
        return mounted + "/{path}"
    return OTHER

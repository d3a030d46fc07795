"""`GET /metrics` for Prometheus (docs/metrics.md), and the middleware that measures requests."""

import time
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asu_stats.connections import route_path
from asu_stats.metrics.exposition import Exposition
from asu_stats.metrics.process import OTHER, ProcessMetrics
from asu_stats.policies import Policies, declare

_NOT_ANSWERED: Final = 499  # the client disconnected, or the server was stopped


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


class Measured:
    """Middleware that counts and times responses by the path template of their route."""

    def __init__(self, app: ASGIApp, process: ProcessMetrics, policies: Policies) -> None:
        self._app = app
        self._process = process
        self._policies = policies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code = _NOT_ANSWERED
        # The template of the route, because anybody can request any path.
        route = self._policies.template(route_path(HTTPConnection(scope))) or OTHER

        async def send_and_note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            code = 500  # an outer layer responds to the exception
            self._process.crashed(route)
            raise
        finally:
            seconds = time.perf_counter() - began
            self._process.answered(scope["method"], route, code, seconds)

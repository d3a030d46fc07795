"""Compresses long responses that are not compressed where they are made.

Those are the OpenAPI document, `/metrics`, and responses that are made for each request. Reports,
pages and files are compressed once and kept.
"""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asu_stats import compression
from asu_stats.connections import route_path
from asu_stats.policies import Policies

_TYPES: Final = ("application/json", "application/openmetrics-text", "text/")
_CHOICE: Final = "Accept-Encoding"


class Compressed:
    """Middleware. Clients of the build service, which are no browsers, get plain responses."""

    def __init__(self, app: ASGIApp, policies: Policies) -> None:
        self._app = app
        self._policies = policies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_build(scope):
            await self._app(scope, receive, send)
            return
        accepted = ",".join(Headers(scope=scope).getlist("accept-encoding"))
        started: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start" and _is_plain(message):
                started = message  # until it is known how long the body is
                return
            if started is not None:
                begin, started = started, None
                if not message.get("more_body") and message["type"] == "http.response.body":
                    message = _encoded(begin, message, accepted)
                await send(begin)
            await send(message)

        await self._app(scope, receive, send_compressed)

    def _is_build(self, scope: Scope) -> bool:
        return self._policies.of(route_path(HTTPConnection(scope))).access == "build"


def _is_plain(start: Message) -> bool:
    """Return whether a response is text that may be compressed."""
    headers = Headers(raw=start["headers"])
    return (
        start["status"] == 200
        and headers.get("content-type", "").startswith(_TYPES)
        and "content-encoding" not in headers
    )


def _encoded(start: Message, message: Message, accepted: str) -> Message:
    """Return the message with the body, compressed if it is long and the client accepts that.

    Changes the headers of `start`.
    """
    body = message.get("body", b"")
    if len(body) < compression.SHORTEST:
        return message
    headers = MutableHeaders(scope=start)
    if _CHOICE.lower() not in headers.get("vary", "").lower():
        headers.add_vary_header(_CHOICE)
    if coding := compression.preferred(accepted):
        body = compression.encode(coding, body)
        headers["Content-Encoding"], headers["Content-Length"] = coding, str(len(body))
    return {**message, "body": body}

"""Middleware for every request: one path, security headers, CORS, HEAD as GET."""

from typing import Final
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXPOSED_HEADERS: Final = (
    "ETag",
    "Link",
    "X-Total-Count",
    "X-Data-As-Of",
    "Deprecation",
    "Sunset",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Imagebuilder-Status",
    "X-Queue-Position",
)
COMMON_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
}


class OneLeadingSlash:
    """Reads `//api/v1/build` as `/api/v1/build`: a server URL that ends in a slash works.

    This is the outermost layer, so that access control, limits, caches and routes see the same
    path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path: str = scope["path"]
            root: str = scope.get("root_path", "")
            prefix = root if path.startswith(f"{root}/") else ""
            rest = path.removeprefix(prefix)
            if rest.startswith("//"):
                path = f"{prefix}/{rest.lstrip('/')}"
                scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        await self._app(scope, receive, send)


class CommonHeaders:
    """Adds the common headers to every response that does not have its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in COMMON_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Preflight:
    """Responds to CORS preflight requests: every origin may read (Fetch §3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answer = Response(
            headers={
                "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
                "Access-Control-Allow-Headers": "Content-Type, Authorization",
                "Access-Control-Max-Age": "86400",
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks = (
            scope["type"] == "http"
            and scope["method"] == "OPTIONS"
            and "access-control-request-method" in Headers(scope=scope)
        )
        await (self._answer if asks else self._app)(scope, receive, send)


class HeadAsGet:
    """Responds to HEAD as to GET, without the body (RFC 9110 §9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_without_body)

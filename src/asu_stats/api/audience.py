"""Applies the public floor (`public_floor`) to callers without a read token or a session.

Responses computed for one of the two kinds of callers are never served to the other: they have
different ETags, `Vary` names the headers that decide, and requests with one of those headers
bypass the cache before routing.
"""

from anyio.to_thread import run_sync
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asu_stats.api.sessions import COOKIE, Sessions
from asu_stats.api.tokens import Access
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.reports import floor


class PublicFloor:
    """Middleware: shows callers that may not see all only names with `min_requests` or more."""

    def __init__(self, app: ASGIApp, access: Access, sessions: Sessions, min_requests: int) -> None:
        self._app = app
        self._access = access
        self._sessions = sessions
        self._min_requests = min_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        sees_all = False
        if "authorization" in connection.headers or COOKIE in connection.cookies:
            sees_all = await run_sync(self._sees_all, connection)

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Authorization, Cookie")
            await send(message)

        with floor.applied(0 if sees_all else self._min_requests):
            await self._app(scope, receive, send_varying)

    def _sees_all(self, connection: HTTPConnection) -> bool:
        try:
            if "authorization" in connection.headers:
                return self._access.may_read_hashes(connection)
            return self._sessions.of_request(connection) is not None
        except (HTTPException, StoreUnavailableError):
            pass  # the route decides what to respond to such a request
        return False

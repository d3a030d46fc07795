"""Access control for statistics (`read_access = "token"`).

This middleware runs before the cache. Routes declare who may use them (`policies`); a path without
a route needs a token.
"""

from urllib.parse import urlencode

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from asu_stats.api import problems
from asu_stats.api.sessions import Sessions
from asu_stats.api.tokens import REALM, Access
from asu_stats.connections import route_path, wants_page
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.policies import Policies


class ReadGuard:
    """Middleware that rejects requests for statistics without a read token or a session."""

    def __init__(
        self, app: ASGIApp, policies: Policies, access: Access, sessions: Sessions
    ) -> None:
        self._app = app
        self._policies = policies
        self._access = access
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if self._policies.of(route_path(connection)).access != "read":
            await self._app(scope, receive, send)
            return
        try:
            refusal = await run_sync(self._refusal, connection)
        except StoreUnavailableError as error:
            refusal = problems.unavailable(error)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await refusal(scope, receive, send)
        else:
            socket = WebSocket(scope, receive, send)
            if "websocket.http.response" in scope.get("extensions", {}):
                await socket.send_denial_response(refusal)
            else:
                await socket.close()

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        """Return the response to a request without access, `None` if it has access."""
        if "authorization" in connection.headers:
            try:
                self._access.require(connection, "read")
            except HTTPException as error:
                return problems.problem(
                    error.status_code, str(error.detail), headers=error.headers or {}
                )
            return None
        if self._sessions.of_request(connection) is not None:
            return None
        if wants_page(connection):
            root = connection.scope.get("root_path", "")
            query = connection.scope["query_string"].decode("latin-1")
            path = route_path(connection) + (f"?{query}" if query else "")
            return RedirectResponse(f"{root}/sign-in?{urlencode({'next': path})}", 303)
        return problems.problem(
            401, "expected a Bearer token with the scope read", headers={"WWW-Authenticate": REALM}
        )

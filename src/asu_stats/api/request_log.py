"""The log of requests: an id for each, refused tokens, and on demand a line for each request.

A line has the path template of the route. Paths and queries contain request hashes and names.
"""

import logging
import re
import secrets
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asu_stats.api.limits import client_of
from asu_stats.connections import route_path
from asu_stats.logs import request_id
from asu_stats.policies import Policies
from asu_stats.settings import Settings

log = logging.getLogger(__name__)

REQUEST_ID: Final = "X-Request-ID"
_GIVEN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BROKEN_OFF: Final = 499  # as nginx logs a client that left before the response


class RequestLog:
    """Gives each request an id, that of a trusted proxy if it has one, and logs its end."""

    def __init__(self, app: ASGIApp, settings: Settings, policies: Policies) -> None:
        self._app = app
        self._settings = settings
        self._policies = policies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = self._id_of(scope)
        token = request_id.set(name)
        status, size, began = _BROKEN_OFF, 0, time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._settings.access_log:
                    MutableHeaders(scope=message)[REQUEST_ID] = name
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception:
            status = 500
            raise
        finally:
            self._end(scope, status, size, time.perf_counter() - began)
            request_id.reset(token)

    def _id_of(self, scope: Scope) -> str:
        given = Headers(scope=scope).get(REQUEST_ID, "") if self._settings.proxies else ""
        return given if _GIVEN.fullmatch(given) else secrets.token_hex(8)

    def _end(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        refused = status in {401, 403} and "authorization" in Headers(scope=scope)
        if not (refused or self._settings.access_log):
            return
        route = self._policies.template(route_path(HTTPConnection(scope))) or "other"
        client = ""
        if self._settings.log_addresses:
            client = f" client={client_of(scope, self._settings.proxies) or 'local'}"
        if refused:
            log.warning("access: token refused status=%d route=%s%s", status, route, client)
        if self._settings.access_log:
            words = "access: method=%s route=%s status=%d ms=%.1f bytes=%d%s"
            log.info(words, scope["method"], route, status, seconds * 1000, size, client)

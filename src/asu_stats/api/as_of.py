"""`X-Data-As-Of`: as of when a response is that was read from a replica (docs/scaling.md)."""

from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asu_stats.event_times import format_time
from asu_stats.store.database.reading import noted

HEADER: Final = "X-Data-As-Of"
# For the responses of endpoints that read reports, in the OpenAPI document.
DOCUMENTED: Final[dict[str, Any]] = {
    HEADER: {
        "description": "Only in responses that were read from a replica: "
        "everything that was recorded until this time is in the response. Without this header, the "
        "response is current. A request with Cache-Control: no-cache asks for a current one.",
        "schema": {"type": "string", "format": "date-time"},
    }
}


class AsOf:
    """Middleware that adds the header, and reads from the primary if a request asks for that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with noted(current=_wants_current(Headers(scope=scope))) as found:

            async def send_with_header(message: Message) -> None:
                if message["type"] == "http.response.start" and found.as_of is not None:
                    MutableHeaders(scope=message)[HEADER] = format_time(found.as_of)
                await send(message)

            await self._app(scope, receive, send_with_header)


def _wants_current(headers: Headers) -> bool:
    """Return whether a request has `Cache-Control: no-cache` (RFC 9111 §5.2.1.4)."""
    values = ",".join(headers.getlist("cache-control")).split(",")
    return "no-cache" in (value.strip().lower() for value in values)

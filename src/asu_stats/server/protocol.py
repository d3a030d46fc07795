"""The protocols of uvicorn with limits, and with a problem as the response to invalid HTTP."""

import asyncio
import logging
import os
import sys
from typing import Any, Final, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from asu_stats.server.connection import (
    HEAD_BYTES,
    HEAD_FIELDS,
    LARGE_HEAD,
    LONG_TARGET,
    SLICE,
    TARGET_BYTES,
    Bounded,
    Phase,
)

log = logging.getLogger(__name__)

# Set before websockets is imported, which never responds to a handshake with a longer line.
os.environ.setdefault("WEBSOCKETS_MAX_LINE_LENGTH", str(TARGET_BYTES + HEAD_BYTES))

PROTOCOL: type[asyncio.Protocol]
# Pipelined requests per connection. Each takes a hundred times its own size in memory.
_PIPELINED: Final = 32


_FRAMES: Final = {b"content-length", b"transfer-encoding"}


class _H11Connection(h11.Connection):
    """Rejects a head that is too large, or has two lengths, before it is parsed.

    h11 itself would read the body by its chunks and keep the connection open (RFC 9112, §6.1).
    """

    refusal: tuple[int, str] | None = None

    def next_event(self) -> Any:
        """Return the next event. Raises `RemoteProtocolError`."""
        if self.their_state is h11.IDLE:
            self.refusal = _refusal(self.trailing_data[0])
            if self.refusal:
                raise h11.RemoteProtocolError(self.refusal[1])
        return super().next_event()


def _refusal(received: bytes) -> tuple[int, str] | None:
    """Return status and reason for a head to reject, as far as it has arrived."""
    end = received.find(b"\n\r\n")
    line, _, fields = received[: end if end >= 0 else len(received)].partition(b"\n")
    if len(line) > TARGET_BYTES + 32:
        return LONG_TARGET
    count = fields.count(b"\n") + (end >= 0 and bool(fields))
    if len(fields) > HEAD_BYTES or count > HEAD_FIELDS:
        return LARGE_HEAD
    names = {each.partition(b":")[0].strip().lower() for each in fields.split(b"\n")}
    return (400, "two lengths: expected one of them") if names >= _FRAMES else None


class _H11(Bounded, H11Protocol):
    """The protocol if httptools is missing."""

    conn: _H11Connection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = _H11Connection(h11.SERVER, TARGET_BYTES + HEAD_BYTES + 2 * SLICE)

    def send_400_response(self, msg: str) -> None:
        self.refuse(*(self.conn.refusal or (400, msg)))

    def _phase(self) -> Phase | None:
        if self.conn.their_state is h11.SEND_BODY:
            return "body"
        responding = self.cycle is not None and not self.cycle.response_complete
        return None if responding or self.conn.their_state is not h11.IDLE else "head"

    def _has_begun(self) -> bool:
        their = self.conn.their_state
        return their is h11.SEND_BODY or (their is h11.IDLE and bool(self.conn.trailing_data[0]))

    def _target(self) -> bytes:
        if self._phase() == "body":
            target: bytes = self.scope["raw_path"]
            return target
        words = self.conn.trailing_data[0].partition(b"\n")[0].split(b" ")
        return words[1] if len(words) > 1 else b""


try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ModuleNotFoundError:  # h11 is slower, and its errors have less detail
    PROTOCOL = _H11
else:

    class _HttpTools(Bounded, HttpToolsProtocol):
        """The usual protocol."""

        url = b""  # of the request; empty if its first line is invalid
        _begun = False
        _in_body = False
        _is_silent = True
        _unparsed = 0  # bytes since the last callback of the parser
        _fields = 0
        _field_bytes = 0
        _refused: tuple[int, str] | None = None

        def _parse(self, part: bytes) -> None:
            self._is_silent = True
            super()._parse(part)
            self._unparsed = self._unparsed + len(part) if self._is_silent else 0
            if self._unparsed > HEAD_BYTES - (0 if self._in_body else self._field_bytes):
                self.refuse(*LARGE_HEAD)  # the parser buffers an incomplete field

        def on_message_begin(self) -> None:
            self._begun, self._in_body, self._is_silent = True, False, False
            self._fields = self._field_bytes = 0
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._is_silent = False
            super().on_url(url)
            if len(self.url) > TARGET_BYTES:
                self._stop(LONG_TARGET)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._is_silent = False
            self._fields += 1
            self._field_bytes += len(name) + len(value) + 4
            if self._fields > HEAD_FIELDS or self._field_bytes > HEAD_BYTES:
                self._stop(LARGE_HEAD)
            if not self._in_body:  # a trailer is not a header: the application is running
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_body = True
            super().on_headers_complete()
            if len(self.pipeline) > _PIPELINED:
                self._stop((400, "too many requests at once"))

        def on_body(self, body: bytes) -> None:
            self._is_silent = False
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._begun = False
            super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            self.refuse(*(self._refused or _own_failure(sys.exception()) or (400, msg)))

        def _stop(self, refusal: tuple[int, str]) -> None:
            """Stop the parser, which makes uvicorn send a 400 response."""
            self._refused = refusal
            raise ValueError(refusal[1])

        def _phase(self) -> Phase | None:
            if self._begun:
                return "body" if self._in_body else "head"
            responding = self.cycle is not None and not self.cycle.response_complete
            return None if responding else "head"

        def _has_begun(self) -> bool:
            return self._begun

        def _target(self) -> bytes:
            return self.url

    PROTOCOL = _HttpTools


try:
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    from websockets.exceptions import InvalidState
except ModuleNotFoundError:  # uvicorn chooses what there is, or rejects handshakes
    WEBSOCKET: type[asyncio.Protocol] | Literal["auto"] = "auto"
else:

    class _WebSocket(WebSocketsSansIOProtocol):
        """The usual protocol, with an end for frames after which nothing can be sent."""

        def data_received(self, data: bytes) -> None:
            """Read frames. Text that is not UTF-8 may stand before a close frame.

            Both are parsed before the first is looked at, and uvicorn closes what is closed.
            """
            try:
                super().data_received(data)
            except InvalidState:
                self.transport.abort()

    WEBSOCKET = _WebSocket


def _own_failure(error: BaseException | None) -> tuple[int, str] | None:
    """Return status and reason for an error in a callback of the parser, such as `MemoryError`.

    The request may be valid, and a sender would not send it again after 400.
    """
    if error is None or type(error).__name__ != "HttpParserCallbackError":
        return None
    log.error("http: a request could not be read: %s", type(error.__context__).__name__)
    return 503, "the server could not read the request; try again later"


def quieten() -> None:
    """Keep messages out of the log that anybody could fill it with.

    uvicorn logs a rejected WebSocket handshake as an error of the application.
    """
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg not in _QUIET)


_QUIET: Final = frozenset(
    {
        "ASGI callable returned without completing handshake.",
        "Invalid HTTP request received.",
        "Invalid UTF-8 sequence received from client.",
        "Unsupported upgrade request.",
    }
)

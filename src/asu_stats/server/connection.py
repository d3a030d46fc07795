"""Connections with limits on the size and duration of requests, for both parsers.

uvicorn parses with httptools, or with h11 if httptools is missing. Neither limits the size of
headers or the time that a client takes to send a request. Both close a connection while the client
is still sending; the kernel then resets it, and the client never sees the response.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Any, Final, Literal, TypeAlias, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from asu_stats.api import problems
from asu_stats.api.middleware import COMMON_HEADERS

HEAD_BYTES: Final = 64 << 10
HEAD_FIELDS: Final = 100
TARGET_BYTES: Final = (64 << 10) - 1
HEAD_SECONDS = 10.0
# Longest pause in a body. Over such a time, the body must reach the minimum rate.
BODY_SECONDS = 20.0
BODY_BYTES_PER_SECOND: Final = 1024
# Bytes of a request that are still read after the response to it.
DISCARDED_BYTES: Final = 64 << 20
# Bytes that are parsed at once. A limit is exceeded by at most this before it is noticed.
SLICE: Final = 16 << 10

Phase: TypeAlias = Literal["head", "body"]

LONG_TARGET: Final = 414, f"the request target is longer than {TARGET_BYTES} bytes"
LARGE_HEAD: Final = (
    431,
    f"the request has more than {HEAD_FIELDS} header fields or {HEAD_BYTES} bytes of them",
)


class Bounded(asyncio.Protocol, ABC):
    """Limits for a protocol of uvicorn; comes before it in the order of base classes."""

    transport: asyncio.Transport
    flow: FlowControl
    server_state: ServerState
    loop: asyncio.AbstractEventLoop
    scope: Any
    headers: list[tuple[bytes, bytes]]
    cycle: Any
    pipeline: Any = ()  # requests that wait for the response to an earlier one

    media_type: Callable[[str], str]  # of an error response, by path

    _connection: asyncio.Transport
    _timer: asyncio.TimerHandle | None = None
    _deadline = inf
    _awaited: Phase | None = None
    _awaited_of: object = None  # the scope of the request before, or of this one
    _discardable = DISCARDED_BYTES
    _is_leaving = False
    _is_stopping = False
    _is_upgraded = False

    @abstractmethod
    def _phase(self) -> Phase | None:
        """Return what the client must send next, `None` while it waits for a response."""

    @abstractmethod
    def _has_begun(self) -> bool:
        """Return whether a request has arrived in part."""

    @abstractmethod
    def _target(self) -> bytes:
        """Return the target of the request that arrives, as far as it is known."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for a request."""
        self._connection = cast(asyncio.Transport, transport)
        super().connection_made(cast(asyncio.Transport, _Leaving(self._connection, self)))
        self._wait("head", 0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all waiting."""
        self._is_stopping = True
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data, a slice at a time."""
        for start in range(0, len(data), SLICE):
            part = data[start : start + SLICE] if len(data) > SLICE else data
            if not self._is_leaving:
                self._parse(part)
            if self._is_upgraded or self._connection.is_closing():
                return
            phase = self._phase()
            if self._is_leaving or (phase == "body" and not self._is_responding()):
                self._discardable -= len(part)
                if self._discardable < 0:
                    self._connection.abort()
                    return
            self._wait(phase, len(part))

    def _parse(self, part: bytes) -> None:
        super().data_received(part)

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _should_upgrade(self) -> bool:
        """Return whether this is a handshake that the WebSocket protocol can read.

        Otherwise it is an ordinary request (RFC 9110 §7.8). The protocol would never respond.
        """
        names = {name for name, _ in self.headers}
        if names & {b"content-length", b"transfer-encoding"} or self.scope["method"] != "GET":
            return False
        return bool(cast(Any, super())._should_upgrade())

    def handle_websocket_upgrade(self, *event: Any) -> None:
        """Pass the connection to the WebSocket protocol."""
        self._is_upgraded = True
        self._stop_waiting()
        cast(Any, super()).handle_websocket_upgrade(*event)

    def shutdown(self) -> None:
        """End the connection once the current response has been sent."""
        self._is_stopping = True
        if self._is_leaving:
            self._connection.abort()
        cast(Any, super()).shutdown()

    def refuse(self, status: int, detail: str) -> None:
        """Respond with a problem to a request that no endpoint will get, and end the connection."""
        if self._is_leaving or self._connection.is_closing():
            return
        cycle = self.cycle
        if self._is_responding():
            own = self._phase() == "body" and not self.pipeline
            cycle.disconnected = True
            cycle.message_event.set()
            if (
                cycle.response_started or not own
            ):  # the client would read it as part of that response
                self._connection.close()
                return
        path = self._target().partition(b"?")[0].decode("latin-1")
        response = problems.problem(
            status, detail, headers={**COMMON_HEADERS, "Connection": "close"}
        )
        response.headers["Content-Type"] = self.media_type(path)
        line = f"HTTP/1.1 {status} {problems.title(status)}\r\n".encode()
        headers = (*self.server_state.default_headers, *response.raw_headers)
        fields = (b"%s: %s\r\n" % header for header in headers)
        self._connection.write(b"".join([line, *fields, b"\r\n", bytes(response.body)]))
        self._leave()

    def leave(self) -> None:
        """Close the connection, after reading what the client still sends."""
        if not self._is_upgraded and self._has_begun():
            self._leave()
        elif not self._is_leaving:
            self._connection.close()

    @property
    def has_left(self) -> bool:
        """Whether nothing more will be sent."""
        return self._is_leaving or self._connection.is_closing()

    def _leave(self) -> None:
        """Send an end of file. The connection is closed when the client sends one too."""
        if self._is_leaving:
            return
        if self._is_stopping or self._connection.is_closing():
            self._connection.close()
            return
        self._is_leaving = True
        self._connection.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.time() + BODY_SECONDS
        self._start_timer()

    def _wait(self, phase: Phase | None, received: int) -> None:
        """Set the deadline for the next data, after `received` bytes."""
        is_new = phase != self._awaited or self.scope is not self._awaited_of
        self._awaited, self._awaited_of = phase, self.scope
        now = self.loop.time()
        if self._is_leaving or (phase == "body" and not is_new):
            later = self._deadline + received / BODY_BYTES_PER_SECOND
            self._deadline = min(later, now + BODY_SECONDS)
        elif phase is None:
            self._deadline = inf
        elif is_new:
            self._deadline = now + (HEAD_SECONDS if phase == "head" else BODY_SECONDS)
        self._start_timer()

    def _start_timer(self) -> None:
        """Start the timer, unless it runs. It checks the deadline again when it ends."""
        if self._timer is None and self._deadline < inf:
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)

    def _stop_waiting(self) -> None:
        self._deadline = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_deadline(self) -> None:
        """End a connection whose client did not send in time."""
        self._timer = None
        now, phase, responding = self.loop.time(), self._phase(), self._is_responding()
        if not self._is_leaving and (self.flow.read_paused or (responding and phase == "head")):
            self._deadline = max(
                self._deadline, now + HEAD_SECONDS
            )  # the client is waiting for the server
        if now < self._deadline:
            self._start_timer()
        elif self._is_leaving:
            self._connection.abort()
        elif self._has_begun() and (responding or phase == "head"):
            self.refuse(408, "the request did not arrive in time")
        else:
            self._connection.close()


class _Leaving:
    """The transport that uvicorn writes to. It closes once the client has sent its request."""

    def __init__(self, transport: asyncio.Transport, connection: Bounded) -> None:
        self._transport = transport
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._connection.leave()

    def is_closing(self) -> bool:
        return self._connection.has_left

    def write(self, data: bytes) -> None:
        if not self._connection.has_left:
            self._transport.write(data)

"""`WS /api/v1/stats/live`: notifies its clients when figures have changed.

One thread per process polls the change counter while a client is connected, so changes by any
process are noticed. All clients that see the same names get the same message. Slow readers are
disconnected.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from anyio.to_thread import run_sync
from fastapi import APIRouter, WebSocket
from sqlalchemy import Connection
from starlette.websockets import WebSocketDisconnect, WebSocketState

from asu_stats.api import problems
from asu_stats.api.origins import is_own
from asu_stats.api.stats import PREFIX
from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.policies import declare
from asu_stats.reports import floor
from asu_stats.reports import now as now_report
from asu_stats.store.database import statements
from asu_stats.store.database.changes import COUNTER
from asu_stats.store.database.reading import Reading

log = logging.getLogger(__name__)

_CHECK_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0  # between two messages
_AFTER_ERROR_SECONDS: Final = 10.0
_SEND_SECONDS: Final = 20.0
_WAITING_MESSAGES: Final = 8
_TRY_AGAIN_LATER: Final = 1013

# Change counter, waiting and running builds: the latter can change without the counter.
State: TypeAlias = tuple[int, int, int]


class Listener:
    """A WebSocket: the last message sent, and the queue of messages to send."""

    def __init__(self, min_requests: int) -> None:
        self.min_requests = min_requests  # requests that a name needs to be in the messages
        self.queue: asyncio.Queue[str | None] = asyncio.Queue(_WAITING_MESSAGES)
        self._seen: State | None = None
        self._not_before = 0.0

    def offer(self, state: State, message: str, now: float) -> None:
        """Queue a message, unless this state was already sent or the last message was just now.

        A full queue means a client that does not read: it is disconnected.
        """
        if not self.is_due(state, now):
            return
        self._seen, self._not_before = state, now + _PAUSE_SECONDS
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            while not self.queue.empty():
                self.queue.get_nowait()
            self.queue.put_nowait(None)

    def is_due(self, state: State, now: float) -> bool:
        """Return whether a message about `state` must be sent now."""
        return state != self._seen and now >= self._not_before


class Live:
    """The WebSockets of this process, and the watcher that serves them."""

    def __init__(
        self,
        reading: Reading,
        *,
        queues: CombinedQueue,
        origins: Sequence[str],
        max_connections: int,
    ) -> None:
        self._reading = reading
        self._queues = queues
        self._origins = {origin.rstrip("/").lower() for origin in origins}
        self._max_connections = max_connections
        self._listeners: set[Listener] = set()
        self._watcher: asyncio.Task[None] | None = None

    def router(self) -> APIRouter:
        routes = APIRouter()
        routes.add_api_websocket_route(f"{PREFIX}/live", self.serve)
        return routes

    @declare("read", "read")
    async def serve(self, socket: WebSocket) -> None:
        """Send a message at once, and whenever something changes, until the client leaves."""
        if not self._may_connect(socket):
            await _refuse(socket, 403, "this origin is not one of live_origins")
            return
        if len(self._listeners) >= self._max_connections:
            await _refuse(socket, 503, "too many connections; poll /api/v1/stats/now instead")
            return
        listener = Listener(floor.min_requests())
        self._listeners.add(listener)  # starts the watcher, before anything is awaited
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        try:
            first = await run_sync(self._message, listener.min_requests)
            await socket.accept()
            listener.offer(*first, _now())
            await self._exchange(socket, listener.queue)
        except StoreUnavailableError as error:
            await _refuse(socket, 503, f"{error.public}; try again later")
        finally:
            self._listeners.discard(listener)

    def _may_connect(self, socket: WebSocket) -> bool:
        """Return whether the origin of a page may connect. Programs send no origin."""
        origin = socket.headers.get("origin")
        return origin is None or origin.lower() in self._origins or is_own(socket, origin)

    async def _exchange(self, socket: WebSocket, queue: asyncio.Queue[str | None]) -> None:
        """Send messages until the client leaves or stops reading."""
        listening = asyncio.create_task(_listen(socket))
        sending = asyncio.create_task(_send(socket, queue))
        done, rest = await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if sending in done and not sending.exception():
            with contextlib.suppress(RuntimeError, TimeoutError):
                await asyncio.wait_for(socket.close(_TRY_AGAIN_LATER), _SEND_SECONDS)

    async def _watch(self) -> None:
        """Poll for changes while any client is connected.

        Each listener knows its last message, so none misses a change that happens while it
        connects.
        """
        while self._listeners:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                state = await run_sync(self._state)
                due = {each.min_requests for each in self._listeners if each.is_due(state, _now())}
                messages = {n: await run_sync(self._message, n) for n in due}
            except StoreUnavailableError as error:
                log.debug("live: %s", error)
                continue
            except Exception:  # otherwise clients would get nothing until another one connects
                log.exception("live: polling for changes failed")
                await asyncio.sleep(_AFTER_ERROR_SECONDS)
                continue
            for listener in self._listeners:
                if listener.min_requests in messages:
                    listener.offer(*messages[listener.min_requests], _now())

    def _state(self) -> State:
        def read(connection: Connection) -> State:
            changes = _changes(connection)
            state = self._queues.state_in(connection)
            return changes, state.queue_length, state.builds_running

        return self._reading.run(read)

    def _message(self, min_requests: int) -> tuple[State, str]:
        """Return a message, and the state that it describes.

        It names only what has `min_requests` requests or more.
        """

        def read(connection: Connection) -> tuple[int, now_report.Now]:
            return _changes(connection), now_report.read(connection, self._queues)

        with floor.applied(min_requests):
            changes, answer = self._reading.run(read)
        state = (changes, answer["queue_length"], answer["builds_running"])
        message: dict[str, Any] = {"type": "now", "changes": changes, **answer}
        return state, json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _changes(connection: Connection) -> int:
    ((changes,),) = statements.fetch(connection, COUNTER)
    return int(changes)


async def _listen(socket: WebSocket) -> None:
    """Read and ignore the messages of the client until it leaves."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return


async def _send(socket: WebSocket, queue: asyncio.Queue[str | None]) -> None:
    """Send the messages in the queue until it is closed."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
        while (message := await queue.get()) is not None:
            await asyncio.wait_for(socket.send_text(message), _SEND_SECONDS)


async def _refuse(socket: WebSocket, status: int, detail: str) -> None:
    """Reject a WebSocket handshake with a problem if the server supports that, else with 403."""
    if socket.client_state is not WebSocketState.CONNECTING and (
        socket.application_state is not WebSocketState.CONNECTING
    ):
        await socket.close(_TRY_AGAIN_LATER)
    elif "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(problems.problem(status, detail))
    else:
        await socket.close()

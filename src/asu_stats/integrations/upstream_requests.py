"""Events for `POST /api/v1/build` of the upstream server.

The outcome follows from the response and from whether the request itself enqueued a job. It does
not depend on times, so it is exact even for equal requests at the same moment. The request hash is
the id of the job that upstream fetched or enqueued; a request without a job has none.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial, wraps
from itertools import islice
from typing import Any, Final, TypeAlias

from rq import Queue

from asu_stats.cloudevents import MAX_PACKAGES
from asu_stats.emit import Emitter, request_later
from asu_stats.events import Outcome
from asu_stats.integrations.reporting import emitter, errors_logged, failed
from asu_stats.integrations.upstream_builds import observe_sync
from asu_stats.text import NAME_LENGTH

_PATH: Final = "/api/v1/build"
_MAX_LATER_BYTES: Final = 1 << 16
_MAX_CHUNKS: Final = 64
_UNPARSED: Final = 422  # the body is not a build request
_WITHOUT_PACKAGES: Final = frozenset({"cache_hit", "rejected"})  # outcomes
_NO_DETAIL: Final = "Internal Server Error"

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


@dataclass(slots=True)
class Exchange:
    """A request and the part of its response that was sent. Bodies are kept by reference."""

    headers: Headers
    received_at: float = field(default_factory=time.time)
    body: list[bytes] = field(default_factory=list)
    status: int = 500  # if an exception prevents the response
    response_headers: Headers = ()
    response: list[bytes] = field(default_factory=list)
    job_id: str | None = None
    is_enqueued: bool = False

    def add(self, message: Message) -> None:
        """Add a message of the response; the body only if it may contain the reason of an error."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.response_headers = message["headers"]
        elif self.status >= 400 and self.job_id is None and len(self.response) < _MAX_CHUNKS:
            self.response.append(message.get("body", b""))


_current: ContextVar[Exchange | None] = ContextVar("asu_stats_exchange", default=None)


class Observer:
    """ASGI middleware that emits an event for each build request.

    During a request it only keeps references. The thread of the emitter parses the bodies later.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], emitter: Emitter) -> None:
        self._app = app
        self._emitter = emitter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != _PATH
            or scope["method"] != "POST"  # GET and HEAD poll for builds
        ):
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope["headers"])

        async def receive_and_keep() -> Message:
            message = await receive()
            if chunk := message.get("body"):
                exchange.body.append(chunk)
            return message

        async def send_and_keep(message: Message) -> None:
            try:
                exchange.add(message)
            except Exception as error:  # statistics must not break a build
                failed(error)
            await send(message)

        token = _current.set(exchange)
        try:
            await self._app(scope, receive_and_keep, send_and_keep)
        finally:
            _current.reset(token)
            try:
                report(exchange, self._emitter)
            except Exception as error:  # statistics must not break a build
                failed(error)


def observe(app: Any) -> None:
    """Emit events for upstream's application, if there is an emitter.

    Further calls change nothing.
    """
    with errors_logged():
        configured = emitter()
        if configured is None or getattr(app.state, "asu_stats", None):
            return
        app.state.asu_stats = True
        observe_jobs()
        observe_sync(configured)
        app.add_middleware(Observer, emitter=configured)


def observe_jobs() -> None:
    """Record which job a request fetches from or adds to RQ's queues.

    Patches `Queue`; further calls change nothing.
    """

    def recorded(original: Callable[..., Any], record: Callable[[Exchange, Any], None]) -> Any:
        @wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            job = original(*args, **kwargs)
            exchange = _current.get()
            if exchange is not None and job is not None:
                with errors_logged():
                    record(exchange, job)
            return job

        method.asu_stats = True  # type: ignore[attr-defined]
        return method

    if not hasattr(Queue.enqueue, "asu_stats"):
        Queue.enqueue = recorded(Queue.enqueue, _enqueued)  # type: ignore[method-assign]
        Queue.fetch_job = recorded(Queue.fetch_job, _fetched)  # type: ignore[method-assign]


def _fetched(exchange: Exchange, job: Any) -> None:
    exchange.job_id = job.id


def _enqueued(exchange: Exchange, job: Any) -> None:
    exchange.job_id, exchange.is_enqueued = job.id, True


def report(exchange: Exchange, emitter: Emitter) -> None:
    """Emit the event of a build request. The emitter's thread parses small ones."""
    if exchange.status == _UNPARSED:
        return
    if sum(map(len, exchange.body)) + sum(map(len, exchange.response)) <= _MAX_LATER_BYTES:
        request_later(emitter, partial(event_of, exchange))
    elif event := event_of(exchange):
        emitter.request(**event)


def event_of(exchange: Exchange) -> dict[str, Any] | None:
    """Return the arguments of `Emitter.request`, or `None` if this is not a build request."""
    with errors_logged():
        request = _object(exchange.body)
        if request is not None:
            outcome = outcome_of(exchange)
            client = client_of(request, _header(exchange.headers, b"user-agent"))
            return {
                "request_hash": exchange.job_id,
                "outcome": outcome,
                "time": datetime.fromtimestamp(exchange.received_at, UTC),
                "client": client[:NAME_LENGTH],
                **properties_of(request, outcome),
                **(_rejection(exchange) if outcome == "rejected" else {}),
            }
    return None


def outcome_of(exchange: Exchange) -> Outcome:
    """Return the outcome of a request that upstream could parse."""
    if exchange.is_enqueued:
        return "queued"
    if exchange.job_id is not None:
        if exchange.status == 202:
            return "joined"
        if exchange.status == 200:
            return "cache_hit"
        if exchange.status == 500 and _is_json(exchange):  # otherwise the handler itself failed
            return "cached_failure"
    return "rejected"


def _is_json(exchange: Exchange) -> bool:
    return _header(exchange.response_headers, b"content-type").startswith("application/json")


def client_of(request: Mapping[str, Any], user_agent: str) -> str:
    """Return the client string that upstream counts the request under."""
    if client := request.get("client"):
        return str(client)
    if user_agent.startswith("auc"):
        return user_agent.replace(" (", "/").replace(")", "")
    return "unknown/0"


def properties_of(request: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Return the properties of the requested image. Values are coerced as upstream does.

    Package figures leave out cache hits and rejected requests, so these send only a count.
    """
    requested = request.get("packages_versions") or request.get("packages") or ()
    if outcome in _WITHOUT_PACKAGES:
        packages: dict[str, Any] = {"package_count": len(requested)}
    else:
        names = [
            str(name).removeprefix("+")[:NAME_LENGTH] for name in islice(requested, MAX_PACKAGES)
        ]
        packages = {"packages": names, "package_count": len(requested)}
    size = request.get("rootfs_size_mb")
    return {
        **{name: str(request[name])[:NAME_LENGTH] for name in ("version", "target", "profile")},
        "diff_packages": _boolean(request.get("diff_packages", False)),
        **packages,
        "has_custom_repos": bool(request.get("repositories")),
        "has_defaults": bool(request.get("defaults")),
        "rootfs_size_mb": None if size is None else int(float(size)),
    }


def _boolean(value: Any) -> bool:
    """Return the boolean that pydantic reads from a JSON value."""
    if isinstance(value, str):
        return value.strip().lower() in {"1", "true", "t", "yes", "y", "on"}
    return bool(value)


def _rejection(exchange: Exchange) -> dict[str, str]:
    body = _object(exchange.response)
    return {"error_message": str((body or {}).get("detail") or _NO_DETAIL)}


def _object(chunks: Sequence[bytes]) -> dict[str, Any] | None:
    try:
        found = json.loads(b"".join(chunks))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _header(headers: Headers, lower_name: bytes) -> str:
    for name, value in headers:
        if name.lower() == lower_name:
            return str(value.decode("latin-1"))
    return ""

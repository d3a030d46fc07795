"""Requests of the upstream server: what `POST /api/v1/build` did, seen from outside.

The outcome is taken from the response and from whether the request itself enqueued a job, so it
needs no clock and stays exact if equal requests arrive at the same moment. The request hash is the
id of the job that upstream fetched or enqueued; a request without a job has none.
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
from asu_stats.integrations.reporting import emitter, failed, unharmed
from asu_stats.integrations.upstream_builds import observe_sync
from asu_stats.text import NAME_LENGTH

_PATH: Final = "/api/v1/build"
_MOST_BYTES: Final = 1 << 16
_MOST_CHUNKS: Final = 64
_UNPARSED: Final = 422  # not a build request: nothing to count
_UNCOUNTED: Final = frozenset({"cache_hit", "rejected"})
_BROKEN: Final = "Internal Server Error"

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


@dataclass(slots=True)
class Exchange:
    """A request and its response, as far as they have been seen. Bodies are kept by reference."""

    headers: Headers
    received_at: float = field(default_factory=time.time)
    body: list[bytes] = field(default_factory=list)
    status: int = 500  # if an exception prevents the response
    answer_headers: Headers = ()
    answer: list[bytes] = field(default_factory=list)
    job_id: str | None = None
    is_enqueued: bool = False

    def see(self, message: Message) -> None:
        """Note a message of the response; its body only if it may say why it was rejected."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.answer_headers = message["headers"]
        elif self.status >= 400 and self.job_id is None and len(self.answer) < _MOST_CHUNKS:
            self.answer.append(message.get("body", b""))


_current: ContextVar[Exchange | None] = ContextVar("asu_stats_exchange", default=None)


class Observer:
    """ASGI middleware that emits an event for each build request.

    While a request waits, it only keeps what passes. The emitter's thread reads it later.
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

        async def receiving() -> Message:
            message = await receive()
            if chunk := message.get("body"):
                exchange.body.append(chunk)
            return message

        async def sending(message: Message) -> None:
            try:
                exchange.see(message)
            except Exception as error:  # statistics must not break a build
                failed(error)
            await send(message)

        token = _current.set(exchange)
        try:
            await self._app(scope, receiving, sending)
        finally:
            _current.reset(token)
            try:
                report(exchange, self._emitter)
            except Exception as error:  # the same
                failed(error)


def observe(app: Any) -> None:
    """Observe upstream's application, unless the settings name no server. Twice is once."""
    with unharmed():
        found = emitter()
        if found is None or getattr(app.state, "asu_stats", None):
            return
        app.state.asu_stats = True
        observe_jobs()
        observe_sync(found)
        app.add_middleware(Observer, emitter=found)


def observe_jobs() -> None:
    """Let RQ's queues note which job a request has fetched or enqueued. Twice is once."""

    def noting(original: Callable[..., Any], note: Callable[[Exchange, Any], None]) -> Any:
        @wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            job = original(*args, **kwargs)
            exchange = _current.get()
            if exchange is not None and job is not None:
                with unharmed():
                    note(exchange, job)
            return job

        method.asu_stats = True  # type: ignore[attr-defined]
        return method

    if not hasattr(Queue.enqueue, "asu_stats"):
        Queue.enqueue = noting(Queue.enqueue, _enqueued)  # type: ignore[method-assign]
        Queue.fetch_job = noting(Queue.fetch_job, _fetched)  # type: ignore[method-assign]


def _fetched(exchange: Exchange, job: Any) -> None:
    exchange.job_id = job.id


def _enqueued(exchange: Exchange, job: Any) -> None:
    exchange.job_id, exchange.is_enqueued = job.id, True


def report(exchange: Exchange, emitter: Emitter) -> None:
    """Emit the event of a request, if it was a build request. Small ones are read later."""
    if exchange.status == _UNPARSED:
        return
    if sum(map(len, exchange.body)) + sum(map(len, exchange.answer)) <= _MOST_BYTES:
        request_later(emitter, partial(said, exchange))
    elif found := said(exchange):
        emitter.request(**found)


def said(exchange: Exchange) -> dict[str, Any] | None:
    """Return the arguments of `Emitter.request`; `None` for what is no build request."""
    with unharmed():
        request = _object(exchange.body)
        if request is not None:
            outcome = outcome_of(exchange)
            client = client_of(request, _header(exchange.headers, b"user-agent"))
            return {
                "request_hash": exchange.job_id,
                "outcome": outcome,
                "time": datetime.fromtimestamp(exchange.received_at, UTC),
                "client": client[:NAME_LENGTH],
                **facets(request, outcome),
                **(_refusal(exchange) if outcome == "rejected" else {}),
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
    return _header(exchange.answer_headers, b"content-type").startswith("application/json")


def client_of(request: Mapping[str, Any], user_agent: str) -> str:
    """Return the client string that upstream counts the request under."""
    if client := request.get("client"):
        return str(client)
    if user_agent.startswith("auc"):
        return user_agent.replace(" (", "/").replace(")", "")
    return "unknown/0"


def facets(request: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Return what a request asks for. The body is read as leniently as upstream reads it.

    Package figures leave out cache hits and rejected requests, so these send a number only.
    """
    wanted = request.get("packages_versions") or request.get("packages") or ()
    if outcome in _UNCOUNTED:
        packages: dict[str, Any] = {"package_count": len(wanted)}
    else:
        names = [str(name).removeprefix("+")[:NAME_LENGTH] for name in islice(wanted, MAX_PACKAGES)]
        packages = {"packages": names, "package_count": len(wanted)}
    size = request.get("rootfs_size_mb")
    return {
        **{name: str(request[name])[:NAME_LENGTH] for name in ("version", "target", "profile")},
        "diff_packages": _truth(request.get("diff_packages", False)),
        **packages,
        "has_custom_repos": bool(request.get("repositories")),
        "has_defaults": bool(request.get("defaults")),
        "rootfs_size_mb": None if size is None else int(float(size)),
    }


def _truth(value: Any) -> bool:
    """Return a boolean as pydantic reads it from JSON."""
    if isinstance(value, str):
        return value.strip().lower() in {"1", "true", "t", "yes", "y", "on"}
    return bool(value)


def _refusal(exchange: Exchange) -> dict[str, str]:
    """Return why a request was rejected."""
    answer = _object(exchange.answer)
    return {"error_message": str((answer or {}).get("detail") or _BROKEN)}


def _object(chunks: Sequence[bytes]) -> dict[str, Any] | None:
    try:
        found = json.loads(b"".join(chunks))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _header(headers: Headers, wanted: bytes) -> str:
    for name, value in headers:
        if name.lower() == wanted:
            return str(value.decode("latin-1"))
    return ""

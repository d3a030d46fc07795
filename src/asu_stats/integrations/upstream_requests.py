"""Requests of the upstream server: what `POST /api/v1/build` did, seen from outside.

The outcome is taken from the response and from whether the request itself enqueued a job, so it
needs no clock and stays exact if equal requests arrive at the same moment. The request hash is the
id of the job that upstream fetched or enqueued; a request without a job has none.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import Any, Final, TypeAlias

from rq import Queue

from asu_stats.emit import Emitter
from asu_stats.events import Outcome
from asu_stats.integrations.reporting import emitter, unharmed
from asu_stats.integrations.upstream_builds import observe_sync
from asu_stats.text import NAME_LENGTH
from asu_stats.times import utc_now

_PATH: Final = "/api/v1/build"
_MOST_BYTES: Final = 1 << 20
_UNPARSED: Final = 422  # not a build request: nothing to count
_UNCOUNTED: Final = frozenset({"cache_hit", "rejected"})
_BROKEN: Final = "Internal Server Error"

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


@dataclass(slots=True)
class Exchange:
    """A request and its response, as far as they have been seen."""

    received_at: datetime
    user_agent: str
    body: bytearray = field(default_factory=bytearray)
    status: int = 500  # if an exception prevents the response
    is_json: bool = False
    answer: bytearray = field(default_factory=bytearray)
    job_id: str | None = None
    is_enqueued: bool = False


_current: ContextVar[Exchange | None] = ContextVar("asu_stats_exchange", default=None)


class Observer:
    """ASGI middleware that emits an event for each build request."""

    def __init__(self, app: Callable[..., Awaitable[None]], emitter: Emitter) -> None:
        self._app = app
        self._emitter = emitter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on as it is."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
            return
        exchange = Exchange(utc_now(), _user_agent(scope))

        async def receiving() -> Message:
            message = await receive()
            with unharmed():
                exchange.body += message.get("body", b"")
            return message

        async def sending(message: Message) -> None:
            with unharmed():
                _see(exchange, message)
            await send(message)

        token = _current.set(exchange)
        try:
            await self._app(scope, receiving, sending)
        finally:
            _current.reset(token)
            with unharmed():
                report(exchange, self._emitter)


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
            with unharmed():
                exchange = _current.get()
                if exchange is not None and job is not None:
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
    """Emit the event of a request, if it was a build request."""
    request = _object(exchange.body)
    if exchange.status == _UNPARSED or request is None:
        return
    outcome = outcome_of(exchange)
    said = facets(request, outcome) | (_refusal(exchange) if outcome == "rejected" else {})
    emitter.request(
        request_hash=exchange.job_id,
        outcome=outcome,
        time=exchange.received_at,
        client=client_of(request, exchange.user_agent)[:NAME_LENGTH],
        **said,
    )


def outcome_of(exchange: Exchange) -> Outcome:
    """Return the outcome of a request that upstream could parse."""
    if exchange.is_enqueued:
        return "queued"
    if exchange.job_id is not None:
        if exchange.status == 202:
            return "joined"
        if exchange.status == 200:
            return "cache_hit"
        if exchange.status == 500 and exchange.is_json:  # otherwise the handler itself failed
            return "cached_failure"
    return "rejected"


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
        names = [str(name).removeprefix("+")[:NAME_LENGTH] for name in wanted]
        packages = {"packages": names}
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


def _see(exchange: Exchange, message: Message) -> None:
    """Note a message of the response; the body only if it can say why a request was rejected."""
    if message["type"] == "http.response.start":
        exchange.status = message["status"]
        exchange.is_json = any(
            name.lower() == b"content-type" and value.startswith(b"application/json")
            for name, value in message["headers"]
        )
    elif exchange.status >= 400 and len(exchange.answer) < _MOST_BYTES:
        exchange.answer += message.get("body", b"")


def _object(body: bytearray) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _user_agent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"user-agent":
            return str(value.decode("latin-1"))
    return ""

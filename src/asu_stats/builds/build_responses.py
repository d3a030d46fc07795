"""Status, body and headers of every response of the build API.

Clients rely on `status` in the body, `detail` as one string and the names
of the phases.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from asu_stats.builds.jobs import State
from asu_stats.builds.requests import InvalidRequestError
from asu_stats.builds.schema import BUILDING, FAILED, PENDING
from asu_stats.cloudevents import format_time
from asu_stats.exceptions import StoreUnavailableError
from asu_stats.text import cut_utf8
from asu_stats.times import aware

RETRY_SECONDS: Final = 5
OVERLOAD_RETRY_SECONDS: Final = 30
_DETAIL_BYTES: Final = 1000


@dataclass(frozen=True, slots=True)
class BuildResponse:
    """A response of the build API with a JSON body."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def of_state(state: State) -> BuildResponse:
    """Return the response 200, 202 or 500 with the state of the build of a request hash."""
    describe = {PENDING: _queued, BUILDING: _started, FAILED: _failed}.get(state.status, _done)
    status, phase, body = describe(state)
    known = {
        "status": status,
        "request_hash": state.request_hash,
        "enqueued_at": _time(state.enqueued_at),
    }
    headers = {
        "X-Imagebuilder-Status": phase,
        "X-Queue-Position": str(state.queue_position or 0),
    }
    return BuildResponse(status, {**body, **known}, headers)


def _queued(state: State) -> tuple[int, str, dict[str, Any]]:
    body = {
        "detail": "queued",
        "imagebuilder_status": "queued",
        "queue_position": state.queue_position or 0,
    }
    return 202, "queued", body


def _started(state: State) -> tuple[int, str, dict[str, Any]]:
    phase = state.imagebuilder_status or "init"
    is_known = phase == "building_image" or not state.coarse_phases
    shown = phase if is_known else "init"
    return 202, phase, {"detail": "started", "imagebuilder_status": shown}


def _failed(state: State) -> tuple[int, str, dict[str, Any]]:
    error = state.error_message or ""
    stderr = state.stderr or ""
    body = {
        "title": "Internal Server Error",
        "detail": state.detail or "failed",
        "imagebuilder_status": "failed",
        "build_cmd": json.loads(state.build_cmd or "[]"),
        "stdout": state.stdout or "",
        "stderr": stderr if error in stderr else f"{stderr}\n{error}".lstrip("\n"),
    }
    return 500, "failed", body


def _done(state: State) -> tuple[int, str, dict[str, Any]]:
    body = {
        **json.loads(state.answer or "{}"),
        "detail": "done",
        "imagebuilder_status": "done",
        "bin_dir": state.request_hash,
        "request": state.request.model_dump(),
        "build_cmd": json.loads(state.build_cmd or "[]"),
        "stdout": state.stdout or "",
        "stderr": state.stderr or "",
    }
    return 200, "done", body


def _time(instant: datetime) -> str:
    return format_time(aware(instant))


def problem(
    status: int, title: str, detail: str, *, retry_seconds: int | None = None, **more: Any
) -> BuildResponse:
    """Return an error response; `detail` is always one string."""
    headers = {} if retry_seconds is None else {"Retry-After": str(retry_seconds)}
    body = {"status": status, "title": title, "detail": cut_utf8(detail, _DETAIL_BYTES), **more}
    return BuildResponse(status, body, headers)


def rejected(detail: str) -> BuildResponse:
    """Return the response to a request that fails validation."""
    return problem(400, "Bad Request", detail)


def unknown_hash() -> BuildResponse:
    """Return the 404 for an unknown request hash."""
    return problem(404, "Not Found", "could not find provided request hash")


def invalid_range(status: int, headers: Mapping[str, str]) -> BuildResponse:
    """Return 400 or 416 for a `Range` that is malformed or outside the image."""
    if status == 416:
        length = {"Content-Range": headers["Content-Range"]}
        response = problem(416, "Range Not Satisfiable", "the image has no such bytes")
        return BuildResponse(416, response.body, length)
    return problem(400, "Bad Request", "Range: expected bytes=FIRST-LAST")


def too_large(limit: int) -> BuildResponse:
    """Return the 413 for a body of more than `limit` bytes."""
    return problem(413, "Content Too Large", f"the body is larger than {limit} bytes")


def unsupported(detail: str) -> BuildResponse:
    """Return the 415 for a body that is not plain JSON."""
    return problem(415, "Unsupported Media Type", detail)


def invalid(error: InvalidRequestError) -> BuildResponse:
    """Return the 422 for a body that is not a build request."""
    errors = [{"loc": place, "msg": problem} for place, problem in error.errors]
    return problem(422, "Unprocessable Content", str(error), type="about:blank", errors=errors)


def overloaded(waiting: int) -> BuildResponse:
    """Return the 529 for a full queue."""
    return problem(
        529, "Server overloaded", overload_text(waiting), retry_seconds=OVERLOAD_RETRY_SECONDS
    )


def overload_text(waiting: int) -> str:
    """Return the text for a full queue, as the upstream server words it."""
    return f"server overload, queue contains too many build requests: {waiting}"


def unavailable(error: StoreUnavailableError) -> BuildResponse:
    """Return the 503 with the public reason of a database error."""
    return problem(
        503,
        "Service Unavailable",
        f"{error.public}; try again later",
        retry_seconds=RETRY_SECONDS,
    )

"""Error responses: RFC 9457, with `detail` always one string (docs/reference/api.md, Errors)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from asu_stats.api.middleware import COMMON_HEADERS
from asu_stats.connections import route_path
from asu_stats.exceptions import (
    EventTooEarlyError,
    InvalidEventError,
    InvalidParameterError,
    StoreUnavailableError,
    TooManyNamesError,
    UnknownClientError,
    UnknownFingerprintError,
)
from asu_stats.policies import Policies
from asu_stats.text import cut_utf8

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5
_DETAIL_BYTES: Final = 1000
# RFC 9110 renamed these; the standard library follows only from Python 3.13 on.
_TITLES: Final = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}

PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["about:blank"]},
        "title": {"type": "string", "examples": ["Unprocessable Content"]},
        "status": {"type": "integer", "examples": [422]},
        "detail": {
            "type": "string",
            "examples": ["days=0: expected a whole number from 1 to 3650"],
        },
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}


def title(status: int) -> str:
    return _TITLES.get(status) or HTTPStatus(status).phrase


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return an error as `application/problem+json`; `members` are added or replace others."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title(status),
        "status": status,
        "detail": cut_utf8(_escaped(detail), _DETAIL_BYTES),
    }
    if errors is not None:
        body["errors"] = _escaped(errors)
    body |= members or {}
    return JSONResponse(
        body, status, headers=dict(headers or {}), media_type="application/problem+json"
    )


def media_type(policies: Policies, path: str) -> str:
    """Return the media type of errors at `path`.

    It is plain JSON for clients of the build service, which do not know RFC 9457.
    """
    is_build = policies.of(f"/{path.lstrip('/')}").access == "build"
    return "application/json" if is_build else "application/problem+json"


def _escaped(value: Any) -> Any:
    """Return `value` with invalid Unicode escaped in all its texts, which may quote the request."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {name: _escaped(member) for name, member in value.items()}
    if isinstance(value, Sequence):
        return [_escaped(member) for member in value]
    return value


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI objects of errors with these statuses."""
    return {
        status: {
            "description": title(status),
            "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}},
        }
        for status in statuses
    }


def _invalid_parameter(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidParameterError)  # noqa: S101 - as registered
    where = {"loc": ["query", error.parameter], "msg": f"expected {error.expected}"}
    return problem(422, str(error), errors=[where])


def _invalid_event(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidEventError)  # noqa: S101 - as registered
    # What a sender wrote may be secret, so the log has the place alone.
    log.warning("ingest: events refused field=%s", error.field[:80] or "-")
    places = [_event_place(each, each.field) for each in (error, *error.others)]
    more = f" (and {len(error.others)} more)" if error.others else ""
    return problem(422, f"{error}{more}", errors=places)


def _too_early(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EventTooEarlyError)  # noqa: S101 - as registered
    retry = {"Retry-After": str(error.wait_seconds)}
    return problem(425, str(error), errors=[_event_place(error, "time")], headers=retry)


def _event_place(error: InvalidEventError | EventTooEarlyError, field: str) -> dict[str, Any]:
    """Return the place of a rejected event in the request, and the reason."""
    index = [] if error.index is None else [error.index]
    part = "header" if field.startswith("ce-") else "body"
    line = {} if error.line is None else {"line": error.line}
    return {"loc": [part, *index, *filter(None, [field])], **line, "msg": error.problem}


def _too_many_names(_: Request, error: Exception) -> JSONResponse:
    return problem(422, str(error))


def _unknown_name(_: Request, error: Exception) -> JSONResponse:
    return problem(404, str(error))


def unavailable(error: StoreUnavailableError) -> JSONResponse:
    """Return the 503 with the public reason of a database error."""
    log.debug("answered 503: %s", error)
    retry = {"Retry-After": str(RETRY_SECONDS)}
    return problem(503, f"{error.public}; try again later", headers=retry)


def _store_unavailable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StoreUnavailableError)  # noqa: S101 - as registered
    return unavailable(error)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as registered
    headers, detail = dict(error.headers or {}), str(error.detail)
    if error.status_code == 405:  # static files do not list allowed methods
        # The router names the methods of one route; a path may have several.
        policies: Policies = request.app.state.policies
        allowed = policies.methods(route_path(request)) or {
            *headers.get("Allow", "GET").split(", ")
        }
        headers["Allow"] = ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
        detail = f"{request.method}: expected one of {headers['Allow']}"
    elif error.status_code == 404 and detail == title(404):  # of the framework
        detail = "no such path"
    return problem(error.status_code, detail, headers=headers)


def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as registered
    found = [
        {"loc": [str(part) for part in item["loc"]], "msg": item["msg"]} for item in error.errors()
    ]
    detail = "; ".join(f"{'.'.join(item['loc'])}: {item['msg']}" for item in found)
    return problem(422, detail, errors=found)


def _internal(request: Request, error: Exception) -> JSONResponse:
    policies: Policies = request.app.state.policies
    route = policies.template(route_path(request)) or "other"  # a path can contain a request hash
    log.error("http: failed method=%s route=%s", request.method, route, exc_info=error)
    return problem(500, "unexpected error; the log has the details", headers=COMMON_HEADERS)


def _hung_up(request: Request, _: Exception) -> JSONResponse:
    log.debug("%s: the client disconnected", request.method)
    return problem(400, "the body is incomplete")  # the client is gone


_HANDLERS: Final[Mapping[type[Exception], Callable[[Request, Exception], JSONResponse]]] = {
    InvalidParameterError: _invalid_parameter,
    InvalidEventError: _invalid_event,
    EventTooEarlyError: _too_early,
    UnknownClientError: _unknown_name,
    UnknownFingerprintError: _unknown_name,
    TooManyNamesError: _too_many_names,
    StoreUnavailableError: _store_unavailable,
    HTTPException: _http,
    RequestValidationError: _validation,
    ClientDisconnect: _hung_up,
    Exception: _internal,
}


def install(app: FastAPI) -> None:
    """Turn every error of `app` into a problem, also those that the framework raises."""
    for kind, tell in _HANDLERS.items():
        app.add_exception_handler(kind, partial(_answer, tell))


def _answer(
    tell: Callable[[Request, Exception], JSONResponse], request: Request, error: Exception
) -> JSONResponse:
    answer = tell(request, error)
    answer.headers["Content-Type"] = media_type(request.app.state.policies, route_path(request))
    return answer

"""Silences of alerts, for programs with an operator token: `/api/v1/stats/alerts/silences`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from asu_stats.api import params, problems
from asu_stats.api.bodies import media_type, read_body
from asu_stats.api.tokens import TOKEN_SCHEME, Access
from asu_stats.exceptions import InvalidSilenceError
from asu_stats.monitor import state
from asu_stats.monitor.reporting import SilenceRow, silence_row
from asu_stats.monitor.silencing import MOST_HOURS, MOST_NUMBER, Silences
from asu_stats.policies import declare
from asu_stats.reports.parameters import ONLY_JSON
from asu_stats.strict_json import parse_json
from asu_stats.text import NAME_LENGTH

PATH: Final = "/api/v1/stats/alerts/silences"
MAX_BYTES: Final = 16 << 10
_NO_STORE: Final = {"Cache-Control": "no-store"}
_TEXT: Final = {"type": "string", "maxLength": NAME_LENGTH}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "The silence. It needs `rule`, `subject`, or both.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "rule": {
                        "type": ["string", "null"],
                        "description": "Name of the silenced rule; null for all rules.",
                    },
                    "subject": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            name: {**_TEXT, "description": f"Only incidents about this {name}."}
                            for name in state.DIMENSIONS
                        },
                        "description": "What incidents must be about; empty for all.",
                    },
                    "hours": {
                        "type": "number",
                        "exclusiveMinimum": 0,
                        "maximum": MOST_HOURS,
                        "default": 4,
                        "description": "How long it lasts, from now.",
                    },
                    "comment": {**_TEXT, "description": "Why it is silenced."},
                },
            },
            "example": {"rule": "queue_long", "hours": 4, "comment": "new workers at noon"},
        }
    },
}
_NUMBER: Final[dict[str, Any]] = {
    "name": "number",
    "in": "path",
    "required": True,
    "description": "`id` of the silence.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MOST_NUMBER},
}


def router(silences: Silences, access: Access) -> APIRouter:
    routes = APIRouter(tags=["statistics"])
    needs_token = [Depends(params.only_json), Depends(TOKEN_SCHEME)]

    @routes.get(
        PATH,
        summary="Silences of alerts",
        response_model=list[SilenceRow],
        responses=problems.documented(401, 403, 422, 429, 503),
        dependencies=needs_token,
        openapi_extra={"parameters": [ONLY_JSON.documented()]},
    )
    @declare("operate", "read")
    def list_silences(request: Request) -> JSONResponse:
        """Return all silences that last, the last to end first. Needs the scope `operator`."""
        access.require(request, "operator")
        return JSONResponse([silence_row(each) for each in silences.all()], headers=_NO_STORE)

    @routes.post(
        PATH,
        status_code=201,
        summary="Silence alerts",
        response_model=SilenceRow,
        responses=problems.documented(401, 403, 413, 415, 422, 429, 503),
        dependencies=needs_token,
        openapi_extra={"parameters": [ONLY_JSON.documented()], "requestBody": _BODY},
    )
    @declare("operate", "read")
    async def create_silence(request: Request) -> JSONResponse:
        """Suppress notifications of a rule or about a subject. Needs the scope `operator`.

        Sent again, it creates one more silence, which changes nothing.
        """
        operator = await run_in_threadpool(access.require, request, "operator")
        if media_type(request.headers) != "application/json":
            raise HTTPException(415, "expected a body of type application/json")
        body = await read_body(request, MAX_BYTES)
        return await run_in_threadpool(_create, body, operator)

    @routes.delete(
        f"{PATH}/{{number}}",
        status_code=204,
        summary="End a silence",
        responses=problems.documented(401, 403, 404, 422, 429, 503),
        dependencies=needs_token,
        openapi_extra={"parameters": [_NUMBER, ONLY_JSON.documented()]},
    )
    @declare("operate", "read")
    def end_silence(request: Request) -> Response:
        """Alerts that still fire are notified then. Needs the scope `operator`."""
        operator = access.require(request, "operator")
        text = request.path_params["number"]
        number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
        if not (0 < number <= MOST_NUMBER and silences.end(number, operator)):
            raise HTTPException(404, f"no such silence: {text}")
        return Response(status_code=204, headers=_NO_STORE)

    def _create(body: bytes, operator: str) -> JSONResponse:
        try:
            created = silences.create(**_silence_of(body), operator=operator)
        except InvalidSilenceError as error:
            where = {"loc": ["body", error.field], "msg": error.problem}
            return problems.problem(422, str(error), errors=[where])
        return JSONResponse(silence_row(created), 201, headers=_NO_STORE)

    return routes


def _silence_of(body: bytes) -> dict[str, Any]:
    """Return the members of a silence from a JSON body. Raises `InvalidSilenceError`."""
    try:
        given = parse_json(body)
    except ValueError as error:
        raise InvalidSilenceError("body", str(error)) from None
    if not isinstance(given, dict):
        raise InvalidSilenceError("body", "expected an object")
    for name, value in given.items():
        if name not in _MEMBERS:
            raise InvalidSilenceError(name, f"expected one of {', '.join(_MEMBERS)}")
        is_right, expected = _MEMBERS[name]
        if not is_right(value):
            raise InvalidSilenceError(name, f"expected {expected}")
    return {"rule": None, "subject": {}, "hours": 4, "comment": "", **given}


def _is_subject(value: Any) -> bool:
    return isinstance(value, dict) and all(
        name in state.DIMENSIONS and isinstance(text, str) for name, text in value.items()
    )


_MEMBERS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "rule": (lambda value: value is None or isinstance(value, str), "a name or null"),
    "subject": (_is_subject, f"an object with texts of {', '.join(state.DIMENSIONS)}"),
    "hours": (lambda value: type(value) in {int, float}, "a number"),
    "comment": (lambda value: isinstance(value, str), "a text"),
}

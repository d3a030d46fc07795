"""Event ingest: `POST /api/v1/stats/events` (docs/reference/events.md)."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict

from asu_stats.api import problems
from asu_stats.api.bodies import media_type, read_body
from asu_stats.api.ingest_docs import EVENT_BODY
from asu_stats.api.tokens import TOKEN_SCHEME, Access
from asu_stats.cloudevents import from_cloudevent, parse_json
from asu_stats.events import TYPE_NAMES, Event
from asu_stats.exceptions import EventTooEarlyError, InvalidEventError
from asu_stats.recorder import Recorder

MAX_BYTES: Final = 8 << 20
MAX_EVENTS: Final = 10_000
_SINGLE: Final = "application/cloudevents+json"
_BATCH: Final = "application/cloudevents-batch+json"
_EITHER: Final = "application/json"


class Ingested(TypedDict):
    """What became of a batch."""

    accepted: Annotated[int, Field(description="Events that were new.")]
    duplicates: Annotated[int, Field(description="Events known before; they changed nothing.")]


def router(
    recorder: Recorder,
    access: Access,
    now: Callable[[], datetime],
    refused: Callable[[str], None],
    *,
    oldest: date,
) -> APIRouter:
    """Return the ingest endpoint; `now` is the clock, `refused` hears of types of bad events.

    `oldest` is the first UTC day that an event may be of.
    """
    routes = APIRouter(tags=["ingest"])

    @routes.post(
        "/api/v1/stats/events",
        summary="Send events",
        response_model=Ingested,
        responses=problems.documented(401, 403, 413, 415, 422, 425, 429, 503),
        dependencies=[Depends(TOKEN_SCHEME)],
        openapi_extra={"requestBody": EVENT_BODY},
    )
    async def post_events(request: Request) -> JSONResponse:
        """Store one CloudEvent or a batch: all, or nothing.

        200 is sent only after they are committed. The same event (`source` and `id`) sent again is
        a duplicate and changes nothing, so after 408, 425, 429, 5xx or silence send the same again;
        other 4xx are final for what they name. 425: an event is ahead of this server's clock.
        """
        await run_in_threadpool(access.require, request, "ingest")
        media = _media_type(request)
        body = await read_body(request, MAX_BYTES)
        return await run_in_threadpool(_store, media, body)

    def _store(media: str, body: bytes) -> JSONResponse:
        value = _parsed(media, body, refused)
        events = _events(value, now(), oldest, refused)
        try:
            recorded = recorder.commit(events)
        except InvalidEventError as error:
            index = error.index or 0
            refused(TYPE_NAMES[type(events[index])])
            place = index if isinstance(value, list) else None
            raise InvalidEventError(error.field, error.problem, index=place) from error
        return JSONResponse({"accepted": recorded.accepted, "duplicates": recorded.duplicates})

    return routes


def _media_type(request: Request) -> str:
    media = media_type(request)
    if media not in {_SINGLE, _BATCH, _EITHER}:
        raise HTTPException(415, f"Content-Type: expected {_SINGLE}, {_BATCH} or {_EITHER}")
    if any(header.startswith("ce-") for header in request.headers):
        raise HTTPException(415, "binary mode (ce- headers) is not accepted")
    return media


def _events(
    value: dict[str, Any] | list[Any],
    now: datetime,
    oldest: date,
    refused: Callable[[str], None],
) -> list[Event]:
    """Return the events of a body.

    Raises `InvalidEventError` for the first that is invalid, else `EventTooEarlyError` for the one
    that is furthest ahead.
    """
    is_batch = isinstance(value, list)
    events, early = list[Event](), list[EventTooEarlyError]()
    for place, item in enumerate(value if is_batch else [value]):
        index = place if is_batch else None
        try:
            events.append(from_cloudevent(item, now=now, oldest=oldest))
        except InvalidEventError as error:
            refused(_type_of(item))
            raise InvalidEventError(error.field, error.problem, index=index) from None
        except EventTooEarlyError as error:
            early.append(EventTooEarlyError(error.problem, error.wait_seconds, index=index))
    if early:
        raise max(early, key=lambda error: error.wait_seconds)
    return events


def _parsed(media: str, body: bytes, refused: Callable[[str], None]) -> dict[str, Any] | list[Any]:
    """Return the event or the events that a body holds, as they are; 413 for too many."""
    try:
        value: Any = parse_json(body)
    except ValueError as error:
        refused("")
        raise InvalidEventError("", str(error)) from None
    if isinstance(value, dict) and media != _BATCH:
        return value
    if not isinstance(value, list) or media == _SINGLE:
        refused("")
        expected = {_SINGLE: "an object", _BATCH: "an array"}.get(media, "an object or an array")
        raise InvalidEventError("", f"the body must be {expected}")
    if len(value) > MAX_EVENTS:
        raise HTTPException(413, f"more than {MAX_EVENTS} events")
    return value


def _type_of(item: Any) -> str:
    """Return the type that something says it is, empty if it says none."""
    kind = item.get("type") if isinstance(item, dict) else None
    return kind.removeprefix("asu.") if isinstance(kind, str) else ""

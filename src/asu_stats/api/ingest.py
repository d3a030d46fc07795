"""Event ingest: `POST /api/v1/stats/events` (docs/reference/events.md)."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from typing_extensions import TypedDict

from asu_stats.api import codings, problems
from asu_stats.api.bodies import read_body, too_long
from asu_stats.api.event_bodies import Batch, Form, batch_of, form_of
from asu_stats.api.ingest_docs import EVENT_BODY
from asu_stats.api.tokens import TOKEN_SCHEME, Access
from asu_stats.cloudevents import from_cloudevent
from asu_stats.event_times import format_time
from asu_stats.events import TYPE_NAMES, Event
from asu_stats.exceptions import EventFarAheadError, EventTooEarlyError, InvalidEventError
from asu_stats.policies import declare
from asu_stats.recorder import Recorder

MAX_BYTES: Final = 8 << 20
# At most this many invalid events of a batch are named.
_MAX_LISTED: Final = 100
_CLOCK_SECONDS: Final = 60


class Ingested(TypedDict):
    """Result of a batch."""

    accepted: Annotated[int, Field(description="Number of new events.")]
    duplicates: Annotated[
        int, Field(description="Number of events that were already known; they changed nothing.")
    ]


def router(
    recorder: Recorder,
    access: Access,
    now: Callable[[], datetime],
    refused: Callable[[str], None],
    *,
    oldest: date,
    clock_behind: Callable[[datetime], str | None],
) -> APIRouter:
    """Return the ingest endpoint; `now` is the clock, `refused` gets types of invalid events.

    `oldest` is the first UTC day that events may have. `clock_behind` returns evidence that the
    clock is behind.
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
    @declare("ingest", "ingest")
    async def post_events(request: Request) -> JSONResponse:
        """Store one CloudEvent or a batch: all, or nothing.

        200 is sent only after they are committed. The same event (`source` and `id`) sent again is
        a duplicate and changes nothing. After 408, 425, 429, 5xx or no response, send the same
        again. Other 4xx are final. 425: an event is ahead of this server's clock.
        """
        await run_in_threadpool(access.require, request, "ingest")
        form = form_of(request.headers)
        coding = codings.coding_of(request.headers)
        body = await read_body(request, MAX_BYTES)
        return await run_in_threadpool(_store, form, coding, request.headers, body)

    def _store(form: Form, coding: str, headers: Headers, body: bytes) -> JSONResponse:
        try:
            batch = batch_of(form, headers, _plain(coding, body))
        except InvalidEventError:
            refused("")
            raise
        moment = now()
        try:
            events = _events(batch, moment, oldest, refused)
        except InvalidEventError as error:
            # A sender drops invalid events: a wrong clock of this server must not cause that.
            given = (error, *error.others)
            final = [each for each in given if not isinstance(each, EventFarAheadError)]
            if len(final) == len(given) or not (reason := _behind(moment)):
                raise
            if final:
                raise final[0].among(final) from None
            problem = (
                f"this server's clock is wrong: it says {format_time(moment)}, and {reason}. "
                f"Send the same again in {_CLOCK_SECONDS} seconds"
            )
            raise EventTooEarlyError(
                problem, _CLOCK_SECONDS, index=error.index, line=error.line
            ) from None
        try:
            recorded = recorder.commit(events)
        except InvalidEventError as error:
            position = error.index or 0
            refused(TYPE_NAMES[type(events[position])])
            raise batch.invalid(position, error) from error
        return JSONResponse({"accepted": recorded.accepted, "duplicates": recorded.duplicates})

    def _behind(moment: datetime) -> str | None:
        if moment.date() < oldest:
            return f"no event is older than {oldest}"
        return clock_behind(moment)

    return routes


def _plain(coding: str, body: bytes) -> bytes:
    """Return a body without its content coding. Raises 413 and `InvalidEventError`."""
    try:
        return codings.decode(coding, body, MAX_BYTES)
    except codings.TooLongError:
        raise too_long(MAX_BYTES, " once it is decompressed") from None
    except ValueError as error:
        raise InvalidEventError("", str(error)) from None


def _events(
    batch: Batch, now: datetime, oldest: date, refused: Callable[[str], None]
) -> list[Event]:
    """Return the events of a batch.

    Raises `InvalidEventError` for invalid events, else `EventTooEarlyError` for the event that is
    furthest ahead.
    """
    events, early = list[Event](), list[EventTooEarlyError]()
    invalid = list[InvalidEventError]()
    for position, item in enumerate(batch.items):
        try:
            events.append(from_cloudevent(item, now=now, oldest=oldest))
        except InvalidEventError as error:
            if not invalid:
                refused(_type_of(item))
            invalid.append(batch.invalid(position, error))
            if len(invalid) == _MAX_LISTED:
                break
        except EventTooEarlyError as error:
            early.append(batch.too_early(position, error))
    if invalid:
        raise invalid[0].among(invalid)
    if early:
        raise max(early, key=lambda error: error.wait_seconds)
    return events


def _type_of(item: Any) -> str:
    """Return the type of an unchecked event, empty if it has none."""
    kind = item.get("type") if isinstance(item, dict) else None
    return kind.removeprefix("asu.") if isinstance(kind, str) else ""

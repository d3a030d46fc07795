"""Liveness and readiness: `/healthz`, `/readyz`, and the queue length."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from sqlalchemy import Engine
from typing_extensions import TypedDict

from asu_stats.api import params, problems
from asu_stats.api.answering import NOT_MODIFIED, by_content, to_json
from asu_stats.clocks import ClockWatch
from asu_stats.event_times import MAX_FUTURE, format_time
from asu_stats.exceptions import IncompleteDatabaseError, SchemaError, StoreUnavailableError
from asu_stats.logs import Condition
from asu_stats.policies import declare
from asu_stats.recorder import Recorder
from asu_stats.reports.parameters import ONLY_JSON
from asu_stats.store import migrate
from asu_stats.store.archive import segments
from asu_stats.store.archive.days import newest_event
from asu_stats.store.database.engine import read_snapshot
from asu_stats.store.database.reading import State, Status, Watched
from asu_stats.text import counted
from asu_stats.times import aware

log = logging.getLogger(__name__)

# Anyone may call `/readyz` often, so the result of an attempt to write is reused for this long.
_WRITABLE_SECONDS: Final = 10.0
_UNWRITABLE_SECONDS: Final = 1.0
_CHECK_SECONDS: Final = 2.0
_MAX_LISTED: Final = 10  # problems that a response lists


class Health(TypedDict):
    """The process is up."""

    status: Annotated[str, Field(description="Always `ok`.")]


class ReplicaState(TypedDict):
    """The replica that reports are read from."""

    status: Annotated[
        Status,
        Field(
            description="in use: reports are read from it. behind: by more than "
            "`read_max_lag_seconds`. unusable: not a replica of the database, or another schema. "
            "primary: both URLs lead to the same server."
        ),
    ]
    lag_seconds: Annotated[
        float | None,
        Field(
            description="How long ago the replica contained everything; 0 if it does now. "
            "`null` if that is unknown."
        ),
    ]
    lag_bytes: Annotated[
        int | None,
        Field(
            description="Bytes of the write-ahead log that it has not replayed; `null` while it or "
            "the primary is unreachable."
        ),
    ]
    as_of: Annotated[
        str | None,
        Field(description="Everything that was recorded until then is in it; `null` if unknown."),
    ]


class Ready(TypedDict):
    """The database is reachable and writable, and its schema is current."""

    status: Annotated[
        Literal["ready", "degraded"],
        Field(description="degraded: it works, but `problems` need attention."),
    ]
    schema: Annotated[str, Field(description="Revision of the database schema.")]
    spooled_events: Annotated[int, Field(description="Events that wait in the spool.")]
    problems: Annotated[list[str], Field(description="At most ten problems, each with its place.")]
    clock: Annotated[
        str,
        Field(
            description="ok, or what is wrong with the clock of this host: it jumped in the last "
            "hour, or it is behind the newest event."
        ),
    ]
    replica: Annotated[
        ReplicaState | None, Field(description="`null` without `read_database_url`.")
    ]


class Queue(TypedDict):
    """Number of waiting builds."""

    queue_length: Annotated[int, Field(description="Builds that wait for a worker.")]


def router(
    engine: Engine,
    recorder: Recorder,
    queue_length: Callable[[], int],
    *,
    clock: ClockWatch,
    now: Callable[[], datetime],
    unreadable_rows: Callable[[], int] = lambda: 0,
    problems_elsewhere: Callable[[], Sequence[str]] = list,
    replica: Watched | None = None,
    wait_until_warm: Callable[[], None] = lambda: None,
) -> APIRouter:
    """Return the health endpoints; `queue_length` counts the waiting builds.

    `now` is the clock. `unreadable_rows` counts the rows of `build_events` that contain no event.
    `problems_elsewhere` are further problems of this process. `replica` is where reports are read.
    `wait_until_warm` returns once the first requests need not wait for what the process computes at
    its start.
    """
    routes = APIRouter(tags=["health"])
    attempt = _Attempt(engine)
    archive = _Archive(engine)
    readable = Condition(log, "not ready: the database is not readable")

    @routes.get("/healthz", summary="Liveness", response_model=Health)
    @declare("public", "none")
    async def healthz() -> JSONResponse:
        """Respond while the process is up."""
        return JSONResponse({"status": "ok"})

    @routes.get(
        "/readyz",
        summary="Readiness",
        response_model=Ready,
        responses=problems.documented(503),
    )
    @declare("public", "none")
    def readyz() -> JSONResponse:
        """Respond with 200 while the database can be read and written and its schema is current.

        At the start of the server, the response waits at most ten seconds for the warm-up.
        """
        retry = {"Retry-After": str(problems.RETRY_SECONDS)}
        try:
            schema = migrate.check(engine)
        except SchemaError as error:
            return problems.problem(503, str(error), headers=retry)
        except StoreUnavailableError as error:
            if not isinstance(error, IncompleteDatabaseError):  # the log has the reason
                readable.failed(error)
            return problems.unavailable(error)
        readable.works()
        if recorder.failure:
            # The reason is in the log. It may contain paths and names of the database.
            waiting = f"events in the spool: {recorder.spooled}"
            detail = f"events cannot be written now; {waiting}"
            return problems.problem(503, detail, headers=retry)
        if reason := attempt.problem():
            return problems.problem(503, reason, headers=retry)
        found = archive.problems()
        found += [
            f"spool: {name} is not readable: {reason}; its events are not in the database"
            for name, reason in sorted(recorder.unreadable.items())
        ]
        if rows := unreadable_rows():
            found.append(f"build_events: {counted(rows, 'row')} can't be read; the log names them")
        found += problems_elsewhere()
        found += _replica_problems(replica)
        wait_until_warm()
        return JSONResponse(
            {
                "status": "degraded" if found else "ready",
                "schema": schema,
                "spooled_events": recorder.spooled,
                "problems": found[:_MAX_LISTED],
                "clock": _clock(engine, clock, now()),
                "replica": replica and _replica_state(replica.state),
            }
        )

    @routes.get(
        "/api/v1/stats",
        summary="Waiting builds",
        response_model=Queue,
        responses={304: NOT_MODIFIED, **problems.documented(422, 503)},
        dependencies=[Depends(params.only_json)],
        openapi_extra={"parameters": [ONLY_JSON.documented()]},
    )
    @declare("read", "read")
    def stats(request: Request) -> Response:
        """Return the number of waiting builds."""
        return by_content(request, to_json({"queue_length": queue_length()}))

    return routes


def _replica_problems(replica: Watched | None) -> list[str]:
    """Return why reports are not read from the replica, if there is one."""
    if replica is None or replica.state.status in {"in use", "primary"}:
        return []
    return [f"replica: {replica.state.status}; reports are read from the primary"]


def _replica_state(state: State) -> ReplicaState:
    """Return the state without the reason, which may contain addresses; the log has it."""
    return {
        "status": state.status,
        "lag_seconds": None if state.lag_seconds is None else round(state.lag_seconds, 3),
        "lag_bytes": state.lag_bytes,
        "as_of": format_time(state.as_of) if state.as_of else None,
    }


def _clock(engine: Engine, clock: ClockWatch, now: datetime) -> str:
    """Return what is wrong with the clock: a recent jump, or events from the future."""
    if step := clock.recent():
        return str(step)
    return clock_behind(engine, now) or "ok"


def clock_behind(engine: Engine, now: datetime) -> str | None:
    """Return evidence that the clock is behind, `None` if there is none."""
    with read_snapshot(engine) as connection:
        newest = newest_event(connection)
    if newest and aware(newest) > now + MAX_FUTURE:
        return f"the time of the newest event is {format_time(aware(newest))}, in the future"
    return None


class _Attempt:
    """Tries to write to the database, if the last attempt is some seconds old; one at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = threading.Lock()
        self._good_until = 0.0
        self._problem: str | None = None
        self._writable = Condition(log, "not ready: the database is not writable")

    def problem(self) -> str | None:
        """Return why the database is not writable, `None` if it is."""
        # An attempt may take five seconds. Other requests meanwhile get the last result.
        if not self._guard.acquire(blocking=self._good_until == 0.0):
            return self._problem
        try:
            if time.monotonic() >= self._good_until:
                self._problem = self._try()
                seconds = _UNWRITABLE_SECONDS if self._problem else _WRITABLE_SECONDS
                self._good_until = time.monotonic() + seconds
            return self._problem
        finally:
            self._guard.release()

    def _try(self) -> str | None:
        try:
            migrate.check_writable(self._engine)
        except StoreUnavailableError as error:
            self._writable.failed(error)  # the message may contain paths, which are not public
            return "the database is not writable"
        self._writable.works()
        return None


class _Archive:
    """Checks the archive files, if the last check is some seconds old."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: list[str] = []
        self._good_until = 0.0
        self._complete = Condition(log, "archive")

    def problems(self) -> list[str]:
        """Return the unusable files and the reasons. Raises `StoreUnavailableError`."""
        if time.monotonic() >= self._good_until:
            with read_snapshot(self._engine) as connection:
                found = segments.problems(connection)
            self._found = [
                f"archive: {name} {problem} in archive_directory" for name, problem in found.items()
            ]
            self._good_until = time.monotonic() + _CHECK_SECONDS
            if found:
                name, problem = next(iter(found.items()))
                self._complete.failed(f"files can't be used count={len(found)}: {name} {problem}")
            else:
                self._complete.works()
        return list(self._found)

"""Running builds and the latest ended builds, read from the details by index."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import Field
from sqlalchemy import Connection, Integer, bindparam, select
from typing_extensions import TypedDict

from asu_stats.builds.combined_queue import CombinedQueue
from asu_stats.builds.combined_queue import RunningBuild as Running
from asu_stats.cloudevents import format_time
from asu_stats.events import shown_hash
from asu_stats.reports import cover, floor
from asu_stats.reports.fields import Profile, Seconds, Target, Version
from asu_stats.reports.marks import IDENTIFYING
from asu_stats.store.database import statements
from asu_stats.store.database.schema import build_metrics
from asu_stats.times import aware

_Build = Annotated[str, IDENTIFYING, Field(description="First 12 characters.")]


class RunningBuild(TypedDict):
    """A build that has started and not ended."""

    build_id: _Build
    version: Version
    target: Target
    profile: Profile
    started_at: Annotated[str, Field(description="RFC 3339, UTC.")]
    worker: Annotated[str | None, Field(description="Worker that runs the build; null if unknown.")]


class EndedBuild(TypedDict):
    """A build that ended."""

    build_id: _Build
    version: Version
    target: Target
    profile: Profile
    finished_at: Annotated[str, Field(description="RFC 3339, UTC.")]
    duration: Seconds
    status: Annotated[str, Field(description="success, failure, timeout or cancelled.")]
    error_type: Annotated[
        str | None, Field(description="Type of the error; null if there was none.")
    ]


class Now(TypedDict):
    """`GET /api/v1/stats/now`."""

    queue_length: Annotated[int, Field(description="Waiting builds of all servers.")]
    builds_running: Annotated[int, Field(description="Running builds of all servers.")]
    running: Annotated[
        list[RunningBuild],
        Field(description="Running builds, newest first; at most 50."),
    ]
    ended: Annotated[list[EndedBuild], Field(description="The last 12, newest first.")]


RUNNING: Final = 50
ENDED: Final = 12


def read(connection: Connection, queues: CombinedQueue) -> Now:
    """Return the running builds, the latest ended builds, and the number of waiting builds."""
    return send(connection, queues)()


def send(connection: Connection, queues: CombinedQueue) -> Callable[[], Now]:
    """Ask for what `read` needs. Return a function that waits for it and returns the response."""
    state = queues.send_state(connection)
    running = queues.send_running(connection, RUNNING)
    ended = statements.send(connection, _ENDED, rows=ENDED)

    def response() -> Now:
        counts = state()
        found: Now = {
            "queue_length": counts.queue_length,
            "builds_running": counts.builds_running,
            "running": _running(running()),
            "ended": [_ended(row) for row in statements.named(_ENDED, ended())],
        }
        if not floor.min_requests():
            return found
        return cover.cover(Now, found, connection, floor.recent(connection))

    return response


def running(connection: Connection, queues: CombinedQueue) -> list[RunningBuild]:
    """Return the running builds, newest first."""
    return _running(queues.running_in(connection, RUNNING))


def _running(builds: Iterable[Running]) -> list[RunningBuild]:
    return [
        {
            "build_id": shown_hash(build.build_id),
            "version": build.version,
            "target": build.target,
            "profile": build.profile,
            "started_at": _utc(build.started_at),
            "worker": build.worker_id,
        }
        for build in builds
    ]


_b: Final = build_metrics.c
_ENDED: Final = (
    select(
        _b.build_id,
        _b.version,
        _b.target,
        _b.profile,
        _b.finished_at,
        _b.duration_seconds,
        _b.status,
        _b.error_type,
    )
    .where(_b.finished_at.is_not(None))
    .order_by(_b.finished_at.desc(), _b.id.desc())
    .limit(bindparam("rows", type_=Integer))
)


def ended(connection: Connection) -> list[EndedBuild]:
    """Return the latest ended builds, newest first."""
    found = statements.fetch(connection, _ENDED, rows=ENDED)
    return [_ended(row) for row in statements.named(_ENDED, found)]


def _ended(row: Any) -> EndedBuild:
    return {
        "build_id": shown_hash(row.build_id),
        "version": row.version,
        "target": row.target,
        "profile": row.profile,
        "finished_at": _utc(row.finished_at),
        "duration": row.duration_seconds,
        "status": row.status,
        "error_type": row.error_type,
    }


def _utc(moment: datetime) -> str:
    return format_time(aware(moment))
